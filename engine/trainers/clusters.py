"""DP clusters: many noisy prototypes first, then a merge that costs nothing, then a few noisy Lloyd steps on the result.

Rounds of the door (nine): moments → covariance → histogram on the leading axes, which seeds prototypes → two Lloyd
steps on prototypes → (merge to k, free) → three Lloyd steps on centres → sizes. Lloyd, 1982; with noise: Blum, Dwork,
McSherry, Nissim, 2005 ("SuLQ"). Here sums are taken relative to the centre and clipped to a radius that earlier
releases predict, so that noise shrinks with the cluster, and a step is shrunk where noise outweighs it (James, Stein,
1961). Exact n is never seen: every count is a column of a noisy sum.

Neighbours: add or remove one subject. Sensitivity: the `bound` of each query, public or computed from earlier releases;
the door enforces it. Every registered step gives whole numbers below 2^53 from whole numbers, so sums before noise
have the same bits whatever batch, thread or engine. Not here: choosing k (`engine.trainers.prototypes`), names (`engine.naming`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Features
from engine.scale import UNIT
from engine.trainers.prototypes import Merged, choose, davies_bouldin, merge, silhouette, weighted_kmeans
from governance.door import Array, Batch, Cohort, Contribution, Grant, Query, StepName, register
from governance.noise import NoiseSource

SHARES = {
    "moments": 3,
    "covariance": 9,
    "cells": 22,
    "prototypes-1": 20,
    "prototypes-2": 20,
    "centres-1": 10,
    "centres-2": 10,
    "centres-3": 10,
    "sizes": 4,
}
"""Shares of μ², one for each round. These and the constants below were tuned once, on CDNOW and the online shoppers of UCI
at ε 0.5 to 2 and on generated blobs at 0.1 to 0.5, and are the same for every data set."""

AXES = 4
"""Leading axes that the histogram is laid on; cells are cubes, so more axes make all of them coarser."""

PROTOTYPES = 12
"""Prototypes for each cluster, where there are enough subjects."""

AFFORD = 0.25
"""A prototype's mean may err by this share of the clip radius: K ≤ AFFORD · n · μ / √d."""

SUBJECTS_A_CELL = 4.0
"""Average subjects a cell, in standard deviations of the noise."""

BOX = 3.0
"""Half of the histogram's box, in standard deviations along each axis."""

MAX_CELLS = 1 << 14
"""Cells of the histogram at most."""

REACH = 1.5
"""Clip radius, in root mean square distances."""

COUNT = 0.35
"""Weight of the count beside an offset of the radius' length, in one Lloyd query."""

FIXED = 1 << 15
"""Axes are whole numbers: this is a length of one."""

ROWS = 1 << 13
"""Subjects whose distances are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """Whoever is nearest to a centre belongs to it. `centres` (k, d) whole numbers on the feature grid; `prototypes` (K, d) on it
    too, with noisy `weights` (K,) of at least 1: what the centres were merged from."""

    centres: Array
    prototypes: Array
    weights: Array

    def assign(self, features: Features) -> NDArray[np.int64]:
        """See `Partition.assign`: the nearest centre; the lowest index wins a tie."""
        return nearest(features, self.centres)

    def facts(self) -> dict[str, Any]:
        """See `Partition.facts`."""
        arrays = {name: getattr(self, name).tolist() for name in ("centres", "prototypes", "weights")}
        return {"kind": "centres"} | arrays

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Centres:
        """Out of `facts`."""
        return cls(*(np.asarray(facts[name], dtype=np.float64) for name in ("centres", "prototypes", "weights")))


@dataclass(frozen=True, slots=True, eq=False)
class Clustered:
    """Released clusters, largest first; everything in it went through the door.

    `sizes` (k,) noisy subjects with standard deviation `sizes_sigma`; `silhouette` and `davies_bouldin` of the centres, on
    prototypes; `tried`: each k that was tried; `notes`: how k came about, in words.
    """

    model: Centres
    sizes: Array
    sizes_sigma: float
    silhouette: float
    davies_bouldin: float
    tried: tuple[Merged, ...]
    notes: tuple[str, ...]


def fit(
    cohort: Cohort,
    k: int | tuple[int, int],
    grant: Grant,
    noise: NoiseSource,
    progress: Callable[[str], None],
    seed: int,
) -> Clustered:
    """Clusters of the cohort's features: `k` of them, or as many of (least, most) as the prototypes suggest.

    `grant` is used up. `seed` feeds the coordinator's k-means on released values, nothing that sees a subject.
    Raises DoorError and BudgetError as the door does.
    """
    least, most = (k, k) if isinstance(k, int) else k
    shares = {name: share for name, share in SHARES.items() if name != "covariance" or cohort.width > AXES}
    door = _Door(cohort, grant.split(**shares), noise, progress)
    spread = _spread(door)
    frame = _leading_axes(door, spread) if cohort.width > AXES else _own_axes(spread)
    prototypes, within = _seeds(door, frame, most, seed)
    for name in ("prototypes-1", "prototypes-2"):
        prototypes, weights = _lloyd(door, name, prototypes, within)
    kept = np.argsort(-weights, kind="stable")[: max(most, int((weights > door.noise_of_count("prototypes-2")).sum()))]
    prototypes, weights = prototypes[kept], np.maximum(weights[kept], 1.0)
    tried = tuple(merge(prototypes, weights, each, seed) for each in range(least, most + 1))
    best = choose(tried)
    centres = _on_grid(best.centres)
    for name in ("centres-1", "centres-2", "centres-3"):
        centres, _ = _lloyd(door, name, centres, within + best.variance)
    sizes = door.ask("sizes", "clusters.sizes", {"centres": centres}, (len(centres), 1), 1.0).ravel()
    order = np.argsort(-sizes, kind="stable")
    centres, sizes = centres[order], sizes[order]
    labels = nearest(prototypes, centres)
    return Clustered(
        model=Centres(centres, prototypes, weights),
        sizes=sizes,
        sizes_sigma=door.grants["sizes"].sigma(1.0),
        silhouette=silhouette(prototypes, weights, labels),
        davies_bouldin=davies_bouldin(prototypes, weights, labels),
        tried=tried,
        notes=(_note(best, tried, len(prototypes)),),
    )


@dataclass(frozen=True, slots=True)
class _Door:
    """The cohort with named shares of one grant."""

    cohort: Cohort
    grants: Mapping[str, Grant]
    noise: NoiseSource
    progress: Callable[[str], None]

    def ask(self, name: str, step: str, parameters: Mapping[str, Array], shape: tuple[int, int], bound: float) -> Array:
        """One round: the noisy sum, (slots, values)."""
        self.progress(name)
        query = Query(StepName(step), parameters, (1, *shape), bound)
        return np.asarray(self.cohort.noisy_sum(query, self.grants[name], self.noise)[0])

    def mu(self, name: str) -> float:
        """μ that a round is granted."""
        return math.sqrt(self.grants[name].mu_squared)

    def noise_of_count(self, name: str) -> float:
        """Standard deviation of the count column of a Lloyd round, in subjects."""
        return math.hypot(1.0, COUNT) / COUNT / self.mu(name)


@dataclass(frozen=True, slots=True)
class _Spread:
    """Noisy first look: number of subjects, mean (d,) on the grid, variance (d,) of each feature."""

    subjects: float
    mean: Array
    variance: Array


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the histogram lies: `axes` (d, p) of length `FIXED`, variance (p,) along them and `rest` across them."""

    spread: _Spread
    axes: Array
    variance: Array
    rest: float


def _spread(door: _Door) -> _Spread:
    """Sums of 1, x and x² in one round. The public bound of each feature is all that bounds them."""
    d = door.cohort.width
    weight = float(round(UNIT * math.sqrt(d)))
    sums = door.ask("moments", "clusters.moments", {"weight": np.array([weight])}, (1, 2 * d + 1), math.sqrt(3 * d) * UNIT + 1)[0]
    subjects = max(sums[0] / weight, 1.0)
    mean = _on_grid(sums[1 : d + 1] / subjects)
    variance = np.clip(sums[d + 1 :] * UNIT / subjects - mean**2, (UNIT / 100) ** 2, UNIT**2)
    return _Spread(subjects, mean, variance)


def _leading_axes(door: _Door, spread: _Spread) -> _Frame:
    """Principal axes of the noisy covariance about the mean, of rows clipped to the predicted spread."""
    d = len(spread.mean)
    radius = _reach(float(spread.variance.sum()), d)
    parameters = {"mean": spread.mean, "radius": np.array([radius])}
    rows, columns = np.triu_indices(d)
    sums = door.ask("covariance", "clusters.covariance", parameters, (1, len(rows)), radius**2)[0]
    covariance = np.zeros((d, d))
    covariance[rows, columns] = sums / np.where(rows == columns, 1.0, math.sqrt(2)) / spread.subjects
    values, vectors = np.linalg.eigh(covariance + np.triu(covariance, 1).T)
    leading = np.argsort(-values, kind="stable")[:AXES]
    variance = np.maximum(values[leading], (UNIT / 100) ** 2)
    rest = max(float(values.sum() - values[leading].sum()), 0.0)
    return _Frame(spread, np.rint(vectors[:, leading] * FIXED), variance, rest)


def _own_axes(spread: _Spread) -> _Frame:
    """With few features these are the axes, and no round is spent on finding better ones."""
    return _Frame(spread, np.eye(len(spread.mean)) * FIXED, spread.variance, 0.0)


def _seeds(door: _Door, frame: _Frame, k: int, seed: int) -> tuple[Array, float]:
    """Prototypes (K, d) from a noisy histogram on the axes, and the variance of subjects about them."""
    d = len(frame.axes)
    subjects = frame.spread.subjects
    half = np.ceil(BOX * np.sqrt(frame.variance)) * FIXED
    side = _sides(half, min(subjects * door.mu("cells") / SUBJECTS_A_CELL, MAX_CELLS), k)
    cell = np.ceil(2 * half / side)
    parameters = {"mean": frame.spread.mean, "axes": frame.axes, "half": half, "cell": cell, "side": side}
    counts = door.ask("cells", "clusters.cells", parameters, (int(side.prod()), 1), 1.0).ravel()
    kept = np.argsort(-counts, kind="stable")[: max(k, int((counts > 2 / door.mu("cells")).sum()))]
    places = ((np.stack(np.unravel_index(kept, side.astype(np.int64)), axis=1) + 0.5) * cell - half) / FIXED
    affordable = AFFORD * subjects * door.mu("prototypes-1") / math.sqrt(d)
    wanted = int(np.clip(affordable, k, PROTOTYPES * k))
    seeds, _, between = weighted_kmeans(places, np.maximum(counts[kept], 1.0), min(wanted, len(kept)), 4, seed)
    within = frame.rest + between + float((cell**2).sum()) / FIXED**2 / 12
    return _on_grid(frame.spread.mean + seeds @ frame.axes.T / FIXED), within


def _sides(half: Array, wanted: float, least: int) -> Array:
    """Cells along each axis, (p,): cubes as large as `wanted` cells in all allow, but at least `least` cells. A short axis gets one."""
    widths = half.max() / np.arange(1.0, MAX_CELLS + 1)
    sides = np.maximum(np.rint(half / widths[:, None]), 1.0)
    totals = sides.prod(axis=1)
    return np.asarray(sides[max(int((totals <= wanted).sum()) - 1, int((totals < least).sum()))])


def _lloyd(door: _Door, name: str, centres: Array, variance: float) -> tuple[Array, Array]:
    """One noisy Lloyd step: centres (k, d) on the grid, and the noisy weights (k,) of the cells that they are means of.

    The positive part of James and Stein 1961 shrinks a step where its noise, d·σ² in square length, is not clearly less than it.
    """
    k, d = centres.shape
    radius = _reach(variance, d)
    weight = math.ceil(COUNT * radius)
    parameters = {"centres": centres, "radius": np.array([radius]), "weight": np.array([float(weight)])}
    bound = math.hypot(radius, weight)
    sums = door.ask(name, "clusters.lloyd", parameters, (k, d + 1), bound)
    counts = sums[:, d] / weight
    sigma = door.grants[name].sigma(bound)
    trusted = np.maximum(counts, 3 * sigma / weight)[:, None]
    steps = sums[:, :d] / trusted
    shrink = 1 - d * (sigma / trusted) ** 2 / np.maximum((steps**2).sum(axis=1, keepdims=True), 1.0)
    return _on_grid(centres + np.maximum(shrink, 0.0) * steps), counts


def _reach(variance: float, d: int) -> float:
    """A clip radius, whole, from the mean square distance; never beyond the diameter of the grid."""
    return float(math.ceil(min(REACH * math.sqrt(variance), 2 * UNIT * math.sqrt(d))))


def _note(best: Merged, tried: tuple[Merged, ...], prototypes: int) -> str:
    if len(tried) == 1:
        return f"{best.k} clusters were asked for and merged from {prototypes} noisy prototypes"
    return f"{best.k} of {tried[0].k} to {tried[-1].k} clusters were chosen by silhouette on {prototypes} noisy prototypes, at no cost"


def _on_grid(points: Array) -> Array:
    return np.clip(np.rint(points), -UNIT, UNIT)


def nearest(features: Features, centres: Array) -> NDArray[np.int64]:
    """Index of the nearest centre, (n_subjects,), by exact integer distances; the lowest index wins a tie."""
    squares = np.einsum("ij,ij->i", centres, centres)
    chosen = np.empty(len(features), dtype=np.int64)
    for start in range(0, len(features), ROWS):
        rows = np.asarray(features[start : start + ROWS], dtype=np.float64)
        chosen[start : start + ROWS] = (squares - 2 * (rows @ centres.T)).argmin(axis=1)
    return chosen


def _clipped(rows: Array, radius: float) -> Array:
    """Whole rows of norm at most `radius`: longer ones are scaled and truncated toward zero."""
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    factor = np.where(norm > radius, radius / np.maximum(norm, 1.0), 1.0)
    return np.trunc(rows * factor[:, None])


@register("clusters.moments")
def moments(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 1 + d + d): weight, x, x²/UNIT."""
    x = batch["features"]
    count = np.full((len(x), 1), parameters["weight"][0])
    return Contribution(np.hstack([count, x, np.trunc(x * x / UNIT)]))


@register("clusters.covariance")
def covariance(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d(d+1)/2): upper triangle of yyᵀ, y = x − mean clipped; off the diagonal times √2, so that the norm is ‖y‖²."""
    y = _clipped(batch["features"] - parameters["mean"], parameters["radius"][0])
    rows, columns = np.triu_indices(y.shape[1])
    return Contribution(np.trunc(y[:, rows] * y[:, columns] * np.where(rows == columns, 1.0, math.sqrt(2))))


@register("clusters.cells")
def cells(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the cell of its projection; what lies outside the box counts in the outermost cell."""
    along = (batch["features"] - parameters["mean"]) @ parameters["axes"] + parameters["half"]
    side = parameters["side"].astype(np.int64)
    places = np.clip(along.astype(np.int64) // parameters["cell"].astype(np.int64), 0, side - 1)
    slots = np.ravel_multi_index(tuple(places.T), tuple(side))
    return Contribution(np.ones((len(along), 1)), slots.astype(np.int64))


@register("clusters.lloyd")
def lloyd(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d + 1): x − its nearest centre, clipped, and a weight; the slot is that centre."""
    x = batch["features"]
    slots = nearest(x, parameters["centres"])
    offsets = _clipped(x - parameters["centres"][slots], parameters["radius"][0])
    return Contribution(np.hstack([offsets, np.full((len(x), 1), parameters["weight"][0])]), slots)


@register("clusters.sizes")
def sizes(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the slot of its nearest centre."""
    slots = nearest(batch["features"], parameters["centres"])
    return Contribution(np.ones((len(slots), 1)), slots)
