"""A Gaussian mixture of prototypes, each of which stands for subjects scattered about it as widely as was measured.

Dempster, Laird, Rubin, 1977 (EM), with the weights of the prototypes; a component's covariance is that of its prototypes and
that of subjects about them. Prototypes are released, so a mixture of them costs nothing.
"""

from __future__ import annotations

import numpy as np

from engine.trainers.grouping import Grouping, Prototypes
from engine.trainers.partitions import PRECISION, SHIFT, Mixture
from engine.trainers.prototypes import judged, merge
from engine.trainers.seeding import LEAST_VARIANCE, on_grid
from governance.door import Array

STEPS = 60
"""Steps of EM: it gains nothing to speak of by more."""

LEAST_WEIGHT = 1e-3
"""Share of all that a component has at least, so that none dies out."""


def mixture(prototypes: Prototypes, k: int, seed: int) -> Grouping:
    """The best mixture that EM finds from where k-means is."""
    points, shares = prototypes.points, prototypes.weights / prototypes.weights.sum()
    d = points.shape[1]
    scatter = prototypes.variance / d
    belongs = np.eye(k)[merge(points, prototypes.weights, k, seed).labels]
    for _ in range(STEPS):
        mass = np.maximum((shares[:, None] * belongs).sum(axis=0), LEAST_WEIGHT)
        own = shares[:, None] * belongs / mass
        means = own.T @ points
        away = points[None] - means[:, None]
        covariances = np.einsum("ik,kij,kil->kjl", own, away, away) + scatter * np.eye(d)
        values, vectors = np.linalg.eigh(covariances)
        values = np.maximum(values, LEAST_VARIANCE)
        forms = vectors / np.sqrt(values)[:, None, :]
        offsets = 2 * np.log(mass) - np.log(values).sum(axis=1)
        density = offsets - ((away @ forms) ** 2).sum(axis=2).T - scatter * (1 / values).sum(axis=1)
        belongs = np.exp((density - density.max(axis=1, keepdims=True)) / 2)
        belongs /= belongs.sum(axis=1, keepdims=True)
    return _released(prototypes, means, forms, offsets - offsets.max())


def _released(prototypes: Prototypes, means: Array, forms: Array, offsets: Array) -> Grouping:
    """On the grid: what everybody is assigned by."""
    points, weights, k = prototypes.points, prototypes.weights, len(means)
    model = Mixture(
        "mixture",
        centres=on_grid(means),
        means=on_grid(means),
        forms=np.rint(forms * PRECISION * 2.0**SHIFT),
        offsets=np.rint(offsets * PRECISION**2),
        parts=np.arange(k, dtype=np.float64),
        prototypes=points,
        weights=weights,
    )
    return Grouping(judged(points, weights, model.assign(points), k), model)
