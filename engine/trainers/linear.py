"""A released line: a weighted sum of features in whole numbers, the same bits wherever it is applied."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from engine.models import ONE
from engine.scale import UNIT
from governance.door import Array

REACH = 4.0
"""Standard deviations from the mean beyond which hardly anybody lies."""

WEIGHT_BITS = 24
"""Weights are whole numbers: a value is Σ weight · feature / 2^WEIGHT_BITS, on the grid of scores."""

MAX_WEIGHT = 1 << 31
"""Keeps values of 64 features exact below 2^53."""


def whole(slopes: Array) -> Array:
    """Weights (d + 1,) from changes of a value a grid unit, the last at the grid's zero; 1 is what `ONE` stands for."""
    scaled = slopes * (ONE * 2.0**WEIGHT_BITS)
    return np.asarray(np.clip(np.rint(np.append(scaled[:-1], scaled[-1] / UNIT)), -MAX_WEIGHT, MAX_WEIGHT))


def slopes(weights: Array) -> Array:
    """(d + 1,) change of the value as a feature goes from the middle to the upper end of its range; last, the value in the middle."""
    return np.asarray(weights * (UNIT / (ONE * 2.0**WEIGHT_BITS)))


def line(x: Array, weights: Array) -> Array:
    """(n,) values on the grid of scores, below 0 and above `ONE` too: floor of an exact whole number."""
    return np.asarray(np.floor((x @ weights[:-1] + UNIT * weights[-1]) / 2.0**WEIGHT_BITS))


def evenly(mean: float, spread: float, bins: int) -> Array:
    """(bins + 1,) places on the grid of scores that cut a normal line of this mean and standard deviation (1 is `ONE`) evenly."""
    inner = [NormalDist().inv_cdf(place / bins) for place in range(1, bins)]
    return rising(np.rint((mean + spread * np.array([-REACH, *inner, REACH])) * ONE))


def rising(places: Array) -> Array:
    """Whole numbers, each above the one before."""
    return np.asarray(np.maximum.accumulate(places - np.arange(len(places))) + np.arange(len(places)))
