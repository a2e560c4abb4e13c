"""Purpose-scoped pseudonyms: HMAC-SHA256 (RFC 2104) of a subject under the key of one purpose, in lower-case hexadecimal.

The same subject has the same pseudonym in every list of one purpose, and an unrelated one for another purpose, so that
lists of two purposes cannot be joined without a key. A pseudonym is still personal data (GDPR, recital 26): whoever holds
the key can test any subject.

A key is made at the first release of its purpose, with an entry in the log that names its fingerprint. From then on it is
only read: another in its place would give every subject another pseudonym, and nobody would notice. It is exchanged on purpose
alone, with an entry too (`governance.rotation`).
"""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
from sqlmodel import Session, select

from governance.keys import PSEUDONYM, RESTORE, KeyFault, KeyFolder, fingerprint
from governance.store import Transaction
from governance.tables import PurposeKeyRow

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


def ensure_key(transaction: Transaction, keys: KeyFolder, purpose: str) -> bytes:
    """The key of a purpose; made, with an entry in the log, if the purpose never had one. Raises KeyFault if it was lost or changed."""
    if transaction.session.get(PurposeKeyRow, purpose) is not None:
        return purpose_key(transaction.session, keys, purpose)
    key = keys.create_pseudonym(purpose)
    transaction.session.add(PurposeKeyRow(purpose=purpose, fingerprint=fingerprint(key), created=transaction.micros))
    transaction.record("key.created", purpose=purpose, fingerprint=fingerprint(key))
    return key


def purpose_key(session: Session, keys: KeyFolder, purpose: str) -> bytes:
    """The key of a purpose that had a release. Raises KeyFault if it never had one, or the key was lost or changed."""
    key = keys.pseudonym(purpose)
    row = session.get(PurposeKeyRow, purpose)
    if row is None or not hmac.compare_digest(row.fingerprint, fingerprint(key)):
        interrupted = keys.prepared(PSEUDONYM + purpose) is not None
        remedy = "its rotation was interrupted: consentric doctor --repair" if interrupted else RESTORE
        raise KeyFault(keys.pseudonym_path(purpose), "is not the one that the log names", remedy)
    return key


def purposes(session: Session) -> tuple[str, ...]:
    """Purposes that have a key."""
    return tuple(session.exec(select(PurposeKeyRow.purpose).order_by(PurposeKeyRow.purpose)))


def key_faults(session: Session, keys: KeyFolder) -> tuple[KeyFault, ...]:
    """What is wrong with the keys that purposes should have, for `doctor`."""
    found = []
    for purpose in purposes(session):
        try:
            purpose_key(session, keys, purpose)
        except KeyFault as fault:
            found.append(fault)
    return tuple(found)


def _padded(key: bytes) -> bytes:
    return (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
