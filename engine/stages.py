"""The stages of a build, each with a type of its own, so that only what passed a stage can reach the next.

    Planned ──admit──> Admission ──minimise──> Governed ──features──> People ──learn──> Learned ──assess──> Assessment

`People` never leaves this process and never reaches a trainer: trainers get a `Cohort`, without subjects, without
fairness attributes, and without a way to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.admitting import admission_now, admitted_among, grants_of, intervals_of, judged, resources
from engine.bench import Bench
from engine.gates import Refused
from engine.planning import Planned, Prepared
from engine.scale import Scale
from engine.split import holdout_part
from governance import budget, builds
from governance.admission import Admission
from governance.budget import LedgerMeter, Reservation
from governance.door import Column, Grant, LocalCohort
from governance.minimise import Governed, governed
from governance.minimise import Prepared as Extraction
from governance.population import attributes
from governance.reads import ReadSets, attribute_reads
from governance.room import ExtractionError
from governance.selection import FLAGS
from policies.segment import Feature


class Reading(Protocol):
    """What is read, for whom and by which decision: a plan to train, or a use of a released model."""

    @property
    def prepared(self) -> Prepared:
        """The decided documents."""
        ...

    @property
    def extraction(self) -> Extraction:
        """What runs in the locked room."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """A build that has begun: its budget is spent whatever becomes of it."""

    build: builds.Build
    reservation: Reservation
    meter: LedgerMeter
    grants: dict[str, Grant]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Admitted subjects as vectors on the grid, row i the same subject in each. Inside the governed process only."""

    subjects: pa.Array
    features: NDArray[np.int32]
    part: NDArray[np.int8]
    flags: NDArray[np.int16]
    label: NDArray[np.int8] | None
    read_sets: ReadSets

    def cohort(self, meter: LedgerMeter, **more: Column) -> LocalCohort:
        """What a trainer gets; `more` columns are for assessment alone."""
        columns: dict[str, Column] = {"features": self.features, "part": self.part, **more}
        if self.label is not None:
            columns["label"] = self.label
        return LocalCohort(columns, meter)


@contextmanager
def begin(bench: Bench, plan: Planned, shares: dict[str, float]) -> Iterator[Run]:
    """Reserve the budget and write the intent; whatever ends the block, the build and the reservation are closed.

    Raises BudgetExceeded, and then the ledger is as it was.
    """
    store, prepared = bench.workspace.store, plan.prepared
    spec = prepared.spec
    with store.transaction("build-intent") as write:
        pinned = builds.find_plan(write.session, plan.id)
        assert pinned is not None  # made or recalled a moment ago, and plans are never deleted
        to = budget.accounts(prepared.contract, prepared.policy, spec.purpose, write.now)
        reservation = budget.reserve(write, to, prepared.policy, spec.privacy.epsilon, spec.privacy.delta, f"build of {spec.name}")
        build = builds.start(write, pinned, spec.purpose, reservation.id)
    run = Run(build, reservation, LedgerMeter(store, reservation.id), reservation.grant().split(**shares))
    try:
        yield run
    except BaseException as error:
        _close(bench, run, error)
        raise


def _close(bench: Bench, run: Run, error: BaseException) -> None:
    """A build that ended badly: given back if nothing was drawn, else settled. The log has a rule or a type's name, never a message."""
    with bench.workspace.store.transaction("build-failed") as write:
        found = builds.find_build(write.session, run.build.id)
        if found is None or found.status is not builds.Status.BUILDING:
            return
        drawn = budget.transcript(write.session, run.reservation.id)
        read = isinstance(error, ExtractionError)  # what rows did is not to be had for nothing, though rows are not to do anything
        (budget.settle if drawn or read else budget.release)(write, run.reservation.id)
        match error:
            case Refused(findings=findings):
                builds.refuse(write, run.build.id, tuple(finding.rule for finding in findings))
            case _:
                builds.fail(write, run.build.id, type(error).__name__)


def admit(bench: Bench, plan: Reading) -> Admission:
    """Everybody who is registered, each with one reason, judged now."""
    prepared = plan.prepared
    return admission_now(bench.workspace, prepared.contract, prepared.rules, prepared.spec)


@contextmanager
def minimise(bench: Bench, plan: Reading, admission: Admission) -> Iterator[Governed]:
    """A locked connection in which only granted columns of admitted rows exist."""
    workspace, prepared = bench.workspace, plan.prepared
    intervals = None
    if plan.extraction.consented:
        intervals = intervals_of(workspace, prepared.contract, prepared.rules, prepared.spec.purpose)
    with governed(plan.extraction, admission.keys(), resources(workspace), prepared.policy.strict, intervals) as inside:
        yield inside


def features(bench: Bench, plan: Reading, inside: Governed) -> People:
    """One vector of whole numbers a subject, the label, the keyed split, and which rules touched a subject's rows."""
    spec = plan.prepared.spec
    scales = {name: scale_of(feature) for name, feature in spec.features.items()}
    subjects, vectors, labels = [], [], []
    for batch in inside.batches():
        subjects.append(batch["subject"])
        encoded = [scale.encode(batch[name].to_numpy(zero_copy_only=False)) for name, scale in scales.items()]
        vectors.append(np.stack(encoded, axis=1))
        if spec.label:
            labels.append(batch["label"].to_numpy(zero_copy_only=False).astype(np.int8))
    everybody = pa.chunked_array(subjects, pa.string()).combine_chunks()
    return People(
        everybody,
        np.concatenate(vectors) if vectors else np.zeros((0, len(scales)), np.int32),
        holdout_part(everybody, bench.workspace.keys.split) if spec.label else np.zeros(len(everybody), np.int8),
        _aligned(inside.quality(), everybody, FLAGS, 0),
        np.concatenate([*labels, np.zeros(0, np.int8)]) if spec.label else None,
        inside.read_sets,
    )


def still_admitted(bench: Bench, plan: Reading, people: People) -> People:
    """Less whoever withdrew while features were computed: the last look at consent before anything is drawn."""
    prepared = plan.prepared
    table = pa.table({"subject": people.subjects})
    allowed = admitted_among(bench.workspace, prepared.contract, prepared.rules, prepared.spec.purpose, table)
    keep = pc.is_in(people.subjects, allowed.combine_chunks())
    rows = keep.to_numpy(zero_copy_only=False)
    label = None if people.label is None else people.label[rows]
    return People(people.subjects.filter(keep), people.features[rows], people.part[rows], people.flags[rows], label, people.read_sets)


def groups(bench: Bench, plan: Planned, people: People) -> NDArray[np.int16]:
    """(n_subjects, n_attributes) index of each attribute's group, -1 unknown: read for the fairness purpose, by its own admission."""
    prepared, workspace = plan.prepared, bench.workspace
    spec, contract, policy = prepared.spec, prepared.contract, prepared.rules
    names = [f"{attribute.table}.{attribute.column}" for attribute in spec.fairness]
    if not names or policy.fairness is None:
        return np.zeros((len(people.subjects), 0), np.int16)
    now = workspace.store.clock()
    table = pa.table({"subject": people.subjects})
    allowed = judged(workspace, contract, policy, policy.fairness.purpose, table, now).admitted()
    granted = grants_of(attribute_reads(contract, spec.fairness))
    intervals = None
    if any(contract.tables[attribute.table].collected_under_consent for attribute in spec.fairness):
        intervals = intervals_of(workspace, contract, policy, policy.fairness.purpose)
    where, coarsened = workspace.source, prepared.coarsened
    found = attributes(contract, spec.fairness, granted, allowed, spec.as_of, where, now, resources(workspace), intervals, coarsened)
    return _aligned(found, people.subjects, names, -1)


def scale_of(feature: Feature) -> Scale:
    """How a feature meets the grid."""
    return Scale(float(feature.bounds[0]), float(feature.bounds[1]), feature.scale == "log")


def _aligned(table: pa.Table, subjects: pa.Array, columns: Sequence[str], missing: int) -> NDArray[np.int16]:
    """Columns of `table` in the order of `subjects`, (n_subjects, n_columns)."""
    place = pc.index_in(subjects, table["subject"].combine_chunks() if table.num_rows else pa.array([], pa.string()))
    filled = [
        pc.fill_null(table[name].combine_chunks().cast(pa.int16()).take(place), pa.scalar(missing, pa.int16())).to_numpy(
            zero_copy_only=False
        )
        for name in columns
    ]
    return np.stack(filled, axis=1).astype(np.int16) if filled else np.zeros((len(subjects), 0), np.int16)
