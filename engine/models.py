"""Released models: what each says of a subject by public parameters alone. Applying one draws nothing and costs nothing.

A trainer gives a *partition*, which puts everybody into one of several parts, or a *scorer*, which gives everybody one number.
Both are kept as plain JSON in a build's facts (`facts`), and `released` makes them again, to score the people of another day.

Not here: how a model came about (`engine.trainers`), where the threshold of a score lies (`engine.learning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.generic]
"""(n_subjects, d) whole numbers on the public grid, `engine.scale`."""

ONE = 1 << 16
"""Scores are whole numbers: this is certainty, or the upper end of what is predicted."""


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


Model = Partition | Scorer


def released(facts: Mapping[str, Any]) -> Model:
    """The model that a build released. Raises ValueError for one of a kind that is not known here."""
    from engine.trainers.clusters import Centres
    from engine.trainers.logistic import LogisticModel

    match facts.get("kind"):
        case "centres":
            return Centres.of(facts)
        case "logistic":
            return LogisticModel.of(facts)
        case kind:
            raise ValueError(f"expected a released model of a known kind, got `{kind}`")
