import base64
import json

import pytest

from audit.dsse import key_id, pae, seal, unseal
from audit.merkle import IntegrityError
from tests.evidence import signer


def test_the_encoding_of_the_specification() -> None:
    """The example of the DSSE protocol."""
    assert pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("größe", b"\xff\x00") == b"DSSEv1 7 gr\xc3\xb6\xc3\x9fe 2 \xff\x00"


def test_seal_and_unseal() -> None:
    envelope = seal("kind", b"payload", signer())
    assert unseal("kind", envelope, signer().verifier) == b"payload"
    assert json.loads(envelope)["signatures"][0]["keyid"] == key_id(signer().verifier)


def test_another_key_type_or_payload_is_refused() -> None:
    envelope = seal("kind", b"payload", signer())
    with pytest.raises(IntegrityError, match="not signed by"):
        unseal("kind", envelope, signer(2).verifier)
    with pytest.raises(IntegrityError, match="expected a payload of type `other`, got `kind`"):
        unseal("other", envelope, signer().verifier)
    for field, value in (("payload", base64.b64encode(b"Payload").decode()), ("payloadType", "other"), ("signatures", [])):
        with pytest.raises(IntegrityError, match="not signed by"):
            unseal("other", json.dumps({**json.loads(envelope), field: value}).encode(), signer().verifier)


def test_the_key_id_is_a_hint_and_every_signature_is_tried() -> None:
    envelope = json.loads(seal("kind", b"payload", signer()))
    other = json.loads(seal("kind", b"payload", signer(2)))["signatures"]
    envelope["signatures"] = [*other, {**envelope["signatures"][0], "keyid": "whatever"}]
    assert unseal("kind", json.dumps(envelope).encode(), signer().verifier) == b"payload"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"payload": 1}', b'{"payload": "??", "payloadType": "", "signatures": []}', b"[" * 9000]
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a DSSE envelope"):
        unseal("kind", raw, signer().verifier)
