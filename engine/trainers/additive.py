"""A DP additive model: for every feature a line and a shape, both learned at once by noisy Newton steps (`engine.trainers.newton`).

Rounds of the door (ten): moments → histogram of each feature → covariance → seven gradients. A shape is a sum of a few smooth
functions of the feature, the leading ones of a Gaussian process prior on its ranks (Karhunen and Loève; splines are of this kind:
Wahba, 1990), orthogonal to the constant and the line under the released histogram; a feature of two values has none. They are
columns of the design like any other, smaller where the prior is, so that noise and shrinkage take them for less likely. Against
cyclic boosting of histograms (DP-EBM: Nori et al., 2021) no round is spent on one feature alone, and what features share is known.

Neighbours: add or remove one subject. Sensitivity: the `bound` of each query. Training subjects alone take part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Features, in_turn
from engine.trainers import designs, newton, probabilities
from engine.trainers.designs import BINS, ROW, Design, Spread
from engine.trainers.probabilities import LOGIT
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Cohort, Contribution, Grant, register
from governance.noise import NoiseSource

SHARES = {"moments": 6.5, "histogram": 4.0} | newton.SHARES
"""Shares of μ², one for each round. These and the constants below were tuned once, on online shoppers, telco churn and adult at
ε 1, and are the same for every data set."""

SHAPES = 5
"""Functions of a feature at most."""

MOST_SHAPES = 32
"""Functions of all features at most, the likeliest ones: the covariance grows with their square."""

LENGTH = 0.25
"""Ranks over which a shape changes: correlation of the prior falls to 1/e."""

CURVED = 0.7
"""Size of shapes beside lines, a priori."""

LEAST = 0.003
"""Variance a priori below which a function is left out, of 1 for all functions of a feature."""

SEEN = 2.0
"""Standard deviations of noise that a bin must hold to be known; others are like their neighbours."""


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveModel:
    """A released additive model; everything in it went through the door.

    `weights` (d + 1,) whole log-odds · 2^40 a grid unit, the last for the constant UNIT; `shapes` (d, BINS) whole log-odds · 2^40 on
    even bins of each feature; `mean` (d,) noisy, on the grid: what contributions are measured from; `masses` (d, BINS) noisy
    shares of subjects in the bins, each row adding up to 1.
    """

    weights: Array
    shapes: Array
    mean: Array
    masses: Array

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: a probability."""
        return probabilities.scores(self.logits(features))

    def logits(self, features: Features) -> Array:
        """(n,) exact whole log-odds, in units of 2^-40."""
        return in_turn(features, lambda x: designs.logits(x, self.weights, self.shapes))

    def contributions(self, features: Features) -> Array:
        """(n, d) what each feature adds to a subject's log-odds, against a subject of mean features. Exact."""
        x = np.asarray(features, dtype=np.float64)
        return np.asarray(((x - self.mean) * self.weights[:-1] + self.shapes[np.arange(x.shape[1]), designs.bins(x)]) / LOGIT)

    def curves(self) -> Array:
        """(d, BINS) contribution of each feature in the middle of its bins."""
        return np.asarray(((designs.MIDDLES - self.mean[:, None]) * self.weights[:-1, None] + self.shapes) / LOGIT)

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {"kind": "additive"} | {name: getattr(self, name).tolist() for name in ("weights", "shapes", "mean", "masses")}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> AdditiveModel:
        """Out of `facts`."""
        return cls(*(np.asarray(facts[name], dtype=np.float64) for name in ("weights", "shapes", "mean", "masses")))


def fit(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> AdditiveModel:
    """An additive model of `label` on `features`, from training subjects. `grant` is used up.

    Where noise drowns the data, probabilities tend to the base rate. Raises DoorError and BudgetError as the door does.
    """
    rounds = Rounds(cohort, grant.split(**SHARES), noise, progress)
    seen = designs.spread(rounds, "moments", cohort.width)
    masses = histogram(rounds, "histogram", cohort.width)
    design = _curved(seen, masses)
    weights, shapes = design.released(newton.fit(rounds, design, seen).weights)
    return AdditiveModel(weights, shapes, seen.mean, masses)


def histogram(rounds: Rounds, name: str, d: int) -> Array:
    """One round: the share of training subjects in each bin of each feature, (d, BINS); an even one where noise hides a feature."""
    counts = rounds.blocks(name, "additive.histogram", {}, (d, BINS, 1), math.sqrt(d))[:, :, 0]
    counts = np.where(counts > SEEN * rounds.sigma(name, math.sqrt(d)), counts, 0.0)
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1e-12), 1 / BINS)


def _curved(seen: Spread, masses: Array) -> Design:
    """The features and the likeliest functions of them."""
    plain = designs.plain(seen)
    found = sorted(((value, place, column) for place, mass in enumerate(masses) for value, column in _functions(mass)), key=lambda f: -f[0])
    kept = sorted(found[:MOST_SHAPES], key=lambda f: f[1])
    of = np.array([place for _, place, _ in kept], dtype=np.int64)
    tables = np.rint(ROW * CURVED * np.array([column for *_, column in kept]).reshape(-1, BINS).T)
    size = float((masses.T[:, of] * (tables / ROW) ** 2).sum())
    return Design(plain.mean, plain.scale, tables, of, plain.size + size)


def _functions(mass: Array) -> list[tuple[float, Array]]:
    """Up to `SHAPES` functions (BINS,) of a feature of this distribution, each with its variance a priori, which it has."""
    known = mass > 0
    weight, ranks, middles = np.sqrt(mass[known]), (np.cumsum(mass) - mass / 2)[known], np.linspace(-1, 1, BINS)[known]
    lines, _ = np.linalg.qr(np.stack([weight, weight * (middles - mass[known] @ middles)], axis=1))
    rest = np.eye(len(weight)) - lines @ lines.T
    prior = rest @ (weight[:, None] * np.exp(-np.abs(ranks[:, None] - ranks) / LENGTH) * weight) @ rest
    values, vectors = np.linalg.eigh(prior)
    places = np.arange(BINS)
    return [
        (float(value), np.interp(places, places[known], vector / weight * math.sqrt(value)))
        for value, vector in zip(values[::-1][:SHAPES], vectors.T[::-1], strict=False)
        if value > LEAST
    ]


@register("additive.histogram")
def counts(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """1 in the bin of each feature."""
    places = designs.bins(batch["features"])
    return Contribution(np.ones((*places.shape, 1)), places)
