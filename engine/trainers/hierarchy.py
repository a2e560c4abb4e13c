"""A hierarchy of prototypes: the two groups whose union costs least inertia become one, until there is one.

Ward, 1963, with the weights of the prototypes. The tree has the form of scipy's, which cuts and draws it. Prototypes are
released, so a hierarchy of them costs nothing. Not here: where prototypes come from (`engine.trainers.clusters`).
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import dendrogram, fcluster

from engine.trainers.grouping import Grouping, Prototypes, Tree, by_prototype
from engine.trainers.partitions import Labels
from engine.trainers.prototypes import judged
from governance.door import Array

LEAVES = 4
"""Leaves that are drawn for each part, at most; what lies below is left out of the picture."""


def hierarchy(prototypes: Prototypes, k: int, seed: int) -> Grouping:
    """The k groups below the last k − 1 unions; `seed` has no use here."""
    tree = ward(prototypes.points, prototypes.weights)
    labels = cut(tree, k)
    merged = judged(prototypes.points, prototypes.weights, labels, k)
    return Grouping(merged, by_prototype("hierarchy", prototypes, labels, k), _picture(tree, labels, k))


def ward(points: Array, weights: Array) -> Array:
    """(K − 1, 4) unions as scipy's `linkage` has them: two groups, the height, and how many points. The height is √(2 · inertia
    gained), so that with weights of 1 it is scipy's own."""
    n = len(points)
    centres, mass = np.vstack([points, np.zeros((n - 1, points.shape[1]))]), np.append(weights, np.zeros(n - 1))
    held, names = np.append(np.ones(n), np.zeros(n - 1)), np.arange(n)
    cost = _cost(centres[names], mass[names], centres[names], mass[names])
    np.fill_diagonal(cost, np.inf)
    tree = np.empty((n - 1, 4))
    for union in range(n - 1):
        left, right = sorted(int(each) for each in np.unravel_index(int(cost.argmin()), cost.shape))
        one, other, new = names[left], names[right], n + union
        mass[new], held[new] = mass[one] + mass[other], held[one] + held[other]
        centres[new] = (mass[one] * centres[one] + mass[other] * centres[other]) / mass[new]
        tree[union] = min(one, other), max(one, other), np.sqrt(2 * cost[left, right]), held[new]
        names[left] = new
        names, cost = np.delete(names, right), np.delete(np.delete(cost, right, axis=0), right, axis=1)
        cost[left] = cost[:, left] = _cost(centres[new : new + 1], mass[new : new + 1], centres[names], mass[names])[0]
        cost[left, left] = np.inf
    return tree


def cut(tree: Array, k: int) -> Labels:
    """The group of each point, 0 to k − 1, where the last k − 1 unions are undone."""
    return np.asarray(fcluster(tree, k, "maxclust_monocrit", monocrit=np.arange(1.0, len(tree) + 1)) - 1, dtype=np.int64)


def _cost(left: Array, left_mass: Array, right: Array, right_mass: Array) -> Array:
    """Inertia that each union adds, (len(left), len(right))."""
    square = ((left[:, None] - right[None]) ** 2).sum(axis=2)
    return np.asarray(square * left_mass[:, None] * right_mass / (left_mass[:, None] + right_mass))


def _picture(tree: Array, labels: Labels, k: int) -> Tree:
    """The upper part of the tree."""
    leaves = min(len(labels), LEAVES * k)
    drawn = dendrogram(tree, p=leaves, truncate_mode="lastp", no_plot=True)
    parts = labels[[_first(tree, leaf) for leaf in drawn["leaves"]]]
    across = np.arange(len(parts))
    ends = np.array([[across[parts == part].min(), across[parts == part].max()] for part in range(k)], dtype=np.float64)
    heights = np.append(0.0, tree[:, 2])
    corners = np.stack([(np.array(drawn["icoord"]) - 5) / 10, np.array(drawn["dcoord"])], axis=2)  # scipy puts leaves at 5, 15, 25
    below = len(heights) - k  # unions that stay, and how high the last of them is
    return Tree(corners, len(parts), ends, np.arange(k), float(heights[below : below + 2].mean()))


def _first(tree: Array, group: int) -> int:
    """A point of a group."""
    points = len(tree) + 1
    while group >= points:
        group = int(tree[group - points, 0])
    return group
