"""The segment spec: what is wanted, of which data, for which purpose, at which privacy."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from policies.contract import Name
from policies.documents import Document, Duration, refuse, show_duration
from policies.policy import Delta, Epsilon

ESTIMATE = "estimate"
"""Bounds that are not public: a build asks the door for them, and pays."""


class Feature(Document):
    """One number a subject: a scalar aggregate expression over one table. `bounds` are in units of the expression: public, or
    `estimate`, which is to say quantiles through the door."""

    table: Name
    agg: str = Field(min_length=1, max_length=2000, description="scalar aggregate expression in SQL")
    window: Duration | None = Field(None, description="only rows of the last …, before `as_of`")
    bounds: tuple[Decimal, Decimal] | Literal["estimate"] = Field(description="public ends of its range; `estimate`: the door is asked")
    beyond: float = Field(0.02, gt=0, lt=0.25, description="of estimated bounds: the share of subjects that may lie outside each")
    scale: Literal["linear", "log"] = Field("linear", description="`log`: log(1 + value - lower), for long tails")
    missing: Decimal | None = Field(
        None, description="value for subjects without rows, or where the expression is NULL (default: lower bound)"
    )
    max_rows: int | None = Field(None, gt=0, description="the most recent rows of a subject that are kept")
    why: str | None = Field(None, description="why the purpose needs it")

    @model_validator(mode="after")
    def _within(self) -> Self:
        if isinstance(self.bounds, str):
            return self
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"`bounds` must ascend, got `{low}` and `{high}`")
        if self.missing is not None and not low <= self.missing <= high:
            raise ValueError(f"`missing` must lie within the bounds, got `{self.missing}`, expected `{low}` to `{high}`")
        return self


class Label(Document):
    """What becomes of a subject in the window [as_of, as_of + after): a condition, or with `bounds` a number between them."""

    table: Name
    agg: str = Field(min_length=1, max_length=2000, description="aggregate expression in SQL: a condition, or a number with `bounds`")
    after: Duration
    bounds: tuple[Decimal, Decimal] | None = Field(None, description="public ends of a number's range; without a value, the lower one")
    scale: Literal["linear", "log"] = Field("linear", description="`log`: a number is learned as log(1 + value - lower)")
    why: str | None = None

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"`bounds` must ascend, got `{self.bounds[0]}` and `{self.bounds[1]}`")
        if self.bounds is None and self.scale != "linear":
            raise ValueError(f"`scale` is of a number, got `{self.scale}`, expected `bounds` too")
        return self


class Treatment(Document):
    """Who was treated in a randomised campaign, which ends at `as_of`: true treated, false control, NULL (or no rows) not in the trial.

    Features are known where its `window` begins: what the treatment caused is none.
    """

    table: Name
    agg: str = Field(min_length=1, max_length=2000, description="boolean aggregate expression in SQL")
    window: Duration = Field(description="of the campaign, in days: rows of the last …, before `as_of`; features end where it begins")
    why: str | None = None

    @field_validator("window")
    @classmethod
    def _of_days(cls, window: dt.timedelta) -> dt.timedelta:
        if window % dt.timedelta(days=1):
            raise ValueError(f"expected whole days, got `{show_duration(window)}`")
        return window


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


class Preparation(Document):
    """Fewer columns before training, by a noisy covariance that the build pays for."""

    prune: float | None = Field(None, gt=0, lt=1, description="of two features that are correlated at least that much, one is left out")
    components: int | None = Field(None, ge=2, le=64, description="principal components of the others; none: they stay as they are")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.prune is None and self.components is None:
            raise ValueError("expected `prune`, `components` or both")
        return self


class Autoencoder(Document):
    """A deep model that turns wide behaviour into a few numbers first; it needs the extra `deep`."""

    type: Literal["autoencoder"]
    width: int = Field(4, ge=2, le=16, description="numbers that every subject's features become")


Learner = Literal["auto", "logistic", "additive", "boosting", "hybrid", "network"]


class Clusters(Document):
    """DP clusters. `method`: what parts are: nearest `centres`, branches of a `hierarchy`, components of a Gaussian `mixture`, regions of
    high `density` with outliers as one more part, or areas of a self-organising `map`."""

    type: Literal["clusters"]
    method: Literal["centres", "hierarchy", "mixture", "density", "map"] = "centres"
    prepare: Preparation | None = None
    embed: Autoencoder | None = Field(None, description="clusters of what a deep model makes of the features")
    k: Annotated[int, Field(ge=2, le=30)] | KRange = KRange()
    why: str | None = Field(None, description="why the purpose needs more segments than the policy's `most_segments`")

    @model_validator(mode="after")
    def _one_map(self) -> Self:
        if self.prepare is not None and self.embed is not None:
            raise ValueError("expected at most one of `prepare` and `embed`")
        return self

    @property
    def most(self) -> int:
        """Segments that there may be, outliers aside."""
        return self.k.most if isinstance(self.k, KRange) else self.k


def _exactly_one(**fields: object) -> None:
    if sum(value is not None for value in fields.values()) != 1:
        raise ValueError("expected exactly one of " + " and ".join(f"`{name}`" for name in fields))


class Propensity(Document):
    """DP propensity. Members: probability above `threshold`, or the `top` share by a quantile through the door. `learner`: a weighted
    sum (`logistic`), a curve for each feature (`additive`), trees (`boosting`), curves and trees (`hybrid`), a deep `network`,
    which needs the extra `deep` and is never chosen unasked, or what the forecast says."""

    type: Literal["propensity"]
    learner: Learner = "auto"
    threshold: float | None = Field(None, gt=0, lt=1)
    top: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        _exactly_one(threshold=self.threshold, top=self.top)
        return self


class Value(Document):
    """DP regression of a number. Members: predicted `above` this much, or the `top` share by a quantile through the door."""

    type: Literal["value"]
    above: Decimal | None = Field(None, description="in units of the label")
    top: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        _exactly_one(above=self.above, top=self.top)
        return self


class Uplift(Document):
    """DP uplift of a treatment. Members: uplift `above` this much in probability, or the `top` share by a quantile through the door."""

    type: Literal["uplift"]
    above: float | None = Field(None, gt=-1, lt=1)
    top: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        _exactly_one(above=self.above, top=self.top)
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


PartId = Annotated[str, StringConstraints(pattern=r"^S[1-9][0-9]{0,4}$")]
"""What a segment keeps from build to build."""

PartName = Annotated[str, StringConstraints(min_length=1, max_length=80, strip_whitespace=True)]


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
    treatment: Treatment | None = None
    lookup: Lookup | None = None
    model: Annotated[Clusters | Propensity | Value | Uplift, Field(discriminator="type")]
    privacy: Privacy | Literal["none"] = Field(description="what the build may spend; `none`: exact, where the policy lets it stay inside")
    fairness: tuple[Attribute, ...] = ()
    names: dict[PartId, PartName] = Field({}, description="names of segments by the id that they keep from build to build, such as `S1`")
    output: Output = Output()

    @property
    def private(self) -> bool:
        """Whether it is built with differential privacy."""
        return isinstance(self.privacy, Privacy)

    @property
    def asked(self) -> Privacy:
        """What the build may spend. Raises ValueError without differential privacy: nothing that shows what was learned may go on."""
        match self.privacy:
            case Privacy() as asked:
                return asked
            case none:
                raise ValueError(f"segment `{self.name}` has `privacy: {none}`, expected an ε")

    @model_validator(mode="after")
    def _deep_is_private(self) -> Self:
        if self.deep and not self.private:
            raise ValueError("a deep model has no exact twin, got one, expected none beside `privacy: none`")
        return self

    @model_validator(mode="after")
    def _shows_nothing(self) -> Self:
        if not self.private and self.fairness:
            raise ValueError("`fairness` is shown, and what is shown costs ε, got attributes, expected none beside `privacy: none`")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        counts = Counter(self.names.values())
        refuse(f"`names` must differ, got `{name}` {count} times" for name, count in counts.items() if count > 1)
        return self

    @property
    def deep(self) -> bool:
        """Whether it is trained by samples, with `assurance: floating point`."""
        match self.model:
            case Clusters(embed=embed):
                return embed is not None
            case Propensity(learner="network"):
                return True
        return False

    @property
    def known(self) -> dt.date:
        """The day before which features are known: `as_of`, or where a trial begins, which may change them."""
        return self.as_of - self.treatment.window if self.treatment else self.as_of

    @property
    def estimated(self) -> tuple[str, ...]:
        """Features whose bounds are not known yet."""
        return tuple(name for name, feature in self.features.items() if isinstance(feature.bounds, str))

    @model_validator(mode="after")
    def _pays_for_a_look(self) -> Self:
        if not self.private and isinstance(self.model, Clusters) and self.model.prepare:
            raise ValueError("`prepare` asks the door, got one, expected none beside `privacy: none`")
        return self

    @model_validator(mode="after")
    def _pays_for_bounds(self) -> Self:
        if not self.private and self.estimated:
            raise ValueError(
                f"`bounds` cost ε to estimate, got `{ESTIMATE}` for `{self.estimated[0]}`, expected numbers beside `privacy: none`"
            )
        return self

    @model_validator(mode="after")
    def _label_fits(self) -> Self:
        if self.model.type != "clusters" and self.label is None:
            raise ValueError(f"`label` is needed by {_A[self.model.type]}, got nothing, expected `table`, `agg` and `after`")
        if self.model.type == "clusters" and self.label is not None:
            raise ValueError("`label` has no use in clusters, got one, expected none")
        number = self.label is not None and self.label.bounds is not None
        if number != (self.model.type == "value") and self.label is not None:
            expected = "`bounds` of its number" if self.model.type == "value" else "a condition, without `bounds`"
            raise ValueError(f"`label` of {_A[self.model.type]}: expected {expected}")
        if (self.treatment is not None) != (self.model.type == "uplift"):
            got, expected = ("one", "none") if self.treatment else ("nothing", "`table` and `agg`")
            raise ValueError(f"`treatment` is of an uplift alone: got {got} in {_A[self.model.type]}, expected {expected}")
        if isinstance(self.model, Value) and self.model.above is not None and self.label is not None and self.label.bounds is not None:
            low, high = self.label.bounds
            if not low < self.model.above <= high:
                raise ValueError(f"`above` must lie within the label's bounds, got `{self.model.above}`, expected up to `{high}`")
        return self


_A = {"clusters": "clusters", "propensity": "a propensity", "value": "a value", "uplift": "an uplift"}
