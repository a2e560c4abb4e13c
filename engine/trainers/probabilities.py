"""Log-odds and probabilities as whole numbers: a table in place of the logistic function, whose last bit differs between processors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.models import ONE
from governance.door import Array

LOGIT_BITS = 40
"""Log-odds are whole numbers: this many bits stand behind the point, so that sums of 64 terms stay exact below 2^53."""

LOGIT = float(1 << LOGIT_BITS)
"""One, in log-odds."""

LOGITS, STEPS_A_LOGIT = 12, 512
"""The table covers ±LOGITS, in this many steps each."""


def table() -> Array:
    """(2 · LOGITS · STEPS_A_LOGIT,) probabilities on the grid of scores, at the middle of each step."""
    middles = (np.arange(2 * LOGITS * STEPS_A_LOGIT) + 0.5) / STEPS_A_LOGIT - LOGITS
    return np.rint(ONE * logistic(middles))


def probability(logits: Array, table: Array) -> Array:
    """(n,) on the grid 0..ONE, from whole log-odds."""
    places = np.floor(logits * (STEPS_A_LOGIT / LOGIT)) + LOGITS * STEPS_A_LOGIT
    return np.asarray(table[np.clip(places, 0, len(table) - 1).astype(np.int64)])


def scores(logits: Array) -> NDArray[np.int64]:
    """(n,) probabilities on the grid 0..ONE, from whole log-odds."""
    return probability(logits, table()).astype(np.int64)


def logistic(x: Array) -> Array:
    """Probability of log-odds. Floating point: for the coordinator alone."""
    return np.asarray(1 / (1 + np.exp(-x)))


def logit(p: float) -> float:
    """Log-odds of a probability in (0, 1)."""
    return math.log(p / (1 - p))
