"""Witnesses: others who saw that the log only grew, and sign what they saw (C2SP tlog-cosignature, tlog-witness).

Whoever holds the log's key could show two people two histories; not where both ask that the same witnesses cosigned what they
see. A cosignature is one more line of a checkpoint, so that it never invalidates one. Who is a witness, and how many are enough, is
in a policy (C2SP tlog-policy), which `audit.verify.parse_policy` reads.

    python -m audit.witness KEY NAME STATE LOGKEY < request > cosignature

is a witness of one log for partners who have none yet: KEY is a file of 32 random bytes, STATE the file it remembers in.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import verify
from audit.checkpoint import Checkpoint, Verifier, note_line, read_checkpoint, split_note
from audit.failpoint import reach
from audit.merkle import IntegrityError, verify_consistency

MOST_HASHES = 63
"""Lines of a consistency proof in a request."""

_COSIGNATURE = b"\x04"  # signed-note: the algorithm byte


class Refusal(IntegrityError):
    """What a witness answers instead of a cosignature; `status` as HTTP has it, `size` what it saw last (409)."""

    def __init__(self, status: int, fault: str, size: int | None = None) -> None:
        super().__init__(fault)
        self.status, self.size = status, size


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's private key and name."""

    key: Ed25519PrivateKey
    name: str

    @property
    def vkey(self) -> str:
        """Its verifier key, for a policy."""
        raw = _COSIGNATURE + self.key.public_key().public_bytes_raw()
        return f"{self.name}+{self._id.hex()}+{base64.b64encode(raw).decode()}"

    def cosign(self, note: str, at: int) -> str:
        """The line for a checkpoint; `at` in seconds since 1970."""
        text, _ = split_note(note)
        signature = self.key.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        return note_line(self.name, self._id, at.to_bytes(8, "big") + signature)

    @property
    def _id(self) -> bytes:
        raw = _COSIGNATURE + self.key.public_key().public_bytes_raw()
        return verify.sha(self.name.encode(), b"\n", raw)[:4]


def add_checkpoint(old: int, proof: Sequence[bytes], note: str) -> str:
    """The body of a request to a witness: what it saw last, why the new tree goes on from there, and the new checkpoint."""
    return "".join((f"old {old}\n", *(f"{base64.b64encode(each).decode()}\n" for each in proof), "\n", note))


def parse_request(body: str) -> tuple[int, list[bytes], str]:
    """The inverse. Raises Refusal."""
    upper, _, note = body.partition("\n\n")
    found = re.fullmatch(r"old (0|[1-9][0-9]{0,17})((?:\n\S+)*)", upper)
    lines = found[2].split("\n")[1:] if found else []
    hashes = [verify.decode(line) for line in lines]
    if not found or len(lines) > MOST_HASHES or any(len(each) != 32 for each in hashes):
        raise Refusal(400, "expected `old SIZE`, at most 63 hashes, an empty line and a checkpoint")
    return int(found[1]), hashes, note


class Witness:
    """A witness of some logs; the newest checkpoint of each is in a folder, and durable before it is cosigned."""

    def __init__(self, cosigner: Cosigner, logs: Iterable[Verifier], folder: Path) -> None:
        self._cosigner = cosigner
        self._logs = {log.name: log for log in logs}
        self._folder = folder

    def answer(self, body: str, now: int) -> str:
        """The cosignature for a request (tlog-witness, add-checkpoint). Raises Refusal."""
        old, proof, note = parse_request(body)
        # 1. a log that is known, by its signature
        log = self._logs.get(note.partition("\n")[0])
        if log is None:
            raise Refusal(404, "this log is unknown")
        try:
            new = read_checkpoint(note, log)
        except IntegrityError as error:
            raise Refusal(403, str(error)) from None
        if old > new.size:
            raise Refusal(400, f"the old size {old} is above that of the checkpoint, {new.size}")
        # 2. one at a time: checked against, and written over, what was seen last
        file = os.open(self._folder / f"{verify.sha(log.name.encode()).hex()[:16]}.seen", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            seen = self._seen(os.pread(file, 1 << 16, 0), log)
            self._check(seen, old, proof, new)
            raw = new.note.encode()
            reach("witness:before-write")
            os.pwrite(file, verify.sha(raw) + raw, 0)
            os.ftruncate(file, 32 + len(raw))
            reach("witness:before-sync")
            os.fsync(file)
            reach("witness:after-sync")
        finally:
            os.close(file)
        return self._cosigner.cosign(note, now)

    def _seen(self, raw: bytes, log: Verifier) -> Checkpoint | None:
        """What was written last. A file that is torn stops the witness, who cannot say any more what it saw."""
        if not raw:
            return None
        if verify.sha(raw[32:]) != raw[:32]:
            raise IntegrityError("what this witness saw last is damaged: restore it from a backup")
        return read_checkpoint(raw[32:].decode(), log)

    def _check(self, seen: Checkpoint | None, old: int, proof: Sequence[bytes], new: Checkpoint) -> None:
        size = seen.size if seen else 0
        if old != size:
            raise Refusal(409, f"this witness saw {size} entries last, the request begins at {old}", size)
        if seen is not None and old == new.size and seen.root != new.root:
            raise Refusal(409, f"this witness saw another root for {size} entries: the log was forked", size)
        try:
            if size:
                assert seen is not None
                verify_consistency(size, new.size, proof, seen.root, new.root)
            elif proof:
                raise IntegrityError("nothing follows from nothing: the proof must be empty")
        except IntegrityError as error:
            raise Refusal(422, str(error)) from None


def with_cosignatures(note: str, more: str, trust: verify.Trust) -> str:
    """`note` with the lines of `more` by witnesses that `trust` knows, each once, the newest; other lines are left out.

    `more`: a note of the same text, or lines alone. Raises IntegrityError where one of theirs is wrong, or there is none.
    """
    text, _ = split_note(note)
    if "\n\n" in more and split_note(more)[0] != text:
        raise IntegrityError("the cosignatures are of another checkpoint")
    lines = [line for line in more.rpartition("\n\n")[2].split("\n") if line.startswith("— ")]
    try:
        known = {key: line for line in lines for key in verify.signers(f"{text}\n{line}\n", trust.witnesses, cosigned=True)[1]}
    except verify.Broken as error:
        raise IntegrityError(str(error)) from None
    if not known:
        raise IntegrityError("none of the lines is a cosignature by a witness of the policy")
    old = [line for line in note.rpartition("\n\n")[2].split("\n")[:-1] if not _by(line, text, known)]
    return f"{text}\n{''.join(f'{line}{chr(10)}' for line in (*old, *known.values()))}"


def _by(line: str, text: str, keys: Iterable[verify.Key]) -> bool:
    return bool(verify.signers(f"{text}\n{line}\n", keys, cosigned=True)[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """One request from standard input; the answer, or 1 with the status and the reason."""
    key, name, state, log = sys.argv[1:] if arguments is None else arguments
    cosigner = Cosigner(Ed25519PrivateKey.from_private_bytes(Path(key).read_bytes()), name)
    try:
        sys.stdout.write(Witness(cosigner, [Verifier.parse(log)], Path(state)).answer(sys.stdin.read(), int(time.time())))
    except Refusal as refusal:
        print(f"{refusal.status} {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
