"""Purpose-scoped pseudonyms: HMAC-SHA256 (RFC 2104) of a subject under the key of one purpose, in lower-case hexadecimal.

The same subject has the same pseudonym in every list of one purpose, and an unrelated one for another purpose, so that
lists of two purposes cannot be joined without a key. A pseudonym is still personal data (GDPR, recital 26): whoever holds
the key can test any subject.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa

_BLOCK = 64
"""Block size of SHA-256 in bytes."""


def pseudonyms(subjects: pa.Array | pa.ChunkedArray, key: bytes) -> pa.Array:
    """(n,) 64-digit strings for (n,) subjects, each hashed as the UTF-8 of its text; NULL stays NULL. About half a million a second."""
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in _padded(key))) for pad in (0x36, 0x5C))

    def one(subject: str | None) -> str | None:
        if subject is None:
            return None
        first, second = inner.copy(), outer.copy()
        first.update(subject.encode())
        second.update(first.digest())
        return second.hexdigest()

    return pa.array([one(subject) for subject in subjects.cast(pa.string()).to_pylist()], pa.string())


def _padded(key: bytes) -> bytes:
    return (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
