"""What an uplift model is worth, through the door: one table of a trial's subjects by band of score, arm and outcome, and after it.

A subject adds 1 to one slot, whoever is in no arm to none: L2 sensitivity 1 under add/remove neighbours. From the table come the
Qini curve (Radcliffe 2007), its coefficient, the average effect, and the uplift of bands and of the selected, each with an
interval for chance and noise. Not here: the model (`engine.trainers.uplift`), who is told (`engine.described_uplift`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.intervals import Interval, difference, rate
from audit.wording import Z95
from engine import delta
from engine.assess import OUTSIDE, Noisy, counted, ones
from engine.ranked import Ranked
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, register
from governance.noise import NoiseSource

CONTROL, TREATED = 0, 1
CELLS = 4
"""Arm and outcome."""

DROWNED = 2.0
"""Standard deviations of noise that the count of an arm must exceed for anything to be told of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`counts` (bands, arms, outcomes) of a trial's subjects between `cuts` (bands - 1,) on the grid of scores; `part`: of whom;
    `first`: the first band that is selected."""

    counts: Noisy
    cuts: Array
    part: Part
    first: int

    @property
    def drowned(self) -> bool:
        """Whether noise hides one of the arms."""
        arms = self.counts.values.sum(axis=(0, 2))
        return float(arms.min()) <= DROWNED * self.counts.sigma * math.sqrt(2 * len(self.counts.values))


def table(cohort: Cohort, everybody: Ranked, threshold: int, grant: Grant, noise: NoiseSource) -> Table:
    """One round, in bands that released scores suggest. Reads `score`, `treatment`, `label`."""
    sigma = grant.sigma(1.0)
    cuts, part = everybody.cuts(threshold, sigma), everybody.asked(sigma)
    found = counted(cohort, "uplift_curves.table", {"edges": cuts}, (1, CELLS * (len(cuts) + 1)), grant, noise, part)
    first = int(np.searchsorted(cuts, threshold, side="right"))
    return Table(Noisy(found.values.reshape(len(cuts) + 1, 2, 2), found.sigma), cuts, part, first)


def gains(counts: Array) -> Array:
    """(bands + 1, 2) the Qini curve from (0, 0): share of the trial's subjects, the highest scores first, and outcomes that treating
    them adds, per treated subject of the whole trial; at its end stands the average effect."""
    sums = np.cumsum(counts[::-1], axis=0)
    arms, outcomes = sums.sum(axis=2), sums[:, :, 1]
    added = outcomes[:, TREATED] - outcomes[:, CONTROL] * arms[:, TREATED] / _at_least_one(arms[:, CONTROL])
    shares = arms.sum(axis=1) / _at_least_one(arms[-1].sum())
    return np.vstack([[0.0, 0.0], np.stack([shares, added / _at_least_one(arms[-1, TREATED])], axis=1)])


def qini(found: Table) -> Interval:
    """The Qini coefficient: area between the curve and the straight line of treating at random, in outcomes per treated subject."""
    if found.drowned:
        return Interval(0.0, -1.0, 1.0)
    return delta.interval(_area, found.counts)


def average(found: Table) -> Interval:
    """The average effect of the treatment."""
    return _effect(found, found.counts.values)


def selected(found: Table) -> Interval:
    """The effect among the selected."""
    return _effect(found, found.counts.values[found.first :])


def banded(found: Table) -> tuple[Interval, ...]:
    """The effect in each band, the lowest scores first."""
    return tuple(_effect(found, found.counts.values[band : band + 1]) for band in range(len(found.counts.values)))


def _effect(found: Table, counts: Array) -> Interval:
    """Rate of the outcome among treated less that among control, over bands (after Newcombe 1998, with noise)."""
    sigma = found.counts.sigma * math.sqrt(len(counts))
    rates = [rate(float(yes), float(no), sigma, sigma, Z95) for no, yes in counts.sum(axis=0)]
    return difference(rates[TREATED], rates[CONTROL])


def _area(counts: Array) -> float:
    curve = gains(counts)
    return float(np.trapezoid(curve[:, 1], curve[:, 0]) - curve[-1, 1] / 2)


def _at_least_one(count: Array) -> Array:
    return np.maximum(count, 1.0)


@register("uplift_curves.table")
def _table(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    band = np.searchsorted(parameters["edges"], batch["score"], side="right")
    cell = CELLS * band + 2 * batch["treatment"] + batch["label"]
    return ones(np.where(batch["treatment"] >= 0, cell, OUTSIDE))
