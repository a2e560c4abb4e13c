"""Released models: what each says of a subject by public parameters alone. Applying one draws nothing and costs nothing.

A trainer gives a *partition*, which puts everybody into one of several parts, or a *scorer*, which gives everybody one number.
Both are kept as plain JSON in a build's facts (`facts`), and `released` makes them again, to score the people of another day.

Not here: how a model came about (`engine.trainers`), where the threshold of a score lies (`engine.learning`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.generic]
"""(n_subjects, d) whole numbers on the public grid, `engine.scale`."""

ONE = 1 << 16
"""Scores are whole numbers: this is certainty, or the upper end of what is predicted."""


ROWS = 1 << 14
"""Subjects to whom a model is applied at once, so that memory does not grow with them."""


def in_turn(features: Features, apply: Callable[[NDArray[np.float64]], NDArray[Any]]) -> NDArray[Any]:
    """`apply` to everybody, some at a time, as floats that hold whole numbers: (n_subjects, …), row by row what it gives."""
    starts = range(0, max(len(features), 1), ROWS)
    return np.concatenate([apply(np.asarray(features[start : start + ROWS], dtype=np.float64)) for start in starts])


@runtime_checkable
class Partition(Protocol):
    """A released partition of everybody."""

    def assign(self, features: Features) -> NDArray[np.int64]:
        """The part of each subject, (n_subjects,), below 0 none."""
        ...

    def facts(self) -> dict[str, Any]:
        """As JSON, with its `kind`."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """A released score of everybody."""

    def score(self, features: Features) -> NDArray[np.int64]:
        """(n_subjects,) on the grid 0..ONE."""
        ...

    def facts(self) -> dict[str, Any]:
        """As JSON, with its `kind`."""
        ...


@runtime_checkable
class Explained(Scorer, Protocol):
    """A score that is a sum of what features contribute, in log-odds."""

    def contributions(self, features: Features) -> NDArray[np.float64]:
        """(n_subjects, d) what each feature adds to the log-odds of a subject, against an average one: released figures and the
        subject's own features alone."""
        ...

    def curves(self) -> NDArray[np.float64]:
        """(d, bins) what each feature adds by itself, in the middle of even bins of its range."""
        ...


Model = Partition | Scorer


def parts_of(facts: Mapping[str, Any], features: Features) -> NDArray[np.int64]:
    """(n_subjects,) the part that a released model puts each in, below 0 none. Raises ValueError as `released` does.

    `facts`: the model as a build keeps it; of a scorer with the `threshold` from which on somebody is selected.
    """
    model = released(facts)
    if isinstance(model, Partition):
        return model.assign(features)
    return np.where(model.score(features) >= facts["threshold"], 0, -1)


def released(facts: Mapping[str, Any]) -> Model:
    """The model that a build released. Raises ValueError for one of a kind that is not known here."""
    from engine.trainers.additive import AdditiveModel
    from engine.trainers.boosting import BoostedModel
    from engine.trainers.deep.autoencoder import Embedded
    from engine.trainers.deep.network import Network
    from engine.trainers.hybrid import HybridModel
    from engine.trainers.logistic import LogisticModel
    from engine.trainers.partitions import Mixture, Nearest
    from engine.trainers.projecting import Projected
    from engine.trainers.regression import LinearModel
    from engine.trainers.uplift import UpliftModel

    match facts.get("kind"):
        case "embedded":
            return Embedded.of(facts, released)
        case "network":
            return Network.of(facts)
        case "centres" | "hierarchy" | "density" | "map":
            return Nearest.of(facts)
        case "mixture":
            return Mixture.of(facts)
        case "projected":
            return Projected.of(facts, released)
        case "logistic":
            return LogisticModel.of(facts)
        case "additive":
            return AdditiveModel.of(facts)
        case "boosting":
            return BoostedModel.of(facts)
        case "hybrid":
            return HybridModel.of(facts)
        case "linear":
            return LinearModel.of(facts)
        case "uplift":
            return UpliftModel.of(facts)
        case kind:
            raise ValueError(f"expected a released model of a known kind, got `{kind}`")
