"""The assess stage: what the door says of the result, put in words, and the fairness gate.

Everything here works on noisy values. Silhouette and Davies-Bouldin are measured on released prototypes and cost nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from audit import fairness as judging
from audit.fairness import Bounds, Confusion, FairnessFinding, GroupTable, Verdict
from audit.report import Coefficient, Count, Figure, Profile, QualityRule
from audit.report import Propensity as PropensityPage
from audit.wording import number
from engine import assess as door
from engine import curves
from engine.assess import Noisy
from engine.bench import Bench
from engine.gates import Exit, refusal
from engine.learning import Learned
from engine.models import ONE, Scorer
from engine.naming import FeatureHint, name_clusters
from engine.planning import Planned, Prepared
from engine.scale import UNIT
from engine.stages import People, Run, groups, scale_of
from engine.trainers.clusters import Clustered
from engine.trainers.logistic import LogisticModel
from governance.builds import required_approvals
from governance.door import Array, Cohort
from governance.door import Part as DoorPart
from governance.selection import FLAGS
from governance.snapshots import FLOOR_DEVIATIONS
from policies.contract import Table
from policies.policy import Outcome
from policies.segment import Propensity

_DAYS, _COUNT, _WORD = re.compile(r"\s*days_since\b", re.IGNORECASE), re.compile(r"\s*count\b", re.IGNORECASE), re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Part:
    """One segment: its noisy `size` with the noise's `sigma`, and its noisy `share` of the admitted. `withheld`: below the floor."""

    name: str
    description: str
    size: float
    sigma: float
    share: float
    withheld: bool

    def as_facts(self) -> dict[str, Any]:
        """As JSON."""
        return {f: getattr(self, f) for f in ("name", "description", "size", "sigma", "share", "withheld")}


@dataclass(frozen=True, slots=True)
class Assessment:
    """All that leaves of a build besides its model. `consequence`: what the policy does with the fairness verdict."""

    parts: tuple[Part, ...]
    profiles: tuple[Profile, ...]
    propensity: PropensityPage | None
    utility: tuple[Figure, ...]
    fairness: tuple[FairnessFinding, ...]
    quality: tuple[QualityRule, ...]
    headline: str
    consequence: str = ""
    required: int = 0

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict; None where no attribute was declared."""
        return judging.worst(self.fairness) if self.fairness else None


def assess(bench: Bench, plan: Planned, people: People, learned: Learned, run: Run) -> Assessment:
    """Ask the door about the result, within the shares that were kept for it."""
    quality = _quality(bench, plan, people, run)
    centres: Array | None = None
    if learned.clustered is not None:
        parts = _cluster_parts(plan, learned.clustered)
        utility, page = _cluster_utility(learned.clustered), None
        centres = learned.clustered.model.centres
        headline = f"silhouette {utility[0].value:.2f} on {len(learned.clustered.model.prototypes)} prototypes"
    else:
        assert learned.score is not None and learned.threshold is not None
        cohort = people.cohort(run.meter, segment=learned.assigned, score=learned.score)
        parts = _selected(bench, plan, learned, run, cohort)
        utility, page = _curves(bench, plan, learned, run, cohort)
        headline = _ranking(utility[0])
    shapes = door.profiles(people.cohort(run.meter, segment=learned.assigned), len(parts), run.grants["profiles"], bench.noise)
    found = Assessment(
        parts, _profiles(plan, shapes, centres), page, utility, _fairness(bench, plan, people, learned, run, parts), quality, headline
    )
    return replace(found, **_outcome(plan.prepared, found))


def fairness_gate(plan: Planned, assessment: Assessment) -> int:
    """How many approvals a release needs. Raises Refused (exit 5) where the policy refuses the verdict."""
    prepared = plan.prepared
    if _decided(prepared, assessment) is Outcome.REFUSE:
        raise refusal(
            prepared.spec.name,
            "fairness-gate",
            prepared.policy.digest(),
            f"the fairness verdict is {assessment.verdict}, and the policy refuses that",
            "; ".join(f"{finding.attribute}: {finding.verdict}, {finding.reason}" for finding in assessment.fairness),
            "look at the features that stand for the attribute, or ask for another outcome of the gate",
            Exit.FAIRNESS,
        )
    return assessment.required


def _decided(prepared: Prepared, assessment: Assessment) -> Outcome:
    gate, verdict = prepared.policy.fairness, assessment.verdict
    if gate is None or verdict in (None, Verdict.PASS):
        return Outcome.ALLOW
    return gate.on_fail if verdict is Verdict.FAIL else gate.on_inconclusive


def _outcome(prepared: Prepared, assessment: Assessment) -> dict[str, Any]:
    decided = _decided(prepared, assessment)
    words = {
        Outcome.ALLOW: "the policy lets this pass",
        Outcome.APPROVE: "the policy asks a person to look at it and approve",
        Outcome.REFUSE: "the policy refuses the release",
    }
    at_least = 1 if decided is Outcome.APPROVE else 0
    return {"consequence": words[decided], "required": required_approvals(prepared.policy, prepared.spec.model.type, at_least)}


def _cluster_parts(plan: Planned, found: Clustered) -> tuple[Part, ...]:
    spec, contract = plan.prepared.spec, plan.prepared.contract
    hints = [FeatureHint(name, f.agg, _unit(contract.tables[f.table], f.agg)) for name, f in spec.features.items()]
    names = name_clusters(hints, found.model.centres, found.sizes)
    total = max(float(found.sizes.clip(min=0).sum()), 1.0)
    described = []
    for centre in found.model.centres:
        values = (float(scale_of(f).decode(np.array([x]))[0]) for f, x in zip(spec.features.values(), centre, strict=True))
        units = ((f" {hint.unit}" if hint.unit else "") for hint in hints)
        named = zip(spec.features, values, units, strict=True)
        described.append("around " + ", ".join(f"{name} {number(value)}{unit}" for name, value, unit in named))
    return tuple(
        _part(plan, name, text, float(size), found.sizes_sigma, max(float(size), 0.0) / total)
        for name, text, size in zip(names, described, found.sizes, strict=True)
    )


def _part(plan: Planned, name: str, description: str, size: float, sigma: float, share: float) -> Part:
    withheld = size - FLOOR_DEVIATIONS * sigma < plan.prepared.policy.cohort_floor
    return Part(name, description, size, sigma, share, withheld)


def _unit(table: Table, expression: str) -> str | None:
    """Days of what counts days, none of what counts rows, else the unit of the only column with one that the expression names."""
    if _DAYS.match(expression):
        return "days"
    if _COUNT.match(expression):
        return None
    named = frozenset(_WORD.findall(expression))
    units = {column.unit for name, column in table.columns.items() if column.unit and name in named}
    return units.pop() if len(units) == 1 else None


def _cluster_utility(found: Clustered) -> tuple[Figure, ...]:
    return (
        Figure(
            "silhouette",
            "how much nearer to the own than to the next segment, -1 to 1, on released prototypes",
            found.silhouette,
        ),
        Figure(
            "Davies-Bouldin",
            "spread of segments against their distances, less is better, on released prototypes",
            found.davies_bouldin,
        ),
    )


def _selected(bench: Bench, plan: Planned, learned: Learned, run: Run, cohort: Cohort) -> tuple[Part, ...]:
    model = plan.prepared.spec.model
    assert isinstance(model, Propensity)
    size = door.sizes(cohort, 1, run.grants["sizes"], bench.noise)
    threshold = (learned.threshold or 0) / ONE
    rule = f"probability from {threshold:.3f}" + (f", which the likeliest {100 * model.top:g} % reach" if model.top else "")
    return (_part(plan, "likely", rule, float(size.values[0]), size.sigma, float(size.values[0]) / max(plan.snapshot.admitted, 1.0)),)


def _curves(bench: Bench, plan: Planned, learned: Learned, run: Run, cohort: Cohort) -> tuple[tuple[Figure, ...], PropensityPage]:
    """AUC with its interval, calibration, and what the page shows of them."""
    assert learned.scores is not None and isinstance(learned.model, LogisticModel)
    curve = curves.curve(cohort, learned.scores, run.grants["curve"], bench.noise)
    area, gap = curves.auc(curve), curves.calibration_gap(curve)
    whom = "on the hold-out" if curve.part is DoorPart.HOLDOUT else "on everybody, because noise would drown the hold-out alone"
    utility = (
        Figure("AUC", f"chance that somebody with the label scores above somebody without, {whom}", area.value, (area.low, area.high)),
        Figure("calibration gap", f"observed rate less the mean prediction, {whom}", gap.value, (gap.low, gap.high)),
    )
    ends = np.concatenate([[0.0], curves.score_edges() / ONE, [1.0]])
    spec, effects = plan.prepared.spec, 2 * learned.model.coefficients[:-1]
    ranked = sorted(zip(spec.features, effects, strict=True), key=lambda pair: -abs(pair[1]))
    page = PropensityPage(
        rule=_selected_rule(spec.model, learned),
        threshold=(learned.threshold or 0) / ONE,
        edges=tuple(float(e) for e in ends),
        counts=tuple(float(c) for c in learned.scores.values),
        roc=curves.roc(curve),
        calibration=curves.calibration(curve),
        coefficients=tuple(Coefficient(name, float(effect)) for name, effect in ranked),
    )
    return utility, page


def _ranking(area: Figure) -> str:
    """AUC in words; without a number where nothing is known of it."""
    low, high = area.interval or (0.0, 1.0)
    if (low, high) == (0.0, 1.0):
        return "AUC cannot be told: too few with the label, or without it, or too much noise"
    return f"AUC {area.value:.2f} ({low:.2f} to {high:.2f})"


def _selected_rule(model: object, learned: Learned) -> str:
    top = model.top if isinstance(model, Propensity) else None
    return f"the likeliest {100 * top:g} %" if top else f"probability of at least {(learned.threshold or 0) / ONE:.2f}"


def _profiles(plan: Planned, shapes: Noisy, centres: Array | None) -> tuple[Profile, ...]:
    """For each feature, in its own unit: the centre of each part and its noisy histogram."""
    spec, contract = plan.prepared.spec, plan.prepared.contract
    steps = np.linspace(-UNIT, UNIT, door.PROFILE_BINS + 1)
    middles = (steps[1:] + steps[:-1]) / 2
    found = []
    for place, (name, feature) in enumerate(spec.features.items()):
        scale = scale_of(feature)
        counts = shapes.values[:, place]
        weights = np.maximum(counts, 0.0)
        at = centres[:, place] if centres is not None else weights @ middles / np.maximum(weights.sum(axis=1), 1e-9)
        found.append(
            Profile(
                feature=name,
                unit=_unit(contract.tables[feature.table], feature.agg) or "",
                centres=tuple(float(v) for v in scale.decode(np.asarray(at))),
                edges=tuple(float(v) for v in scale.decode(steps)),
                histograms=tuple(tuple(float(v) for v in row) for row in counts),
            )
        )
    return tuple(found)


def _quality(bench: Bench, plan: Planned, people: People, run: Run) -> tuple[QualityRule, ...]:
    """How many subjects each declared rule of the contract touched."""
    counted = door.flags(people.cohort(run.meter, flags=people.flags), len(FLAGS), run.grants["flags"], bench.noise)
    values = dict(zip(FLAGS, counted.values, strict=True))
    tables = {feature.table: plan.prepared.contract.tables[feature.table] for feature in plan.prepared.spec.features.values()}
    rules = []
    for kind, words in _rules(tables).items():
        rules.append(QualityRule(words, Count(kind, float(values[kind]), counted.sigma)))
    return tuple(rules)


def _rules(tables: dict[str, Table]) -> dict[str, str]:
    """Declared rules in words, by the flag that counts them."""
    words: dict[str, list[str]] = {flag: [] for flag in FLAGS}
    for name, table in tables.items():
        if table.duplicates == "drop":
            words["duplicates"].append(f"rows of {name} that are equal in every column read here count once")
        if table.returns:
            action = {"drop": "are left out", "net": "are kept, and taken off sums"}[table.returns.rule]
            words["returns"].append(f"rows of {name} with {table.returns.column} below {table.returns.below} {action}")
        for column, declared in table.columns.items():
            if declared.missing is not None:
                words["missing"].append(f"missing {name}.{column} is read as {declared.missing}")
            if declared.bounds:
                action = {"clip": "moved to the bound", "null": "read as missing"}[declared.outliers.value]
                words["outliers"].append(f"{name}.{column} outside {declared.bounds[0]} to {declared.bounds[1]} is {action}")
    return {flag: "; ".join(said) for flag, said in words.items() if said}


def _fairness(
    bench: Bench, plan: Planned, people: People, learned: Learned, run: Run, parts: tuple[Part, ...]
) -> tuple[FairnessFinding, ...]:
    """One finding an attribute, by noisy tables; the attributes are read here, for the fairness purpose, and nowhere else."""
    prepared = plan.prepared
    if not prepared.spec.fairness or prepared.policy.fairness is None:
        return ()
    gate, contract = prepared.policy.fairness, prepared.contract
    known = groups(bench, plan, people)
    labels = [contract.tables[a.table].columns[a.column].domain or () for a in prepared.spec.fairness]
    selecting = isinstance(learned.model, Scorer)
    outcomes = ("selected", "not selected") if selecting else tuple(part.name for part in parts)
    cohort = people.cohort(run.meter, segment=learned.assigned, groups=known)
    counted = door.fairness(cohort, tuple(map(len, labels)), len(outcomes), selecting, run.grants["fairness"], bench.noise)
    findings = []
    for place, attribute in enumerate(prepared.spec.fairness):
        confusion = None
        if selecting:
            true, false, missed, rest = (tuple(float(v) for v in column) for column in counted.cells[place].T)
            confusion = Confusion(true, false, missed, rest, counted.sigma)
        table = GroupTable(
            attribute=f"{attribute.table}.{attribute.column}",
            groups=labels[place],
            outcomes=outcomes,
            counts=tuple(tuple(float(v) for v in row) for row in counted.tables[place]),
            sigma=counted.sigma,
            judged=("selected",) if selecting else (),
            confusion=confusion,
            unknown=counted.unknown[place],
        )
        findings.append(judging.judge(table, Bounds(gate.min_ratio, gate.max_gap)))
    return tuple(findings)
