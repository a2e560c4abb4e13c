"""DSSE envelopes (protocol v1.0.2): a payload, its type, and Ed25519 signatures over both.

The signature is over the pre-authentication encoding, which begins with `DSSEv1 `; a signed note begins with a name that
has no space, so one key can sign both without either being taken for the other.
"""

from __future__ import annotations

import base64
import json

from audit.checkpoint import Signer, Verifier
from audit.merkle import IntegrityError
from audit.verify import decode


def pae(payload_type: str, payload: bytes) -> bytes:
    """ "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload, lengths in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(verifier: Verifier) -> str:
    """The name and hash of the verifier key."""
    return f"{verifier.name}+{verifier.key_id.hex()}"


def seal(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """A signed envelope, as JSON; by more than one key while a rotation's overlap lasts."""
    message = pae(payload_type, payload)
    signed = [(key_id(each.verifier), each.key.sign(message)) for each in (signer, *signer.also)]
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": name, "sig": base64.b64encode(signature).decode()} for name, signature in signed],
    }
    return json.dumps(envelope, indent=1).encode() + b"\n"


def unseal(payload_type: str, envelope: bytes, verifier: Verifier) -> bytes:
    """The payload. Raises IntegrityError unless `verifier` signed it as `payload_type`, in a signature that names it.

    DSSE leaves key ids to whoever uses them. Here they count, as they do to `audit.verify`: nothing is believed now that it refuses later.
    """
    try:
        document = json.loads(envelope)
        payload = _decoded(document["payload"])
        kind = str(document["payloadType"])
        signatures = [_decoded(each["sig"]) for each in document["signatures"] if each["keyid"] == key_id(verifier)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"not a DSSE envelope: {type(error).__name__}") from error
    if not any(verifier.verify(signature, pae(kind, payload)) for signature in signatures):
        raise IntegrityError(f"the envelope is not signed by `{key_id(verifier)}`")
    if kind != payload_type:
        raise IntegrityError(f"expected a payload of type `{payload_type}`, got `{kind}`")
    return payload


def _decoded(text: str) -> bytes:
    """Raises ValueError for what `decode` takes for nothing."""
    if not (raw := decode(text)):
        raise ValueError("expected canonical base64")
    return raw
