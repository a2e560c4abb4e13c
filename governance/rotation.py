"""Another key in place of one that is there, on purpose and with an entry in the log.

    split               people move between training and hold-out: a later build's hold-out is another
    pseudonym/PURPOSE   everybody has another pseudonym; nothing that lists old ones may be left (`engine.keys` asks)

No old key is kept: what it made could be tied to people by whoever finds it, after an erasure too. The new one is durable beside
the old before the entry is, and takes its place after it; what a crash leaves between is finished by `finish`. A key from the
environment was exchanged there already: here its new fingerprint is recorded.

The log's own key is not rotated here. Checkpoints, passports and the stand-alone verifier know one key, and a note that carries
two signatures while both count has to be understood by each of them at once (README).
"""

from __future__ import annotations

import hmac

from sqlmodel import Session

from governance.keys import LOG, PSEUDONYM, SPLIT, KeyFault, KeyFolder, fingerprint
from governance.store import Store, Transaction
from governance.tables import PurposeKeyRow, RotatedKeyRow


def rotate(store: Store, keys: KeyFolder, name: str) -> str:
    """Exchange a key; gives the new one's fingerprint. Nothing else may be at work in the workspace.

    Raises KeyFault: for the log's key, for a purpose that never had one, and where the environment still has the old one.
    """
    if name != SPLIT and not name.startswith(PSEUDONYM):
        raise KeyFault(keys.path(name), "cannot be rotated", f"expected {SPLIT} or {PSEUDONYM}PURPOSE")
    with store.read() as session:
        known = recorded(session, name)
    if name.startswith(PSEUDONYM) and known is None:
        raise KeyFault(keys.path(name), "was never made", "it is made at the first release of its purpose")
    variable = keys.variable(name)
    new = fingerprint(keys.secret(name) if variable else keys.prepare(name))
    if known is not None and hmac.compare_digest(known, new):
        raise KeyFault(keys.path(name), f"is the old one in `{variable}`", "put the new one there first")
    with store.transaction("key") as write:
        _note(write, name, new)
    if not variable:
        keys.place(name)
    return new


def recorded(session: Session, name: str) -> str | None:
    """The fingerprint that a key must have; None where none was recorded."""
    purpose = name.removeprefix(PSEUDONYM)
    row = session.get(RotatedKeyRow, name) if purpose == name else session.get(PurposeKeyRow, purpose)
    return None if row is None else row.fingerprint


def finish(session: Session, keys: KeyFolder) -> tuple[str, ...]:
    """Put prepared keys in place that the log names already, and forget the others; gives the former."""
    placed = []
    for name in unfinished(keys):
        secret = keys.prepared(name)
        if secret is not None and recorded(session, name) == fingerprint(secret):
            keys.place(name)
            placed.append(name)
        else:
            keys.discard(name)
    return tuple(placed)


def unfinished(keys: KeyFolder) -> tuple[str, ...]:
    """Keys whose rotation a crash cut short."""
    return tuple(name for name in keys.names() if name != LOG and keys.prepared(name) is not None)


def _note(write: Transaction, name: str, new: str) -> None:
    purpose = name.removeprefix(PSEUDONYM)
    row = write.session.get(RotatedKeyRow, name) if purpose == name else write.session.get(PurposeKeyRow, purpose)
    if row is None:
        row = RotatedKeyRow(name=name, fingerprint=new, created=write.micros)
    row.fingerprint, row.created = new, write.micros
    write.session.add(row)
    write.record("key.rotated", key=name, fingerprint=new)
