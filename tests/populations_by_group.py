"""Made-up populations for fairness: people by group with a score and a label, as the noisy table that a build would see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from audit.fairness import Confusion, GroupTable, Scores
from engine.described_fairness import SHARES
from engine.group_tables import SCORED
from engine.shares import PROPENSITY_SHARES
from governance.accounting import mu_squared_of

DELTA = 1e-5
LEVELS = np.array([0.02, 0.1, 0.2, 0.35, 0.55, 0.8])
"""Scores that people have; whoever scores above `THRESHOLD` is selected."""
THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class World:
    """`n` people in groups of the given `shares`; of group g a share `selected[g]` is selected, and the label comes true more often
    than the score says by `gaps[g]`, within [0, 1]."""

    n: int
    shares: tuple[float, ...]
    selected: tuple[float, ...]
    gaps: tuple[float, ...]
    epsilon: float

    @property
    def sigma(self) -> float:
        """Noise of a cell of one attribute, at the share of a propensity's budget that fairness tables get."""
        spent = Fraction(PROPENSITY_SHARES["fairness"]) / Fraction(sum(PROPENSITY_SHARES.values()))
        spent *= Fraction(SHARES["tables"]) / Fraction(sum(SHARES.values()))
        return math.sqrt(SCORED / (budget(self.epsilon) * float(spent)))

    def cells(self, group: int) -> NDArray[np.float64]:
        """(levels, 2): probability of a score, without the label and with it."""
        below, above = LEVELS < THRESHOLD, LEVELS > THRESHOLD
        scores = np.where(above, self.selected[group] / above.sum(), (1 - self.selected[group]) / below.sum())
        label = np.clip(LEVELS + self.gaps[group], 0, 1)
        return np.asarray(np.stack([scores * (1 - label), scores * label], axis=1))

    def truth(self, group: int) -> dict[str, float]:
        """Of a group: its rates by measure, and how much more often labels come true than predicted."""
        without, with_ = self.cells(group).T
        above = LEVELS > THRESHOLD
        return {
            "selection rate": float((without + with_)[above].sum()),
            "true positive rate": float(with_[above].sum() / with_.sum()),
            "false positive rate": float(without[above].sum() / without.sum()),
            "calibration": float(with_.sum() - (without + with_) @ LEVELS),
        }

    def draw(self, rng: np.random.Generator) -> GroupTable:
        """One noisy table, errors counted on everybody."""
        sigma, above = self.sigma, LEVELS > THRESHOLD
        cells, excess = [], []
        for group, size in enumerate(rng.multinomial(self.n, self.shares)):
            counts = rng.multinomial(size, self.cells(group).ravel()).reshape(-1, 2)
            order = [(above, 1), (above, 0), (~above, 1), (~above, 0)]
            cells.append([counts[where, label].sum() + rng.normal(0, sigma) for where, label in order])
            excess.append([counts[where, label] @ (LEVELS[where] - 0.5) + rng.normal(0, sigma) for where, label in order])
        return table(cells, excess, sigma)


def table(cells: Sequence[Sequence[float]], excess: Sequence[Sequence[float]], sigma: float) -> GroupTable:
    """By group: cells of a confusion and sums of (score − ½) over them."""
    tp, fp, fn, tn = (tuple(map(float, column)) for column in zip(*cells, strict=True))
    selected = [(a + b, c + d) for a, b, c, d in zip(tp, fp, fn, tn, strict=True)]
    sums = tuple(tuple(map(float, column)) for column in zip(*excess, strict=True))
    return GroupTable(
        "age",
        tuple(f"g{place}" for place in range(len(cells))),
        ("selected", "others"),
        tuple(selected),
        sigma * math.sqrt(2),
        ("selected",),
        Confusion(tp, fp, fn, tn, sigma),
        scores=Scores(sums, THRESHOLD, sigma),
    )


@cache
def budget(epsilon: float) -> float:
    """μ² of a build."""
    return float(mu_squared_of(epsilon, DELTA))
