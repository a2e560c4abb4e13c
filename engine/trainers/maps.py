"""A self-organising map of prototypes: units on a lattice, neighbours alike, and the parts that units fall into.

Kohonen, 1990, in its batch form (2013), with the weights of the prototypes; units become parts by Ward's method (Vesanto and
Alhoniemi, 2000). Prototypes are released, so a map of them costs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from engine.trainers.grouping import Grouping, Lattice, Prototypes
from engine.trainers.hierarchy import cut, ward
from engine.trainers.partitions import FAR, Nearest, nearest
from engine.trainers.prototypes import distances, judged, means
from engine.trainers.seeding import on_grid
from governance.door import Array

PROTOTYPES_A_UNIT, UNITS_A_PART = 1.5, 2.0
"""Prototypes for each unit, on average, and units for each part at least."""

MOST_ROWS = 8
"""Rows of the lattice, and columns, at most."""

STEPS, NARROWEST = 30, 0.5
"""Batch steps, and the neighbourhood's width at the last of them, in units of the lattice."""


def organised(prototypes: Prototypes, k: int, seed: int) -> Grouping:
    """A square lattice of units, and k parts of them; `seed` has no use here: the map begins in the plane of most variance."""
    points, weights = prototypes.points, prototypes.weights
    rows = int(np.clip(round(math.sqrt(len(points) / PROTOTYPES_A_UNIT)), math.ceil(math.sqrt(UNITS_A_PART * k)), MOST_ROWS))
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(rows), indexing="ij"), axis=2).reshape(-1, 2).astype(np.float64)
    units = on_grid(_trained(points, weights, places, rows))
    of_unit = nearest(points, units)
    held = np.asarray(np.bincount(of_unit, weights, minlength=len(units)), dtype=np.float64)
    parts = cut(ward(units, held + 1.0), k)
    labels = parts[of_unit]
    centres = on_grid(means(units, held + 1.0, parts, k))
    model = Nearest("map", centres, units, parts.astype(np.float64), FAR, points, weights)
    beside = distances(places, places) == 1
    apart = (distances(units, units) * beside).sum(axis=1) / np.maximum(beside.sum(axis=1), 1)
    square = (rows, rows)
    picture = Lattice(parts.reshape(square), held.reshape(square), apart.reshape(square))
    return Grouping(judged(points, weights, labels, k), model, picture)


def _trained(points: Array, weights: Array, places: Array, rows: int) -> Array:
    """Units (m, d): each the mean of all prototypes, by how near on the lattice they find their own unit."""
    mean = np.average(points, axis=0, weights=weights)
    away = (points - mean) * np.sqrt(weights / weights.sum())[:, None]
    values, vectors = np.linalg.eigh(away.T @ away)
    plane = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :2]
    units = mean + (places / max(rows - 1, 1) * 2 - 1)[:, : plane.shape[1]] @ plane.T
    squares = distances(places, places) ** 2
    for step in range(STEPS):
        width = max(rows / 2, NARROWEST) * (NARROWEST / max(rows / 2, NARROWEST)) ** (step / (STEPS - 1))
        near = np.exp(-squares / (2 * width**2))[:, distances(points, units).argmin(axis=1)] * weights
        units = near @ points / near.sum(axis=1, keepdims=True)
    return np.asarray(units)
