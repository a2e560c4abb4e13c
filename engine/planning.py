"""Before anything is spent on training: documents, decisions, budget, the noisy snapshot, and the forecast.

`prepare` reads documents only. `plan` goes on to look at who is admitted, which costs a snapshot where the interval
has none yet, and passes the same gates as a build: whoever may plan it may build it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from engine import answers, bounds, deep
from engine.admitting import admission_now, grants_of
from engine.bench import Bench
from engine.forecast import EXACT, Forecast
from engine.gates import Exit, Refused, gate, refusal
from engine.lineage import Last, last_release
from engine.prepared import Prepared, decided
from engine.workspace import Workspace, WorkspaceError
from governance import builds, documents, minimise, snapshots
from governance.accounting import mu_squared_of
from governance.blocks import DELTA_SHARE, Block
from governance.budget import Balance, BudgetExceeded, accounts, afford, balances
from governance.budget import Request as Asked
from governance.documents import Kind
from governance.reads import LABEL, TREATMENT, ExpressionError
from governance.snapshots import Snapshot
from policies.deciding import decide, decide_destination
from policies.decisions import Allow, Deny
from policies.documents import show_duration
from policies.parsing import DocumentError
from policies.policy import Outcome
from policies.segment import Clusters, Propensity, Segment

if TYPE_CHECKING:
    from engine.forecast_scores import Choice  # its learners are trainers: whoever asks what a policy finds needs none

STEPS = 4
"""Steps that a plan reports."""

OK, DENIED = "ok", "denied: "
"""How the state of a document begins that can be read."""

LADDER = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""ε that are tried where what was asked would give noise."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan: what may be read, who is in (noisily), what it costs and what to expect; `last`: the release to compare with;
    `block`: the mechanisms of a deep model, which follow from the documents that are pinned."""

    id: builds.PlanId
    prepared: Prepared
    snapshot: Snapshot
    balances: tuple[Balance, ...]
    forecast: Forecast
    extraction: minimise.Prepared
    changes: tuple[str, ...]
    last: Last | None = None
    block: Block | None = None


def prepare(workspace: Workspace, name: str) -> Prepared:
    """Read and decide. Raises DocumentError, ExpressionError, WorkspaceError, and Refused for a denial."""
    spec = workspace.segment(name)
    if spec.name != name:
        raise WorkspaceError(f"segments/{name}.yaml: `name` is `{spec.name}`, expected `{name}`")
    contract, policy = workspace.contract(spec.dataset), workspace.policy(spec.policy)
    _in_the_past(workspace, spec)
    try:
        prepared = decided(contract, policy, spec)
    except ExpressionError as error:
        raise _in_its_line(workspace, spec, error) from error
    gate(decide(policy, prepared.request))
    gate(decide_destination(policy, spec.output.destination))
    deep.gate(prepared)
    return prepared


def plan(bench: Bench, name: str, together: bool = False, groups: bool = False) -> Planned:
    """Everything short of training. `together`: with partners, whose people tell more than these alone, so that no forecast stops it;
    `groups`: who ask each other about groups too.

    Raises Refused and BudgetExceeded, which are recorded, and what `prepare` raises.
    """
    try:
        return _plan(bench, name, together, groups)
    except (Refused, BudgetExceeded) as no:
        reasons = [f"{f.subject}: {f.rule}" for f in no.findings] if isinstance(no, Refused) else [f"budget of the {no.which}"]
        with bench.workspace.store.transaction("plan-refused") as write:
            write.record("plan.refused", segment=name, reasons=reasons)
        raise


def _plan(bench: Bench, name: str, together: bool, groups: bool) -> Planned:
    workspace = bench.workspace
    bench.progress("decide")
    prepared = prepare(workspace, name)
    spec, contract, policy = prepared.spec, prepared.contract, prepared.policy
    _few_enough(prepared)
    _judged(prepared, together and not groups)
    bench.progress("budget")
    if not _begun(workspace, prepared):
        _afford(workspace, prepared)
    extraction = extraction_of(workspace, prepared)
    bench.progress("admission")
    snapshot = snapshot_now(bench, prepared)
    bench.progress("forecast")
    forecast = forecast_at(prepared, snapshot, spec.asked.epsilon) if spec.private else EXACT
    _floor(prepared, snapshot)
    _fits(prepared, snapshot)
    if not together:
        _worth_it(prepared, snapshot, forecast)
    _tells_bounds(prepared, snapshot)
    block = deep.block_of(prepared, spec.asked.epsilon) if spec.private else None
    with workspace.store.transaction("plan") as write:
        for kind, document in ((Kind.SPEC, spec), (Kind.CONTRACT, contract), (Kind.POLICY, policy)):
            documents.keep(write, kind, document)
        previous = builds.latest_plan(write.session, name)
        pinned = builds.pin(write, name, spec.digest(), contract.digest(), policy.digest(), snapshot.id)
        books = balances(write.session, contract, policy, write.now)
        last = last_release(write.session, name, write.now) if spec.private else None
    return Planned(pinned.id, prepared, snapshot, books, forecast, extraction, _changes(previous, pinned), last, block)


def recalled(bench: Bench, name: str, plan_id: str) -> Planned:
    """A plan made before, if nothing that it pins has changed since. Raises Refused (exit 3) if something has."""
    with bench.workspace.store.read() as session:
        pinned = builds.find_plan(session, builds.PlanId(plan_id))
    if pinned is None or pinned.segment != name:
        raise WorkspaceError(f"no plan `{plan_id}` of segment `{name}`; make one with `consentric plan {name}`")
    made = plan(bench, name)
    for what, digest in made.prepared.digests.items():
        if digest != getattr(pinned, what):
            raise refusal(
                f"plan {plan_id}",
                "plans-pin-their-documents",
                made.prepared.policy.digest(),
                f"the {what} has changed since the plan was made",
                f"digest of the {what}: planned {getattr(pinned, what)[:19]}…, now {digest[:19]}…",
                f"look at the change, then build the new plan: consentric build {name} --plan {made.id}",
            )
    return made


def extraction_of(workspace: Workspace, prepared: Prepared) -> minimise.Prepared:
    """What would run, bound against the files' metadata; no row is read. Raises SourceError, MinimisationError."""
    granted = grants_of(frozenset((use.table, use.column) for use in prepared.uses if not use.fairness and not use.admission))
    now, coarsened = workspace.store.clock(), prepared.coarsened
    return minimise.prepare(prepared.contract, prepared.spec, granted, workspace.source, now, coarsened)


def snapshot_now(bench: Bench, prepared: Prepared) -> Snapshot:
    """The interval's noisy histogram of admission reasons; taken, and paid for, if nobody did yet.

    It is of the policy with the purpose as admission reads it: other than the policy's where a segment's columns shut a place out.
    """
    workspace, contract, purpose = bench.workspace, prepared.contract, prepared.spec.purpose
    read = {purpose: prepared.rules.purposes[purpose]}
    policy = prepared.policy.model_copy(update={"purposes": prepared.policy.purposes | read})
    with workspace.store.read() as session:
        if found := snapshots.current(session, contract, policy, purpose, prepared.spec.as_of, workspace.store.clock()):
            return found
    spec = prepared.spec
    people = partial(admission_now, workspace, contract, policy, spec)
    return snapshots.take(workspace.store, contract, policy, purpose, spec.as_of, people, bench.noise)


def forecast_at(prepared: Prepared, snapshot: Snapshot, epsilon: float) -> Forecast:
    """What to expect at `epsilon`, by public figures and the noisy count alone."""
    from engine.forecasts import expected
    from engine.shares import trained

    spec = prepared.spec
    delta = spec.asked.delta if spec.private else prepared.policy.budgets.cap.delta
    mu_squared = mu_squared_of(epsilon, delta) * Fraction(trained(spec))
    choice = learner_at(prepared, snapshot, epsilon) if isinstance(spec.model, Propensity) else None
    return expected(spec.model, len(spec.features), snapshot.admitted, snapshot.sigma, mu_squared, choice)


def learner_at(prepared: Prepared, snapshot: Snapshot, epsilon: float | None = None) -> Choice:
    """What a propensity learns with, by public figures and the noisy count alone: at `epsilon`, or at what its segment asks for."""
    from engine.forecast_scores import chosen

    spec = prepared.spec
    assert isinstance(spec.model, Propensity)  # nothing else has a choice
    mu_squared = mu_squared_of(epsilon or spec.asked.epsilon, spec.asked.delta if spec.private else prepared.policy.budgets.cap.delta)
    return chosen(spec.model.learner, snapshot.admitted, len(spec.features), mu_squared)


def several(text: str) -> tuple[float, ...]:
    """ε to compare, such as `0.5,1,2`. Raises WorkspaceError."""
    try:
        asked = tuple(float(each) for each in text.split(","))
    except ValueError:
        raise WorkspaceError(f"`--compare`: got `{text}`, expected numbers such as `0.5,1,2`") from None
    if not all(0 < each <= 100 for each in asked):
        raise WorkspaceError(f"`--compare`: got `{text}`, expected numbers above 0 and up to 100")
    return asked


def compare(made: Planned, epsilons: Sequence[float]) -> tuple[tuple[float, Forecast], ...]:
    """Forecasts at several ε."""
    return tuple((each, forecast_at(made.prepared, made.snapshot, each)) for each in epsilons)


def decidable(workspace: Workspace, name: str) -> str:
    """`OK` if documents alone allow a segment, else `DENIED` and what denies it. Raises as `prepare` does, without Refused."""
    spec = workspace.segment(name)
    contract, policy = workspace.contract(spec.dataset), workspace.policy(spec.policy)
    _in_the_past(workspace, spec)
    try:
        prepared = decided(contract, policy, spec)
    except ExpressionError as error:
        raise _in_its_line(workspace, spec, error) from error
    match decide(policy, prepared.request):
        case Allow():
            return OK
        case Deny(because):
            return DENIED + ", ".join(f"{f.subject} ({f.cause if f.rule == '-' else f.rule})" for f in because)


def _in_its_line(workspace: Workspace, spec: Segment, error: ExpressionError) -> DocumentError:
    """An expression that is refused, with its line."""
    own = error.feature in (LABEL, TREATMENT)
    path = (error.feature, "agg") if own else ("features", error.feature, "agg") if error.feature in spec.features else ()
    got = f"`{error.snippet}`" + ("" if error.position is None else f" at position {error.position}")
    return workspace.complaint("segments", spec.name, path, got, error.expected.removeprefix("expected "))


def _in_the_past(workspace: Workspace, spec: Segment) -> None:
    """Rows of days to come are not there yet: features would be of another day than they say, and labels mostly no."""
    tomorrow = workspace.store.clock().date() + dt.timedelta(days=1)  # what is before it holds all of today
    if spec.as_of > tomorrow:
        raise workspace.complaint("segments", spec.name, ("as_of",), f"`{spec.as_of}`", f"a day up to tomorrow, {tomorrow}")
    if spec.label and spec.as_of + spec.label.after > tomorrow:
        expected = f"a window that has ended, at most {(tomorrow - spec.as_of).days}d after `as_of`"
        raise workspace.complaint("segments", spec.name, (LABEL, "after"), f"`{show_duration(spec.label.after)}`", expected)


def _afford(workspace: Workspace, prepared: Prepared) -> None:
    """Refuse what cannot be paid before a snapshot is. Raises BudgetExceeded; nothing is written."""
    spec = prepared.spec
    if not spec.private:
        return  # nothing but the snapshot costs, which asks for itself
    now = workspace.store.clock()
    allocation = accounts(prepared.contract, prepared.policy, spec.purpose, now)
    with workspace.store.read() as session:
        asked = Asked(spec.asked.epsilon, spec.asked.delta)
        afford(session, allocation, prepared.policy, replace(asked, delta=asked.delta * DELTA_SHARE, block=True) if spec.deep else asked)


def _begun(workspace: Workspace, prepared: Prepared) -> bool:
    """Whether a build of the same was cut short, which may be gone on with: what it reserved is paid already."""
    with workspace.store.read() as session:
        found = builds.interrupted(session, prepared.spec.name, workspace.principal.name, prepared.digests)
    return any(answers.cut_short(workspace, build.id) for build in found)


def _judged(prepared: Prepared, unasked: bool) -> None:
    """Verdicts are told by what is shown: where nothing is, or partners ask nobody about groups (`unasked`), they are inconclusive."""
    name, spec, gate_ = prepared.policy.name, prepared.spec, prepared.policy.fairness
    if spec.private and unasked and spec.fairness:
        why, unless, way_out = (
            "by their contract partners do not ask each other about groups",
            "the segment has no attribute",
            "sign a contract with `fairness`, leave it out in the segment, or let somebody approve what is inconclusive",
        )
    elif not spec.private:
        why, unless, way_out = (
            "without differential privacy nothing is shown to judge by",
            "`privacy` asks for an ε",
            "ask for an `epsilon` under `privacy`",
        )
    else:
        return
    if gate_ is not None and gate_.on_inconclusive is Outcome.REFUSE:
        raise refusal(
            spec.name,
            "fairness-gate",
            prepared.policy.digest(),
            f"the policy refuses what nobody can judge, and {why}",
            f"`fairness.on_inconclusive` of policy `{name}` is not `{Outcome.REFUSE}`, or {unless}",
            way_out,
            Exit.FAIRNESS,
        )


def _few_enough(prepared: Prepared) -> None:
    """The more segments, the more each says about whoever is in it, so that many of them need a reason."""
    model, most = prepared.spec.model, prepared.policy.most_segments
    if isinstance(model, Clusters) and model.most > most and not model.why:
        raise refusal(
            prepared.spec.name,
            "most-segments",
            prepared.policy.digest(),
            "more segments than the policy allows without a reason",
            f"`model.k` <= {most}, got {model.most}",
            f"ask for at most {most}, or say in `model.why` why the purpose needs more",
        )


def _floor(prepared: Prepared, snapshot: Snapshot) -> None:
    floor = prepared.policy.cohort_floor
    if snapshot.admitted_low < floor:
        raise refusal(
            prepared.spec.dataset,
            "cohort-floor",
            prepared.policy.digest(),
            "too few subjects may be used for this purpose to hide one among them",
            f"noisy count less three standard deviations >= {floor}, got {snapshot.admitted_low:.0f}",
            f"ask more people for consent, or wait for the next snapshot; `as_of: {prepared.spec.as_of}` and a table's `retention` "
            "leave out whoever has no row between them",
        )


def _fits(prepared: Prepared, snapshot: Snapshot) -> None:
    """Evidence has room for `max_subjects`; found out here by the noisy count, and not after training by the exact one."""
    most = snapshot.n + snapshots.FLOOR_DEVIATIONS * snapshot.n_sigma
    room = prepared.contract.subject.max_subjects
    if most > room:
        raise refusal(
            prepared.spec.dataset,
            "max-subjects",
            prepared.policy.digest(),
            "the contract has room for fewer subjects than there may be",
            f"noisy number of subjects and three standard deviations <= `subject.max_subjects`: {room}, got {most:.0f}",
            f"raise `subject.max_subjects` in contracts/{prepared.spec.dataset}.yaml",
        )


def _worth_it(prepared: Prepared, snapshot: Snapshot, forecast: Forecast) -> None:
    if forecast.verdict == "noise":
        more = [(epsilon, forecast_at(prepared, snapshot, epsilon)) for epsilon in LADDER if epsilon > prepared.spec.asked.epsilon]
        enough = next((f"; at ε {epsilon:g}: {found.words}" for epsilon, found in more if found.verdict != "noise"), "")
        raise refusal(
            prepared.spec.name,
            "forecast-noise",
            prepared.policy.digest(),
            "at this population and privacy the result would be noise",
            forecast.words,
            f"ask for more ε, fewer features or fewer segments{enough}",
        )


def _tells_bounds(prepared: Prepared, snapshot: Snapshot) -> None:
    """Bounds are asked of few people, or at little ε: they would be noise, and so would everything that is measured between them."""
    spec = prepared.spec
    if not spec.estimated:
        return
    sigma = bounds.sigma(float(mu_squared_of(spec.asked.epsilon, spec.asked.delta)), len(spec.estimated))
    if snapshot.admitted < bounds.TOLD * sigma:
        raise hidden_bounds(prepared, f"admitted subjects >= {bounds.TOLD * sigma:,.0f}, got about {snapshot.admitted:,.0f}")


def hidden_bounds(prepared: Prepared, condition: str) -> Refused:
    """Where noise hides the range of a feature."""
    return refusal(
        prepared.spec.name,
        "bounds-noise",
        prepared.policy.digest(),
        "at this population and privacy nobody can tell between which bounds a feature lies",
        condition,
        "write down public bounds, estimate those of fewer features, or ask for more ε",
    )


def _changes(previous: builds.Plan | None, made: builds.Plan) -> tuple[str, ...]:
    if previous is None:
        return ("this is the first plan of the segment",)
    changed = [what for what in ("spec", "contract", "policy") if getattr(previous, what) != getattr(made, what)]
    found = [f"the {what} has changed since the last plan" for what in changed]
    if previous.snapshot != made.snapshot:
        found.append("a newer snapshot counts who is admitted")
    return tuple(found) or ("nothing that a plan pins has changed since the last one",)
