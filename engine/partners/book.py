"""What a partner does not forget: rounds and keys that it met, what left, and the round that is under way: its secret, each request that
it answered, each reply.

    request and reply, durable ──> transcript, durable ──> log, sealed ──> the reply leaves

A reply is given again only where the transcript has it: one that a crash kept from being written down never left. What was said in rounds
that are over is deleted, as nobody needs it any more, and so is their secret; digests stay in the transcript.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.files import delete, whole_file
from engine.partners.places import SECRET
from federated.desk import Leaving
from federated.masking import Round
from federated.messages import Step
from federated.replies import Code, RefusedError
from federated.transcript import Entry, Left, TranscriptFile
from governance.journal import Journal
from governance.key_files import make_folder
from governance.store import Store, stamp
from policies.documents import Digest, digest_of

ANSWERED = "collaboration.answered"
"""Action of the log."""

_LENGTH = 8
"""Bytes that say how long the request is that a file begins with."""


ROUNDS = "rounds"
"""File in a partnership's folder."""


class DurableMemory:
    """Rounds that began and keys that were met, a line each, and the secret of the latest round, in `folder`. See `federated.seat.Memory`.
    `left`: the transcript's entries, so that a file that was lost is no way back to a round of which keys left."""

    def __init__(self, folder: Path, left: Sequence[Entry] = ()) -> None:
        self._journal, self._secret = Journal(folder / ROUNDS, "round"), folder / SECRET
        self._journal.create()
        told = [json.loads(line) for line in self._journal.lines()]
        begun = [entry.left.round for entry in left if entry.left.step == Step.KEYS and entry.left.code is None]
        self._last = max([*begun, *(line["round"] for line in told if "round" in line)], default=0)
        self._keys = {key for line in told for key in line.get("keys", ())}
        self._met = frozenset(told[-1].get("keys", ())) if told else frozenset()

    @property
    def last(self) -> int:
        """See `Memory.last`."""
        return self._last

    def begin(self, round: Round, secret: bytes) -> None:
        """See `Memory.begin`."""
        if round.number <= self._last:
            raise RefusedError(Code.REPLAYED)
        with whole_file(self._secret, "round-secret", private=True) as partial:
            partial.write_text(json.dumps({"round": asdict(round), "secret": secret.hex()}))
        self._journal.append(json.dumps({"round": round.number}))
        self._last, self._met = round.number, frozenset()

    def secret(self, round: Round) -> bytes:
        """See `Memory.secret`."""
        with suppress(FileNotFoundError):
            kept = json.loads(self._secret.read_text())
            if kept["round"] == asdict(round) and round.number == self._last:
                return bytes.fromhex(kept["secret"])
        raise RefusedError(Code.ORDER)

    def meet(self, round: Round, keys: Sequence[bytes]) -> None:
        """See `Memory.meet`."""
        met = frozenset(key.hex() for key in keys)
        if round.number == self._last and met == self._met:
            return
        if len(met) != len(keys) or self._keys & met:
            raise RefusedError(Code.REPLAYED)
        self._journal.append(json.dumps({"keys": sorted(met)}))
        self._keys |= met
        self._met = met

    def end(self) -> None:
        """No round comes any more."""
        delete(self._secret, "round-secret")


class DurableBook:
    """See `federated.desk.Book`. `spent`: μ² that the ledger has charged so far; `evidence`: of whom a round's vector is about."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        name: str,
        left: TranscriptFile,
        spent: Callable[[], Fraction],
        evidence: Callable[[], Mapping[str, Any]],
        tell: Callable[[str], None],
    ) -> None:
        self._store, self._folder, self._name, self._tell = store, folder, name, tell
        self._left, self._spent, self._evidence = left, spent, evidence
        make_folder(folder)

    def answered(self, request: Digest) -> bytes | None:
        """See `Book.answered`."""
        said = self._said(request)
        return None if said is None else said[1]

    def round(self, number: int) -> Sequence[tuple[bytes, bytes]]:
        """See `Book.round`."""
        entries = [entry.left for entry in self._left.entries if entry.left.round == number]
        if any(left.code is not None for left in entries):
            return ()
        said = [self._said(left.request) for left in entries]
        whole = [each for left, each in zip(entries, said, strict=True) if each is not None and digest_of(each[0]) == left.request]
        return whole if len(whole) == len(entries) else ()

    def keep(self, leaving: Leaving, request: bytes, reply: bytes) -> None:
        """See `Book.keep`."""
        if leaving.step == Step.KEYS and leaving.code is None:
            self._forget()
        asked = request if leaving.path and leaving.code is None else b""  # to be taken once more; what fills a disk is not kept
        with whole_file(self._path(leaving.request), "reply", private=True) as partial, partial.open("wb") as file:
            file.write(len(asked).to_bytes(_LENGTH))
            file.write(asked)
            file.write(reply)
        left = Left(
            leaving.round,
            leaving.step,
            leaving.request,
            digest_of(reply),
            len(reply),
            None if leaving.code is None else str(leaving.code),
            leaving.path or "",
            leaving.mu_squared,
            self._spent(),
        )
        head = self._left.append(left, stamp(self._store.clock()))
        try:
            with self._store.transaction("answered") as write:
                write.record(ANSWERED, **self._told(leaving, left), entry=len(self._left.entries) - 1, transcript=head)
        except BaseException:
            self._path(leaving.request).unlink(missing_ok=True)  # what the log does not have never leaves, also when it is asked again
            raise
        if left.code is not None:
            self._tell(f"round {left.round}: `{left.code}`")
        elif leaving.step == Step.VECTOR:
            self._tell(f"round {left.round}: a masked vector left, ε {self._left.entries[-1].epsilon:.4g} so far")

    def _told(self, leaving: Leaving, left: Left) -> dict[str, Any]:
        """What the log says of a reply; of a vector, who was considered."""
        charged = {} if left.charged is None else {"mu_squared": str(left.charged)}
        about = dict(self._evidence()) if leaving.step == Step.VECTOR and leaving.code is None else {}
        refused = {} if left.code is None else {"code": left.code}
        said = {"round": left.round, "step": left.step, "payload": left.payload, "size": left.size, "path": left.path}
        return {"contract": leaving.contract, "collaboration": self._name} | said | refused | charged | about

    def _said(self, request: Digest) -> tuple[bytes, bytes] | None:
        """A request, where it is kept, and its reply, where that is what the transcript says."""
        path = self._path(request)
        if request not in self._left.payloads or not path.exists():
            return None
        with path.open("rb") as file:
            asked = file.read(int.from_bytes(file.read(_LENGTH)))
            reply = file.read()
        return (asked, reply) if digest_of(reply) == self._left.payloads[request] else None

    def _path(self, request: Digest) -> Path:
        return self._folder / request.removeprefix("sha256:")

    def _forget(self) -> None:
        """Replies of rounds before."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
