"""What scores are worth: their distribution, thresholds, ranking and calibration, through the door and after it.

Two queries: the histogram of scores, and with bins that it suggests, subjects by label and score. In both a subject adds
1 to one slot: L2 sensitivity 1 under add/remove neighbours. Everything else here works on what they released. Not here:
the model (`engine.trainers`), who is told (`engine.reports`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.intervals import Interval, rate
from audit.wording import Z95
from engine.assess import Noisy, counted, ones
from engine.models import ONE
from engine.split import TRAIN_SHARE
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, register
from governance.noise import NoiseSource

LOGIT_RANGE = 5.0
"""Score bins are even in log-odds between -5 and 5, so that rare labels have bins too; the two ends are open."""

SCORE_BINS = 32
"""Bins of the histogram of scores, which thresholds are read from."""

CURVE_BINS = (6, 24)
"""Bins of a curve, at least and at most: few where noise counts, many where ties would."""

SUBJECTS_A_BIN = 20.0
"""Subjects that a bin of a curve is to hold on average, in standard deviations of the noise."""

TOPWARD = 1.7
"""Bins of a curve hold shares that fall off like this power towards the top, where subjects with the label are."""

HOLDOUT_WORTH = 200.0
"""Hold-out subjects, in standard deviations of the noise, from which on the hold-out alone is asked."""

HELD_OUT = 1 - TRAIN_SHARE

DROWNED = 2.0
"""Standard deviations of noise that a count must exceed for a rate to be taken of it."""


def scores(cohort: Cohort, grant: Grant, noise: NoiseSource) -> Noisy:
    """Subjects by score bin, (SCORE_BINS,); `score_edges` lie between bins. Reads `score`."""
    table = counted(cohort, "curves.scores", {"edges": score_edges()}, (1, SCORE_BINS), grant, noise, Part.ALL)
    return Noisy(table.values[0], table.sigma)


def threshold(histogram: Noisy, top: float) -> int:
    """The score from which on a subject is among the `top` share, on the grid of scores; released `scores` tell."""
    above = _rising(np.concatenate([[0.0], np.cumsum(histogram.values[::-1])]))
    wanted = top * above[-1]
    place = int(np.clip(np.searchsorted(above, wanted), 1, SCORE_BINS))  # bins from the top that hold the wanted share
    ends = np.concatenate([[0.0], score_edges(), [float(ONE)]])
    low, high = float(ends[SCORE_BINS - place]), float(ends[SCORE_BINS - place + 1])
    inside = above[place] - above[place - 1]
    return round(high - (high - low) * (float((wanted - above[place - 1]) / inside) if inside > 0 else 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """`counts` (2, bins): negatives and positives by score bin. `edges` (bins - 1,) lie between bins, on the grid of scores;
    `predicted` (bins,) the mean probability in each; `part`: whom it is about."""

    counts: Noisy
    edges: Array
    predicted: Array
    part: Part


def curve(cohort: Cohort, histogram: Noisy, grant: Grant, noise: NoiseSource) -> Curve:
    """Subjects by label and score, in bins that released `scores` suggest. Reads `score`, `label`.

    The hold-out, where it is large enough to be seen through the noise; else everybody, which flatters a model by what it
    remembers of its training subjects: little, under differential privacy, and less than the noise of a small hold-out.
    """
    sigma = grant.sigma(1.0)
    subjects = max(float(histogram.values.sum()), 1.0)
    part = Part.HOLDOUT if HELD_OUT * subjects >= HOLDOUT_WORTH * sigma else Part.ALL
    asked = subjects * (HELD_OUT if part is Part.HOLDOUT else 1.0)
    bins = int(np.clip(asked / (SUBJECTS_A_BIN * sigma), *CURVE_BINS))
    tops = (np.arange(bins - 1, 0, -1) / bins) ** TOPWARD
    edges = np.maximum.accumulate([float(threshold(histogram, top)) for top in tops])
    table = counted(cohort, "curves.curve", {"edges": edges}, (1, 2 * bins), grant, noise, part)
    return Curve(Noisy(table.values.reshape(2, bins), sigma), edges, _predicted(histogram, edges), part)


def auc(curve: Curve) -> Interval:
    """Area under the ROC curve with a 95 % interval for sampling (Hanley and McNeil 1982) and
    noise (delta method). (0, 1) where the noise drowns either label."""
    negatives, positives = curve.counts.values
    sigma = curve.counts.sigma
    n, p = float(negatives.sum()), float(positives.sum())
    if min(n, p) <= DROWNED * sigma * math.sqrt(len(negatives)):
        return Interval(0.5, 0.0, 1.0)
    below = np.cumsum(negatives) - negatives / 2
    above = p - np.cumsum(positives) + positives / 2
    area = float(np.clip(positives @ below / (p * n), 0.0, 1.0))
    noise = sigma**2 * (((below - area * n) ** 2).sum() + ((above - area * p) ** 2).sum()) / (p * n) ** 2
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    sampling = (area * (1 - area) + (p - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (p * n)
    half = Z95 * math.sqrt(max(noise + sampling, 0.0))
    return Interval(area, max(0.0, area - half), min(1.0, area + half))


def calibration_gap(curve: Curve) -> Interval:
    """Observed rate less the mean of predictions, at 95 %."""
    counts = curve.counts.values
    negatives, positives = (float(v) for v in counts.sum(axis=1))
    noise = curve.counts.sigma * math.sqrt(counts.shape[1])
    observed = rate(positives, negatives, noise, noise, Z95)
    weights = np.maximum(counts.sum(axis=0), 0.0)
    predicted = float(weights @ curve.predicted / max(weights.sum(), 1e-9))
    return Interval(observed.value - predicted, observed.low - predicted, observed.high - predicted)


def roc(curve: Curve) -> tuple[tuple[float, float], ...]:
    """Points (false, true positive rate) from (0, 0) to (1, 1), noisy counts made monotone."""
    sums = [_rising(np.concatenate([[0.0], np.cumsum(row[::-1])])) for row in curve.counts.values]
    rates = [np.clip((each - each[0]) / max(each[-1] - each[0], 1e-9), 0.0, 1.0) for each in sums]
    return tuple((float(f), float(t)) for f, t in zip(*rates, strict=True))


def calibration(curve: Curve, bands: int = 4) -> tuple[tuple[float, float, float, float], ...]:
    """(predicted, observed, low, high) for bands of neighbouring score bins, where there is more than noise."""
    points = []
    for place in np.array_split(np.arange(curve.counts.values.shape[1]), bands):
        negatives, positives = (float(v) for v in curve.counts.values[:, place].sum(axis=1))
        noise = curve.counts.sigma * math.sqrt(len(place))
        if negatives + positives > DROWNED * noise:
            weights = np.maximum(curve.counts.values[:, place].sum(axis=0), 0.0)
            observed = rate(positives, negatives, noise, noise, Z95)
            points.append((float(weights @ curve.predicted[place] / max(weights.sum(), 1e-9)), observed.value, observed.low, observed.high))
    return tuple(points)


def score_edges() -> Array:
    """(SCORE_BINS - 1,) whole thresholds between bins of `scores`, on the grid of scores."""
    return np.rint(ONE * _probability(np.linspace(-LOGIT_RANGE, LOGIT_RANGE, SCORE_BINS - 1)))


def _predicted(histogram: Noisy, edges: Array) -> Array:
    """Mean probability in each bin between `edges`, by the released histogram; halfway in log-odds where it holds nobody."""
    step = 2 * LOGIT_RANGE / (SCORE_BINS - 2)
    middles = _probability(-LOGIT_RANGE - step / 2 + step * np.arange(SCORE_BINS))
    place = np.searchsorted(edges, middles * ONE, side="right")
    weights = np.maximum(histogram.values, 0.0)
    total = np.bincount(place, weights, minlength=len(edges) + 1)
    sums = np.bincount(place, weights * middles, minlength=len(edges) + 1)
    ends = np.clip(np.concatenate([[0.0], edges, [float(ONE)]]) / ONE, 1e-4, 1 - 1e-4)
    logits = np.log(ends / (1 - ends))
    halfway = _probability(np.asarray(logits[1:] + logits[:-1]) / 2)
    return np.where(total > 0, sums / np.maximum(total, 1e-9), halfway)


def _probability(logits: NDArray[np.floating[Any]]) -> Array:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _rising(cumulative: Array) -> Array:
    """Cumulative counts made monotone, halfway between the least curve above and the greatest below. To set negative counts
    to zero would be simpler, and let the noise of empty bins pass for subjects."""
    above = np.maximum.accumulate(cumulative)
    below = np.minimum.accumulate(cumulative[::-1])[::-1]
    return np.maximum((above + below) / 2, 0.0)


@register("curves.scores")
def _scores(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    return ones(np.searchsorted(parameters["edges"], batch["score"], side="right").astype(np.float64))


@register("curves.curve")
def _curve(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    bins = np.searchsorted(parameters["edges"], batch["score"], side="right")
    return ones(batch["label"] * (len(parameters["edges"]) + 1) + bins)
