"""Noisy Newton steps to a logistic regression on rows of a design, in whitened coordinates, where noise has the shape of the information.

Rounds of the door (eight): covariance, which whitens → seven gradients. Why whiten: let rows have second moment H
and clip gradients to an ellipsoid of shape A. Noise then has covariance ∝ A · tr(A⁻¹H), and the error of scores that it
causes is ∝ tr(H⁻¹A) · tr(A⁻¹H) ≥ d² (Cauchy and Schwarz), with equality at A = H. Directions that the noise of the covariance
hides are damped rather than stretched. Each gradient is followed by a Newton step whose curvature is not asked of the
data: it is that of a normal score with the released mean and spread (Stein's lemma). The last steps are shorter, which averages
the noise of several rounds (Polyak and Juditsky, 1992). At the end weights are shrunk by what is known of the noise (empirical
Bayes, after James and Stein, 1961), and the scores' spread is set to what is left without it, so that probabilities are honest.

Neighbours: add or remove one subject. Sensitivity: the `bound` of each query, public or computed from earlier releases;
the door enforces it by clipping. Training subjects alone take part. Steps give whole numbers below 2^53 from whole numbers.
Not here: what the rows are (`engine.trainers.designs`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from engine.models import ONE
from engine.trainers.designs import ROW, Design, Spread, logits, rows
from engine.trainers.probabilities import LOGITS, logistic, logit, probability, table
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Contribution, register, symmetric

GRADIENTS = {f"gradient-{place + 1}": share for place, share in enumerate((2.2, 3.3, 5.4, 8.7, 13.0, 21.7, 27.2))}
SHARES = {"covariance": 12.0} | GRADIENTS
"""Shares of μ², one for each round; later gradients are nearer the end, so they get more. These and the constants below were
tuned once, on online shoppers, telco churn, adult and grocery coupons at ε 1, and are the same for every data set."""

LENGTHS = (1.2, 1.2, 1.2, 1.2, 1.0, 0.8, 0.6)
"""Length of each Newton step: more than one where damping shortens it, less where noise is to be averaged."""

REACH = 1.2
"""Clip radius of rows, in root mean square norms."""

CLIP = 1.1
"""Clip radius of gradients, in root mean square norms of whitened rows (the residual is at most 1)."""

DAMP, RIDGE = 0.5, 0.4
"""Eigenvalues are raised to DAMP at least, and then by RIDGE, in units of σ√D; noise alone has a spectral radius of √2 of these."""

LEAST_SPREAD = 2.0**-10
"""Standard deviation below which a direction is not stretched further."""

STEP = 0.6
"""Longest step in one round, in standard deviations of the score."""

CALM = 4.0
"""Variance of a weight that is taken for noise, in variances of the last round's."""

WHITE, WHITE_BITS = 1 << 12, 17
"""Whitened rows are whole numbers, this is one standard deviation; the matrix has WHITE_BITS more bits."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights (D + 1,) of rows, the last for the constant, in log-odds a standard deviation; `error` (D + 1, D + 1): a square root of
    the covariance that noise gives them (sampling is not in it)."""

    weights: Array
    error: Array


@dataclass(frozen=True, slots=True)
class _Whitening:
    """`matrix` (D, D) whole numbers take rows to whitened ones; `damped` (D,) the variance that each direction was divided by;
    `norm`: root mean square norm of whitened rows, constant included."""

    matrix: Array
    damped: Array
    norm: float

    def rows(self, w: Array) -> Array:
        """Weights (..., D + 1) of rows from weights of whitened ones."""
        return np.concatenate([w[..., :-1] @ self.matrix.T / 2.0**WHITE_BITS * (ROW / WHITE), w[..., -1:]], axis=-1)


def fit(rounds: Rounds, design: Design, seen: Spread) -> Fitted:
    """A logistic regression of `label` on the rows of `design`, by the rounds of `SHARES`.

    Where noise drowns the data, probabilities tend to the base rate. Raises DoorError and BudgetError as the door does.
    """
    white = _whiten(rounds, design, seen.subjects)
    clip = math.ceil(CLIP * white.norm * WHITE * ONE)
    fixed = design.parameters() | {"matrix": white.matrix, "table": table()}
    w = np.append(np.zeros(design.width), logit(seen.positives))
    last, variance = 0.0, 0.0
    for name, length in zip(GRADIENTS, LENGTHS, strict=True):
        weights, shapes = design.released(white.rows(w))
        [sums] = rounds.ask(name, "newton.gradient", fixed | {"weights": weights, "shapes": shapes}, (1, len(w)), clip)
        step, stiffness = _newton(w, sums / (WHITE * ONE * seen.subjects), seen.positives)
        w = w - length * step
        last = (rounds.sigma(name, clip / (WHITE * ONE * seen.subjects)) / stiffness) ** 2
        variance = (1 - length) ** 2 * variance + length**2 * last
    kept = _kept(w, CALM * last, white.damped)
    error = math.sqrt(variance) * np.diag(np.append(kept, 1.0))
    return Fitted(white.rows(_honest(w, kept, variance)), white.rows(error))


def _whiten(rounds: Rounds, design: Design, subjects: float) -> _Whitening:
    """Inverse square root of the noisy second moment of rows, damped where noise hides it."""
    width = design.width
    radius = math.ceil(REACH * ROW * math.sqrt(design.size))
    [sums] = rounds.ask("covariance", "newton.covariance", design.parameters(), (1, width * (width + 1) // 2), radius**2)
    values, vectors = np.linalg.eigh(symmetric(sums) / (subjects * ROW**2))
    hidden = rounds.sigma("covariance", radius**2) * math.sqrt(width) / (subjects * ROW**2)
    damped = np.maximum(values, max(DAMP * hidden, LEAST_SPREAD**2)) + RIDGE * hidden
    matrix = np.rint(vectors / np.sqrt(damped) * (WHITE / ROW * 2.0**WHITE_BITS))
    shares = np.clip(values / damped, -1.0, 1.0)  # below zero is noise too, and makes up for noise above it
    return _Whitening(matrix, damped, math.sqrt(max(float(shares.sum()), 1.0) + 1))


def _newton(w: Array, gradient: Array, positives: float) -> tuple[Array, float]:
    """The Newton step (D + 1,), capped, and the curvature across w[:-1], for whitened normal rows. Curvature is at least a third of
    what w = 0 has, and along w[:-1] at least 0.3 of that across, so that steps stay short."""
    nodes, weights = _normal()
    spread = float(np.linalg.norm(w[:-1]))
    p = logistic(w[-1] + spread * nodes)
    curvature = weights * p * (1 - p)
    across = max(float(curvature.sum()), positives * (1 - positives) / 3)
    along = max(float(curvature @ nodes**2), 0.3 * across)
    direction = np.append(w[:-1] / max(spread, 1e-12), 0.0)
    step = gradient / across + direction * (direction @ gradient) * (1 / along - 1 / across)
    length = float(np.linalg.norm(step[:-1]))
    return np.append(step[:-1] * min(1.0, STEP / max(length, STEP)), np.clip(step[-1], -STEP, STEP)), across


def _kept(w: Array, noise: float, sizes: Array) -> Array:
    """(D,) share of each weight that is more than noise. A priori weights of rows are alike, so that weights of whitened rows have
    variances in proportion to `sizes`; the factor is the likeliest one."""
    sizes = sizes / sizes.mean()
    factors = np.geomspace(1e-4, 20, 60)[:, None]
    variances = factors * sizes + noise
    likelihood = -(w[:-1] ** 2 / variances + np.log(variances)).sum(axis=1)
    best = factors[int(np.argmax(likelihood)), 0]
    return np.asarray(best * sizes / (best * sizes + noise))


def _honest(w: Array, kept: Array, noise: float) -> Array:
    """Weights kept in part, at the length at which scores are right on average (what they say of true ones over what they say of
    themselves; at least a tenth, an order stays), and the intercept that keeps the mean."""
    nodes, weights = _normal()
    mean = float(weights @ logistic(w[-1] + float(np.linalg.norm(w[:-1])) * nodes))
    shrunk = kept * w[:-1]
    true = float((kept * (w[:-1] ** 2 - noise)).sum()) / max(float(shrunk @ shrunk), 1e-12)
    shrunk = shrunk * np.clip(true, 0.1, 1 / max(float(kept.max()), 0.1))
    spread = float(np.linalg.norm(shrunk))
    low, high = -float(LOGITS), float(LOGITS)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(weights @ logistic(middle + spread * nodes)) < mean else (low, middle)
    return np.append(shrunk, (low + high) / 2)


@cache
def _normal() -> tuple[Array, Array]:
    """Nodes and weights of the standard normal distribution (Gauss and Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    return nodes, weights / weights.sum()


@register("newton.covariance")
def covariance(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Products of the values (n, D) of a row."""
    return Contribution(rows(batch["features"], parameters), products=True)


@register("newton.gradient")
def gradient(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, D + 1): (probability − label) · (whitened row, one), in units of 1/(ONE · WHITE)."""
    x = batch["features"]
    predicted = probability(logits(x, parameters["weights"], parameters["shapes"]), parameters["table"])
    matrix = np.pad(parameters["matrix"] * 2.0**-WHITE_BITS, ((0, 0), (0, 1)))
    whole = rows(x, parameters) @ matrix  # exact below 2^53: rows have norms below 2^23, columns of the matrix 2^27 and these bits
    np.trunc(whole, out=whole)
    whole[:, -1] = WHITE
    whole *= (predicted - ONE * batch["label"])[:, None]
    return Contribution(whole)
