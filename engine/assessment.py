"""The assess stage: what the door says of the result, put in words, and the fairness gate.

Everything here works on noisy values. Silhouette and Davies-Bouldin are measured on released prototypes and cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from audit import fairness as judging
from audit.clusters_page import Clusters as ClustersPage
from audit.explanation_page import Explanation
from audit.fairness import FairnessFinding, Verdict
from audit.report import Count, Figure, Profile, QualityRule
from audit.report import Propensity as PropensityPage
from audit.uplift_page import Uplift as UpliftPage
from audit.value_page import Value as ValuePage
from engine import assess as door
from engine import described_clusters, described_fairness, described_scores, described_uplift, described_value
from engine.assess import Noisy
from engine.bench import Bench
from engine.explained import explained
from engine.gates import Exit, refusal
from engine.learning import Learned
from engine.lineage import trace
from engine.models import Explained
from engine.parts import Part, unit_of
from engine.planning import Planned
from engine.prepared import Prepared
from engine.scale import UNIT
from engine.stages import People, Run, scale_of, scales_of
from engine.trainers import projecting
from governance.builds import required_approvals
from governance.door import Array
from governance.selection import FLAGS
from policies.contract import Table
from policies.policy import Outcome


@dataclass(frozen=True, slots=True)
class Assessment:
    """All that leaves of a build besides its model. `consequence`: what the policy does with the fairness verdict; `highest_id`: the
    highest number that an id of a part has had."""

    parts: tuple[Part, ...]
    profiles: tuple[Profile, ...]
    propensity: PropensityPage | None
    utility: tuple[Figure, ...]
    fairness: tuple[FairnessFinding, ...]
    quality: tuple[QualityRule, ...]
    headline: str
    explanation: Explanation = field(default_factory=Explanation)
    highest_id: int = 0
    clusters: ClustersPage | None = None
    value: ValuePage | None = None
    uplift: UpliftPage | None = None
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
    page: PropensityPage | None = None
    more: dict[str, Any] = {}
    if learned.clustered is not None:
        parts = described_clusters.parts(plan, learned.clustered)
        utility, more["clusters"] = described_clusters.utility(learned.clustered), described_clusters.page(plan, learned.clustered)
        centres = learned.clustered.model.centres
        headline = f"silhouette {utility[0].value:.2f} on {len(learned.clustered.model.prototypes)} prototypes"
        headline += projecting.words(learned.model, list(plan.prepared.spec.features))
    else:
        assert learned.score is not None and learned.threshold is not None
        cohort = people.cohort(run.meter, segment=learned.assigned, score=learned.score)
        if learned.valued is not None:
            parts = described_value.selected(bench, plan, learned, run, cohort)
            utility, more["value"] = described_value.compared(bench, plan, learned, run, cohort)
            headline = described_value.ranking(utility[0])
        elif learned.trial is not None:
            parts = described_uplift.selected(bench, plan, learned, run, cohort)
            utility, more["uplift"] = described_uplift.compared(bench, plan, learned, run, cohort)
            headline = described_uplift.ranking(utility[0])
        else:
            parts = described_scores.selected(bench, plan, learned, run, cohort)
            utility, page = described_scores.ranked(bench, plan, learned, run, cohort)
            headline = described_scores.ranking(utility[0])
    everybody = np.where(learned.assigned >= 0, learned.assigned, len(parts))  # who is in no part is a part of its own
    shapes = door.profiles(people.cohort(run.meter, segment=everybody), len(parts) + 1, run.grants["profiles"], bench.noise)
    profiles = _profiles(plan, shapes, centres)
    if page is not None and isinstance(learned.model, Explained):
        page = replace(page, coefficients=described_scores.effects(learned.model, profiles))
    lineage = trace([part.name for part in parts], profiles, scales_of(plan.prepared.spec), plan.prepared.spec, plan.last)
    parts = tuple(replace(part, id=known.id, name=known.name) for part, known in zip(parts, lineage.parts, strict=True))
    found = Assessment(
        parts,
        profiles,
        page,
        utility,
        described_fairness.findings(bench, plan, people, learned, run, parts, shapes),
        quality,
        headline,
        explained(bench, plan, people, learned, run, lineage, profiles),
        lineage.highest,
    )
    return replace(found, **more, **_outcome(plan.prepared, found))


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


def _profiles(plan: Planned, shapes: Noisy, centres: Array | None) -> tuple[Profile, ...]:
    """For each feature, in its own unit: the centre of each part and its noisy histogram."""
    spec, contract = plan.prepared.spec, plan.prepared.contract
    steps = np.linspace(-UNIT, UNIT, door.PROFILE_BINS + 1)
    middles = (steps[1:] + steps[:-1]) / 2
    found = []
    for place, (name, feature) in enumerate(spec.features.items()):
        scale = scale_of(feature)
        counts, rest = shapes.values[:-1, place], shapes.values[-1, place]
        weights = np.maximum(counts, 0.0)
        at = centres[:, place] if centres is not None else weights @ middles / np.maximum(weights.sum(axis=1), 1e-9)
        found.append(
            Profile(
                feature=name,
                unit=unit_of(contract.tables[feature.table], feature.agg) or "",
                centres=tuple(float(v) for v in scale.decode(np.asarray(at))),
                edges=tuple(float(v) for v in scale.decode(steps)),
                histograms=tuple(tuple(float(v) for v in row) for row in counts),
                rest=tuple(float(v) for v in rest),
                sigma=shapes.sigma,
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
