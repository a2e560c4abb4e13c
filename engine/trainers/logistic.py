"""A DP logistic model: regression by noisy gradients in whitened coordinates, where noise has the shape of the information.

Rounds of the door (eight): moments → covariance, which whitens → six gradients. Why whiten: let rows have second moment H
and clip gradients to an ellipsoid of shape A. Noise then has covariance ∝ A · tr(A⁻¹H), and the error of scores that it
causes is ∝ tr(H⁻¹A) · tr(A⁻¹H) ≥ d² (Cauchy and Schwarz), with equality at A = H. Directions that the noise of the covariance
hides are damped rather than stretched. Each gradient is followed by a Newton step whose curvature is not asked of the
data: it is that of a normal score with the released mean and spread (Stein's lemma). At the end the known noise is taken
out of the spread of scores (after James and Stein, 1961), so that probabilities are not overconfident.

Neighbours: add or remove one subject. Sensitivity: the `bound` of each query, public or computed from earlier releases;
the door enforces it by clipping. Training subjects alone take part. Every registered step gives whole numbers below 2^53 from
whole numbers, the logistic function comes from a table, so sums before noise have the same bits whatever batch, thread or
engine. Not here: thresholds and evaluation (`engine.assess`), forecasts (`engine.forecast`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import ONE, Features
from engine.scale import UNIT
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register
from governance.noise import NoiseSource

GRADIENTS = {"gradient-1": 2.5, "gradient-2": 4.2, "gradient-3": 7.1, "gradient-4": 12.1, "gradient-5": 20.6, "gradient-6": 35.0}
SHARES = {"moments": 6.5, "covariance": 12.0} | GRADIENTS
"""Shares of μ², one for each round; later gradients are nearer the end, so they get more. These and the constants below were
tuned once, on online shoppers, telco churn, adult and grocery coupons at ε 1 to 0.1, and are the same for every data set."""

REACH = 1.2
"""Clip radius of centred rows, in root mean square norms."""

CLIP = 0.95
"""Clip radius of gradients, in root mean square norms of whitened rows (the residual is at most 1)."""

DAMP, RIDGE = 0.7, 0.35
"""Eigenvalues are raised to DAMP at least, and then by RIDGE, in units of σ√d; noise alone has a spectral radius of √2 of these."""

LEAST_SPREAD = UNIT / 1024
"""Standard deviation, in grid units, below which a direction is not stretched further."""

STEP = 0.6
"""Longest step in one round, in standard deviations of the score."""

LOGITS, STEPS_A_LOGIT = 12, 512
"""The table of the logistic function covers ±LOGITS, in this many steps each."""

WEIGHT_BITS = 40
"""Weights are whole numbers: a logit is Σ weight · feature / 2^WEIGHT_BITS."""

MAX_WEIGHT = 1 << 31
"""Keeps scores of 64 features exact below 2^53."""

WHITE, WHITE_BITS = 1 << 12, 17
"""Whitened rows are whole numbers, this is one standard deviation; the matrix has WHITE_BITS more bits."""

MAX_WHITE = 1 << 20
"""Largest whitened value, so that gradients stay exact."""

ROWS = 1 << 16
"""Subjects that are scored at once."""


@dataclass(frozen=True, slots=True, eq=False)
class LogisticModel:
    """A released logistic model; everything in it went through the door.

    `weights` (d + 1,) whole numbers, the last for the constant UNIT, in logits · 2^WEIGHT_BITS a grid unit; `subjects`: noisy
    number of training subjects with standard deviation `subjects_sigma`; `error` (d + 1,) standard deviation of `coefficients`
    that comes from the noise of the last round alone (sampling is not in it).
    """

    weights: Array
    subjects: float
    subjects_sigma: float
    error: Array

    @property
    def coefficients(self) -> Array:
        """(d + 1,) change of the logit as a feature goes from the middle to the upper end of its range; last, the intercept."""
        return self.weights * (UNIT / 2.0**WEIGHT_BITS)

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: a probability."""
        scores, table = np.empty(len(features), dtype=np.int64), _logistic_table()
        for start in range(0, len(features), ROWS):
            rows = np.asarray(features[start : start + ROWS], dtype=np.float64)
            scores[start : start + ROWS] = _probability(rows, self.weights, table)
        return scores

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {
            "kind": "logistic",
            "weights": self.weights.tolist(),
            "subjects": self.subjects,
            "subjects_sigma": self.subjects_sigma,
            "error": self.error.tolist(),
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> LogisticModel:
        """Out of `facts`."""
        return cls(np.asarray(facts["weights"]), facts["subjects"], facts["subjects_sigma"], np.asarray(facts["error"]))


@dataclass(frozen=True, slots=True)
class _Spread:
    """Noisy first look at training subjects: how many, the share of positives, mean (d,) and variance (d,) on the grid."""

    subjects: float
    positives: float
    mean: Array
    variance: Array


@dataclass(frozen=True, slots=True)
class _Whitening:
    """`matrix` (d, d) whole numbers take centred rows to whitened ones; `norm`: root mean square norm, constant included."""

    mean: Array
    matrix: Array
    norm: float


@dataclass(frozen=True, slots=True)
class _Door:
    """The cohort's training subjects, with named shares of one grant."""

    cohort: Cohort
    grants: Mapping[str, Grant]
    noise: NoiseSource
    progress: Callable[[str], None]

    def ask(self, name: str, step: str, parameters: Mapping[str, Array], values: int, bound: float) -> Array:
        """One round: the noisy sum, (values,)."""
        self.progress(name)
        query = Query(StepName(step), parameters, (1, 1, values), bound, Part.TRAIN)
        return np.asarray(self.cohort.noisy_sum(query, self.grants[name], self.noise)[0, 0])


def fit(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> LogisticModel:
    """A logistic model of `label` on `features`, from training subjects. `grant` is used up.

    Where noise drowns the data, probabilities tend to the base rate. Raises DoorError and BudgetError as the door does.
    """
    door = _Door(cohort, grant.split(**SHARES), noise, progress)
    spread = _spread(door)
    white = _whiten(door, spread)
    table = _logistic_table()
    w = np.append(np.zeros(cohort.width), _logit(spread.positives))
    clip = math.ceil(CLIP * white.norm * WHITE * ONE)
    error = np.zeros((len(w), len(w)))
    for name in GRADIENTS:
        parameters = {"weights": _weights(white, w), "table": table, "mean": white.mean, "matrix": white.matrix}
        gradient = door.ask(name, "logistic.gradient", parameters, len(w), clip) / (WHITE * ONE * spread.subjects)
        inverse = _inverse_hessian(w, spread.positives)
        error = door.grants[name].sigma(clip / (WHITE * ONE * spread.subjects)) * inverse
        w = w - _capped(inverse @ gradient)
    w = _calmed(w, error)
    return LogisticModel(
        weights=_weights(white, w),
        subjects=spread.subjects,
        subjects_sigma=door.grants["moments"].sigma(_moments_bound(cohort.width)) / UNIT,
        error=np.sqrt((_unwhitened(white, error) ** 2).sum(axis=0)) * UNIT,
    )


def _spread(door: _Door) -> _Spread:
    """Sums of 1, label, x and x² in one round. The public bound of each feature is all that bounds them."""
    d = door.cohort.width
    sums = door.ask("moments", "logistic.moments", {}, 2 * d + 2, _moments_bound(d))
    subjects = max(float(sums[0]) / UNIT, 1.0)
    mean = np.clip(np.rint(sums[2 : d + 2] / subjects), -UNIT, UNIT)
    variance = np.clip(sums[d + 2 :] * UNIT / subjects - mean**2, (UNIT / 100) ** 2, UNIT**2)
    return _Spread(subjects, float(np.clip((sums[1] / UNIT / subjects + 1) / 2, 0.01, 0.99)), mean, variance)


def _moments_bound(d: int) -> float:
    return UNIT * math.sqrt(2 * d + 2)


def _whiten(door: _Door, spread: _Spread) -> _Whitening:
    """Inverse square root of the noisy covariance, damped where noise hides it."""
    d = len(spread.mean)
    radius = math.ceil(REACH * math.sqrt(spread.variance.sum()))
    rows, columns = np.triu_indices(d)
    sums = door.ask("covariance", "logistic.covariance", {"mean": spread.mean}, len(rows), radius**2)
    covariance = np.zeros((d, d))
    covariance[rows, columns] = sums / np.where(rows == columns, 1.0, math.sqrt(2)) / spread.subjects
    values, vectors = np.linalg.eigh(covariance + np.triu(covariance, 1).T)
    hidden = door.grants["covariance"].sigma(radius**2) * math.sqrt(d) / spread.subjects
    damped = np.maximum(values, max(DAMP * hidden, LEAST_SPREAD**2)) + RIDGE * hidden
    matrix = np.rint(vectors / np.sqrt(damped) * (WHITE * 2.0**WHITE_BITS))
    return _Whitening(spread.mean, matrix, math.sqrt(float(np.clip(values / damped, 0.0, 1.0).sum()) + 1))


def _inverse_hessian(w: Array, positives: float) -> Array:
    """(d + 1, d + 1) inverse curvature of the loss for whitened normal rows: one value along w[:-1], another across and for the
    constant. Curvature is at least a third of what w = 0 has, and along at least 0.3 of that across, so that steps stay short."""
    nodes, weights = _normal()
    spread = float(np.linalg.norm(w[:-1]))
    p = _logistic(w[-1] + spread * nodes)
    curvature = weights * p * (1 - p)
    across = max(float(curvature.sum()), positives * (1 - positives) / 3)
    along = max(float(curvature @ nodes**2), 0.3 * across)
    direction = np.append(w[:-1] / max(spread, 1e-12), 0.0)
    return np.eye(len(w)) / across + np.outer(direction, direction) * (1 / along - 1 / across)


def _capped(step: Array) -> Array:
    """A step, (d + 1,), that moves scores by at most `STEP`, and the intercept by as much."""
    length = float(np.linalg.norm(step[:-1]))
    return np.append(step[:-1] * min(1.0, STEP / max(length, STEP)), np.clip(step[-1], -STEP, STEP))


def _calmed(w: Array, error: Array) -> Array:
    """Weights shrunk by what noise adds to their length (to a tenth at most: an order stays), and the intercept that keeps the mean."""
    nodes, weights = _normal()
    spread = float(np.linalg.norm(w[:-1]))
    mean = float(weights @ _logistic(w[-1] + spread * nodes))
    kept = math.sqrt(max(0.01, 1 - float((error[:-1] ** 2).sum()) / max(spread**2, 1e-12)))
    low, high = -float(LOGITS), float(LOGITS)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(weights @ _logistic(middle + kept * spread * nodes)) < mean else (low, middle)
    return np.append(w[:-1] * kept, (low + high) / 2)


def _weights(white: _Whitening, w: Array) -> Array:
    """Weights of features and constant, (d + 1,) whole numbers, from weights of whitened rows."""
    return np.clip(np.rint(_unwhitened(white, w) * 2.0**WEIGHT_BITS), -MAX_WEIGHT, MAX_WEIGHT)


def _unwhitened(white: _Whitening, w: Array) -> Array:
    """Logits a grid unit of each feature and of the constant, (..., d + 1), from weights (..., d + 1) of whitened rows."""
    features = w[..., :-1] @ white.matrix.T / (WHITE * 2.0**WHITE_BITS)
    constant = (w[..., -1] - features @ white.mean) / UNIT
    return np.concatenate([features, constant[..., None]], axis=-1)


def _probability(x: Array, weights: Array, table: Array) -> Array:
    """(n,) on the grid 0..ONE: exact whole-number score, then the table."""
    scores = x @ weights[:-1] + UNIT * weights[-1]
    places = np.floor(scores * (STEPS_A_LOGIT / 2.0**WEIGHT_BITS)) + LOGITS * STEPS_A_LOGIT
    return np.asarray(table[np.clip(places, 0, len(table) - 1).astype(np.int64)])


def _logistic_table() -> Array:
    """(2 · LOGITS · STEPS_A_LOGIT,) probabilities on the grid, at the middle of each step."""
    middles = (np.arange(2 * LOGITS * STEPS_A_LOGIT) + 0.5) / STEPS_A_LOGIT - LOGITS
    return np.rint(ONE * _logistic(middles))


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _normal() -> tuple[Array, Array]:
    """Nodes and weights of the standard normal distribution (Gauss and Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    return nodes, weights / weights.sum()


@register("logistic.moments")
def moments(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2 + d + d): UNIT, ±UNIT for the label, x, x²/UNIT."""
    x = batch["features"]
    label = (2 * batch["label"] - 1)[:, None]
    return Contribution(np.hstack([np.full((len(x), 1), float(UNIT)), UNIT * label, x, np.trunc(x * x / UNIT)]))


@register("logistic.covariance")
def covariance(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d(d+1)/2): upper triangle of yyᵀ, y = x − mean; off the diagonal times √2, so that the norm is ‖y‖²."""
    y = batch["features"] - parameters["mean"]
    rows, columns = np.triu_indices(y.shape[1])
    return Contribution(np.trunc(y[:, rows] * y[:, columns] * np.where(rows == columns, 1.0, math.sqrt(2))))


@register("logistic.gradient")
def gradient(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d + 1): (probability − label) · (whitened row, one), in units of 1/(ONE · WHITE)."""
    x = batch["features"]
    residual = _probability(x, parameters["weights"], parameters["table"]) - ONE * batch["label"]
    white = np.trunc((x - parameters["mean"]) @ parameters["matrix"] / 2.0**WHITE_BITS)
    rows = np.hstack([np.clip(white, -MAX_WHITE, MAX_WHITE), np.full((len(x), 1), float(WHITE))])
    return Contribution(rows * residual[:, None])
