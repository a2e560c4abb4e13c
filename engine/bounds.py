"""Bounds of features that are not public: quantiles of one noisy histogram, through the door and charged.

A value falls between thresholds that are the same for everybody: ±2^e and ±1.5·2^e, which floating-point numbers hold exactly, so
that every machine puts a value into the same slot by comparing alone. A subject adds 1 to one slot of each feature, and nothing
where it has no value: L2 sensitivity √features under add/remove neighbours.

Most slots are empty, and their noise would carry the ends far out. So a slot counts only where it stands out of the noise, or
where it lies beside such a slot and is more than noise mostly is (two thresholds with hysteresis: Canny, 1986). Noise makes bounds
narrower then, and hardly ever wider. Bounds are moved outward to round numbers, which are easy to read and stay put from build
to build. Scaling needs no more than that: the grid (`engine.scale`) goes from bound to bound. A feature that lies far from zero for
its spread, such as a year, gets bounds that are too wide: write them down.

Not here: which features are asked about (`engine.stages`), what it costs of a build (`engine.learning`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

from engine.assess import OUTSIDE, Noisy, counted, ones
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, register
from governance.noise import NoiseSource

LEAST, MOST = -16, 40
"""Octaves: what is smaller than 2^LEAST counts as zero, what is 2^MOST or larger counts in the last slot."""

MAGNITUDES = np.sort(np.concatenate([2.0 ** np.arange(LEAST, MOST), 1.5 * 2.0 ** np.arange(LEAST, MOST)]))
EDGES = np.concatenate([-MAGNITUDES[::-1], MAGNITUDES])
"""Ascending thresholds between slots."""

SLOTS = len(EDGES) + 1
ZERO = len(MAGNITUDES)
"""The slot of zero."""

STANDS_OUT = 5.0
"""Standard deviations of noise that occupied slots exceed: of all empty ones of a feature, some do in one of 4,000 builds."""

RUNS = (1, 2, 4, 8)
"""Slots beside each other that are looked at together, so that a wide tail is seen of which no slot stands out."""

BESIDE = 1.5
"""Standard deviations that a slot beside an occupied one exceeds."""

SHARE = 6.0
"""Share of a build's μ², beside 100 for everything else."""

TOLD = 100.0
"""Subjects, in standard deviations of a slot's noise, from which on bounds can be told at all."""

ROUND = (Decimal(1), Decimal("1.2"), Decimal("1.5"), Decimal(2), Decimal("2.5"), Decimal(3), Decimal(4), Decimal(5), Decimal(6), Decimal(8))
"""Round numbers, of each power of ten."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Released bounds of one feature, in its unit, round; `low` < `high`."""

    low: Decimal
    high: Decimal


def estimate(cohort: Cohort, beyond: Sequence[float], grant: Grant, noise: NoiseSource) -> tuple[Bounds | None, ...]:
    """Bounds of each feature of the column `raw` (n, features), NaN where a subject has no value; one round.

    `beyond`: the share of values that may lie outside each bound of a feature. None where noise hides where the values are.
    """
    shape = (len(beyond), SLOTS)
    found = counted(cohort, "bounds.slots", {"edges": EDGES}, shape, grant, noise, Part.ALL)
    return tuple(_between(Noisy(row, found.sigma), share) for row, share in zip(found.values, beyond, strict=True))


def sigma(mu_squared: float, features: int) -> float:
    """Standard deviation of a slot's noise, in subjects, where a build of `mu_squared` estimates the bounds of so many features."""
    return math.sqrt(features / (mu_squared * SHARE / (100 + SHARE)))


def _between(counts: Noisy, beyond: float) -> Bounds | None:
    occupied = _occupied(counts)
    if not occupied.any():
        return None
    until = _rising(np.cumsum(np.where(occupied, counts.values, 0.0)))
    low = _round(_quantile(until, beyond), ROUND_FLOOR)
    high = _round(_quantile(until, 1 - beyond), ROUND_CEILING)
    return Bounds(low, high if low < high else _next(low))


def _occupied(counts: Noisy) -> NDArray[np.bool_]:
    """(SLOTS,) where more than noise is: in a slot, in several beside each other that are not taken yet, or just beside those."""
    found = np.zeros(SLOTS, dtype=bool)
    for width in RUNS:
        rest = np.lib.stride_tricks.sliding_window_view(np.where(found, 0.0, counts.values), width).sum(axis=1)
        many = np.lib.stride_tricks.sliding_window_view(~found, width).sum(axis=1)
        for start in np.flatnonzero((rest >= STANDS_OUT * counts.sigma * np.sqrt(many)) & (many > 0)):
            found[start : start + width] = True
    likely = counts.values >= BESIDE * counts.sigma
    while (beside := likely & ~found & (np.append(found[1:], False) | np.append(False, found[:-1]))).any():
        found |= beside
    return found


def _rising(until: Array) -> Array:
    """Noisy cumulative counts made monotone, halfway between the least curve above and the greatest below."""
    above, below = np.maximum.accumulate(until), np.minimum.accumulate(until[::-1])[::-1]
    return np.maximum((above + below) / 2, 0.0)


def _quantile(until: Array, share: float) -> float:
    """Where `share` of the subjects lies below; evenly spread within a slot, and zero in that of zero."""
    wanted = share * until[-1]
    slot = int(np.searchsorted(until, wanted))
    if slot == ZERO:
        return 0.0
    ends = np.concatenate([[-(2.0**MOST)], EDGES, [2.0**MOST]])
    before = until[slot - 1] if slot else 0.0
    return float(ends[slot] + (wanted - before) / max(until[slot] - before, 1e-9) * (ends[slot + 1] - ends[slot]))


def _round(value: float, way: str) -> Decimal:
    """The nearest round number that is not above (`ROUND_FLOOR`) or not below (`ROUND_CEILING`)."""
    if value == 0:
        return Decimal(0)
    size = Decimal(abs(value))
    power = Decimal(10) ** size.adjusted()
    steps = [step * power for step in (*ROUND, Decimal(10))]
    outward = (way == ROUND_CEILING) == (value > 0)
    found = min(step for step in steps if step >= size) if outward else max(step for step in steps if step <= size)
    return Decimal(f"{found.normalize():f}").copy_sign(Decimal(value))


def _next(low: Decimal) -> Decimal:
    """A round number above `low`, where all values are alike."""
    return Decimal(1) if low == 0 else _round(float(low) * (1.1 if low > 0 else 0.9), ROUND_CEILING)


@register("bounds.slots")
def _slots(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """The slot of each value."""
    raw = batch["raw"]
    slots = np.searchsorted(parameters["edges"], raw, side="right").astype(np.float64)
    return ones(np.where(np.isnan(raw), OUTSIDE, slots))
