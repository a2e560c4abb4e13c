"""Signed checkpoints: what the log's owner has said, kept outside the database that could be rewritten.

Formats: C2SP signed-note (Ed25519) and C2SP tlog-checkpoint. A checkpoint is durable in `CheckpointFile` before an action
is acknowledged; an edit, a cut or a fork of the log is then found by whoever holds a checkpoint. Against somebody who
holds the signing key, or who puts an older copy of database and file back, only a checkpoint kept elsewhere helps.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.failpoint import reach
from audit.merkle import IntegrityError

SLOT = 4096
"""Bytes of one slot: a page, so that a torn write of one cannot touch the other."""

SYNCED = ".synced"
"""What the name of the file beside it ends in, that says which slot was flushed last."""

_ED25519 = b"\x01"  # signed-note: the algorithm byte
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Verifier:
    """A log's name and public key (32 bytes), printed as signed-note's verifier key `name+hash+key`."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a log's name has no spaces and no plus, got `{self.name}`")

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read a verifier key. Raises ValueError."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decode(encoded)
        if len(raw) != 33 or raw[:1] != _ED25519:
            raise ValueError(f"expected an Ed25519 verifier key `name+hash+key`, got `{text}`")
        verifier = cls(name, raw[1:])
        if key_id != verifier.key_id.hex():
            raise ValueError(f"verifier key `{text}` is damaged: expected the hash `{verifier.key_id.hex()}`")
        return verifier

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x01 || key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the Ed25519 signature holds."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def open(self, note: str) -> str:
        """The text of a signed note. Raises IntegrityError unless this key signed it; other keys' signatures are passed over."""
        text, signatures = split_note(note)
        for signature in (raw for name, key_id, raw in signatures if (name, key_id) == (self.name, self.key_id)):
            if not self.verify(signature, text.encode()):
                raise IntegrityError(f"the note's signature by `{self.name}` is wrong")
            return text
        raise IntegrityError(f"the note is not signed by `{self.name}` with key {self.key_id.hex()}")

    def signed(self, note: str) -> bool:
        """Whether the note says that this key signed it; `open` says whether that is so."""
        return any((name, key_id) == (self.name, self.key_id) for name, key_id, _ in split_note(note)[1])


def split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Text, and name, key id and signature of each line that is well formed. Raises IntegrityError for what is no note."""
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise IntegrityError("a signed note ends with a blank line and signature lines")
    parts = [line.split(" ") for line in signatures.split("\n")[:-1]]
    found = [(part[1], _decode(part[2])) for part in parts if len(part) == 3 and part[0] == "—"]
    return text + "\n", [(name, raw[:4], raw[4:]) for name, raw in found if len(raw) > 4]


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the name that it signs under, which is also the origin line of its checkpoints.

    `also`: other keys of the same name that sign beside it, while a rotation's overlap lasts. `verifier`: the public half.
    """

    key: Ed25519PrivateKey
    origin: str
    also: tuple[Signer, ...] = ()
    verifier: Verifier = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verifier", Verifier(self.origin, self.key.public_key().public_bytes_raw()))

    def sign(self, text: str) -> str:
        """A signed note of `text`, which ends with a newline; the lines of `also` come after its own."""
        return f"{text}\n{''.join(each.line(text) for each in (self, *self.also))}"

    def line(self, text: str) -> str:
        """The signature line of this key alone."""
        return note_line(self.origin, self.verifier.key_id, self.key.sign(text.encode()))


def note_line(name: str, key_id: bytes, signature: bytes) -> str:
    """One signature line of a note."""
    return f"— {name} {base64.b64encode(key_id + signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head. `note` is the whole signed note, `extensions` its further lines."""

    origin: str
    size: int
    root: bytes
    note: str
    extensions: tuple[str, ...] = ()


def make_checkpoint(signer: Signer, size: int, root: bytes, extensions: Sequence[str] = ()) -> Checkpoint:
    """Sign a tree head."""
    if any(not line or "\n" in line for line in extensions):
        raise ValueError("an extension of a checkpoint is one line that is not empty")
    lines = [signer.origin, str(size), base64.b64encode(root).decode(), *extensions]
    return Checkpoint(signer.origin, size, root, signer.sign("\n".join(lines) + "\n"), tuple(extensions))


def read_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """Verify and parse a checkpoint. Raises IntegrityError."""
    lines = verifier.open(note).split("\n")[:-1]
    if len(lines) < 3 or not _SIZE.fullmatch(lines[1]) or len(root := _decode(lines[2])) != 32 or "" in lines:
        raise IntegrityError("a checkpoint has an origin, a size, a root and no empty line")
    if lines[0] != verifier.name:
        raise IntegrityError(f"the checkpoint is of log `{lines[0]}`, expected `{verifier.name}`")
    return Checkpoint(lines[0], int(lines[1]), root, note, tuple(lines[3:]))


class CheckpointFile:
    """The newest checkpoint, durable in two slots that are written in turn, so that a torn write leaves the other.

    A slot is SHA-256(rest) and the rest: the note's length (4 bytes), the note, zeros. A slot whose sum is wrong is a
    write that was interrupted; one whose sum is right and whose signature is wrong was made by somebody else. After a rotation
    of the key, the older slot may still be signed by a former one alone.

    A second file, `NAME.synced`, holds the digest of the slot that was flushed last. It is written after the flush returned, so that
    whoever finds the newest slot named in it knows that slot durable, and one publication does for all who wait (README, ADR 8).
    """

    def __init__(self, path: Path, signer: Signer | None, verifier: Verifier | None = None, former: Sequence[Verifier] = ()) -> None:
        """`signer`: None to read only. `verifier`: the key that is known outside, if any. `former`: those before it.

        Raises IntegrityError if the private key is not that of `verifier`, ValueError if there is neither.
        """
        if signer is None and verifier is None:
            raise ValueError("a checkpoint file needs a signer or a verifier key")
        self._path = path
        self._signer = signer
        self._verifier = verifier or cast(Signer, signer).verifier
        self._former = former
        if signer is not None and signer.verifier != self._verifier:
            raise IntegrityError(f"the private key is not that of `{verifier}`")
        self._checked: dict[bytes, _Slot | None] = {}

    def publish(self, size: int, root: bytes, extensions: Sequence[str] = ()) -> None:
        """Sign a tree head; durable on return. One below the newest is left alone. Raises IntegrityError for a second root of one size.

        The very same head again only makes sure of what is there: a slot that a crash tore is written anew.
        """
        with self._writing() as (file, _waited):
            self._publish(file, size, root, extensions)

    def cover(self, size: int, root: bytes, newest: Callable[[], tuple[int, bytes]]) -> None:
        """Durable on return: this tree head, or a newer one. `newest` gives the newest that was committed.

        Who waited for the lock while others published finds that theirs covers it and was flushed, and writes nothing. Who still
        finds it uncovered asks for the newest under the lock, so that its one write does for all who wait behind it. Raises as
        `publish` does.
        """
        with self._writing() as (file, waited):
            if waited:
                raw = os.pread(file, 2 * SLOT + 1, 0)
                slots = self._slots(raw)
                found = _newest(slots)
                if found is not None and found.size >= size and self._flushed() == _digest(raw, slots.index(found)):
                    return
                size, root = newest()
            self._publish(file, size, root)

    def read(self) -> Checkpoint | None:
        """The newest checkpoint; None if there is no file. Raises IntegrityError if neither slot can be believed."""
        try:
            with self._opened(os.O_RDONLY) as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return _newest(self._slots(os.pread(file, 2 * SLOT + 1, 0)))
        except FileNotFoundError:
            return None

    def _publish(self, file: int, size: int, root: bytes, extensions: Sequence[str] = ()) -> None:
        # 1. what was said before binds; a file that is there and says nothing was damaged
        slots = self._slots(os.pread(file, 2 * SLOT + 1, 0))
        newest = _newest(slots)
        if newest is not None and newest.size == size and newest.root != root:
            raise IntegrityError(f"a checkpoint of size {size} was signed over another root: the log was forked")
        # 2. nothing new: mend what is torn
        if newest is not None and newest.size >= size:
            new, targets = newest, [place for place, slot in enumerate(slots) if slot is None]
        # 3. something new: over the older slot, or over both in a new file
        else:
            new = make_checkpoint(cast(Signer, self._signer), size, root, extensions)
            targets = [0, 1] if newest is None else [slots.index(newest) ^ 1]
        reach("checkpoint:before-write")
        raw = pack_slot(new.note)
        for place in targets:
            os.pwrite(file, raw, place * SLOT)
        reach("checkpoint:before-sync")
        # 4. also when nothing was written: whoever wrote it may have died before its sync
        os.fdatasync(file)
        self._remember(raw, _Slot(new, current=True))
        if newest is None:
            _sync_directory(self._path.parent)
        reach("checkpoint:after-sync")
        # 5. only now may others lean on it; this needs no flush of its own, because nothing is lost with it
        self._flushed(raw[:32])

    def _flushed(self, digest: bytes | None = None) -> bytes:
        """The digest of the slot that was flushed last, or the one that is to be written down."""
        marker = os.open(self._path.with_name(self._path.name + SYNCED), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            return os.pread(marker, 33, 0) if digest is None else digest[: os.pwrite(marker, digest, 0)]
        finally:
            os.close(marker)

    def _slots(self, data: bytes) -> list[Checkpoint | None]:
        if len(data) > 2 * SLOT:
            raise IntegrityError(f"checkpoint file `{self._path}` must have {2 * SLOT} bytes, it has more")
        read = [self._slot(data[place * SLOT : (place + 1) * SLOT]) for place in (0, 1)]
        slots = [slot.checkpoint if slot else None for slot in read]
        if data and slots == [None, None]:
            raise IntegrityError(f"checkpoint file `{self._path}` is damaged in both slots")
        newest = max((slot for slot in read if slot), key=lambda slot: slot.checkpoint.size, default=None)
        if newest is not None and not newest.current:  # whoever got hold of a former key signs nothing with it any more
            found = f"the newest checkpoint is signed by a former key, expected {self._verifier.key_id.hex()}"
            raise IntegrityError(f"{found}; a backup from before the rotation needs the keys of its time")
        return slots

    def _slot(self, raw: bytes) -> _Slot | None:
        if raw not in self._checked:  # verifying a signature takes longer than the rest of a publication
            note = unpack_slot(raw)
            self._remember(raw, None if note is None else self._believe(note))
        return self._checked[raw]

    def _believe(self, note: str) -> _Slot:
        for former in self._former if not self._verifier.signed(note) else ():
            if former.signed(note):
                return _Slot(read_checkpoint(note, former), current=False)
        return _Slot(read_checkpoint(note, self._verifier), current=True)

    def _remember(self, raw: bytes, slot: _Slot | None) -> None:
        self._checked = {**dict(list(self._checked.items())[-3:]), raw: slot}

    @contextmanager
    def _writing(self) -> Iterator[tuple[int, bool]]:
        """The file, locked, and whether others had it first."""
        if self._signer is None:
            raise ValueError("this checkpoint file is open for reading only")
        with self._opened(os.O_RDWR | os.O_CREAT) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waited = False
            except BlockingIOError:
                fcntl.flock(file, fcntl.LOCK_EX)
                waited = True
            yield file, waited

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        file = os.open(self._path, flags | os.O_CLOEXEC, 0o644)
        try:
            yield file
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A slot that is whole. `current`: signed by today's key, and not by a former one alone."""

    checkpoint: Checkpoint
    current: bool


def pack_slot(note: str) -> bytes:
    """A slot's bytes. Raises ValueError for a note that is too long."""
    body = note.encode()
    if len(body) > SLOT - 36:
        raise ValueError(f"a checkpoint must fit {SLOT - 36} bytes, got {len(body)}")
    rest = (len(body).to_bytes(4, "big") + body).ljust(SLOT - 32, b"\0")
    return hashlib.sha256(rest).digest() + rest


def unpack_slot(raw: bytes) -> str | None:
    """The note in a slot; None if the slot is not whole. Raises IntegrityError for a whole slot that we would not write."""
    rest = raw[32:]
    if len(raw) != SLOT or hashlib.sha256(rest).digest() != raw[:32]:
        return None
    end = 4 + int.from_bytes(rest[:4], "big")
    if rest[end:].strip(b"\0"):
        raise IntegrityError("a checkpoint slot holds something behind its note")
    return rest[4:end].decode(errors="replace")


def _digest(raw: bytes, place: int) -> bytes:
    """The sum that the slot at `place` begins with."""
    return raw[place * SLOT : place * SLOT + 32]


def _newest(slots: Sequence[Checkpoint | None]) -> Checkpoint | None:
    return max((slot for slot in slots if slot is not None), key=lambda slot: slot.size, default=None)


def _decode(text: str) -> bytes:
    """Base64, strictly; empty if it is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""  # one spelling only


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
