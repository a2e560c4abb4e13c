"""What is to be learned and told, whoever holds the rows: a model, and features with their scale, their words and their unit.

A build at one place makes it of a plan, a joint one of the contract that partners signed. All of it is public or came through the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.naming import FeatureHint
from engine.parts import Part, unit_of
from engine.planning import Planned
from engine.scale import Scale
from engine.stages import label_scale, scale_of
from governance.snapshots import FLOOR_DEVIATIONS
from policies.segment import Clusters, Propensity, Uplift, Value


@dataclass(frozen=True, slots=True)
class Meant:
    """A number that was measured: how it meets the grid, the expression that gave it (empty where each partner has its own), its unit."""

    scale: Scale
    expression: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`label`: of a value alone; `floor`: fewest subjects of a part that is shown; `subjects`: how many there are, noisily; `digest`: of
    the document that a refusal names."""

    name: str
    model: Clusters | Propensity | Value | Uplift
    features: Mapping[str, Meant]
    label: Meant | None
    floor: int
    subjects: float
    digest: str

    @property
    def hints(self) -> list[FeatureHint]:
        """For names of clusters."""
        return [FeatureHint(name, meant.expression, meant.unit or None) for name, meant in self.features.items()]

    @property
    def number(self) -> Meant:
        """The label of a value."""
        assert self.label is not None  # no value without one
        return self.label

    def part(self, name: str, description: str, size: float, sigma: float, share: float) -> Part:
        """A part, withheld where its noisy size less three standard deviations lies below the floor."""
        return Part(name, description, size, sigma, share, size - FLOOR_DEVIATIONS * sigma < self.floor)


def wanted(plan: Planned) -> Wanted:
    """What a plan asks for, once every bound is known."""
    prepared = plan.prepared
    spec, tables = prepared.spec, prepared.contract.tables
    features = {name: Meant(scale_of(f), f.agg, unit_of(tables[f.table], f.agg) or "") for name, f in spec.features.items()}
    label = spec.label
    number = Meant(label_scale(label), label.agg, unit_of(tables[label.table], label.agg) or "") if label and label.bounds else None
    policy = prepared.policy
    return Wanted(spec.name, spec.model, features, number, policy.cohort_floor, plan.snapshot.admitted, policy.digest())
