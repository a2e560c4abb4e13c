"""The stages of a build, each with a type of its own, so that only what passed a stage can reach the next.

    Planned ──admit──> Admission ──minimise──> Governed ──features──> People ──learn──> Learned ──assess──> Assessment

Bounds that a spec leaves open are estimated once everybody's features are there (`bounded`), and people meet the grid then.

`People` never leaves this process and never reaches a trainer: trainers get a `Cohort`, without subjects, without
fairness attributes, and without a way to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine import bounds
from engine.admitting import admission_now, admitted_among, grants_of, intervals_of, judged, resources
from engine.answers import AnsweringCohort, Answers, KeepingMeter, answers_of
from engine.bench import Bench
from engine.gates import Refused
from engine.planning import Planned, hidden_bounds
from engine.prepared import Prepared
from engine.scale import UNIT, Scale
from engine.split import holdout_part
from governance import budget, builds
from governance.admission import Admission
from governance.budget import Reservation
from governance.door import Column, Grant, LocalCohort, ReservationId
from governance.keys import fingerprint
from governance.minimise import Governed, governed
from governance.minimise import Prepared as Extraction
from governance.population import attributes
from governance.reads import ReadSets, attribute_reads
from governance.room import ExtractionError
from governance.sampling import LocalSampler
from governance.selection import FLAGS
from governance.store import Transaction
from policies.segment import Feature, Label, Segment


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
    meter: KeepingMeter
    grants: dict[str, Grant]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Admitted subjects as vectors on the grid, row i the same subject in each. Inside the governed process only.

    `label` (n_subjects,): 0 or 1, or a number on its own scale, 0..ONE. `treatment` (n_subjects,): 1, 0, NOT_IN_TRIAL.
    `raw` (n_subjects,) in its unit, NaN without a value, of each feature that meets the grid when its bounds are known (`bounded`).
    """

    subjects: pa.Array
    features: NDArray[np.int32]
    part: NDArray[np.int8]
    flags: NDArray[np.int16]
    label: NDArray[np.int32] | None
    read_sets: ReadSets
    raw: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    treatment: NDArray[np.int8] | None = None

    def cohort(self, meter: KeepingMeter, **more: Column) -> AnsweringCohort:
        """What a trainer gets; `more` columns are for assessment alone."""
        return AnsweringCohort(LocalCohort(self.columns() | more, meter), meter.answers)

    def sampler(self, run: Run) -> LocalSampler:
        """What a deep model trains on, by the terms that `run` reserved."""
        return LocalSampler(self.columns(), run.reservation.sampled(), run.meter)

    def columns(self) -> dict[str, Column]:
        """What trainers are asked about."""
        columns: dict[str, Column | None] = {"label": self.label, "treatment": self.treatment, "features": self.features, "part": self.part}
        return {name: column for name, column in columns.items() if column is not None}


@contextmanager
def begin(bench: Bench, plan: Planned, shares: dict[str, float]) -> Iterator[Run]:
    """Reserve the budget and write the intent, or go on with the build that a crash cut short (`engine.answers`); whatever ends the
    block, the build and the reservation are closed.

    Raises BudgetExceeded, and then the ledger is as it was.
    """
    workspace, prepared = bench.workspace, plan.prepared
    spec = prepared.spec
    terms = {"shares": shares, "snapshot": plan.snapshot.id, "split": fingerprint(workspace.keys.split)}
    with workspace.store.transaction("build-intent") as write:
        pinned = builds.find_plan(write.session, plan.id)
        assert pinned is not None  # made or recalled a moment ago, and plans are never deleted
        to = budget.accounts(prepared.contract, prepared.policy, spec.purpose, write.now)
        found = _interrupted(bench, write, plan, to, terms)
        if found is None:
            reservation = budget.reserve(
                write, to, prepared.policy, spec.asked.epsilon, spec.asked.delta, f"build of {spec.name}", block=plan.block
            )
            build = builds.start(write, pinned, spec.purpose, reservation.id)
        else:
            build, reservation, answers = found
    try:
        if found is None:  # a row is there before its files are, so that no sweep takes them for left over
            answers = Answers.begin(answers_of(workspace, build.id), terms)
        meter = KeepingMeter(workspace.store, reservation.id, answers)
        try:
            yield Run(build, reservation, meter, reservation.grant().split(**shares))
        finally:
            answers.end()
    except BaseException as error:
        _close(bench, build, reservation, error)
        raise


def _interrupted(
    bench: Bench, write: Transaction, plan: Planned, to: budget.Accounts, terms: Mapping[str, object]
) -> tuple[builds.Build, Reservation, Answers] | None:
    """The newest build that a crash cut short, of the same documents, by the same person and on the same terms, if everything that was
    drawn for it has its answer. Nobody else goes on with it from now on."""
    digests = plan.prepared.digests
    for build in builds.interrupted(write.session, plan.prepared.spec.name, write.principal.name, digests):
        reservation = budget.find(write.session, build.reservation)
        if reservation is None or reservation.status is not budget.Status.RESERVED or reservation.allocation != to.allocation:
            continue
        answers = Answers.resume(answers_of(bench.workspace, build.id))
        if answers is None:
            continue
        drawn = {draw.path for draw in budget.transcript(write.session, reservation.id)}
        if answers.terms == terms and answers.paths == drawn:
            write.record("build.resumed", build=build.id, plan=plan.id, answers=len(drawn))
            bench.progress(f"go on with build {build.id}, which was cut short after {len(drawn)} answers")
            return build, reservation, answers
        answers.let_go()
        bench.progress(f"begin anew: build {build.id} was cut short where nobody can go on, and what it reserved stays spent")
    return None


def _close(bench: Bench, build: builds.Build, reservation: Reservation, error: BaseException) -> None:
    """A build that ended badly: given back if nothing was drawn, else settled. The log has a rule or a type's name, never a message."""
    with bench.workspace.store.transaction("build-failed") as write:
        found = builds.find_build(write.session, build.id)
        if found is None or found.status is not builds.Status.BUILDING:
            return
        drawn = budget.transcript(write.session, reservation.id)
        read = isinstance(error, ExtractionError)  # what rows did is not to be had for nothing, though rows are not to do anything
        (budget.settle if drawn or read else budget.release)(write, reservation.id)
        _end(write, build.id, error)


NOT_IN_TRIAL = -1
"""Treatment of whoever is in no arm."""

UNCHARGED = ReservationId("")
"""What draws no noise reserves nothing."""


@contextmanager
def uncharged(bench: Bench, what: str, plan: builds.PlanId, purpose: str, model: builds.BuildId | None = None) -> Iterator[builds.Build]:
    """The intent to build without a draw; whatever ends the block, the build does not stay open. The log has a rule or a type's name."""
    store = bench.workspace.store
    with store.transaction(f"{what}-intent") as write:
        pinned = builds.find_plan(write.session, plan)
        assert pinned is not None  # plans are never deleted
        build = builds.start(write, pinned, purpose, UNCHARGED, model)
    try:
        yield build
    except BaseException as error:
        with store.transaction(f"{what}-failed") as write:
            found = builds.find_build(write.session, build.id)
            if found is not None and found.status is builds.Status.BUILDING:
                _end(write, build.id, error)
        raise


def _end(write: Transaction, build: builds.BuildId, error: BaseException) -> None:
    match error:
        case Refused(findings=findings):
            builds.refuse(write, build, tuple(finding.rule for finding in findings))
        case _:
            builds.fail(write, build, type(error).__name__)


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
    scales = {name: None if name in spec.estimated else scale_of(feature) for name, feature in spec.features.items()}
    subjects, vectors, labels, treated = [], [], [np.zeros(0, np.int32)], [np.zeros(0, np.int8)]
    raw: dict[str, list[NDArray[np.float64]]] = {name: [np.zeros(0)] for name in spec.estimated}
    for batch in inside.batches():
        subjects.append(batch["subject"])
        encoded = []
        for name, scale in scales.items():
            values = batch[name].to_numpy(zero_copy_only=False)
            encoded.append(np.zeros(len(values), np.int32) if scale is None else scale.encode(values))
            if scale is None:
                raw[name].append(values)
        vectors.append(np.stack(encoded, axis=1))
        if spec.label:
            labels.append(_label(spec.label, batch["label"]))
        if spec.treatment:
            arms = pc.fill_null(batch["treatment"].cast(pa.int8()), pa.scalar(NOT_IN_TRIAL, pa.int8()))
            treated.append(arms.to_numpy(zero_copy_only=False))
    everybody = pa.chunked_array(subjects, pa.string()).combine_chunks()
    return People(
        everybody,
        np.concatenate(vectors) if vectors else np.zeros((0, len(scales)), np.int32),
        holdout_part(everybody, bench.workspace.keys.split) if spec.label else np.zeros(len(everybody), np.int8),
        _aligned(inside.quality(), everybody, FLAGS, 0),
        np.concatenate(labels) if spec.label else None,
        inside.read_sets,
        {name: np.concatenate(values) for name, values in raw.items()},
        np.concatenate(treated) if spec.treatment else None,
    )


def still_admitted(bench: Bench, plan: Reading, people: People) -> People:
    """Less whoever withdrew while features were computed: the last look at consent before anything is drawn."""
    prepared = plan.prepared
    table = pa.table({"subject": people.subjects})
    allowed = admitted_among(bench.workspace, prepared.contract, prepared.rules, prepared.spec.purpose, table)
    keep = pc.is_in(people.subjects, allowed.combine_chunks())
    rows = keep.to_numpy(zero_copy_only=False)
    return replace(
        people,
        subjects=people.subjects.filter(keep),
        features=people.features[rows],
        part=people.part[rows],
        flags=people.flags[rows],
        label=None if people.label is None else people.label[rows],
        raw={name: values[rows] for name, values in people.raw.items()},
        treatment=None if people.treatment is None else people.treatment[rows],
    )


def gathered(bench: Bench, plan: Reading) -> tuple[Admission, People]:
    """Everybody who may be used, as vectors, for what draws nothing: the stages from `admit` on, in a row."""
    bench.progress("admit")
    admission = admit(bench, plan)
    bench.progress("minimise")
    with minimise(bench, plan, admission) as inside:
        bench.progress("features")
        people = features(bench, plan, inside)
    return admission, still_admitted(bench, plan, people)


def bounded(bench: Bench, plan: Planned, people: People, run: Run) -> tuple[Planned, People]:
    """The plan with every bound known, and everybody on the grid: what the spec leaves open is asked of the door, in one round.

    This is the first stage that asks, so whom all answers are about is noted here. Raises Refused where noise hides where values are.
    """
    run.meter.answers.about(people.subjects, bench.workspace.keys.split)
    prepared, names = plan.prepared, plan.prepared.spec.estimated
    if not names:
        return plan, people
    spec, places = prepared.spec, list(prepared.spec.features)
    bench.progress("bounds")
    raw = people.cohort(run.meter, raw=np.stack([people.raw[name] for name in names], axis=1))
    found = bounds.estimate(raw, [spec.features[name].beyond for name in names], run.grants["bounds"], bench.noise)
    known, features_ = {}, people.features.copy()
    for name, pair in zip(names, found, strict=True):
        if pair is None:
            raise hidden_bounds(prepared, f"noise hides where values of `{name}` lie")
        missing = spec.features[name].missing
        inside = {} if missing is None else {"missing": min(max(missing, pair.low), pair.high)}  # the same point of the grid
        known[name] = spec.features[name].model_copy(update={"bounds": (pair.low, pair.high), **inside})
        features_[:, places.index(name)] = scale_of(known[name]).encode(people.raw[name])
    told = spec.model_copy(update={"features": spec.features | known})
    return replace(plan, prepared=replace(prepared, spec=told, written=spec)), replace(people, features=features_, raw={})


def groups(bench: Bench, plan: Reading, people: People) -> NDArray[np.int16]:
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


def _label(label: Label, values: pa.Array) -> NDArray[np.int32]:
    """0 or 1; a number as a whole one, 0..ONE."""
    if label.bounds is None:
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int32)
    return np.asarray(label_scale(label).encode(values.to_numpy(zero_copy_only=False)) + UNIT, dtype=np.int32)


def label_scale(label: Label) -> Scale:
    """How a label's number meets the grid; its lower bound is −UNIT there, and score 0."""
    assert label.bounds is not None  # asked of numbers alone
    return Scale(float(label.bounds[0]), float(label.bounds[1]), label.scale == "log")


def scale_of(feature: Feature) -> Scale:
    """How a feature meets the grid, once its bounds are known."""
    assert not isinstance(feature.bounds, str)  # `bounded` goes before whatever asks
    return Scale(float(feature.bounds[0]), float(feature.bounds[1]), feature.scale == "log")


def scales_of(spec: Segment) -> dict[str, Scale]:
    """How each feature meets the grid, in the spec's order."""
    return {name: scale_of(feature) for name, feature in spec.features.items()}


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
