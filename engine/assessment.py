"""The assess stage: what the door says of the result, put in words, and the fairness gate.

Everything here works on noisy values. Silhouette and Davies-Bouldin are measured on released prototypes and cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from audit import fairness as judging
from audit.clusters_page import Clusters as ClustersPage
from audit.explanation_page import Explanation
from audit.fairness import FairnessFinding, Verdict
from audit.report import Count, Figure, Profile, QualityRule
from audit.report import Propensity as PropensityPage
from audit.uplift_page import Uplift as UpliftPage
from audit.value_page import Value as ValuePage
from engine import assess as door
from engine import described_fairness
from engine.bench import Bench
from engine.described import describe
from engine.explained import explained
from engine.gates import Exit, refusal
from engine.learning import Learned
from engine.lineage import trace
from engine.parts import Part
from engine.planning import Planned
from engine.prepared import Prepared
from engine.stages import People, Run, scales_of
from engine.wanted import wanted
from governance.builds import required_approvals
from governance.selection import FLAGS
from policies.contract import Table
from policies.policy import Outcome

GATE = "fairness-gate"
"""The rule that a refusal names."""


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
    found = describe(wanted(plan), learned, people.cohort(run.meter, **learned.columns), run.grants, bench.noise)
    spec = plan.prepared.spec
    lineage = trace([part.name for part in found.parts], found.profiles, scales_of(spec), spec, plan.last)
    parts = tuple(replace(part, id=known.id, name=known.name) for part, known in zip(found.parts, lineage.parts, strict=True))
    assessed = Assessment(
        parts,
        found.profiles,
        found.propensity,
        found.utility,
        described_fairness.findings(bench, plan, people, learned, run, parts, found.shapes),
        quality,
        found.headline,
        explained(bench, plan, people, learned, run, lineage, found.profiles),
        lineage.highest,
        found.clusters,
        found.value,
        found.uplift,
    )
    return replace(assessed, **_outcome(plan.prepared, assessed))


def fairness_gate(plan: Planned, assessment: Assessment) -> int:
    """How many approvals a release needs. Raises Refused (exit 5) where the policy refuses the verdict."""
    prepared = plan.prepared
    if decided(prepared, assessment.verdict) is Outcome.REFUSE:
        raise refusal(
            prepared.spec.name,
            GATE,
            prepared.policy.digest(),
            f"the fairness verdict is {assessment.verdict}, and the policy refuses that",
            "; ".join(f"{finding.attribute}: {finding.verdict}, {finding.reason}" for finding in assessment.fairness),
            "look at the features that stand for the attribute, or ask for another outcome of the gate",
            Exit.FAIRNESS,
        )
    return assessment.required


def decided(prepared: Prepared, verdict: Verdict | None) -> Outcome:
    """What the policy does with a verdict."""
    gate = prepared.policy.fairness
    if gate is None or verdict in (None, Verdict.PASS):
        return Outcome.ALLOW
    return gate.on_fail if verdict is Verdict.FAIL else gate.on_inconclusive


def _outcome(prepared: Prepared, assessment: Assessment) -> dict[str, Any]:
    does = decided(prepared, assessment.verdict)
    words = {
        Outcome.ALLOW: "the policy lets this pass",
        Outcome.APPROVE: "the policy asks a person to look at it and approve",
        Outcome.REFUSE: "the policy refuses the release",
    }
    at_least = 1 if does is Outcome.APPROVE else 0
    return {"consequence": words[does], "required": required_approvals(prepared.policy, prepared.spec.model.type, at_least)}


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
