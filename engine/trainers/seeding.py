"""Where prototypes begin: three rounds of the door, and centres of a noisy histogram.

Moments give a scale, their covariance the axes along which people differ most, and a histogram on these shows where they are.
Every step gives whole numbers below 2^53 from whole numbers. Neighbours: add or remove one subject; the bound of each query is
public, or follows from earlier releases. Not here: how prototypes get better (`engine.trainers.lloyd`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.scale import UNIT
from engine.trainers.prototypes import weighted_kmeans
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Contribution, register, symmetric

SHARES = {"moments": 3.0, "covariance": 9.0, "cells": 22.0}
"""Shares of μ², one for each round (`engine.trainers.clusters` says what they were tuned on)."""

AXES = 4
"""Leading axes that the histogram is laid on; cells are cubes, so more axes make all of them coarser."""

PROTOTYPES = 8
"""Prototypes for each cluster, where there are enough subjects."""

AFFORD = 0.25
"""A prototype's mean may err by this share of the clip radius: K ≤ AFFORD · n · μ / √d."""

SUBJECTS_A_CELL = 4.0
"""Average subjects a cell, in standard deviations of the noise."""

BOX = 3.0
"""Half of the histogram's box, in standard deviations along each axis."""

MAX_CELLS = 1 << 12
"""Cells of the histogram at most."""

RADIUS = 1.5
"""Clip radius of the covariance, in root mean square distances."""

FIXED = 1 << 15
"""Axes are whole numbers: this is a length of one."""

LEAST_VARIANCE = (UNIT / 100) ** 2
"""Variance below which a feature is taken as constant, in square grid units."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """`points` (K, d) on the grid, `variance` of subjects about them in square grid units, and of all subjects the noisy number and
    `covariance` (d, d), which is that of independent features where no round was spent on it."""

    points: Array
    variance: float
    subjects: float
    covariance: Array


@dataclass(frozen=True, slots=True)
class Spread:
    """Noisy first look: number of subjects, mean (d,) on the grid, variance (d,) of each feature."""

    subjects: float
    mean: Array
    variance: Array


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the histogram lies: `axes` (d, p) of length `FIXED`, variance (p,) along them and `rest` across them. `covariance` (d, d): as
    in `Seeds`."""

    spread: Spread
    covariance: Array
    axes: Array
    variance: Array
    rest: float


def shares(width: int) -> dict[str, float]:
    """Of the rounds that as many features need: with few of them, these are the axes, and no round is spent on finding better ones."""
    return {name: share for name, share in SHARES.items() if name != "covariance" or width > AXES}


def seeds(rounds: Rounds, k: int, following: str, seed: int) -> Seeds:
    """Some prototypes for each of `k` clusters, as many as the round that is `following` can afford to move."""
    first = spread(rounds)
    frame = _leading_axes(rounds, first) if rounds.cohort.width > AXES else _own_axes(first)
    points, variance = _from_cells(rounds, frame, k, following, seed)
    return Seeds(points, variance, first.subjects, frame.covariance)


def spread(rounds: Rounds) -> Spread:
    """Sums of 1, x and x² in one round. The public bound of each feature is all that bounds them."""
    d = rounds.cohort.width
    weight = float(round(UNIT * math.sqrt(d)))
    sums = rounds.ask("moments", "clusters.moments", {"weight": np.array([weight])}, (1, 2 * d + 1), moments_bound(d))[0]
    subjects = max(sums[0] / weight, 1.0)
    mean = on_grid(sums[1 : d + 1] / subjects)
    return Spread(subjects, mean, np.clip(sums[d + 1 :] * UNIT / subjects - mean**2, LEAST_VARIANCE, UNIT**2))


def moments_bound(d: int) -> float:
    """L2 bound of what a subject adds to the moments of `d` features."""
    return math.sqrt(3 * d) * UNIT + 1


def covariance_of(rounds: Rounds, spread: Spread) -> Array:
    """(d, d) noisy covariance about the mean, of rows clipped to the predicted spread."""
    d, radius = len(spread.mean), reach(spread)
    sums = rounds.ask("covariance", "clusters.covariance", {"mean": spread.mean}, (1, d * (d + 1) // 2), radius**2)[0]
    return symmetric(sums) / spread.subjects


def reach(spread: Spread) -> float:
    """Clip radius of the covariance, in grid units."""
    return float(math.ceil(min(RADIUS * math.sqrt(float(spread.variance.sum())), 2 * UNIT * math.sqrt(len(spread.mean)))))


def _leading_axes(rounds: Rounds, spread: Spread) -> _Frame:
    """Principal axes of the noisy covariance."""
    covariance = covariance_of(rounds, spread)
    values, vectors = np.linalg.eigh(covariance)
    leading = np.argsort(-values, kind="stable")[:AXES]
    rest = max(float(values.sum() - values[leading].sum()), 0.0)
    return _Frame(spread, covariance, np.rint(vectors[:, leading] * FIXED), np.maximum(values[leading], LEAST_VARIANCE), rest)


def _own_axes(spread: Spread) -> _Frame:
    return _Frame(spread, np.diag(spread.variance), np.eye(len(spread.mean)) * FIXED, spread.variance, 0.0)


def _from_cells(rounds: Rounds, frame: _Frame, k: int, following: str, seed: int) -> tuple[Array, float]:
    """Prototypes (K, d) from a noisy histogram on the axes, and the variance of subjects about them."""
    subjects, sigma = frame.spread.subjects, rounds.sigma("cells", 1.0)
    half = np.ceil(BOX * np.sqrt(frame.variance)) * FIXED
    side = _sides(half, min(subjects / sigma / SUBJECTS_A_CELL, MAX_CELLS), k)
    cell = np.ceil(2 * half / side)
    parameters = {"mean": frame.spread.mean, "axes": frame.axes, "half": half, "cell": cell, "side": side}
    counts = rounds.ask("cells", "clusters.cells", parameters, (int(side.prod()), 1), 1.0).ravel()
    kept = np.argsort(-counts, kind="stable")[: max(k, int((counts > 2 * sigma).sum()))]
    places = ((np.stack(np.unravel_index(kept, side.astype(np.int64)), axis=1) + 0.5) * cell - half) / FIXED
    wanted = int(np.clip(AFFORD * subjects / rounds.sigma(following, 1.0) / math.sqrt(len(frame.axes)), k, PROTOTYPES * k))
    found, _, between = weighted_kmeans(places, np.maximum(counts[kept], 1.0), min(wanted, len(kept)), 1, seed)
    variance = frame.rest + between + float((cell**2).sum()) / FIXED**2 / 12
    return on_grid(frame.spread.mean + found @ frame.axes.T / FIXED), variance


def _sides(half: Array, wanted: float, least: int) -> Array:
    """Cells along each axis, (p,): cubes as large as `wanted` cells in all allow, but at least `least` cells. A short axis gets one."""
    widths = half.max() / np.arange(1.0, MAX_CELLS + 1)
    sides = np.maximum(np.rint(half / widths[:, None]), 1.0)
    totals = sides.prod(axis=1)
    return np.asarray(sides[max(int((totals <= wanted).sum()) - 1, int((totals < least).sum()))])


def on_grid(points: Array) -> Array:
    """Whole numbers on the feature grid."""
    return np.clip(np.rint(points), -UNIT, UNIT)


@register("clusters.moments")
def moments(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 1 + d + d): weight, x, x²/UNIT."""
    x = batch["features"].T
    values = np.empty((1 + 2 * len(x), x.shape[1]))
    values[0] = parameters["weight"][0]
    values[1 : 1 + len(x)] = x
    values[1 + len(x) :] = np.trunc(x * x / UNIT)
    return Contribution(values.T)


@register("clusters.covariance")
def covariance(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Products of the values (n, d): x − mean."""
    return Contribution(batch["features"] - parameters["mean"], products=True)


@register("clusters.cells")
def cells(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the cell of its projection; what lies outside the box counts in the outermost cell."""
    along = parameters["axes"].T @ (batch["features"] - parameters["mean"]).T + parameters["half"][:, None]
    side = parameters["side"][:, None]
    places = np.clip(np.floor(along / parameters["cell"][:, None]), 0, side - 1)  # exact: a quotient of whole numbers below 2^53
    strides = np.append(parameters["side"][:0:-1].cumprod()[::-1], 1.0)
    return Contribution(np.ones((along.shape[1], 1)), (strides @ places).astype(np.int64))
