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


def test_others_may_sign_too_and_each_signature_names_its_key() -> None:
    envelope = json.loads(seal("kind", b"payload", signer()))
    (mine,), others = envelope["signatures"], json.loads(seal("kind", b"payload", signer(2)))["signatures"]
    envelope["signatures"] = [*others, mine]
    assert unseal("kind", json.dumps(envelope).encode(), signer().verifier) == b"payload"
    envelope["signatures"] = [*others, {**mine, "keyid": "whatever"}]
    with pytest.raises(IntegrityError, match="not signed by"):
        unseal("kind", json.dumps(envelope).encode(), signer().verifier)


@pytest.mark.parametrize("payload", [b"a", b"ab"])
def test_base64_has_one_spelling(payload: bytes) -> None:
    envelope = json.loads(seal("kind", payload, signer()))
    padding = envelope["payload"].count("=")
    place = len(envelope["payload"]) - padding - 1
    respelt = envelope["payload"][:place] + chr(ord(envelope["payload"][place]) + 1) + "=" * padding
    assert base64.b64decode(respelt) == payload
    with pytest.raises(IntegrityError, match="not a DSSE envelope"):
        unseal("kind", json.dumps(envelope | {"payload": respelt}).encode(), signer().verifier)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"payload": 1}', b'{"payload": "??", "payloadType": "", "signatures": []}', b"[" * 9000]
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a DSSE envelope"):
        unseal("kind", raw, signer().verifier)
