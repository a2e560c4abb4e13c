"""Clusters of weighted prototypes: merging, and how good a merge is. Prototypes are released, so nothing here costs budget.

Silhouette: Rousseeuw, 1987; Davies–Bouldin index: Davies and Bouldin, 1979; both with weights, as if each prototype stood
for its weight in subjects. Within one prototype nothing is known, so a prototype is left out of its own mean distance.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESTARTS = 20
"""Starts of the k-means on prototypes."""

AS_GOOD = 0.01
"""Silhouettes that differ by less are taken as equal: noise moves them as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Prototypes merged to k clusters. `centres` (k, d); `labels` (K,); `variance`: mean square distance of prototypes to
    their centre, in square grid units; `silhouette` in [-1, 1], higher is better; `davies_bouldin` ≥ 0, lower is better."""

    k: int
    centres: Array
    labels: NDArray[np.int64]
    variance: float
    silhouette: float
    davies_bouldin: float


def merge(prototypes: Array, weights: Array, k: int, seed: int) -> Merged:
    """Weighted k-means of `prototypes` (K, d), K ≥ k, with positive `weights` (K,)."""
    _, labels, _ = weighted_kmeans(prototypes, weights, k, RESTARTS, seed)
    return judged(prototypes, weights, labels, k)


def judged(prototypes: Array, weights: Array, labels: NDArray[np.int64], k: int) -> Merged:
    """How good a grouping is, however it came about."""
    centres = means(prototypes, weights, labels, k)
    return Merged(
        k=k,
        centres=centres,
        labels=labels,
        variance=float(np.average(((prototypes - centres[labels]) ** 2).sum(axis=1), weights=weights)),
        silhouette=silhouette(prototypes, weights, labels),
        davies_bouldin=davies_bouldin(prototypes, weights, labels),
    )


def means(prototypes: Array, weights: Array, labels: NDArray[np.int64], k: int) -> Array:
    """Weighted mean of each group, (k, d); of a group without any prototype, that of all."""
    member = (labels[:, None] == np.arange(k)) * weights[:, None]
    member[:, member.sum(axis=0) == 0] = weights[:, None]
    return np.asarray(member.T @ prototypes / member.sum(axis=0)[:, None])


def choose(tried: Sequence[Merged]) -> Merged:
    """The fewest clusters whose silhouette is as good as the best."""
    best = max(each.silhouette for each in tried)
    return min((each for each in tried if each.silhouette >= best - AS_GOOD), key=lambda each: each.k)


def weighted_kmeans(points: Array, weights: Array, k: int, restarts: int, seed: int) -> tuple[Array, NDArray[np.int64], float]:
    """The best of some runs of k-means: centres (k, d), labels (n,), mean square distance. Points may coincide."""
    from sklearn.cluster import KMeans  # here, so that commands that train nothing do not wait for scikit-learn
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn, without types

    with threadpool_limits(1), warnings.catch_warnings():  # threads cost more than they bring on a few hundred points
        warnings.simplefilter("ignore", ConvergenceWarning)  # noise may lay points on top of each other; the result is still right
        fitted = KMeans(k, n_init=restarts, random_state=seed).fit(points, sample_weight=weights)
    labels = np.asarray(fitted.labels_, dtype=np.int64)
    return np.asarray(fitted.cluster_centers_, dtype=np.float64), labels, float(fitted.inertia_ / weights.sum())


def silhouette(prototypes: Array, weights: Array, labels: NDArray[np.int64]) -> float:
    """Weighted mean of (b − a) / max(a, b): a, mean distance to the own cluster; b, to the nearest other one. A prototype
    that is a cluster of its own counts 0; 0 for fewer than two clusters."""
    names = np.unique(labels)
    if len(names) < 2:
        return 0.0
    member = (labels[:, None] == names).astype(np.float64) * weights[:, None]
    total = distances(prototypes, prototypes) @ member
    own = labels[:, None] == names
    mass = member.sum(axis=0) - np.where(own, weights[:, None], 0.0)
    mean = total / np.where(mass > 0, mass, 1.0)
    a = mean[own]
    b = np.where(own, np.inf, mean).min(axis=1)
    widest = np.maximum(np.maximum(a, b), np.finfo(np.float64).tiny)
    score = np.where(mass[own] > 0, (b - a) / widest, 0.0)
    return float(np.average(score, weights=weights))


def davies_bouldin(prototypes: Array, weights: Array, labels: NDArray[np.int64]) -> float:
    """Mean over clusters of the worst (scatter + scatter) / distance of centres; infinite for fewer than two clusters."""
    names = np.unique(labels)
    if len(names) < 2:
        return float("inf")
    masks = [labels == name for name in names]
    centres = np.array([np.average(prototypes[mask], axis=0, weights=weights[mask]) for mask in masks])
    spans = distances(prototypes, centres)
    scatter = np.array([np.average(spans[mask, i], weights=weights[mask]) for i, mask in enumerate(masks)])
    apart = distances(centres, centres)
    np.fill_diagonal(apart, np.inf)
    return float(((scatter[:, None] + scatter) / np.maximum(apart, np.finfo(np.float64).tiny)).max(axis=1).mean())


def distances(left: Array, right: Array) -> Array:
    """Euclidean distances, (len(left), len(right))."""
    return np.asarray(np.sqrt(((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=2)))
