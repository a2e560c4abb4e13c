"""A pack: what a law, or a cautious house, takes away from every policy that is built on it. It permits nothing.

A policy names packs under `extends`. Their rules then hold beside its own, and their limits bound its figures: the
stricter one counts (`policies.extending`). So a pack can only take away, and no policy can weaken one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from policies.contract import Name
from policies.documents import ByPlace, Document, Duration, refuse
from policies.policy import Approvals, Children, Delta, Epsilon, Outcome
from policies.rules import Effect, Rule


class RetentionLimit(Document):
    """The longest that may be kept; none: any."""

    releases: Duration | None = None
    memberships: Duration | None = None
    retrain: Duration | None = None


class BudgetLimit(Document):
    """The largest budgets, and how rarely the histogram of admission is taken at least; none: any."""

    epsilon: Epsilon | None = Field(None, description="of the cap")
    delta: Delta | None = Field(None, description="of the cap and of every purpose")
    purpose_epsilon: Epsilon | None = Field(None, description="of every purpose")
    interval: Duration | None = Field(None, description="the shortest between two snapshots")


class FairnessLimit(Document):
    """What the gate must at least ask for, in policies that have one; none: anything."""

    min_ratio: float | None = Field(None, gt=0, le=1)
    max_gap: float | None = Field(None, gt=0, le=1)
    on_fail: Outcome | None = None
    on_inconclusive: Outcome | None = None


class Limit(Document):
    """Bounds for figures of a policy, with their reason as a rule has one."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9\-]{0,62}$")
    cohort_floor: int | None = Field(None, ge=30, description="the least")
    most_segments: int | None = Field(None, ge=2, le=30, description="the most without a reason")
    children: ByPlace[Children] | None = Field(None, description="by jurisdiction: the least age and the mildest treatment")
    retention: RetentionLimit | None = None
    approvals: Approvals | None = Field(None, description="the least, and models that need them")
    budgets: BudgetLimit | None = None
    fairness: FairnessLimit | None = None
    strict: Literal[True] | None = Field(None, description="granted columns are materialised apart")
    private: Literal[True] | None = Field(None, description="whatever is built has differential privacy, assessed or not")
    reason: str = Field(min_length=3, description="in plain words")
    legal: str | None = Field(None, description="legal reference")

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        bounds = ("cohort_floor", "most_segments", "children", "retention", "approvals", "budgets", "fairness", "strict", "private")
        if all(getattr(self, name) is None for name in bounds):
            raise ValueError("expected one or more of " + ", ".join(f"`{name}`" for name in bounds))
        return self


class Pack(Document):
    """Rules that forbid or make coarser, and limits."""

    kind: Literal["pack"] = "pack"
    name: Name
    version: str = "1"
    description: str = ""
    rules: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()

    @model_validator(mode="after")
    def _takes_away(self) -> Self:
        refuse(self._misplaced())
        return self

    def _misplaced(self) -> Iterator[str]:
        rules = {f"rules.{place}.id": rule.id for place, rule in enumerate(self.rules)}
        placed = rules | {f"limits.{place}.id": limit.id for place, limit in enumerate(self.limits)}
        counts = Counter(placed.values())
        for field, name in placed.items():
            if counts[name] > 1:
                yield f"`{field}` must differ from every other, got `{name}` {counts[name]} times"
        for place, rule in enumerate(self.rules):
            if rule.effect.permits:
                expected = f"`{Effect.FORBID}` or `{Effect.GENERALISE}`"
                yield f"`rules.{place}.effect` of a pack takes away, got `{rule.effect}`, expected {expected}"
