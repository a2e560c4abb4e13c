"""Another key in place of one that is there, on purpose and with an entry in the log.

    split               people move between training and hold-out: a later build's hold-out is another
    pseudonym/PURPOSE   everybody has another pseudonym; nothing that lists old ones may be left (`engine.keys` asks)

No old key is kept: what it made could be tied to people by whoever finds it, after an erasure too. The new one is durable beside
the old before the entry is, and takes its place after it; what a crash leaves between is finished by `finish`. A key from the
environment was exchanged there already: here its new fingerprint is recorded.

The log's own key is rotated with an overlap. Its entry holds a note, signed by the key before and by the key after, that names both,
the entry's place and the root before it, so that whoever holds either finds the other and a verifier can be given either. From
`prepare_log` until `retire` every checkpoint and passport bears both signatures:

    1. the new key is durable beside the old one, and signs beside it
    2. the entry is committed, its checkpoint is durable, and what is kept outside is signed anew
    3. `log.vkey` names the new key last: it is the one that counts
    4. `retire` ends the overlap, and the old private key is gone

A crash between 1 and 2 leaves the old key; one after 2 is finished by `finish`, because the log names the new one.
"""

from __future__ import annotations

import base64
import hmac

from sqlmodel import Session

from audit.checkpoint import Signer, Verifier
from audit.failpoint import reach
from audit.verify import ROTATION
from governance.keys import LOG, NEXT, OLD, PSEUDONYM, SPLIT, VARIABLE, KeyFault, KeyFolder, fingerprint
from governance.store import Store, Transaction
from governance.tables import PurposeKeyRow, RotatedKeyRow


def prepare_log(store: Store, keys: KeyFolder) -> None:
    """Make a new key for the log, which signs beside the present one from now on: what was made with the keys is to be made anew.

    Raises KeyFault while an earlier rotation's overlap lasts or is unfinished, and where the environment has the key and no new one.
    """
    with store.read() as session:
        named = recorded(session, LOG)
    if keys.overlapping or (keys.next_signer is not None and named == keys.next_signer.verifier.key_id.hex()):
        raise KeyFault(keys.path(LOG), "is being rotated already", "consentric doctor --repair, then consentric keys retire")
    if keys.variable(LOG) and not keys.variable(NEXT):
        raise KeyFault(keys.path(LOG), f"comes from `{keys.variable(LOG)}`", f"put the new one into `{VARIABLE}LOG_NEXT` beside it first")
    keys.prepare_log()
    reach("log-key:prepared")


def rotate(store: Store, keys: KeyFolder, name: str) -> str:
    """Exchange a key; gives the new one's fingerprint. Nothing else may be at work in the workspace.

    Raises KeyFault: for the log's key before `prepare_log`, for a purpose that never had one, and where the environment still has
    the old one.
    """
    if name == LOG:
        return _rotate_log(store, keys)
    if name != SPLIT and not name.startswith(PSEUDONYM):
        raise KeyFault(keys.path(name), "cannot be rotated", f"expected {LOG}, {SPLIT} or {PSEUDONYM}PURPOSE")
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


def retire(store: Store, keys: KeyFolder) -> str:
    """End the overlap of the log's keys; gives the fingerprint of the one that signs no more. Raises KeyFault where there is none."""
    if not keys.overlapping and not keys.variable(OLD):
        raise KeyFault(keys.folder / OLD, "is not there", f"there is no overlap: consentric keys rotate {LOG} begins one")
    old = Verifier.parse(keys.verifier_keys[-2])
    with store.transaction("key") as write:
        write.record("key.retired", key=LOG, fingerprint=old.key_id.hex())
    keys.discard_log(OLD)
    return old.key_id.hex()


def check_log(session: Session, keys: KeyFolder) -> None:
    """Raises KeyFault unless the log's key is the one that the log names, or the one before it while a rotation is unfinished."""
    known = recorded(session, LOG)
    signer = keys.signer
    if known not in (None, *(each.verifier.key_id.hex() for each in (signer, *signer.also))):
        raise KeyFault(keys.folder / "log.vkey", "is from before the log's key was rotated", "restore the keys from a newer backup")


def finish(session: Session, keys: KeyFolder) -> tuple[str, ...]:
    """Put prepared keys in place that the log names already, and forget the others; gives the former."""
    placed = []
    for name in unfinished(keys):
        if name == LOG:
            new = keys.next_signer
            if new is not None and recorded(session, LOG) == new.verifier.key_id.hex():
                keys.place_log()
                placed.append(LOG)
            else:
                keys.discard_log(NEXT)
            continue
        secret = keys.prepared(name)
        if secret is not None and recorded(session, name) == fingerprint(secret):
            keys.place(name)
            placed.append(name)
        else:
            keys.discard(name)
    return tuple(placed)


def unfinished(keys: KeyFolder) -> tuple[str, ...]:
    """Keys whose rotation a crash cut short."""
    return tuple(name for name in keys.names() if (keys.next_signer if name == LOG else keys.prepared(name)) is not None)


def _rotate_log(store: Store, keys: KeyFolder) -> str:
    old, new = keys.signer, keys.next_signer
    if new is None or new.verifier not in {each.verifier for each in old.also}:
        raise KeyFault(keys.folder / NEXT, "is not there", "it is made first, so that both sign from then on")
    with store.transaction("key") as write:
        index, root = write.tail.head
        names = (ROTATION, old.origin, str(index), base64.b64encode(root).decode(), str(old.verifier), str(new.verifier))
        text = "\n".join(names) + "\n"
        row = write.session.get(RotatedKeyRow, LOG) or RotatedKeyRow(name=LOG, fingerprint="", created=0)
        row.fingerprint, row.created = new.verifier.key_id.hex(), write.micros
        write.session.add(row)
        write.record("key.rotated", key=LOG, fingerprint=row.fingerprint, note=Signer(old.key, old.origin, (new,)).sign(text))
        write.keep_outside()
    keys.place_log()
    return new.verifier.key_id.hex()


def _note(write: Transaction, name: str, new: str) -> None:
    purpose = name.removeprefix(PSEUDONYM)
    row = write.session.get(RotatedKeyRow, name) if purpose == name else write.session.get(PurposeKeyRow, purpose)
    if row is None:
        row = RotatedKeyRow(name=name, fingerprint=new, created=write.micros)
    row.fingerprint, row.created = new, write.micros
    write.session.add(row)
    write.record("key.rotated", key=name, fingerprint=new)
