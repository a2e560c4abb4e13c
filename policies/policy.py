"""The policy: purposes, legal bases, rules over categories, budgets, floors, gates and approvals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policies.contract import Name
from policies.documents import Document, Duration, one_of, refuse

Epsilon = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Delta = Annotated[float, Field(gt=0, le=1e-3, allow_inf_nan=False)]


class Basis(StrEnum):
    """How silence is read: opt-in needs a yes, opt-out needs proof of notice and no objection."""

    CONSENT = "consent"
    LEGITIMATE_INTEREST = "legitimate_interest"
    OPT_OUT = "opt_out"

    @property
    def opt_in(self) -> bool:
        """True where unknown means no."""
        return self is Basis.CONSENT


class Purpose(Document):
    """One purpose, keyed by its fideslang data use."""

    description: str = ""
    tcf: tuple[int, ...] = Field((), description="TCF purposes that it maps to")
    basis: dict[str, Basis] = Field(description="legal basis by jurisdiction; `default` serves the rest; none: denied")
    compatible_with: tuple[str, ...] = Field((), description="purposes whose consent also serves this one (art. 6(4))")

    def basis_in(self, jurisdiction: str) -> Basis | None:
        """The legal basis that holds there; none: nothing may be done."""
        return self.basis.get(jurisdiction) or self.basis.get("default")


class Effect(StrEnum):
    """What a rule does with a column of its categories."""

    PERMIT = "permit"
    FORBID = "forbid"
    FAIRNESS_ONLY = "fairness_only"


class Rule(Document):
    """One rule. Categories and purposes are fideslang keys; a trailing `.*` covers the key and all below it.

    What forbids, covers all below its keys with or without `.*`; `fairness_only` permits the fairness purpose and
    forbids its categories to every other use.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9\-]{0,62}$")
    effect: Effect
    categories: tuple[str, ...] = Field(min_length=1)
    purposes: tuple[str, ...] = Field(("*",), min_length=1)
    sensitivity: tuple[Literal["plain", "pseudonymous", "sensitive"], ...] | None = Field(
        None, description="only columns of these; none: all"
    )
    reason: str = Field(min_length=3, description="in plain words, shown to whoever is refused")
    legal: str | None = Field(None, description="legal reference")
    remedy: str | None = Field(None, description="the way out")


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
    max_gap: float = Field(0.1, gt=0, le=1, description="largest allowed gap of error rates")
    on_fail: Outcome = Outcome.REFUSE
    on_inconclusive: Outcome = Outcome.APPROVE


class Approvals(Document):
    """How many people other than the builder must approve before release."""

    required: int = Field(1, ge=0, le=5)
    models: tuple[Literal["clusters", "propensity"], ...] = Field(("clusters", "propensity"), description="models that need it")

    def needed(self, model: str) -> int:
        """How many for a model of this type."""
        return self.required if model in self.models else 0


class Policy(Document):
    """What may be done. Deny wins; a gap or an error counts as deny; what no rule permits is denied."""

    kind: Literal["policy"] = "policy"
    name: Name
    version: str = "1"
    description: str = ""
    purposes: dict[str, Purpose] = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=1)
    budgets: Budgets
    cohort_floor: int = Field(100, ge=30)
    fairness: FairnessGate | None = None
    approvals: Approvals = Field(default_factory=Approvals)
    destinations: dict[Name, str] = Field(default_factory=dict, description="name of a destination, and what it is")
    strict: bool = Field(False, description="materialise granted columns of admitted rows apart and detach the source")

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
