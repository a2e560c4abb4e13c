"""Fewer columns before training: correlated features pruned, and principal components of the rest, by a noisy covariance.

Noise in a trainer grows with the number of its columns, so that features which say the same twice cost accuracy and bring none. Two
rounds of the door, moments and covariance, tell of both (Dwork, Talwar, Thakurta, Zhang, 2014, perturb the covariance as well). Then
a trainer is handed a cohort that shows fewer columns, `Seen`: each of its questions names a step that projects a subject first, by a
released matrix of whole numbers, and then does what the trainer's step does. Rows alone go in, so it is row-wise; whole numbers come
out on the same grid, so that trainers run unchanged and sums have the same bits everywhere. The released model is composed alike.

Neighbours, bounds and sensitivity are those of the questions, which the door enforces as ever. Not here: scaling, which the grid
does (`engine.scale`), and what is learned.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from audit.wording import percent
from engine.models import Features, in_turn
from engine.scale import UNIT
from engine.trainers import seeding
from engine.trainers.partitions import Labels, Parts
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register, registered
from governance.noise import NoiseSource

SHARES = {"look": 12.0, "fit": 88.0}
"""Shares of a trainer's μ²: what finds the map, and what is learned through it."""

LOOK = {"moments": 3.0, "covariance": 9.0}
"""Shares of the look, one for each round."""

BITS = 16
"""The matrix is whole numbers, in multiples of 2^-BITS."""

SPAN = 4.0
"""Standard deviations of the first component that the grid has room for on either side; what lies farther out is clipped."""

CERTAIN = 2.0
"""Standard deviations of its noise by which a correlation must exceed what was asked for, so that noise alone prunes nothing."""

_PROJECTED = "projected/"


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A released map from d features to p columns of the same grid: (x − `mean`) · `matrix` / 2^BITS, truncated and clipped.

    `mean` (d,) and `matrix` (d, p) whole numbers; `back` (d, p) takes columns to the features that go with them, in multiples of
    2^-BITS; `kept`: the places of features that were not pruned; `explained`: the share of their variance that is left, noisy.
    """

    mean: Array
    matrix: Array
    back: Array
    kept: tuple[int, ...]
    explained: float

    def apply(self, features: Features) -> NDArray[np.float64]:
        """(n_subjects, p) whole numbers on the grid; exact, as every product and sum stays below 2^53."""
        return in_turn(features, lambda x: _projected(x, self.mean, self.matrix))

    def features(self, columns: Array) -> Array:
        """(n, d) the features that go with (n, p) columns, on the grid: what a pruned one is likeliest to be there, too."""
        return np.clip(np.rint(self.mean + columns @ self.back.T / 2.0**BITS), -UNIT, UNIT)

    def parameters(self) -> dict[str, Array]:
        """What a step that looks through it needs."""
        return {"projection.mean": self.mean, "projection.matrix": self.matrix}

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "matrix", "back")}
        return arrays | {"kept": list(self.kept), "explained": self.explained}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Projection:
        """Out of `facts`."""
        mean, matrix, back = (np.asarray(facts[name], dtype=np.float64) for name in ("mean", "matrix", "back"))
        return cls(mean, matrix, back, tuple(facts["kept"]), facts["explained"])


@dataclass(frozen=True, slots=True)
class Seen:
    """A cohort of which a trainer sees the columns of a projection instead of the features."""

    cohort: Cohort
    projection: Projection

    @property
    def width(self) -> int:
        """Number of columns p."""
        return int(self.projection.matrix.shape[1])

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`."""
        return self.cohort.noisy_sum(through(query, self.projection), grant, noise)


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """A released partition of what a projection shows, as one of features (see `Parts`)."""

    projection: Projection
    inner: Parts

    @property
    def centres(self) -> Array:
        """(k, d) the features that go with the centres."""
        return self.projection.features(self.inner.centres)

    @property
    def prototypes(self) -> Array:
        """(K, d) the features that go with the prototypes."""
        return self.projection.features(self.inner.prototypes)

    @property
    def weights(self) -> Array:
        """(K,) of the prototypes."""
        return self.inner.weights

    def assign(self, features: Features) -> Labels:
        """See `Partition.assign`."""
        return self.inner.assign(self.projection.apply(features))

    def regrouped(self, new: Labels, centres: Array) -> Self:
        """See `Parts.regrouped`."""
        return replace(self, inner=self.inner.regrouped(new, self.projection.apply(centres)))

    def question(self) -> tuple[str, dict[str, Array]]:
        """See `Parts.question`."""
        step, parameters = self.inner.question()
        return _through(StepName(step)), parameters | self.projection.parameters()

    def facts(self) -> dict[str, Any]:
        """See `Partition.facts`."""
        return {"kind": "projected", "projection": self.projection.facts(), "model": self.inner.facts()}

    @classmethod
    def of(cls, facts: Mapping[str, Any], made: Callable[[Mapping[str, Any]], Any]) -> Projected:
        """Out of `facts`; `made` makes the inner one. Raises ValueError where that is no partition."""
        match made(facts["model"]):
            case Parts() as inner:
                return cls(Projection.of(facts["projection"]), inner)
            case _:
                raise ValueError(f"expected a partition behind a projection, got `{facts['model'].get('kind')}`")


def look(
    cohort: Cohort,
    prune: float | None,
    components: int | None,
    grant: Grant,
    noise: NoiseSource,
    progress: Callable[[str], None],
    part: Part = Part.ALL,
) -> Projection:
    """A map of the cohort's features, for subjects of `part`; two rounds, which use up `grant`.

    `prune`: of two features whose correlation is at least that much in size, beyond its noise, the later is left out. `components`: how
    many principal ones of the others are kept; None: they stay as they are.
    """
    rounds = Rounds(cohort, grant.split(**LOOK), noise, progress, part)
    spread = seeding.spread(rounds)
    covariance = seeding.covariance_of(rounds, spread)
    sigma = rounds.sigma("covariance", seeding.reach(spread) ** 2) / spread.subjects
    likeness = _likeness(covariance, sigma, prune)
    if components is None or components >= len(set(likeness)):
        return _selection(covariance, likeness)
    return _components(covariance, spread.mean, likeness, components)


def prepared(
    cohort: Cohort, prune: float | None, components: int | None, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]
) -> tuple[Cohort, Grant]:
    """What a trainer is handed, and what is left of its grant: the cohort itself and all of it, where nothing is asked for."""
    if prune is None and components is None:
        return cohort, grant
    parts = grant.split(**SHARES)
    return Seen(cohort, look(cohort, prune, components, parts["look"], noise, progress)), parts["fit"]


def of_features(model: Parts, cohort: Cohort) -> Parts:
    """A partition of what `cohort` shows, as one of features."""
    return Projected(cohort.projection, model) if isinstance(cohort, Seen) else model


def words(model: object, names: Sequence[str]) -> str:
    """What was learned from, for a line about quality; nothing where it was the features as they are."""
    if not isinstance(model, Projected):
        return ""
    projection = model.projection
    pruned = [name for place, name in enumerate(names) if place not in projection.kept]
    left = f", {', '.join(pruned)} pruned" if pruned else ""
    turned = projection.matrix.shape[1] < len(projection.kept)
    return f"; learned from {projection.matrix.shape[1]} columns of {len(names)} features{left}" + (
        f", with {percent(projection.explained)} of the variance" if turned else ""
    )


def through(query: Query, projection: Projection) -> Query:
    """The same question, put to the columns of a projection."""
    return replace(query, step=_through(query.step), parameters={**query.parameters, **projection.parameters()})


def _through(step: StepName) -> StepName:
    """The step that projects a subject first; it is registered when it is needed first."""
    name, known = StepName(_PROJECTED + step), registered()
    if name not in known and step in known:
        inner = known[step]

        def project(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
            columns = _projected(batch["features"], parameters["projection.mean"], parameters["projection.matrix"])
            return inner(ChainMap({"features": columns}, batch), parameters)  # type: ignore[arg-type]  # it is only read

        register(name)(project)
    return name


def learn_all() -> None:
    """Register every step through a projection too: a partner is asked for steps by name, in a process that projects nothing itself."""
    for step in registered():
        if not step.startswith(_PROJECTED):
            _through(step)


def _projected(features: Array, mean: Array, matrix: Array) -> Array:
    return np.clip(np.trunc((features - mean) @ matrix / 2.0**BITS), -UNIT, UNIT)


def _likeness(covariance: Array, sigma: float, prune: float | None) -> list[int]:
    """(d,) the place of the feature that stands for each: its own where it is kept. `sigma`: noise of a variance."""
    variance = np.maximum(np.diagonal(covariance), seeding.LEAST_VARIANCE)
    scale = np.sqrt(np.outer(variance, variance))
    correlation = np.abs(covariance) / scale
    parts = (sigma / variance) ** 2  # of the noise of a correlation: its own, and that of the two variances that it is divided by
    error = np.sqrt((sigma / scale) ** 2 / 2 + correlation**2 / 4 * (parts[:, None] + parts))
    certain = correlation - CERTAIN * error
    likeness: list[int] = []
    for place in range(len(variance)):
        kept = [other for other, own in enumerate(likeness) if other == own]
        alike = max(kept, key=lambda other: float(certain[place, other]), default=place)
        likeness.append(alike if prune is not None and alike != place and certain[place, alike] >= prune else place)
    return likeness


def _selection(covariance: Array, likeness: list[int]) -> Projection:
    """Features as they are, without the pruned."""
    kept = sorted(set(likeness))
    matrix = np.eye(len(likeness))[:, kept]
    return _projection(np.zeros(len(likeness)), matrix, matrix, covariance, likeness, 1.0)


def _components(covariance: Array, mean: Array, likeness: list[int], components: int) -> Projection:
    """Leading components of the kept features, stretched alike, so that distances keep their proportions."""
    kept = sorted(set(likeness))
    values, vectors = np.linalg.eigh(covariance[np.ix_(kept, kept)])
    leading = np.argsort(-values, kind="stable")[:components]
    stretch = UNIT / (SPAN * math.sqrt(max(float(values[leading[0]]), seeding.LEAST_VARIANCE)))
    axes = np.zeros((len(mean), components))
    axes[kept] = vectors[:, leading]
    explained = float(values[leading].clip(min=0).sum() / max(values.clip(min=0).sum(), 1.0))
    return _projection(mean, axes * stretch, axes / stretch, covariance, likeness, explained)


def _projection(mean: Array, matrix: Array, back: Array, covariance: Array, likeness: list[int], explained: float) -> Projection:
    """On the grid; a pruned feature goes along with the one that stands for it."""
    variance = np.maximum(np.diagonal(covariance), seeding.LEAST_VARIANCE)
    slopes = np.array([1.0 if own == place else covariance[place, own] / variance[own] for place, own in enumerate(likeness)])
    back = back[likeness] * slopes[:, None]
    return Projection(mean, np.rint(matrix * 2.0**BITS), np.rint(back * 2.0**BITS), tuple(sorted(set(likeness))), explained)
