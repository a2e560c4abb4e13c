"""Intervals of figures that are smooth functions of a noisy table of counts (delta method), for chance and noise together.

Cells of disjoint subjects vary by chance like Poisson counts, and by the noise of the door; a figure that changes by g a count
in a cell has variance Σ g²·(count + σ²). Shares and rates do not change with the total, so that not knowing it adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from audit.intervals import Interval
from audit.wording import Z95
from engine.assess import Noisy
from governance.door import Array


def interval(figure: Callable[[Array], float], table: Noisy) -> Interval:
    """`figure` of the table's counts with its 95 % interval; slopes are taken numerically, half a subject to either side."""
    slopes = np.empty(table.values.size)
    for cell in range(table.values.size):
        half = (0.5 * (np.arange(table.values.size) == cell)).reshape(table.values.shape)
        slopes[cell] = figure(table.values + half) - figure(table.values - half)
    value = figure(table.values)
    variance = slopes**2 @ (np.maximum(table.values.ravel(), 0.0) + table.sigma**2)
    margin = Z95 * math.sqrt(float(variance))
    return Interval(value, value - margin, value + margin)
