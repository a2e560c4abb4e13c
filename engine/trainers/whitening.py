"""Coordinates in which noise is fair: features less their mean, turned and stretched to unit variance, by noisy moments.

A sum of whitened rows gets noise of one size in every direction, and what is regressed on them needs no second matrix: their
second moment is the identity. Directions that the noise of the covariance hides are damped instead of stretched; they carry
little, and are known badly. Two rounds: moments, covariance (`logistic` explains why this shape of noise is the best one).

Whoever takes no part in a trial (`treatment` below 0) adds zero. Neighbours: add or remove one subject; sensitivity: the `bound`
of each query. Steps are row-wise and give whole numbers below 2^53.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.scale import UNIT
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Contribution, register, symmetric

REACH = 1.2
"""Clip radius of centred rows, in root mean square norms."""

DAMP, RIDGE = 0.7, 0.35
"""Eigenvalues are raised to DAMP at least, and then by RIDGE, in units of σ√d; noise alone has a spectral radius of √2 of these."""

LEAST_SPREAD = UNIT / 1024
"""Standard deviation, in grid units, below which a direction is not stretched further."""

LEAST_KEPT = 1e-3
"""Share of a weight that is kept at least, so that an order of people stays."""

WHITE, WHITE_BITS = 1 << 12, 17
"""Whitened rows are whole numbers, this is one standard deviation; the matrix has WHITE_BITS more bits."""

MAX_WHITE = 1 << 20
"""Largest whitened value, so that products with it stay exact."""


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """`matrix` (d, d) whole numbers take rows less `mean` (d,) to whitened ones; `variances` (d,), in square grid units, of the
    directions that its columns are; `norm`: root mean square norm of whitened rows, a constant 1 included."""

    mean: Array
    matrix: Array
    variances: Array
    norm: float

    def parameters(self) -> dict[str, Array]:
        """What `rows` needs."""
        return {"mean": self.mean, "matrix": self.matrix}

    def kept(self, w: Array, variance: float) -> Array:
        """(d,) share of each direction's weight to keep, given the `variance` of chance and noise in every one (empirical Bayes, after
        James and Stein 1961): a priori slopes are alike in all features, so that directions in which people hardly differ say little."""
        varying = self.variances / self.variances.sum()
        prior = max(float((w**2).sum()) - variance * len(w), 0.0) * varying
        return np.asarray(np.maximum(prior / (prior + variance), LEAST_KEPT))

    def unwhitened(self, w: Array) -> Array:
        """Change a grid unit of each feature, and at the grid's zero, (..., d + 1), from weights (..., d + 1) of whitened rows."""
        features = w[..., :-1] @ self.matrix.T / (WHITE * 2.0**WHITE_BITS)
        return np.concatenate([features, (w[..., -1] - features @ self.mean)[..., None]], axis=-1)


def whiten(rounds: Rounds, name: str, subjects: float, mean: Array, variance: Array) -> Whitening:
    """One round, `name`: the inverse square root of the noisy covariance. `subjects`, `mean` and `variance` (d,) were released."""
    d = len(mean)
    radius = math.ceil(REACH * math.sqrt(variance.sum()))
    [sums] = rounds.ask(name, "whitening.covariance", {"mean": mean}, (1, d * (d + 1) // 2), radius**2)
    values, vectors = np.linalg.eigh(symmetric(sums) / subjects)
    hidden = rounds.sigma(name, radius**2) * math.sqrt(d) / subjects
    damped = np.maximum(values, max(DAMP * hidden, LEAST_SPREAD**2)) + RIDGE * hidden
    matrix = np.rint(vectors / np.sqrt(damped) * (WHITE * 2.0**WHITE_BITS))
    return Whitening(mean, matrix, damped, math.sqrt(float(np.clip(values / damped, 0.0, 1.0).sum()) + 1))


def centre(sums: Array, subjects: float) -> tuple[Array, Array]:
    """Mean and variance, (d,) each, from noisy sums (2d,) of `moments`."""
    first, second = np.split(sums, 2)
    mean = np.clip(np.rint(first / subjects), -UNIT, UNIT)
    return mean, np.clip(second * UNIT / subjects - mean**2, (UNIT / 100) ** 2, UNIT**2)


def moments(batch: Batch) -> Array:
    """(n, 2d): x and x²/UNIT, at most UNIT each."""
    x = batch["features"]
    return np.hstack([x, np.trunc(x * x / UNIT)])


def rows(batch: Batch, parameters: Mapping[str, Array]) -> Array:
    """(n, d + 1) whitened rows and a constant, in units of 1/WHITE."""
    white = np.trunc((batch["features"] - parameters["mean"]) @ parameters["matrix"] / 2.0**WHITE_BITS)
    return np.hstack([np.clip(white, -MAX_WHITE, MAX_WHITE), np.full((len(white), 1), float(WHITE))])


def taking_part(batch: Batch) -> Array:
    """(n, 1): 0 for whoever is in no arm of a trial, 1 for all others."""
    if "treatment" not in batch:
        return np.ones((len(batch["features"]), 1))
    return np.asarray(batch["treatment"] >= 0, dtype=np.float64)[:, None]


@register("whitening.covariance")
def covariance(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Products of the values (n, d): x − mean; zero for whoever takes no part in a trial."""
    return Contribution((batch["features"] - parameters["mean"]) * taking_part(batch), products=True)
