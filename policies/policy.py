"""The policy: purposes, legal bases, rules over categories, budgets, floors, gates and approvals."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from policies.bases import Assessment, Basis
from policies.contract import Name
from policies.documents import ByPlace, Document, Duration, one_of, refuse
from policies.jurisdictions import said_in
from policies.rules import Destination, Effect, Rule

__all__ = ["Basis", "Effect", "Rule"]

Epsilon = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Delta = Annotated[float, Field(gt=0, le=1e-3, allow_inf_nan=False)]


def _assessed(value: object) -> object:
    """A list of purposes is one without assessments."""
    return dict.fromkeys(value) if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value) else value


class Purpose(Document):
    """One purpose, keyed by its fideslang data use."""

    description: str = ""
    tcf: tuple[int, ...] = Field((), description="TCF purposes that it maps to")
    basis: ByPlace[Basis | None] = Field(description="legal basis by jurisdiction; `default` serves the rest; none: nobody there")
    compatible_with: Annotated[
        dict[str, Assessment | None],
        BeforeValidator(_assessed, json_schema_input_type=tuple[str, ...] | dict[str, Assessment | None]),
    ] = Field(default_factory=dict, description="purposes whose consent also serves this one, each with its assessment (GDPR art. 6(4))")
    unsafe_without_privacy: Assessment | None = Field(
        None, description="who assessed that segments may have `privacy: none`, which stays inside the controller, and why; none: none may"
    )

    def basis_in(self, jurisdiction: str) -> Basis | None:
        """The legal basis that holds there, or in what it is part of; none: nothing may be done."""
        return said_in(self.basis, jurisdiction)


class Treatment(StrEnum):
    """What becomes of children: left out, or in where a guardian consents. The strictest comes last."""

    GUARDIAN = "guardian"
    EXCLUDE = "exclude"


class Unknown(StrEnum):
    """What becomes of people of whom nobody knows whether they are children. The strictest comes last."""

    ADMIT = "admit"  # they count as adults
    LEAVE_OUT = "leave_out"  # they count as children, where the contract says who is one
    REFUSE = "refuse"  # so they do, and a contract that does not say it is denied


class Children(Document):
    """Who is a child, in years, and what then. Who is one, the contract says (`subject.born` or `subject.child`)."""

    age: int = Field(ge=1, le=21, description="years below which somebody is a child")
    treatment: Treatment = Treatment.EXCLUDE
    unknown: Unknown = Field(Unknown.LEAVE_OUT, description="people of whom it is not known, and contracts that do not say it of anybody")


class Retention(Document):
    """How long what was made of people is kept. A membership never outlives its release."""

    releases: Duration = Field(dt.timedelta(days=365), description="a release expires this long after it")
    memberships: Duration = Field(dt.timedelta(days=180), description="files that list members are deleted this long after the release")
    retrain: Duration = Field(dt.timedelta(days=90), description="a model is retrained this long after somebody in it was erased")


class Period(StrEnum):
    """How often a purpose's account begins anew; lifetime never does."""

    LIFETIME = "lifetime"
    YEAR = "year"
    QUARTER = "quarter"
    MONTH = "month"


class Allowance(Document):
    """An (ε, δ) budget of add/remove differential privacy per subject."""

    epsilon: Epsilon
    delta: Delta = 1e-5


class PurposeAllowance(Allowance):
    """The allocation of a purpose, within the cap."""

    period: Period = Period.LIFETIME


class Snapshot(Document):
    """How often the noisy admission histogram is taken, and what each costs."""

    interval: Duration
    epsilon: Epsilon = 0.1


class Budgets(Document):
    """`cap` binds per controller and subject namespace over a lifetime; purposes are allocations of it."""

    cap: Allowance
    purposes: dict[str, PurposeAllowance] = Field(default_factory=dict, description="a purpose without an entry may spend nothing")
    snapshot: Snapshot


class Outcome(StrEnum):
    """What the gate does with a verdict."""

    ALLOW = "allow"
    APPROVE = "approve"
    REFUSE = "refuse"


class FairnessGate(Document):
    """Attributes are read for `purpose` alone. The ratio is the four-fifths screen, not law."""

    purpose: str = Field(description="fideslang data use under which attributes are read, with its own basis")
    min_ratio: float = Field(0.8, gt=0, le=1)
    max_gap: float = Field(0.1, gt=0, le=1, description="largest allowed gap of error rates and of calibration")
    on_fail: Outcome = Outcome.REFUSE
    on_inconclusive: Outcome = Outcome.APPROVE


ModelType = Literal["clusters", "propensity", "value", "uplift"]
MODELS: tuple[ModelType, ...] = get_args(ModelType)
"""What a segment may learn, as policies name it."""


class Approvals(Document):
    """How many people other than the builder must approve before release."""

    required: int = Field(1, ge=0, le=5)
    models: tuple[ModelType, ...] = Field(MODELS, description="models that need it")

    def needed(self, model: str) -> int:
        """How many for a model of this type."""
        return self.required if model in self.models else 0


class Policy(Document):
    """What may be done. Deny wins; a gap or an error counts as deny; what no rule permits is denied."""

    kind: Literal["policy"] = "policy"
    name: Name
    version: str = "1"
    description: str = ""
    extends: tuple[str, ...] = Field((), description="shipped packs whose rules and limits hold too")
    purposes: dict[str, Purpose] = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=1)
    budgets: Budgets
    cohort_floor: int = Field(100, ge=30)
    most_segments: int = Field(8, ge=2, le=30, description="clusters that a segment may ask for without saying why")
    fairness: FairnessGate | None = None
    approvals: Approvals = Field(default_factory=Approvals)
    destinations: dict[Name, Destination] = Field(default_factory=dict, description="name of a destination, and what it is")
    children: ByPlace[Children] = Field(
        default_factory=dict, description="by jurisdiction; `default` serves the rest; none: nobody is a child"
    )
    retention: Retention = Field(default_factory=Retention)
    strict: bool = Field(False, description="materialise granted columns of admitted rows apart and detach the source")

    @property
    def private(self) -> bool:
        """Whether whatever is built has differential privacy."""
        return all(purpose.unsafe_without_privacy is None for purpose in self.purposes.values())

    def children_in(self, jurisdiction: str) -> Children | None:
        """Who is a child there, and what then."""
        return said_in(self.children, jurisdiction)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(self._broken_references())
        return self

    def _broken_references(self) -> Iterator[str]:
        counts = Counter(rule.id for rule in self.rules)
        for place, rule in enumerate(self.rules):
            if counts[rule.id] > 1:
                yield f"`rules.{place}.id` must differ from every other, got `{rule.id}` {counts[rule.id]} times"
        named = {f"budgets.purposes.{name}": name for name in self.budgets.purposes}
        if self.fairness:
            named["fairness.purpose"] = self.fairness.purpose
        for key, purpose in self.purposes.items():
            named |= {f"purposes.{key}.compatible_with.{place}": other for place, other in enumerate(purpose.compatible_with)}
        for field, name in named.items():
            if name not in self.purposes:
                yield f"`{field}` names no purpose of this policy, got `{name}`, expected {one_of(self.purposes)}"
