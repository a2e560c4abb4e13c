"""Dense regions of prototypes, and outliers: whoever lies far from every prototype, or where hardly anybody is.

Rodriguez and Laio, 2014 ("density peaks"): a region has a peak, and everybody else belongs where the nearest denser prototype
does. Density is a sum of Gaussian kernels with the weights of the prototypes. They are released, so regions of them cost nothing.
"""

from __future__ import annotations

import numpy as np

from engine.trainers.grouping import Grouping, Prototypes, by_prototype
from engine.trainers.partitions import Labels
from engine.trainers.prototypes import distances, judged
from governance.door import Array

SPARSE = 0.05
"""A prototype less dense than this share of its region's peak is an outlier, if nobody depends on it."""

BEYOND = 3.0
"""Whoever is further from the nearest prototype than so many root mean square distances is an outlier."""


def density(prototypes: Prototypes, k: int, seed: int) -> Grouping:
    """The k regions of the most outstanding peaks, and the outliers as the last part; `seed` has no use here."""
    points, weights = prototypes.points, prototypes.weights
    apart = distances(points, points)
    dense = _dense(apart, weights)
    above, gap = _denser(apart, dense)
    order = np.argsort(-dense, kind="stable")
    peaks = order[np.argsort(-(dense * gap)[order], kind="stable")][:k]
    labels = np.full(len(points), -1)
    labels[peaks] = np.arange(len(peaks))
    for place in order:
        if labels[place] < 0:
            labels[place] = labels[above[place]]
    kept = np.where(dense < SPARSE * dense[peaks][labels], k, labels)
    model = by_prototype("density", prototypes, kept, k + 1, float(np.ceil(BEYOND**2 * prototypes.variance)))
    return Grouping(judged(points, weights, labels, k), model, loose=True)


def _dense(apart: Array, weights: Array) -> Array:
    """Density at each prototype, (K,); kernels are as wide as neighbours are apart."""
    others = apart + np.where(np.eye(len(apart)) > 0, np.inf, 0.0)
    width = max(float(np.median(others.min(axis=1))), 1.0) if len(apart) > 1 else 1.0
    return np.asarray(np.exp(-0.5 * (apart / width) ** 2) @ weights)


def _denser(apart: Array, dense: Array) -> tuple[Labels, Array]:
    """The nearest denser prototype of each and how far away it is, (K,); that of the densest is itself, and further than any."""
    place = np.empty(len(dense), dtype=np.int64)
    place[np.argsort(-dense, kind="stable")] = np.arange(len(dense))
    denser = np.where(place[None, :] < place[:, None], apart, np.inf)
    above, gap = denser.argmin(axis=1), denser.min(axis=1)
    top = int(place.argmin())
    above[top], gap[top] = top, float(apart.max()) + 1.0
    return above, gap
