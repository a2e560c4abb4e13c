"""What predictions of a number are worth, through the door: one table by band of score, and after it.

In one round a subject adds 1 to the cell of its band and the level of its label, and what its label is worth, up to the public or
released cap, to its band. In units of the cap both are at most 1: L2 sensitivity √2 caps under add/remove neighbours. From that come
concordance (how well scores rank), what each band was predicted and observed, and the share of the whole that the selected bring,
each with an interval for chance and noise. Not here: the model (`engine.trainers.regression`), who is told (`engine.described_value`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from audit.intervals import Interval
from audit.wording import Z95
from engine import delta
from engine.assess import Noisy
from engine.ranked import Ranked
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register
from governance.noise import NoiseSource

DROWNED = 2.0
"""Standard deviations of noise that a count must exceed for anything to be told of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`counts` (bands, levels) of subjects, and `sums` (bands,) of what their labels are worth, in caps; `levels` (levels,) about what a
    label of each is worth, in caps. `cuts` (bands - 1,) lie between bands; `part`: of whom; `first`: the first band that is selected."""

    counts: Noisy
    sums: Noisy
    levels: Array
    cuts: Array
    part: Part
    first: int


def table(
    cohort: Cohort, everybody: Ranked, threshold: int, edges: Array, worth: Array, cap: int, grant: Grant, noise: NoiseSource
) -> Table:
    """One round. `edges` (levels - 1,) between levels of the label, `worth` (ONE + 1,) of its grid, whole; what exceeds `cap` counts as
    it. Reads `score`, `label`."""
    sigma, most = grant.sigma(math.sqrt(2)), max(float(worth[cap]), 1.0)
    cuts, part = everybody.cuts(threshold, sigma), everybody.asked(sigma)
    bands, levels, capped = len(cuts) + 1, len(edges) + 1, np.minimum(worth, most)
    parameters = {"cuts": cuts, "edges": edges, "worth": capped}
    query = Query(StepName("value_curves.table"), parameters, (2, bands * levels, 1), math.sqrt(2) * most, part)
    found = cohort.noisy_sum(query, grant, noise)[:, :, 0] / most
    ends = np.concatenate([[0.0], edges, [float(cap)]]).astype(np.int64)
    middles = np.array([capped[low : max(high, low + 1)].mean() for low, high in pairwise(ends)]) / most
    return Table(
        Noisy(found[0].reshape(bands, levels), sigma),
        Noisy(found[1, :bands], sigma),
        middles,
        cuts,
        part,
        int(np.searchsorted(cuts, threshold, side="right")),
    )


def concordance(found: Table) -> Interval:
    """Chance that of two subjects whose labels are of different levels, the higher one has the higher score; 0.5: no better than a coin."""
    if float(found.counts.values.sum()) <= DROWNED * found.counts.sigma * math.sqrt(found.counts.values.size):
        return Interval(0.5, 0.0, 1.0)
    known = delta.interval(_concordant, found.counts)
    return Interval(*(min(max(end, 0.0), 1.0) for end in (known.value, known.low, known.high)))


def observed(found: Table) -> tuple[Interval, ...]:
    """What a subject of each band was worth on average, in caps, the lowest scores first."""
    return tuple(_mean(found, slice(band, band + 1)) for band in range(len(found.sums.values)))


def overall(found: Table) -> Interval:
    """What a subject was worth on average, in caps."""
    return _mean(found, slice(None))


def brought(found: Table) -> Interval:
    """Share of what everybody brought that the selected did."""
    sums = np.maximum(found.sums.values, 0.0)
    total, chosen = max(float(sums.sum()), 1e-9), np.arange(len(sums)) >= found.first
    share = float(sums[chosen].sum()) / total
    slopes = (chosen - share) / total
    variance = slopes**2 @ (np.maximum(found.counts.values, 0.0) @ found.levels**2 + found.sums.sigma**2)
    half = Z95 * math.sqrt(float(variance))
    return Interval(share, max(0.0, share - half), min(1.0, share + half))


def _mean(found: Table, bands: slice) -> Interval:
    counts = found.counts.values[bands]
    subjects = float(counts.sum())
    if subjects <= DROWNED * found.counts.sigma * math.sqrt(counts.size):
        return Interval(0.5, 0.0, 1.0)
    total = found.sums.values[bands]
    value = min(max(float(total.sum()) / subjects, 0.0), 1.0)
    chance = float(np.maximum(counts.sum(axis=0), 0.0) @ (found.levels - value) ** 2)
    noise = found.sums.sigma**2 * len(total) + (value * found.counts.sigma) ** 2 * counts.size
    half = Z95 * math.sqrt(chance + noise) / subjects
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def _concordant(counts: Array) -> float:
    """Pairs in order, and half of those in one band, among pairs of different levels."""
    lower = np.cumsum(counts, axis=1) - counts  # of each cell: lower levels in its band
    below = np.cumsum(lower, axis=0) - lower  # and in lower bands
    pairs = float((counts * np.broadcast_to(lower.sum(axis=0), counts.shape)).sum())
    return float((counts * (below + lower / 2)).sum()) / max(pairs, 1e-9)


@register("value_curves.table")
def _table(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2, 1): the cap in the cell of band and level, the label's worth in the band."""
    band = np.searchsorted(parameters["cuts"], batch["score"], side="right")
    level = np.searchsorted(parameters["edges"], batch["label"], side="right")
    worth = parameters["worth"]
    values = np.stack([np.full(len(band), worth[-1]), worth[np.clip(batch["label"], 0, len(worth) - 1).astype(np.int64)]], axis=1)
    return Contribution(values[:, :, None], np.stack([band * (len(parameters["edges"]) + 1) + level, band], axis=1))
