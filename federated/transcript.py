"""A partner's transcript: every payload that left, signed and chained, so that it can show that nothing else did.

A file of JSON lines. Each holds an entry and the partner's Ed25519 signature over its canonical form (RFC 8785, in DSSE's encoding), and
each entry names the digest of the line before it: an entry that was changed, taken out, put in, moved, or is of another contract is
found with nothing but the file and the partner's verifier key. The last entry says that it is the last; a file without it is still
written, or was cut: whoever has a *head* from elsewhere (the digest of a line, in the partner's log and passport) can tell.

Payloads are there by digest and size, refusals too; what was charged is an exact fraction, and what that makes with all charges before
it is ε. An entry is durable before its payload leaves: a crash between leaves an entry too many, never one too few. It names no person
and holds nothing that depends on a row.

Not here: who writes when (`federated.desk`), and what is kept to be said again.
"""

from __future__ import annotations

import base64
import errno
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import rfc8785

from audit.checkpoint import Signer, Verifier
from audit.dsse import pae
from audit.failpoint import reach
from audit.joint_verify import exact, plus
from audit.merkle import IntegrityError
from governance.accounting import RESERVED_DRAWS, epsilon_of
from governance.key_files import sync
from policies.documents import Digest, digest_of

ENTRY = "application/vnd.consentric.transcript.entry+json"
"""Type of what is signed: no entry is ever taken for another statement by the same key."""

END = "end"
"""Step of the entry that says that nothing else left."""

NOTHING = Digest("")
"""Before the first line."""

_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("before", "contract", "partner", "at", "step", "request", "payload", "path", "spent"), (str,)),
    **dict.fromkeys(("number", "round", "size"), (int,)),
    **dict.fromkeys(("delta", "epsilon"), (int, float)),
    **dict.fromkeys(("code", "charged"), (str, type(None))),
}
"""Of values in a line that somebody else wrote."""


@dataclass(frozen=True, slots=True)
class Left:
    """One payload. `request`, `payload`: digests of what was asked and of what left; `code`: the word of a refusal.

    `charged`: μ² that this payload cost, None for what costs nothing; `spent`: μ² of all that was charged until then, which is more than
    the sum where something was charged and never left; `path`: of the grant.
    """

    round: int
    step: str
    request: Digest
    payload: Digest
    size: int
    code: str | None
    path: str
    charged: Fraction | None
    spent: Fraction


@dataclass(frozen=True, slots=True)
class Entry:
    """A line without its signature. `number`: from 0; `before`: digest of the line before; `epsilon`: of `spent`, at `delta`."""

    number: int
    before: Digest
    contract: Digest
    partner: str
    at: str
    delta: float
    epsilon: float
    left: Left

    def canonical(self) -> bytes:
        """What is signed."""
        plain = asdict(self) | asdict(self.left)
        del plain["left"]
        plain["charged"] = None if self.left.charged is None else str(self.left.charged)
        plain["spent"] = str(self.left.spent)
        return rfc8785.dumps(plain)

    @classmethod
    def parse(cls, plain: dict[str, Any]) -> Entry:
        """The inverse. Raises ValueError, TypeError, KeyError for anything else."""
        if any(type(plain[name]) not in kinds for name, kinds in _KINDS.items()):
            raise ValueError("expected numbers where numbers belong, and words where words do")
        charged = plain["charged"]
        left = Left(
            plain["round"],
            plain["step"],
            plain["request"],
            plain["payload"],
            plain["size"],
            plain["code"],
            plain["path"],
            None if charged is None else exact(charged),
            exact(plain["spent"]),
        )
        names = ("number", "before", "contract", "partner", "at", "delta", "epsilon")
        return cls(**{name: plain[name] for name in names}, left=left)


def written(entry: Entry, signer: Signer) -> bytes:
    """The line of an entry, without its end."""
    said = entry.canonical()
    return rfc8785.dumps({"entry": json.loads(said), "signature": base64.b64encode(signer.key.sign(pae(ENTRY, said))).decode()})


@dataclass(frozen=True, slots=True)
class Verified:
    """A transcript as a verifier sees it. `findings`: what is wrong, none if it holds; `head`: digest of the last line."""

    entries: tuple[Entry, ...]
    findings: tuple[str, ...]
    head: Digest

    @property
    def ended(self) -> bool:
        """Whether the partner said that nothing else left."""
        return _ended(self.entries)


def _ended(entries: Sequence[Entry]) -> bool:
    return bool(entries) and entries[-1].left.step == END


def verify(raw: bytes, key: Verifier, head: Digest | None = None) -> Verified:
    """What a file shows to whoever holds the partner's key, and perhaps a `head` that the partner gave before.

    (1) Every line is as it was written and signed by the partner; (2) it stands where it says, after the line that it names; (3) all are of
    one contract and of this partner; (4) charges add up, and ε is theirs; (5) nothing comes after the end; (6) the end is there, or the
    line of `head`.
    """
    whole, _, torn = raw.rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    entries: list[Entry] = []
    charged = Fraction(0)
    findings = [f"line {len(lines) + 1}: is cut"] if torn else []
    before, known = NOTHING, head is None
    for number, line in enumerate(lines):
        try:
            entry = _read(line, key)
            charged = plus(charged, entry.left.charged or Fraction(0))
            findings += [f"line {number + 1}: {wrong}" for wrong in _wrong(entry, number, before, entries, charged, key)]
            entries.append(entry)
        except (IntegrityError, ValueError) as error:  # or charges that nobody could add up
            findings.append(f"line {number + 1}: {error}")
        before = digest_of(line)
        known = known or before == head
    found = Verified(tuple(entries), (), before)
    if not known:
        findings.append(f"the line of the head `{head}` is missing: cut, or another transcript")
    if head is None and not found.ended:
        findings.append(
            "it does not say that it has ended: it is still written, or its end was cut; give the head that the partner's log has"
        )
    return replace(found, findings=tuple(findings))


def _read(line: bytes, key: Verifier) -> Entry:
    """An entry, signed by the partner, in the one form that it may have. Raises IntegrityError."""
    try:
        document = json.loads(line)
        entry, signature = Entry.parse(document["entry"]), base64.b64decode(document["signature"], validate=True)
        said = entry.canonical()
        same = rfc8785.dumps({"entry": json.loads(said), "signature": base64.b64encode(signature).decode()}) == line
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise IntegrityError("is no entry of a transcript") from None
    if not same:
        raise IntegrityError("is not in the form in which it was signed")
    if not key.verify(signature, pae(ENTRY, said)):
        raise IntegrityError(f"is not signed by `{key.name}`")
    return entry


def _wrong(entry: Entry, number: int, before: Digest, entries: list[Entry], charged: Fraction, key: Verifier) -> Iterator[str]:
    """What does not follow from the lines before. `charged`: all that they and this one were charged."""
    if entry.number != number or entry.before != before:
        yield f"is entry {entry.number} after `{entry.before[:19]}…`, expected entry {number} after `{before[:19]}…`"
    if entry.partner != key.name or (entries and entry.contract != entries[0].contract):
        yield "is of another partner or contract"
    if _ended(entries):
        yield "comes after the end"
    if entry.left.spent < max(charged, entries[-1].left.spent if entries else charged):
        yield "charged less than the charges before it add up to"
    if not math.isclose(entry.epsilon, epsilon(entry.left.spent, entry.delta), rel_tol=1e-9, abs_tol=1e-12):
        yield f"says ε {entry.epsilon:g}, expected {epsilon(entry.left.spent, entry.delta):g}"


def epsilon(spent: Fraction, delta: float) -> float:
    """What μ² makes, at δ, with as many draws as a reservation holds; 0 before anything was charged."""
    return epsilon_of(spent, RESERVED_DRAWS, delta) if spent else 0.0


class TranscriptFile:
    """The file of one partner under one contract, for the one process that writes it. `payloads`: by the request that they answered."""

    def __init__(self, path: Path, signer: Signer, contract: Digest, delta: float) -> None:
        """Raises IntegrityError where what is there does not verify; what a crash left of a line is cut away."""
        self._path, self._signer, self._contract, self._delta = path, signer, contract, delta
        fresh = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if fresh:
            sync(path.parent)
        raw = os.pread(self._file, os.fstat(self._file).st_size, 0)
        whole = raw[: raw.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(whole))
        found = verify(whole, signer.verifier, head=digest_of(whole.split(b"\n")[-2]) if whole else None)
        if whole and (found.findings or found.entries[0].contract != contract):
            raise IntegrityError(f"transcript `{path}`: {'; '.join(found.findings) or 'is of another contract'}")
        self.entries, self.head = list(found.entries), found.head
        self.payloads = {entry.left.request: entry.left.payload for entry in found.entries}

    @property
    def ended(self) -> bool:
        """Whether the last line says that nothing else leaves."""
        return _ended(self.entries)

    def append(self, left: Left, at: str) -> Digest:
        """Durable on return; gives the new head. Raises OSError where the disk refuses, and then nothing was written."""
        worth = epsilon(left.spent, self._delta)
        entry = Entry(len(self.entries), self.head, self._contract, self._signer.origin, at, self._delta, worth, left)
        line = written(entry, self._signer)
        reach("transcript:before-write")
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line + b"\n") != len(line) + 1:  # a disk that is full takes a part, and says so the next time
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reach("transcript:before-sync")
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)  # the next line would stand behind half of this one
            raise
        reach("transcript:after-sync")
        self.entries.append(entry)
        self.payloads[left.request] = left.payload
        self.head = digest_of(line)
        return self.head

    def end(self, at: str) -> Digest:
        """Nothing else leaves; gives the last head, also where it was said before."""
        if self.ended:
            return self.head
        spent = self.entries[-1].left.spent if self.entries else Fraction(0)
        return self.append(Left(0, END, NOTHING, NOTHING, 0, None, "", None, spent), at)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)
