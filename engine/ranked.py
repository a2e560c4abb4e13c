"""Everybody by a score whose spread the model itself tells: the histogram that thresholds and tenths are read from, in one round.

A propensity is cut where its log-odds are (`engine.curves`); a value or an uplift lies in a small part of its range, somewhere
else in every model, so that its released parameters say where to cut. Each subject adds 1 to one slot: L2 sensitivity 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.assess import Noisy, counted, ones
from engine.split import TRAIN_SHARE
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, register
from governance.noise import NoiseSource

BINS = 40
"""Bins of the histogram of scores."""

TENTHS = (10, 5)
"""Bands that people are put into by their score: tenths, or fifths where there are few."""

LEAST_BAND = 0.6
"""What a band holds at least, of an even one, as far as the histogram tells: more than a few where many have one score."""

SUBJECTS_A_BAND = 40.0
"""Subjects of a tenth, in standard deviations of the noise, below which fifths are asked."""

HOLDOUT_WORTH = 200.0
"""Hold-out subjects, in standard deviations of the noise, from which on the hold-out alone is asked."""

HELD_OUT = 1 - TRAIN_SHARE


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """`counts` (bins,) of everybody between `edges` (bins + 1,) on the grid of scores; the outer edges are where hardly anybody is."""

    counts: Noisy
    edges: Array

    @property
    def subjects(self) -> float:
        """Noisy number of everybody."""
        return max(float(self.counts.values.sum()), 1.0)

    def threshold(self, top: float) -> int:
        """The score from which on somebody is among the `top` share, as far as the histogram tells."""
        above = monotone(np.concatenate([[0.0], np.cumsum(self.counts.values[::-1])]))
        wanted = top * above[-1]
        place = int(np.clip(np.searchsorted(above, wanted), 1, len(above) - 1))
        high, low = self.edges[::-1][place - 1 : place + 1]
        inside = above[place] - above[place - 1]
        return math.ceil(float(high) - float(high - low) * (float((wanted - above[place - 1]) / inside) if inside > 0 else 0.0))

    def share_above(self, score: float) -> float:
        """Share of everybody at this score or above, as far as the histogram tells."""
        held = np.maximum(self.counts.values, 0.0)
        below = np.interp(score, self.edges, np.concatenate([[0.0], np.cumsum(held)]))
        return float(1 - below / max(float(held.sum()), 1e-9))

    def means(self, cuts: Array, values: Array) -> Array:
        """(bands,) mean of `values` (bins,), one for each bin, over the bands between `cuts`."""
        held = np.maximum(self.counts.values, 1e-3)  # where nobody is, the bins count alike
        ends = np.clip(np.concatenate([self.edges[:1], cuts, self.edges[-1:]]), self.edges[0], self.edges[-1])
        subjects, totals = (
            np.diff(np.interp(ends, self.edges, np.concatenate([[0.0], np.cumsum(each)]))) for each in (held, held * values)
        )
        return np.asarray(np.where(subjects > 0, totals / np.maximum(subjects, 1e-9), np.interp(ends[1:], self.edges[1:], values)))

    def asked(self, sigma: float) -> Part:
        """Whom to ask: the hold-out where it can be seen through the noise, else everybody, which flatters a model a little."""
        return Part.HOLDOUT if HELD_OUT * self.subjects >= HOLDOUT_WORTH * sigma else Part.ALL

    def cuts(self, threshold: int, sigma: float) -> Array:
        """Whole scores between bands: tenths or fifths of everybody, and the threshold, so that bands are selected whole or not at all."""
        asked = self.subjects * (HELD_OUT if self.asked(sigma) is Part.HOLDOUT else 1.0)
        bands = TENTHS[0] if asked / TENTHS[0] >= SUBJECTS_A_BAND * sigma else TENTHS[1]
        kept = {float(threshold): self.share_above(threshold)}
        for score in (float(self.threshold(share / bands)) for share in range(1, bands)):
            above = self.share_above(score)
            if min(abs(above - other) for other in kept.values()) > LEAST_BAND / bands:
                kept[score] = above
        return np.array(sorted(kept))


def ranked(cohort: Cohort, edges: Array, grant: Grant, noise: NoiseSource) -> Ranked:
    """Subjects by score between `edges` (BINS + 1,), the outer bins open. Reads `score`."""
    table = counted(cohort, "ranked.scores", {"edges": edges[1:-1]}, (1, len(edges) - 1), grant, noise, Part.ALL)
    return Ranked(Noisy(table.values[0], table.sigma), edges)


def words(part: Part) -> str:
    """Whom a table is about."""
    return "on the hold-out" if part is Part.HOLDOUT else "on everybody, because noise would drown the hold-out alone"


def monotone(cumulative: Array) -> Array:
    """Cumulative counts made rising, halfway between the least curve above and the greatest below. To set negative counts to zero
    would be simpler, and let the noise of empty bins pass for subjects."""
    above = np.maximum.accumulate(cumulative)
    below = np.minimum.accumulate(cumulative[::-1])[::-1]
    return np.asarray((above + below) / 2)


@register("ranked.scores")
def _scores(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    return ones(np.searchsorted(parameters["edges"], batch["score"], side="right").astype(np.float64))
