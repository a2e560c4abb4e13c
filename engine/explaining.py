"""The two or three rules that tell a segment from the rest, found on released profiles, so that nothing more is charged.

A rule asks at most three features to lie in a range that ends where bars of their histograms do. Ranges are added one at a time,
each time the one that brings those whom the rule covers nearest to those who are in the segment (twice those who are both, over the
sum of the two; Dice, 1945), as long as that grows by more than noise may. Histograms know each feature alone: the shares of a rule
of several features are products within each segment, as if features were independent there; over all segments they need not be.
Where they hang together within a segment, or among those who are in none, the true shares differ: the intervals tell what noise
does, and nothing of that. (Of clusters of CDNOW, online shoppers, adult and credit at ε 1 with 5 seeds, they were off by 1 to 3 % of
the segment or of the others on average, and precision by 2 to 5 %.)

Before that, the noise is taken out of a histogram as far as it shows: the nearest counts that are not negative and have the same sum
(Lee, Wang, Kifer, 2015). Not here: names (`engine.naming`), the door, which gave the profiles (`engine.assess`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.explanation_page import Named, Rule
from audit.intervals import Interval
from audit.report import Profile
from audit.wording import Z95, number

Array = NDArray[np.float64]

RANGES = 3
"""Features in a rule at most."""

GAIN = 0.03
"""By how much a rule must come nearer to its segment for one more range to be worth its words."""

SIMPLER = 0.01
"""Of that much a range with two ends is worse than one with a single end, which takes fewer words and lets no noise choose the other."""

CERTAIN = 2.0
"""And by how many standard deviations, of noise and of who happens to be in the data."""

SEEN = 2.0
"""Standard deviations of noise from which on somebody is taken to be in a part."""

REPEATS = 200
"""Draws of noise, by which the interval of a share is found; the seed is fixed, as they look at nothing that is not released."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bars [first, last) of a feature, by its place among the profiles."""

    feature: int
    first: int
    last: int


def rules(profiles: Sequence[Profile], parts: Sequence[Named]) -> tuple[Rule, ...]:
    """One rule a part, in the parts' order. Everybody who is in no part (`Profile.rest`) is one of the others."""
    counts = np.array([[*profile.histograms, profile.rest or [0.0] * len(profile.histograms[0])] for profile in profiles])
    sigma = profiles[0].sigma
    generator = np.random.default_rng(0)
    noisy = counts + generator.normal(0.0, sigma, (REPEATS, *counts.shape))
    seen = _settled(counts, sigma)
    again = [_settled(each, sigma) for each in noisy]
    found = []
    for part, named in enumerate(parts):
        ranges = _search(seen, part, sigma)
        shares = np.array([_shares(each, ranges, part) for each in again])
        covers, others, precision = (
            _interval(value, float(spread)) for value, spread in zip(_shares(seen, ranges, part), shares.std(axis=0), strict=True)
        )
        found.append(Rule(named, " and ".join(_words(profiles[each.feature], each) for each in ranges), covers, others, precision))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """`shares` (d, parts + 1, bins) of each part in each bar, `sizes` (parts + 1,) of the parts; the last part is the rest."""

    shares: Array
    sizes: Array


def _settled(counts: Array, sigma: float) -> _Seen:
    """Without the noise that shows: a part that is not seen through the noise has nobody in it."""
    features, _, bins = counts.shape
    totals = counts.sum(axis=2)
    sizes = totals.mean(axis=0)
    sizes = np.where(sizes > SEEN * sigma * math.sqrt(bins / features), sizes, 0.0)
    return _Seen(_on_simplex(counts), sizes)


def _on_simplex(counts: Array) -> Array:
    """Shares (..., bins), none negative and of sum one, nearest to `counts` over their sum; even where there is no sum."""
    bins = counts.shape[-1]
    total = counts.sum(axis=-1, keepdims=True)
    shares = np.where(total > 0, counts / np.where(total > 0, total, 1.0), 1.0 / bins)
    falling = -np.sort(-shares, axis=-1)
    excess = (np.cumsum(falling, axis=-1) - 1) / np.arange(1, bins + 1)
    last = (falling > excess).sum(axis=-1, keepdims=True) - 1
    return np.asarray(np.maximum(shares - np.take_along_axis(excess, last, axis=-1), 0.0))


def _search(seen: _Seen, part: int, sigma: float) -> list[Range]:
    """Ranges of a rule, the most telling first."""
    features, parts, bins = seen.shares.shape
    places = [(first, last) for first in range(bins) for last in range(first + 1, bins + 1) if last - first < bins]
    until = np.concatenate([np.zeros((features, parts, 1)), np.cumsum(seen.shares, axis=2)], axis=2)
    inside = np.stack([until[:, :, last] - until[:, :, first] for first, last in places], axis=1)  # (d, ranges, parts + 1)
    own = max(float(seen.sizes[part]), 1.0)
    rest = max(float(seen.sizes.sum()) - own, 1.0)
    chance = (1 / own + 1 / rest) / 4 + sigma**2 * bins / 2 * (1 / own**2 + (parts - 1) / rest**2)
    least = max(GAIN, CERTAIN * math.sqrt(chance))
    covered, near = np.ones(parts), _near(np.ones(parts), seen.sizes, part)
    chosen: list[Range] = []
    while len(chosen) < min(RANGES, features):
        tried = covered * inside
        score = _near(tried, seen.sizes, part) - np.where([first > 0 and last < bins for first, last in places], SIMPLER, 0.0)
        score[[each.feature for each in chosen]] = -1.0
        feature, place = np.unravel_index(int(score.argmax()), score.shape)
        if score[feature, place] < near + least:
            break
        covered = tried[feature, place]
        near = _near(covered, seen.sizes, part)
        chosen.append(Range(int(feature), *places[place]))
    return chosen


def _near(covered: Array, sizes: Array, part: int) -> Any:
    """From 0 to 1, (...,): how alike those are whom a rule covers, shares `covered` (..., parts + 1), and those in the part."""
    return 2 * sizes[part] * covered[..., part] / np.maximum(sizes[part] + covered @ sizes, 1e-9)


def _shares(seen: _Seen, ranges: Sequence[Range], part: int) -> tuple[float, float, float]:
    """Of the part that the ranges cover, of the others, and of the covered who are in the part."""
    covered = np.ones(len(seen.sizes))
    for each in ranges:
        covered = covered * seen.shares[each.feature, :, each.first : each.last].sum(axis=1)
    inside = seen.sizes * covered
    others = inside.sum() - inside[part]
    return (
        float(covered[part]),
        float(others / max(seen.sizes.sum() - seen.sizes[part], 1e-9)),
        float(inside[part] / max(inside.sum(), 1e-9)),
    )


def _interval(value: float, spread: float) -> Interval:
    return Interval(value, max(0.0, value - Z95 * spread), min(1.0, value + Z95 * spread))


def _words(profile: Profile, chosen: Range) -> str:
    """A range in the feature's unit: `recency above 120 days`."""
    unit = f" {profile.unit}" if profile.unit else ""
    low, high = number(profile.edges[chosen.first]), number(profile.edges[chosen.last])
    if chosen.first == 0:
        return f"{profile.feature} below {high}{unit}"
    if chosen.last == len(profile.edges) - 1:
        return f"{profile.feature} above {low}{unit}"
    return f"{profile.feature} {low} to {high}{unit}"
