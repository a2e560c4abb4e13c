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

TURN_VALUES, LEAST_ROWS, MOST_ROWS = 1 << 19, 1 << 12, 1 << 16
"""Values that a thread clips in its turn, and subjects at least and at most: of fewer, threads wait for each other, of more, for memory."""


def rows_at_once(values: int) -> int:
    """How many subjects with so many `values` each are summed at a time, fewer than `MAX_ROWS`."""
    return max(1, min(MOST_ROWS, MAX_VALUES // values, max(TURN_VALUES // values, LEAST_ROWS)))


def clip(values: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """(n, m) values in units to (n, m) whole numbers of `bound` / `GRID` each; a row has L2 norm at most `GRID`, or is zero.

    Steps of DESIGN section 7: (1) not finite → 0, (2) clip to bound × (1 − 2^-40), (3) truncate toward zero, which
    never raises the norm, (4) check |x_i|, then the norm in integers that cannot overflow; a row that fails → 0.
    Rows that are shorter than the clip, whatever the order in which their squares are added, need step 3 alone.
    """
    with np.errstate(all="ignore"):
        whole = values * (GRID / bound)
        np.trunc(whole, out=whole)
        shorter = (bound * MARGIN) ** 2 * (1 - (values.shape[1] + 4) * 2.0**-51)  # sums of m squares err by m · 2^-53, relatively
        squares = values[:, 0] ** 2 if values.shape[1] == 1 else np.einsum("ij,ij->i", values, values)
        rest = np.flatnonzero(~(squares < shorter))  # what is not finite is not shorter
        if len(rest):
            whole[rest] = _clip_carefully(values[rest], bound)
    return whole


def _clip_carefully(values: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """All four steps, in a fixed order of operations."""
    values = np.where(np.isfinite(values), values, 0.0)
    norm = np.zeros(len(values))
    for column in values.T:
        norm += column * column
    norm = np.sqrt(norm)
    limit = bound * MARGIN
    scaled = np.trunc(values * (np.where(norm > limit, limit / norm, 1.0) * (GRID / bound))[:, None])
    whole = np.where(np.abs(scaled) < GRID, scaled, 0.0)
    whole[exceeds(whole.astype(np.int64, order="C")) | ~np.isfinite(norm)] = 0
    return whole


def roots(values: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """(n, m) whole numbers y with 5 · Σ y² ≤ `GRID`, from rows whose square norm is clipped to `bound`: what `triangle` squares.

    `clip` leaves Σ x² ≤ GRID²; with y truncated from x · √(GRID / 5) / GRID, Σ y² exceeds GRID / 5 by less than what rounding adds, and
    GRID / 5 is not a whole number, which Σ y² is.
    """
    whole = clip(values, np.sqrt(bound))
    return np.asarray(np.trunc(whole * (np.sqrt(GRID / 5) / GRID)))


def triangle(products: NDArray[np.float64]) -> NDArray[np.int64]:
    """(..., m(m + 1)/2) whole numbers from products of `roots` with each other, (..., m, m): the upper triangle by rows, 5 times the
    diagonal and 7 times the rest. Of one row its square norm is 25 Σ y⁴ + 49 Σ_{i<j} y²y² ≤ (5 Σ y²)² ≤ GRID².

    Exact for sums of at most `MAX_ROWS` rows: |y| < 2^15, so that they stay below 2^50 in any order of addition.
    """
    across, down = np.triu_indices(products.shape[-1])
    return products[..., across, down].astype(np.int64) * np.where(across == down, 5, 7)


def exceeds(whole: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether Σ x² > GRID², with |x| < 2^32: squares fit uint64, halves are summed apart (at most 2^31 values)."""
    squares = whole.view(np.uint64) * whole.view(np.uint64)
    low = np.sum(squares & np.uint64(0xFFFFFFFF), axis=1, dtype=np.uint64)
    high = np.sum(squares >> np.uint64(32), axis=1, dtype=np.uint64) + (low >> np.uint64(32))
    rest = low & np.uint64(0xFFFFFFFF)
    return np.asarray((high > np.uint64(1 << 32)) | ((high == np.uint64(1 << 32)) & (rest > 0)))


def scatter(values: NDArray[np.float64], place: NDArray[np.int64] | None, slots: int) -> NDArray[np.int64]:
    """Sum of (n, b, m) whole numbers by block and slot, flat from (b, slots, m). `place` (n, b): outside of 0..slots-1 nowhere;
    None: slot 0.

    Exact for at most `MAX_ROWS` subjects.
    """
    _, blocks, width = values.shape
    total = np.zeros((blocks, slots, width), dtype=np.int64)
    if place is None:
        total[:, 0] = values.sum(axis=0)
        return total.ravel()
    chosen = np.where((place >= 0) & (place < slots), place, slots) + np.arange(blocks) * (slots + 1)
    for column in range(width):
        sums = np.bincount(chosen.ravel(), values[:, :, column].ravel(), minlength=blocks * (slots + 1))
        total[:, :, column] = sums.reshape(blocks, slots + 1)[:, :slots]
    return total.ravel()


def add(total: NDArray[np.int64], more: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum modulo 2^64. Raises ValueError where one draw of noise would serve several sums."""
    if more.shape != total.shape or more.dtype != np.int64:
        raise ValueError(f"expected {total.shape} of int64, got {more.shape} of {more.dtype}")
    return (total.view(np.uint64) + more.view(np.uint64)).view(np.int64)
