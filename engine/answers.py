"""Noisy answers of a build, committed before anybody uses them, so that a build that was killed goes on with them.

    charged (the ledger) ──> noise ──> kept here, durable ──> handed to whoever asked

Each grant of a build is spent once, for one answer. An answer that is here is given again, to the same question, without a charge and
without fresh noise: it is the one output of the mechanism that was paid for. What was charged and has no answer may have been drawn
when the crash came. It is never drawn again, since that would be two noises for one charge: such a build cannot be resumed, and what
it reserved stays spent. All that a build asks follows from documents and earlier answers, so that one which is given the same
answers asks the same questions, and learns the same model. Whoever is admitted then is assigned by it: answers about people who left
since are spent and stay valid, and the model is marked as one to be trained anew.

A build's answers lie in a folder of its own, `answers/BUILD`, until it ends. The process that builds holds a lock on the folder, which
ends with the process: what nobody holds was cut short. An answer is what leaves by the door, and so no more secret than the model
that is made of it. Training by samples (`governance.sampling`) is charged once for thousands of answers, which are not kept: a build
that was cut short there cannot be resumed.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.files import delete
from engine.workspace import Workspace
from governance.budget import LedgerMeter
from governance.builds import BuildId
from governance.door import Array, Cohort, Grant, Query
from governance.journal import Journal, JournalError
from governance.key_files import make_folder
from governance.noise import NoiseSource

PLACE = "answers"
"""Folder of the folders."""

_FILE = "answers"


@dataclass
class Answers:
    """Of one build, or one joint run, held by this process until `end`. `given`: values (float64, in units of the query) by path and
    digest; `notes`: what else whoever goes on must know, in order; `mixed`: some answers are about others than those who are there now."""

    folder: Path
    terms: Mapping[str, Any]
    _handle: int
    _journal: Journal
    people: str | None = None
    mixed: bool = False
    given: dict[tuple[str, str], Array] = field(default_factory=dict)
    notes: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(cls, folder: Path, terms: Mapping[str, Any]) -> Self:
        """None yet. `terms`: what must be the same where somebody goes on, as JSON."""
        make_folder(folder.parent)
        make_folder(folder)
        handle = hold(folder)
        assert handle is not None  # whoever looks for answers looks for the file, which is not there yet
        journal = Journal(folder / _FILE, "answer")
        journal.create()
        journal.append(json.dumps({"terms": dict(terms)}, sort_keys=True))
        return cls(folder, terms, handle, journal)

    @classmethod
    def resume(cls, folder: Path) -> Self | None:
        """What is kept of what was cut short; None where it still runs, or nothing is kept that can be read."""
        if not (folder / _FILE).exists() or (handle := hold(folder)) is None:
            return None
        journal = Journal(folder / _FILE, "answer")
        try:
            terms, *lines = map(json.loads, journal.lines())
        except (JournalError, OSError, ValueError):
            os.close(handle)
            return None
        found = cls(folder, terms["terms"], handle, journal)
        for line in lines:
            if "people" in line:
                found.people = line["people"]
            elif "note" in line:
                found.notes.append(line["note"])
            else:
                found.given[line["path"], line["query"]] = np.frombuffer(base64.b64decode(line["values"]), "<f8").astype(np.float64)
        return found

    @property
    def paths(self) -> frozenset[str]:
        """Grants whose answers are here."""
        return frozenset(path for path, _ in self.given)

    def of(self, query: Query, grant: Grant) -> Array | None:
        """What was answered before."""
        known = self.given.get((grant.path, digest(query, grant)))
        return None if known is None else known.reshape(query.shape).copy()

    def keep(self, query: Query, grant: Grant, values: Array) -> None:
        """Durable on return."""
        asked, raw = digest(query, grant), np.ascontiguousarray(values, dtype="<f8").tobytes()
        self._journal.append(json.dumps({"path": grant.path, "query": asked, "values": base64.b64encode(raw).decode()}, sort_keys=True))
        self.given[grant.path, asked] = values

    def note(self, **said: str | int) -> None:
        """Durable on return."""
        self._journal.append(json.dumps({"note": said}, sort_keys=True))
        self.notes.append(said)

    def about(self, subjects: pa.Array, key: bytes) -> None:
        """Note whom answers are about from now on, before the first of them: a keyed digest of everybody together, in any order."""
        mac = hmac.new(key, b"people\0", hashlib.sha256)
        for buffer in subjects.take(pc.array_sort_indices(subjects)).buffers():
            mac.update(buffer or b"")  # of text: where each begins, and all of it
        if self.people is None:
            self.people = mac.hexdigest()
            self._journal.append(json.dumps({"people": self.people}))
        self.mixed = not hmac.compare_digest(self.people, mac.hexdigest())

    def let_go(self) -> None:
        """Hold it no more, and leave it as it is."""
        os.close(self._handle)

    def end(self) -> None:
        """The build has ended: nobody needs them any more."""
        delete(self.folder, "answers")
        os.close(self._handle)


@dataclass(frozen=True, slots=True)
class KeepingMeter(LedgerMeter):
    """The durable meter of a build, with the answers that it paid for."""

    answers: Answers


@dataclass(frozen=True, slots=True)
class AnsweringCohort:
    """A cohort whose answers are committed before they are handed out, and given again to whoever asks again; see `Cohort`."""

    cohort: Cohort
    answers: Answers

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return self.cohort.width

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`. Raises OSError where the disk refuses the answer, which nobody has seen then."""
        if (known := self.answers.of(query, grant)) is not None:
            return known
        values = self.cohort.noisy_sum(query, grant, noise)
        self.answers.keep(query, grant, values)
        return values


def answers_of(workspace: Workspace, build: BuildId) -> Path:
    """Where a build's answers lie."""
    return workspace.hidden / PLACE / build


def cut_short(workspace: Workspace, build: BuildId) -> bool:
    """Whether a build left answers that nobody holds."""
    found = Answers.resume(answers_of(workspace, build))
    if found is not None:
        found.let_go()
    return found is not None


def noted(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """Notes of answers that somebody may hold, without holding them. Raises JournalError."""
    found = (json.loads(line) for line in Journal(folder / _FILE, "answer").lines() if line.startswith('{"note"'))
    return tuple(line["note"] for line in found)


def empty(folder: Path) -> bool:
    """Whether there is nothing in it, as where a crash came before the first line was durable."""
    file = folder / _FILE
    return not file.exists() or not Journal(file, "answer").lines()


def digest(query: Query, grant: Grant) -> str:
    """What a question is known by: all of it, and what it was paid."""
    whole = hashlib.sha256(repr((query.step, query.shape, query.bound, int(query.part), str(grant.mu_squared))).encode())
    for name, values in sorted(query.parameters.items()):
        array = np.ascontiguousarray(values)
        whole.update(repr((name, array.dtype.str, array.shape)).encode() + array.tobytes())
    return whole.hexdigest()


def held(folder: Path) -> bool:
    """Whether a process holds the folder. Whoever wants to hold it at this moment has to try once more."""
    if (handle := _locked(folder, fcntl.LOCK_SH)) is None:
        return folder.exists()
    os.close(handle)
    return False


def hold(folder: Path, seconds: float = 0.0) -> int | None:
    """A handle that holds the folder, None where another process does. `seconds`: for which it is tried again, as `held` may be looking."""
    deadline = time.monotonic() + seconds
    while (handle := _locked(folder, fcntl.LOCK_EX)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return handle


def _locked(folder: Path, how: int) -> int | None:
    """A handle with that lock, None where there is no folder, or another process has a lock that does not go with it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
