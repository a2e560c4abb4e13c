"""Every trainer, one line each, and a cohort that watches what it asks: shared by contract, statistical and attack tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.privacy_audit import kept
from engine.scale import UNIT, Scale
from engine.trainers import additive, boosting, clusters, hybrid, logistic, projecting, regression, uplift
from governance.door import Array, Cohort, Grant, LocalCohort, MemoryMeter, Query
from governance.noise import NoiseSource

Columns = Mapping[str, NDArray[Any]]
Progress = Callable[[str], None]


EUROS = Scale(0, 400, log=True)
"""Of a value's label."""


@dataclass(frozen=True)
class Trainer:
    """`fit` gives the released parameters; `rounds` of the door at most."""

    name: str
    rounds: int
    fit: Callable[[Cohort, Grant, NoiseSource, Progress], Array]


def _grouped(method: clusters.MethodName, cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Progress) -> Array:
    return clusters.fit(cohort, 4, grant, noise, progress, 0, method, floor=100).model.centres


def _prepared(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Progress) -> Array:
    seen, left = projecting.prepared(cohort, 0.9, 3, grant, noise, progress)
    return projecting.of_features(clusters.fit(seen, 4, left, noise, progress, seed=0).model, seen).centres


TRAINERS = [
    Trainer("clusters", 9, lambda cohort, grant, noise, progress: clusters.fit(cohort, 4, grant, noise, progress, seed=0).model.centres),
    Trainer(
        "clusters, k chosen",
        9,
        lambda cohort, grant, noise, progress: clusters.fit(cohort, (2, 4), grant, noise, progress, seed=0).model.centres,
    ),
    Trainer("mixture", 9, lambda cohort, grant, noise, progress: _grouped("mixture", cohort, grant, noise, progress)),
    Trainer("density", 9, lambda cohort, grant, noise, progress: _grouped("density", cohort, grant, noise, progress)),
    Trainer("clusters, prepared", 11, _prepared),
    Trainer("propensity", 9, lambda cohort, grant, noise, progress: logistic.fit(cohort, grant, noise, progress).weights),
    Trainer("propensity, additive", 10, lambda cohort, grant, noise, progress: additive.fit(cohort, grant, noise, progress).shapes),
    Trainer("propensity, boosting", 30, lambda cohort, grant, noise, progress: boosting.fit(cohort, grant, noise, progress).forest.leaves),
    Trainer("propensity, hybrid", 30, lambda cohort, grant, noise, progress: hybrid.fit(cohort, grant, noise, progress).forest.leaves),
    Trainer("value", 6, lambda cohort, grant, noise, progress: regression.fit(cohort, EUROS, grant, noise, progress).model.scores),
    Trainer("uplift", 5, lambda cohort, grant, noise, progress: uplift.fit(cohort, grant, noise, progress).model.weights),
]

every_trainer = pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)


@dataclass
class Watched:
    """A cohort that offers what the protocol names and nothing else, and remembers what was `asked` and `released`."""

    columns: Columns
    meter: MemoryMeter
    batch_rows: int = 1 << 16

    def __post_init__(self) -> None:
        self._inner = LocalCohort(self.columns, self.meter, self.batch_rows)
        self.asked: list[tuple[Query, Grant]] = []
        self.released: list[Array] = []

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return self._inner.width

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`."""
        self.asked.append((kept(query), grant))
        self.released.append(self._inner.noisy_sum(query, grant, noise))
        return self.released[-1]


def population(n: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Columns of `n` subjects with some structure: all that any trainer reads."""
    generator = np.random.default_rng(seed)
    features = np.rint(np.clip(generator.normal(0, 0.2, (n, 6)) + generator.choice([-0.4, 0.4], (n, 1)), -1, 1) * UNIT)
    label = (generator.random(n) < 1 / (1 + np.exp(-3 * features[:, 0] / UNIT))).astype(np.int8)
    part = generator.choice([1, 2], n, p=[0.7, 0.3]).astype(np.int8)
    treatment = generator.choice([-1, 0, 1], n, p=[0.1, 0.4, 0.5]).astype(np.int8)
    return {"features": features.astype(np.int32), "label": label, "part": part, "treatment": treatment}


def subject(corner: int) -> dict[str, NDArray[Any]]:
    """Columns of one subject at a corner of the grid, for `population` to grow by."""
    features = np.full((1, 6), corner, dtype=np.int32)
    return {"features": features} | {name: np.ones(1, dtype=np.int8) for name in ("label", "part", "treatment")}


def trained(trainer: Trainer, columns: Columns, noise: NoiseSource, batch_rows: int = 1 << 16) -> tuple[Array, Watched, list[str]]:
    """Released parameters, the cohort that was asked, what progress was told."""
    watched = Watched(columns, MemoryMeter(Fraction(1, 10)), batch_rows)
    said: list[str] = []
    return trainer.fit(watched, watched.meter.grant(), noise, said.append), watched, said
