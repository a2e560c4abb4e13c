"""The segment spec: what is wanted, of which data, for which purpose, at which privacy."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policies.contract import Name
from policies.documents import Document, Duration
from policies.policy import Delta, Epsilon


class Feature(Document):
    """One number a subject: a scalar aggregate expression over one table. `bounds` are public, in units of the expression."""

    table: Name
    agg: str = Field(min_length=1, max_length=2000, description="scalar aggregate expression in SQL")
    window: Duration | None = Field(None, description="only rows of the last …, before `as_of`")
    bounds: tuple[Decimal, Decimal]
    scale: Literal["linear", "log"] = Field("linear", description="`log`: log(1 + value - lower), for long tails")
    missing: Decimal | None = Field(
        None, description="value for subjects without rows, or where the expression is NULL (default: lower bound)"
    )
    max_rows: int | None = Field(None, gt=0, description="the most recent rows of a subject that are kept")
    why: str | None = Field(None, description="why the purpose needs it")

    @model_validator(mode="after")
    def _within(self) -> Self:
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"`bounds` must ascend, got `{low}` and `{high}`")
        if self.missing is not None and not low <= self.missing <= high:
            raise ValueError(f"`missing` must lie within the bounds, got `{self.missing}`, expected `{low}` to `{high}`")
        return self


class Label(Document):
    """A boolean aggregate expression over rows in the window [as_of, as_of + after)."""

    table: Name
    agg: str = Field(min_length=1, max_length=2000)
    after: Duration
    why: str | None = None


class Lookup(Document):
    """Columns of a reference table join every table that has the column `on`."""

    table: Name
    on: Name
    reference: Literal[True] = Field(True, description="look-ups have no subject key")


class KRange(Document):
    """Let k be chosen on the released prototypes, at no further cost."""

    least: int = Field(3, ge=2, le=30)
    most: int = Field(8, ge=2, le=30)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"`least` must not exceed `most`, got `{self.least}` and `{self.most}`")
        return self


class Clusters(Document):
    """DP clusters."""

    type: Literal["clusters"]
    k: Annotated[int, Field(ge=2, le=30)] | KRange = KRange()


class Propensity(Document):
    """DP logistic propensity. Members: probability above `threshold`, or the `top` share by a quantile through the door."""

    type: Literal["propensity"]
    threshold: float | None = Field(None, gt=0, lt=1)
    top: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.threshold is None) == (self.top is None):
            raise ValueError("expected exactly one of `threshold` and `top`")
        return self


class Privacy(Document):
    """What the build may spend, all of it: training, counts, profiles, fairness."""

    epsilon: Epsilon
    delta: Delta = 1e-5


class Attribute(Document):
    """A fairness attribute: a column with a public domain, read for the fairness purpose alone."""

    table: Name
    column: Name


class Output(Document):
    """What a release writes."""

    format: Literal["parquet", "csv"] = "parquet"
    destination: Name | None = None


class Segment(Document):
    """What is wanted. `as_of` bounds the event time of features; lawfulness is judged when processing happens."""

    kind: Literal["segment"] = "segment"
    name: Name
    description: str = ""
    purpose: str
    dataset: Name
    policy: Name
    as_of: dt.date
    features: dict[Name, Feature] = Field(min_length=1, max_length=64)
    label: Label | None = None
    lookup: Lookup | None = None
    model: Annotated[Clusters | Propensity, Field(discriminator="type")]
    privacy: Privacy
    fairness: tuple[Attribute, ...] = ()
    output: Output = Output()

    @model_validator(mode="after")
    def _label_fits(self) -> Self:
        if self.model.type == "propensity" and self.label is None:
            raise ValueError("`label` is needed by a propensity, got nothing, expected `table`, `agg` and `after`")
        if self.model.type == "clusters" and self.label is not None:
            raise ValueError("`label` has no use in clusters, got one, expected none")
        return self
