"""What the ways to make parts of prototypes have in common: prototypes in, a partition and perhaps a picture out, at no cost.

Prototypes went through the door, so whatever is worked out from them alone is free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from engine.trainers.partitions import FAR, Labels, Nearest, Parts
from engine.trainers.prototypes import Merged, means
from engine.trainers.seeding import on_grid
from governance.door import Array


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """`points` (K, d) on the feature grid, noisy `weights` (K,) of at least 1, and `variance`, the mean square distance
    of subjects to them, in square grid units."""

    points: Array
    weights: Array
    variance: float


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A hierarchy as it is drawn: `brackets` (m, 4, 2), each four corners, across in leaves and up in height; `leaves`: how many;
    `ends` (k, 2) of the groups across, and the part of each, `parts` (k,); `cut`: the height that makes these groups."""

    brackets: Array
    leaves: int
    ends: Array
    parts: Labels
    cut: float

    def regrouped(self, new: Labels) -> Tree:
        """The same with part i as part `new[i]`."""
        return replace(self, parts=new[self.parts])


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A map as it is drawn: of each unit, by row and column, its part, its noisy weight, and its mean distance to the units
    beside it, in grid units; all (rows, columns)."""

    parts: Labels
    weights: Array
    apart: Array

    def regrouped(self, new: Labels) -> Lattice:
        """The same with part i as part `new[i]`."""
        return replace(self, parts=new[self.parts])


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """k parts of the prototypes: `merged` with their labels, the partition of everybody, and a picture where there is one.
    `loose`: the last part has nothing in common but to be nowhere else."""

    merged: Merged
    model: Parts
    picture: Tree | Lattice | None = None
    loose: bool = False


Method = Callable[[Prototypes, int, int], Grouping]
"""Prototypes, k and a seed for what is random in it."""


def by_prototype(kind: str, prototypes: Prototypes, labels: Labels, k: int, reach: float = FAR) -> Nearest:
    """The partition that puts everybody where the nearest prototype is; `labels` (K,) below k."""
    centres = on_grid(means(prototypes.points, prototypes.weights, labels, k))
    return Nearest(kind, centres, prototypes.points, labels.astype(np.float64), reach, prototypes.points, prototypes.weights)
