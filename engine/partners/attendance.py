"""Who takes part in a round: everybody who may be used at that moment, judged anew in each, and a record of whom it considered.

Whoever withdrew before a round is not in it. Where anybody's reason changed since the last record, features are computed anew for the
people of now, and a new record is committed before anything of the round leaves: like a build's (`engine.considered`), with values that
name build and round, and a root that goes into the log entry of every round which it stands for. So absence from a round, and presence
in it, can be opened for one subject. Records lie beside builds, `rounds/BUILD/considered-ROUND.parquet`, and are erased from like theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine import considered
from engine.admitting import intervals_of
from engine.bench import Bench
from engine.copies import rounds_of, subjects_in
from engine.files import whole_file
from engine.quarantine import nameable
from engine.stages import People, Reading, admit, features, minimise
from engine.workspace import Workspace
from governance.admission import Admission
from governance.builds import BuildId
from governance.key_files import make_folder


@dataclass(frozen=True, slots=True)
class Record:
    """Whom rounds from `round` on considered, until the next record: the root of their salted commitments, of public size."""

    round: int
    root: str
    leaves: int


class Attendance:
    """Of one build, in one process."""

    def __init__(self, bench: Bench, reading: Reading, build: BuildId) -> None:
        self._bench, self._reading, self._build = bench, reading, build
        self._people: People | None = None
        self._known = b""
        self._record: Record | None = None

    def people(self, round: int) -> People:
        """Those who may be used now, with features of now where that is not who could be used the last time."""
        admission, lawful = self._now()
        while self._people is None or lawful != self._known:
            with minimise(self._bench, self._reading, admission) as inside:
                people = features(self._bench, self._reading, inside)
            self._record = self._committed(round, admission, people)
            self._people, self._known = people, lawful
            admission, lawful = self._now()  # whoever left while features were computed
        return self._people

    def evidence(self) -> dict[str, Any]:
        """Of whom the last round considered, as the log has it."""
        record = self._record
        if record is None:
            return {}
        return {"considered_since": record.round, "consent_root": record.root, "consent_leaves": record.leaves}

    def _now(self) -> tuple[Admission, bytes]:
        """With a digest of what may be used: who is registered, why each is in or out, and the days by which rows of some are used."""
        admission, prepared = admit(self._bench, self._reading), self._reading.prepared
        found = [admission.reasons.select(["subject", "reason"])]
        if self._reading.extraction.consented:
            found.append(intervals_of(self._bench.workspace, prepared.contract, prepared.rules, prepared.spec.purpose))
        return admission, _digest(found)

    def _committed(self, round: int, admission: Admission, people: People) -> Record:
        workspace, room = self._bench.workspace, self._reading.prepared.contract.subject.max_subjects
        target = record_of(workspace, self._build, round)
        make_folder(target.parent.parent)
        make_folder(target.parent)
        with whole_file(target, "round-record", private=True) as partial:
            tree = considered.write(partial, named(self._build, round), nameable(workspace, admission.reasons), people.subjects, room)
        return Record(round, tree.root.hex(), tree.size)


def record_of(workspace: Workspace, build: BuildId, round: int) -> Path:
    """Where the record that a round made is."""
    return rounds_of(workspace, build) / f"considered-{round}.parquet"


def named(build: BuildId, round: int) -> str:
    """What leaves of a round's record say they are of."""
    return f"{build}/round-{round}"


def trained(workspace: Workspace, build: BuildId) -> pa.Array:
    """Everybody whose rows were in any round, less whoever was erased since."""
    found = [subjects_in(path, "trained") for path in sorted(rounds_of(workspace, build).glob("considered-*.parquet"))]
    return pa.chunked_array([part for part in found if len(part)], pa.string()).unique()


def _digest(tables: Iterable[pa.Table]) -> bytes:
    """In any order of their rows; it stays in this process."""
    whole = hashlib.sha256()
    for table in tables:
        ordered = table.combine_chunks().sort_by([(name, "ascending") for name in table.column_names]).combine_chunks()
        for buffer in (each for column in ordered.columns for chunk in column.chunks for each in chunk.buffers()):
            whole.update(buffer or b"")
    return whole.digest()
