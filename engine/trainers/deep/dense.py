"""Released networks: dense layers of whole numbers, so that they say the same of a subject on every machine.

Inputs, hidden values and outputs live on the grid of features, UNIT to either side. A layer's sum is a whole number below 2^53,
exact in any order, and the hyperbolic tangent comes from a table. Not here: how weights came about (`engine.trainers.deep.descent`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.models import Features, in_turn
from engine.scale import UNIT
from governance.door import Array

WEIGHT_BITS = 20
"""A weight of one, as a power of two."""

MAX_WEIGHT = 1 << 31
"""Keeps sums over 64 values exact: 65 · 2^15 · 2^31 < 2^53."""

REACH, STEPS = 8, 1 << 10
"""The table of the tangent covers ±REACH, in this many steps for each one; beyond, it is ±1 to the grid's precision."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths of a network's layers, inputs first."""

    widths: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of weights, constants included."""
        return sum((before + 1) * after for before, after in zip(self.widths, self.widths[1:], strict=False))

    def layers(self, weights: Array) -> list[Array]:
        """(size,) flat weights as one matrix (inputs + 1, outputs) a layer, the constant's row last."""
        matrices, place = [], 0
        for before, after in zip(self.widths, self.widths[1:], strict=False):
            matrices.append(weights[place : place + (before + 1) * after].reshape(before + 1, after))
            place += (before + 1) * after
        return matrices

    def start(self, generator: np.random.Generator) -> Array:
        """(size,) weights to begin with, drawn without looking at anybody (Glorot and Bengio 2010); constants are 0."""
        drawn = []
        for before, after in zip(self.widths, self.widths[1:], strict=False):
            limit = math.sqrt(6 / (before + after))
            drawn.append(np.vstack([generator.uniform(-limit, limit, (before, after)), np.zeros((1, after))]).ravel())
        return np.concatenate(drawn)


def whole(layers: Sequence[Array]) -> tuple[Array, ...]:
    """Weights of a released network: whole numbers in 2^-WEIGHT_BITS."""
    return tuple(np.clip(np.rint(layer * 2.0**WEIGHT_BITS), -MAX_WEIGHT, MAX_WEIGHT) for layer in layers)


def unframed(first: Array, mean: Array, matrix: Array) -> Array:
    """A first layer (d + 1, h) for rows (x − mean) @ matrix, as one for rows x, in units of UNIT."""
    inputs = matrix @ first[:-1]
    return np.vstack([inputs, first[-1] - mean @ inputs])


def hidden(features: Features, layers: Sequence[Array]) -> NDArray[np.int64]:
    """(n_subjects, width) on the grid: every layer with its tangent."""
    table = _tangent()

    def through(values: Array) -> Array:
        for layer in layers:
            values = table[_place(sums(values, layer))]
        return values

    return in_turn(features, through).astype(np.int64)


def sums(values: Array, layer: Array) -> Array:
    """(n, outputs) whole numbers, in 2^-WEIGHT_BITS of the grid."""
    return np.asarray(values @ layer[:-1] + UNIT * layer[-1])


def _place(sums: Array) -> NDArray[np.int64]:
    places = np.floor(sums * (STEPS / (UNIT * 2.0**WEIGHT_BITS))) + REACH * STEPS
    return np.asarray(np.clip(places, 0, 2 * REACH * STEPS - 1).astype(np.int64))


def _tangent() -> Array:
    """(2 · REACH · STEPS,) the hyperbolic tangent on the grid, at the middle of each step."""
    return np.asarray(np.rint(UNIT * np.tanh((np.arange(2 * REACH * STEPS) + 0.5) / STEPS - REACH)))
