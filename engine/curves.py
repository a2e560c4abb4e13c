"""How well scores rank and how honest they are: score histogram, threshold of a top share, ROC, AUC, calibration.

Everything is read off two noisy histograms: scores of all subjects, and scores by label of hold-out subjects. The bins of
the second are merged from the first so that each holds a like number of subjects, because each bin costs noise.

Neighbours: add or remove one subject. Sensitivity of either histogram: 1. What is computed from them costs nothing
more. Intervals include sampling (Hanley and McNeil 1982 for the AUC; Wilson 1927 for rates) and noise (delta method, with
the second-order term). Not here: whether a figure is good enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit.intervals import Interval, critical, rate
from engine.propensity import ONE
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register
from governance.noise import NoiseSource

FINE_BINS = 64
"""Bins of the score histogram, even in logits of ±FINE_LOGITS."""

FINE_LOGITS = 8.0
"""Logits that the fine bins cover; the outermost bins take what lies beyond."""

CURVE_BINS = 16
"""Bins of the curve, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHistogram:
    """`edges` (bins + 1,) on the score grid 0..ONE, a bin holds [low, high); noisy `counts` (bins,), each with noise `sigma`."""

    edges: Array
    counts: Array
    sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Hold-out subjects by bin and label: noisy `positives` and `negatives` (bins,), each with noise `sigma`.

    `edges` (bins + 1,) on the score grid; `predicted` (bins,) mean probability in each bin, as far as the histogram tells.
    """

    edges: Array
    positives: Array
    negatives: Array
    sigma: float
    predicted: Array


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """Subjects of one bin of scores: what was `predicted`, and the `observed` rate with its interval. `subjects` is noisy."""

    low: float
    high: float
    predicted: float
    observed: Interval
    subjects: float


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """`value`: mean |observed − predicted|, weighted by subjects. `by_chance`: what sampling and noise would show of perfect scores."""

    value: float
    by_chance: float


def score_histogram(cohort: Cohort, grant: Grant, noise: NoiseSource) -> ScoreHistogram:
    """One round: all subjects by `score`. Raises DoorError and BudgetError as the door does."""
    logits = np.linspace(-FINE_LOGITS, FINE_LOGITS, FINE_BINS + 1)
    edges = np.rint(ONE / (1 + np.exp(-logits)))
    edges[0], edges[-1] = 0, ONE + 1
    query = Query(StepName("curves.scores"), {"edges": edges}, (1, FINE_BINS, 1), 1.0)
    return ScoreHistogram(edges, cohort.noisy_sum(query, grant, noise).ravel(), grant.sigma(1.0))


def quantile_threshold(histogram: ScoreHistogram, top: float) -> int:
    """Score on the grid at or above which about the share `top` of subjects lies; even within a bin. Costs nothing."""
    above = _rising(np.append(0.0, np.cumsum(histogram.counts[::-1])))
    wanted = top * max(above[-1], 1.0)
    place = int(np.clip(np.searchsorted(above, wanted, side="left"), 1, len(above) - 1))
    within = (wanted - above[place - 1]) / max(above[place] - above[place - 1], 1e-9)
    low, high = histogram.edges[::-1][place], histogram.edges[::-1][place - 1]
    return int(np.clip(round(high - float(np.clip(within, 0.0, 1.0)) * (high - low)), 0, ONE))


def curve(cohort: Cohort, histogram: ScoreHistogram, grant: Grant, noise: NoiseSource) -> Curve:
    """One round: hold-out subjects by `score` and `label`. Raises DoorError and BudgetError as the door does."""
    kept = _even_bins(histogram.counts)
    edges = histogram.edges[kept]
    bins = len(edges) - 1
    query = Query(StepName("curves.labels"), {"edges": edges}, (1, 2 * bins, 1), 1.0, Part.HOLDOUT)
    counts = cohort.noisy_sum(query, grant, noise).reshape(2, bins)
    mass = np.maximum(histogram.counts, 0.0) + 1e-9
    middles = (histogram.edges[:-1] + np.minimum(histogram.edges[1:], ONE)) / 2 / ONE
    predicted = np.add.reduceat(mass * middles, kept[:-1]) / np.add.reduceat(mass, kept[:-1])
    return Curve(edges, counts[1], counts[0], grant.sigma(1.0), predicted)


def auc(of: Curve, confidence: float = 0.95) -> Interval:
    """Chance that a positive outranks a negative, ties half. [0, 1] where noise drowns either label."""
    positives, negatives = of.positives, of.negatives
    p, n = float(positives.sum()), float(negatives.sum())
    bins = len(positives)
    if min(p, n) < 2 * of.sigma * math.sqrt(bins) or min(p, n) < 1:
        return Interval(0.5, 0.0, 1.0)
    below = (np.cumsum(negatives) - negatives / 2) / n
    above = (p - np.cumsum(positives) + positives / 2) / p
    value = float(positives @ below) / p
    seen = min(max(value, 0.5 / min(p, n)), 1 - 0.5 / min(p, n))
    q1, q2 = seen / (2 - seen), 2 * seen**2 / (1 + seen)
    sampling = (seen * (1 - seen) + (p - 1) * (q1 - seen**2) + (n - 1) * (q2 - seen**2)) / (p * n)
    first = of.sigma**2 * (((below - value) ** 2).sum() / p**2 + ((above - value) ** 2).sum() / n**2)
    second = of.sigma**4 * (bins**2 / 2 - bins / 4) / (p * n) ** 2
    half = critical(confidence) * math.sqrt(sampling + float(first) + second)
    return Interval(min(max(value, 0.0), 1.0), min(max(value - half, 0.0), 1.0), max(min(value + half, 1.0), 0.0))


def roc(of: Curve) -> tuple[Array, Array]:
    """False and true positive rates, (bins + 1,) each, from (0, 0) to (1, 1), made monotone."""
    return _shares(of.negatives), _shares(of.positives)


def calibration(of: Curve, confidence: float = 0.95) -> tuple[CalibrationRow, ...]:
    """One row a bin, lowest scores first."""
    z = critical(confidence)
    return tuple(
        CalibrationRow(
            low=float(of.edges[i]) / ONE,
            high=min(float(of.edges[i + 1]) / ONE, 1.0),
            predicted=float(of.predicted[i]),
            observed=rate(float(of.positives[i]), float(of.negatives[i]), of.sigma, of.sigma, z),
            subjects=float(of.positives[i] + of.negatives[i]),
        )
        for i in range(len(of.predicted))
    )


def calibration_error(of: Curve) -> CalibrationError:
    """Expected calibration error of the curve's bins, beside what perfect scores would show.

    A bin's gap is (positives − predicted · subjects)/all; its variance is that of sampling and of noise, and a normal
    variable of mean 0 is √(2/π) standard deviations from 0 on average.
    """
    subjects = of.positives + of.negatives
    everybody = max(float(subjects.sum()), 1.0)
    gaps = np.abs(of.positives - of.predicted * subjects)
    p = of.predicted
    variance = np.maximum(subjects, 0.0) * p * (1 - p) + of.sigma**2 * ((1 - p) ** 2 + p**2)
    chance = math.sqrt(2 / math.pi) * np.sqrt(variance)
    return CalibrationError(min(float(gaps.sum()) / everybody, 1.0), min(float(chance.sum()) / everybody, 1.0))


def _even_bins(counts: Array) -> np.typing.NDArray[np.int64]:
    """Indices of the fine edges that stay, ascending, first and last among them: at most `CURVE_BINS` bins of like mass."""
    mass = _rising(np.append(0.0, np.cumsum(counts)))
    wanted = np.linspace(0.0, mass[-1], CURVE_BINS + 1)[1:-1]
    nearest = np.abs(mass[None, :] - wanted[:, None]).argmin(axis=1)
    return np.unique(np.concatenate([[0], nearest, [len(counts)]])).astype(np.int64)


def _rising(values: Array) -> Array:
    """A monotone curve near noisy cumulative counts: the middle of the least above and the greatest below."""
    highest = np.maximum.accumulate(values)
    lowest = np.minimum.accumulate(values[::-1])[::-1]
    return np.maximum((highest + lowest) / 2, 0.0)


def _shares(counts: Array) -> Array:
    """Share of `counts` at or above each edge, highest score first; a straight line where nothing is left of them."""
    risen = _rising(np.append(0.0, np.cumsum(counts[::-1])))
    risen = risen - risen[0]
    if risen[-1] <= 0:
        return np.linspace(0.0, 1.0, len(risen))
    return np.asarray(risen / risen[-1])


def _bin(scores: Array, edges: Array) -> np.typing.NDArray[np.int64]:
    return np.searchsorted(edges[1:-1], scores, side="right").astype(np.int64)


@register("curves.scores")
def scores(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the bin of its score."""
    slots = _bin(batch["score"], parameters["edges"])
    return Contribution(np.ones((len(slots), 1)), slots)


@register("curves.labels")
def labels(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the bin of its score: slots of negatives first, then of positives; any other label nowhere."""
    edges = parameters["edges"]
    label = batch["label"]
    slots = label.astype(np.int64) * (len(edges) - 1) + _bin(batch["score"], edges)
    return Contribution(np.ones((len(slots), 1)), np.where((label == 0) | (label == 1), slots, -1))
