"""What a partner does not forget: rounds and keys that it met, what left, and each reply of the round that is under way.

    reply, durable ──> transcript, durable ──> log, sealed ──> the reply leaves

A reply is given again only where the transcript has it: one that a crash kept from being written down never left. Replies of rounds that
are over are deleted, as nobody needs them any more; their digests stay in the transcript.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.files import whole_file
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


class DurableMemory:
    """Rounds that began and keys that were met, a line each. See `federated.seat.Memory`. `left`: the transcript's entries, so that
    a file that was lost is no way back to a round of which keys left."""

    def __init__(self, path: Path, left: Sequence[Entry] = ()) -> None:
        self._journal = Journal(path, "round")
        self._journal.create()
        told = [json.loads(line) for line in self._journal.lines()]
        begun = [entry.left.round for entry in left if entry.left.step == Step.KEYS and entry.left.code is None]
        self._last = max([*begun, *(line["round"] for line in told if "round" in line)], default=0)
        self._keys = {key for line in told for key in line.get("keys", ())}

    @property
    def last(self) -> int:
        """See `Memory.last`."""
        return self._last

    def begin(self, round: Round) -> None:
        """See `Memory.begin`."""
        if round.number <= self._last:
            raise RefusedError(Code.REPLAYED)
        self._journal.append(json.dumps({"round": round.number}))
        self._last = round.number

    def meet(self, keys: Sequence[bytes]) -> None:
        """See `Memory.meet`."""
        met = {key.hex() for key in keys}
        if len(met) != len(keys) or self._keys & met:
            raise RefusedError(Code.REPLAYED)
        self._journal.append(json.dumps({"keys": sorted(met)}))
        self._keys |= met


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
        path = self._path(request)
        if request not in self._left.payloads or not path.exists():
            return None
        reply = path.read_bytes()
        return reply if digest_of(reply) == self._left.payloads[request] else None

    def keep(self, leaving: Leaving, reply: bytes) -> None:
        """See `Book.keep`."""
        if leaving.step == Step.KEYS and leaving.code is None:
            self._forget()
        with whole_file(self._path(leaving.request), "reply", private=True) as partial:
            partial.write_bytes(reply)
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

    def _path(self, request: Digest) -> Path:
        return self._folder / request.removeprefix("sha256:")

    def _forget(self) -> None:
        """Replies of rounds before."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
