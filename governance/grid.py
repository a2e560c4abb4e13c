"""The public grid of contributions: clipped, truncated, checked, and summed exactly as whole numbers.

L2 norm of a row: at most `GRID`, whatever came in. Elementwise operations in a fixed order alone, so that every processor
and every way of batching gives the same bits. Not here: what the values mean, and whose they are (`governance.door`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRID = 1 << 32
"""Grid units that a contribution of norm `bound` spans; below 2^34 clip and truncation never broke the bound."""

MARGIN = 1 - 2.0**-40
"""The clip stays below the bound by this factor, so that rounding cannot cross it (FINDINGS: safe at any grid)."""

MAX_ROWS = 1 << 20
"""Subjects summed at a time: float64 holds the sum of fewer than 2^21 whole numbers below 2^32 exactly."""

MAX_VALUES = 1 << 22
"""Values held at a time, so that wide contributions (a covariance of 64 features has 2,080 values) fit into memory."""


def clip(values: NDArray[np.float64], bound: float) -> NDArray[np.int64]:
    """(n, m) values in units to (n, m) whole numbers of `bound` / `GRID` each; a row has L2 norm at most `GRID`, or is zero.

    Steps of DESIGN section 7: (1) not finite → 0, (2) clip to bound × (1 − 2^-40), (3) truncate toward zero, which
    never raises the norm, (4) check |x_i|, then the norm in integers that cannot overflow; a row that fails → 0.
    """
    with np.errstate(all="ignore"):
        values = np.where(np.isfinite(values), values, 0.0)
        norm = np.zeros(len(values))
        for column in values.T:
            norm += column * column
        norm = np.sqrt(norm)
        limit = bound * MARGIN
        shrink = np.where(norm > limit, limit / norm, 1.0) * (GRID / bound)
        scaled = np.trunc(values * shrink[:, None])
        whole = np.where(np.abs(scaled) < GRID, scaled, 0.0).astype(np.int64)
    whole[exceeds(whole) | ~np.isfinite(norm)] = 0
    return whole


def exceeds(whole: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether Σ x² > GRID², with |x| < 2^32: squares fit uint64, halves are summed apart (at most 2^31 values)."""
    squares = whole.view(np.uint64) * whole.view(np.uint64)
    low = np.sum(squares & np.uint64(0xFFFFFFFF), axis=1, dtype=np.uint64)
    high = np.sum(squares >> np.uint64(32), axis=1, dtype=np.uint64) + (low >> np.uint64(32))
    rest = low & np.uint64(0xFFFFFFFF)
    return np.asarray((high > np.uint64(1 << 32)) | ((high == np.uint64(1 << 32)) & (rest > 0)))


def scatter(values: NDArray[np.int64], place: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
    """Sum of (n, b, m) values by block and slot, flat from (b, slots, m); `place` (n, b), outside of 0..slots-1: nowhere.

    Exact for at most `MAX_ROWS` subjects.
    """
    _, blocks, width = values.shape
    if slots == 1:
        return np.asarray(np.where((place == 0)[:, :, None], values, 0).sum(axis=0), dtype=np.int64).ravel()
    total = np.zeros((blocks, slots, width), dtype=np.int64)
    for block in range(blocks):
        slot = place[:, block]
        chosen = np.where((slot >= 0) & (slot < slots), slot, slots)
        for column in range(width):
            weights = values[:, block, column].astype(np.float64)
            total[block, :, column] = np.bincount(chosen, weights, minlength=slots + 1)[:slots].astype(np.int64)
    return total.ravel()


def add(total: NDArray[np.int64], more: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum modulo 2^64. Raises ValueError where one draw of noise would serve several sums."""
    if more.shape != total.shape or more.dtype != np.int64:
        raise ValueError(f"expected {total.shape} of int64, got {more.shape} of {more.dtype}")
    return (total.view(np.uint64) + more.view(np.uint64)).view(np.int64)
