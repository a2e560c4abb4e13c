"""Stand-ins: made-up subjects, drawn from released prototypes. Whatever is asked of them is free.

Lloyd's steps through the door are few, and where clusters overlap each goes but a little of the way. On stand-ins k-means runs to its
end, from several starts, so that noisy steps begin near a good optimum. A noisy step then says how far stand-ins mislead *there*,
and their own steps go on with that error taken off: defect correction (Böhmer, Hemker, Stetter, 1984), by which an approximate map that
costs nothing does most of the work of an exact one that is dear. Few of these, because they stretch the noise of the step too.

A stand-in lies normally about its prototype, with the covariance that all prototypes have in common: what the covariance of subjects has
more than that of prototypes. Neighbours and sensitivity: nothing here sees a subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn, without types

from engine.scale import UNIT
from engine.trainers.grouping import Prototypes
from governance.door import Array

MADE = 6000
"""Stand-ins in all. These numbers were chosen on generated blobs, and looked at on CDNOW, adult, credit and shoppers."""

STARTS = 24
"""Starts among prototypes, beside the one that is there."""

ROUGHLY, NEARLY, FULLY = (16, 8), (8, 3), (40, 1)
"""Steps on prototypes, then on stand-ins, and optima that are left after them."""

CORRECTED = 4
"""Steps on stand-ins for one through the door."""

NARROWEST = 0.05
"""Least variance along any axis, as a share of the mean one."""


@dataclass(frozen=True, slots=True, eq=False)
class StandIns:
    """`points` (n, d) in grid units; `weighted` (n, d + 1): these times the weight of each, and the weights, which add up to 1."""

    points: Array
    weighted: Array

    def moved(self, centres: Array) -> Array:
        """Lloyd's step: centres (k, d) go to the mean of whoever is nearest; where nobody is, they stay."""
        nearest = self._closeness(centres).argmax(axis=1)
        sums = (nearest == np.arange(len(centres))[:, None]).astype(np.float64) @ self.weighted
        counts = sums[:, -1:]
        return np.where(counts > 0, sums[:, :-1] / np.where(counts > 0, counts, 1.0), centres)

    def settled(self, centres: Array, steps: int) -> Array:
        """After some steps."""
        for _ in range(steps):
            centres = self.moved(centres)
        return centres

    def corrected(self, centres: Array, moved: Array) -> Array:
        """Where centres (k, d) go that subjects moved to `moved` (k, d): on from there, less the error of stand-ins at `centres`."""
        with threadpool_limits(1):
            error = moved - self.moved(centres)
            for _ in range(CORRECTED):
                moved = self.moved(moved) + error
        return moved

    def best(self, starts: Sequence[Array], steps: int, left: int) -> list[Array]:
        """Where k-means ends from `starts`, each optimum once, the best of them first; `left` at most."""
        ends = {round(self._closest(end)): end for end in (self.settled(start, steps) for start in starts)}
        return [ends[value] for value in sorted(ends, reverse=True)[:left]]

    def _closeness(self, centres: Array) -> Array:
        """(n, k) the less the further away."""
        return np.asarray(self.points @ (2 * centres.T) - np.einsum("ij,ij->i", centres, centres))

    def _closest(self, centres: Array) -> float:
        return float(self.weighted[:, -1] @ self._closeness(centres).max(axis=1))


def stand_ins(prototypes: Prototypes, covariance: Array) -> StandIns:
    """As many for each prototype, by twos on either side of it; `covariance` (d, d), noisy, of all subjects. The draws are always the same,
    so that of two optima that are nearly alike two builds do not take one each."""
    count, d = prototypes.points.shape
    weights = prototypes.weights / prototypes.weights.sum()
    apart = prototypes.points - weights @ prototypes.points
    values, vectors = np.linalg.eigh(covariance - (apart * weights[:, None]).T @ apart)
    values = np.maximum(values, NARROWEST * prototypes.variance / d)
    root = (vectors * np.sqrt(values * (prototypes.variance / values.sum()))).T
    half = np.random.default_rng(0).standard_normal((count, max(1, MADE // count // 2), d)) @ root
    points = np.clip(prototypes.points[:, None, :] + np.concatenate([half, -half], axis=1), -UNIT, UNIT)
    return _weighted(points.reshape(-1, d), np.repeat(weights / points.shape[1], points.shape[1]))


def start(made: StandIns, prototypes: Prototypes, first: Array, seed: int) -> Array:
    """Centres (k, d) for stand-ins, the best of many: from `first` (k, d), and from prototypes that are far from each other (k-means++:
    Arthur and Vassilvitskii, 2007)."""
    from sklearn.cluster import kmeans_plusplus  # takes long to load

    state, weights = np.random.RandomState(seed), prototypes.weights / prototypes.weights.sum()
    with threadpool_limits(1):
        far = [kmeans_plusplus(prototypes.points, len(first), sample_weight=weights, random_state=state)[0] for _ in range(STARTS)]
        roughly = _weighted(prototypes.points, weights).best([first, *far], *ROUGHLY)
        [best] = made.best(made.best(roughly, *NEARLY), *FULLY)
    return best


def _weighted(points: Array, weights: Array) -> StandIns:
    return StandIns(points, np.hstack([points * weights[:, None], weights[:, None]]))
