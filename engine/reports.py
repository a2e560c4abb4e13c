"""From what a build knows to the officer's report: translation into the frozen values of `audit.report`, and the file.

A report is kept with the build as JSON, so that a later approval or recall writes the same page with a new status.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from audit import report as page
from audit.passport import ReadSet
from audit.report import Report
from audit.wording import number, small
from engine import deep
from engine.bench import Bench
from engine.files import whole_file
from engine.planning import Planned
from engine.prepared import Prepared
from engine.stages import People, Run
from engine.wording import WELL_COVERED, duration_words, model_words, reason_words
from engine.workspace import Workspace
from governance import budget, builds
from governance.accounting import epsilon_of
from governance.budget import Balance, balances
from governance.builds import Build, Status
from governance.verdicts import Reason
from policies.deciding import Request, Use, judge
from policies.decisions import Finding
from policies.segment import Clusters, KRange

if TYPE_CHECKING:
    from engine.assessment import Assessment
    from engine.parts import Part

_STATUS = {
    Status.QUARANTINED: page.Status.QUARANTINE,
    Status.RELEASED: page.Status.RELEASED,
    Status.REJECTED: page.Status.REJECTED,
    Status.RECALLED: page.Status.RECALLED,
    Status.EXPIRED: page.Status.EXPIRED,
}

ASSURANCE = "exact: discrete Gaussian noise on integer sums"
"""What the noise is worth; that of a deep model is worth less (`deep.FLOATING`)."""

WHAT = {
    "bounds": "where the values of features lie, whose bounds were not public",
    "train": "training",
    "scores": "distribution of scores, and from which score on somebody is selected",
    "curve": "how well scores rank and predict",
    "profiles": "distributions of features by segment",
    "sizes": "sizes of segments",
    "all": "how many may be used: a snapshot, charged once for every plan and build of its interval",
    "flags": "how many the data rules touched",
    "fairness/tables": "fairness tables: how groups and their crossings fare",
    "fairness/means": "means of features by group, out of which a rule guesses who belongs to which",
    "fairness/guesses": "how often that rule is right",
    "movement": "who moved between segments since the last release",
}
"""Shares of a build's budget, in words."""

CLAIMED = "this is a demo: people act here under names that they claim, and nobody checks them"

NOBODY = "nobody"
UNASKED = f"needed by `{NOBODY}`"
"""What a decision says of a column that the segment left alone."""


def refresh(workspace: Workspace, build: Build) -> Build:
    """The page again, with what became of the build; returns the build as it is now. An older build leaves the page alone."""
    with workspace.store.read() as session:
        current = builds.find_build(session, build.id)
        said = builds.approvals(session, build.id)
        newest = next((each.id for each in builds.builds(session, build.segment) if "report" in each.facts), None)
    assert current is not None  # builds are never deleted
    if current.id != newest:
        return current
    report = _adapter().validate_json(json.dumps(current.facts["report"]))
    approvals = tuple(page.Approval(a.principal, a.verdict.value, a.created, a.comment) for a in said)
    notes = (*report.heading.notes, *([retrain_words(current)] if current.retrain_by else []))
    heading = replace(report.heading, status=_STATUS[current.status], notes=notes)
    _page(workspace, current, replace(report, heading=heading, approvals=approvals))
    return current


def retrain_words(build: Build) -> str:
    """What differential privacy bounds for whoever trained a model and may not be used any more, and by when to train anew."""
    privacy, by = build.facts["privacy"], f"{build.retrain_by:%Y-%m-%d}"
    if privacy["epsilon"] is None:
        return f"Somebody whose rows this was learned from may not be used any more, and nothing bounds that; build it anew by {by}."
    return (
        f"Somebody whose rows trained this model may not be used any more. It was trained at ε {privacy['epsilon']:g} and "
        f"δ {small(privacy['delta'])}: whether their rows were there changed the probability of any outcome by a factor of at most "
        f"{math.exp(privacy['epsilon']):.3g}, δ aside. It was not untrained; train it anew by {by}."
    )


def compose(
    bench: Bench, plan: Planned, run: Run, people: People, assessment: Assessment, transcript: tuple[budget.Draw, ...], index: int
) -> Report:
    """Everything that the page shows of a build that has just ended; `index` is that of its entry in the log."""
    prepared, workspace = plan.prepared, bench.workspace
    spec, contract, policy = prepared.spec, prepared.contract, prepared.policy
    with workspace.store.read() as session:
        books = balances(session, contract, policy, workspace.store.clock())
    kind = contract.subject.kind.value
    return Report(
        heading=page.Heading(
            segment=spec.name,
            description=spec.description,
            status=page.Status.QUARANTINE,
            purpose=policy.purposes[spec.purpose].description or spec.purpose,
            purpose_key=spec.purpose,
            controller=contract.controller,
            dataset=contract.name + (f": {contract.description}" if contract.description else ""),
            subject=(kind, {"person": "people", "household": "households"}[kind]),
            as_of=spec.as_of,
            built_by=run.build.builder,
            built_at=run.build.created,
            notes=(*workspace.settings.notes, *([CLAIMED] if workspace.principal.unsafe else [])),
            request=_request(plan),
        ),
        features=_features(plan),
        decisions=(*(_decision(f, True) for f in prepared.findings), *(_decision(f, False) for f in _not_asked(plan))),
        admission=_admission(plan),
        quality=assessment.quality,
        parts=tuple(_part(part, policy.cohort_floor) for part in assessment.parts),
        profiles=assessment.profiles,
        propensity=assessment.propensity,
        value=assessment.value,
        uplift=assessment.uplift,
        utility=assessment.utility,
        forecast=plan.forecast.words,
        explanation=assessment.explanation,
        clusters=assessment.clusters,
        fairness=page.Fairness(assessment.fairness, assessment.consequence, WELL_COVERED) if assessment.fairness else None,
        privacy=page.Privacy(
            epsilon=run.reservation.epsilon if run.reservation.block else _worth(run.reservation),
            delta=run.reservation.delta,
            assurance=deep.FLOATING if run.reservation.block else ASSURANCE,
            transcript=(*(_spending(draw) for draw in transcript if draw.sampled is None), *_free(plan, assessment)),
            training=deep.words(run.reservation.block) if run.reservation.block else "",
            accounts=tuple(_account(balance) for balance in books),
            recipients=(spec.output.destination,) if spec.output.destination else (),
        ),
        minimisation=page.Minimisation(
            expression=_columns(people.read_sets.expression),
            binder=_columns(people.read_sets.binder),
            physical=_columns(people.read_sets.physical or frozenset()),
            granted=_columns(people.read_sets.granted),
            sql=(plan.extraction.sql,),
            mode="strict: granted columns of admitted rows were materialised apart, then the source was detached"
            if policy.strict
            else "locked connection over views of granted columns of admitted rows",
        ),
        approvals=(),
        approvals_required=assessment.required,
        record=page.Record(
            build=run.build.id,
            log_index=index,
            digests=tuple((what, digest.removeprefix("sha256:")) for what, digest in prepared.digests.items()),
            verify=(
                page.Command("consentric audit verify", "checks every entry of the log against the signed checkpoint"),
                page.Command(f"consentric segments show {spec.name}", "shows this build"),
            ),
        ),
    )


def read_sets(prepared: Prepared) -> tuple[ReadSet, ...]:
    """For the passport: the columns that each feature or label was computed from."""
    readers: dict[str, list[str]] = {}
    for use in prepared.uses:
        for reader in use.needed_by:
            readers.setdefault(reader, []).append(use.name)
    return tuple(ReadSet(reader, tuple(columns)) for reader, columns in readers.items())


def plain(value: Any) -> Any:
    """A frozen value as JSON values."""
    return TypeAdapter(Any).dump_python(TypeAdapter(type(value)).dump_python(value, mode="json"), mode="json")


@cache
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def _page(workspace: Workspace, build: Build, report: Report) -> None:
    with whole_file(workspace.root / "reports" / f"{build.segment}.html", "report") as partial:
        partial.write_text(page.render(report), encoding="utf-8")


def _features(plan: Planned) -> tuple[page.Feature, ...]:
    spec = plan.prepared.spec
    asked = [
        page.Feature(
            name, f.agg, f.table, f"the {duration_words(f.window)} before" if f.window else "everything before", f.why, _range(plan, name)
        )
        for name, f in spec.features.items()
    ]
    if spec.treatment:
        window = f"the {duration_words(spec.treatment.window)} before" if spec.treatment.window else "everything before"
        asked.append(page.Feature("treatment", spec.treatment.agg, spec.treatment.table, window, spec.treatment.why))
    if spec.label:
        asked.append(
            page.Feature("label", spec.label.agg, spec.label.table, f"the {duration_words(spec.label.after)} after", spec.label.why)
        )
    return tuple(asked)


def _range(plan: Planned, name: str) -> str:
    """Between which bounds a feature lies, and who says so."""
    prepared = plan.prepared
    low, high = (number(float(bound)) for bound in prepared.spec.features[name].bounds)
    estimated = prepared.written is not None and name in prepared.written.estimated
    return f"{low} to {high}" + (", estimated through the door" if estimated else "")


def _not_asked(plan: Planned) -> tuple[Finding, ...]:
    """What the policy says of columns that the segment left alone: the officer sees what would have been denied."""
    prepared = plan.prepared
    used = {use.name for use in prepared.uses}
    rest = [Use(t, c, (NOBODY,)) for t, table in prepared.contract.tables.items() for c in table.columns if f"{t}.{c}" not in used]
    found = judge(prepared.policy, Request(prepared.spec.purpose, prepared.contract, tuple(rest), prepared.spec.model.type))
    return tuple(f for f in found if f.blocks)


def _decision(finding: Finding, asked: bool) -> page.Decision:
    allowed, condition = not finding.blocks, finding.condition
    return page.Decision(
        finding.subject,
        allowed,
        finding.cause.value,
        finding.rule,
        finding.reason,
        condition if asked else condition.replace(f"; {UNASKED}", "").replace(f", {UNASKED}", ""),
        finding.legal,
        finding.remedy if asked else None,
        asked,
    )


def _request(plan: Planned) -> tuple[tuple[str, str], ...]:
    """What the segment asked for besides features, as (what, value)."""
    spec, policy = plan.prepared.spec, plan.prepared.policy
    destination = spec.output.destination
    return (
        ("Model", model_words(spec.model)),
        ("Privacy", f"ε {spec.asked.epsilon:g} at δ {small(spec.asked.delta)}"),
        ("Fairness by", ", ".join(f"{each.table}.{each.column}" for each in spec.fairness) or "no attribute"),
        ("Destination", f"{destination}, {policy.destinations[destination].description}" if destination else "none"),
    )


def _part(part: Part, floor: int) -> page.Part:
    withheld = f"; withheld, because it may hold fewer than the {floor} subjects of the policy's floor" if part.withheld else ""
    return page.Part(part.name, part.description + withheld, page.Count(part.name, part.size, part.sigma), min(1.0, part.share), part.id)


def _admission(plan: Planned) -> page.Admission:
    snapshot = plan.snapshot
    counts = [page.Count(reason_words(reason), value, snapshot.sigma) for reason, value in snapshot.values.items()]
    return page.Admission(f"snapshot {snapshot.number}", snapshot.taken, counts[Reason.ADMITTED], tuple(counts[1:]))


def _worth(reservation: budget.Reservation) -> float:
    return epsilon_of(reservation.mu_squared, reservation.draws, reservation.delta)


def _free(plan: Planned, assessment: Assessment) -> Iterator[page.Spending]:
    """What is shown and was worked out of released values alone: it cost nothing, and says of what it was made."""
    spec = plan.prepared.spec
    made = {"the forecast": "the snapshot"}
    match spec.model:
        case Clusters(k=k):
            made |= {"names and ids of segments": "train", "how good the clusters are, and their pictures": "train"}
            made |= {"the number of segments": "train"} if isinstance(k, KRange) else {}
        case _:
            made |= {"the name of the segment": "the spec", "effects of features": "train"}
    if assessment.explanation.rules:
        made |= {"rules that tell segments apart, and drift": "profiles"}
    for what, source in made.items():
        yield page.Spending("-", f"{what}, out of {source}", 0.0, 0)


def _spending(draw: budget.Draw) -> page.Spending:
    path = draw.path.removeprefix("all/")
    share = path.split("/")[0]
    return page.Spending(draw.path, WHAT.get(path, WHAT.get(share, share)), float(draw.mu_squared), draw.draws)


def _account(balance: Balance) -> page.Account:
    name = f"purpose {balance.purpose}" if balance.purpose else "cap, over a lifetime"
    return page.Account(name, balance.period.value, balance.epsilon, balance.spent, balance.left, balance.delta)


def _columns(reads: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(f"{table}.{column}" for table, column in reads))
