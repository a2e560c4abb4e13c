"""DP regression of a number, such as what somebody will spend: a line that ranks people, and a curve that says what a rank is worth.

Money has long tails, and noise must hide whoever spends most. So the line is fitted to *ranks* of the label, which lie between
0 and 1 whatever its bounds, by noisy second moments in whitened coordinates. What a place on the line is worth is asked once,
as noisy sums of the label by bands of it, made rising (isotonic regression: Barlow et al. 1972). Of the label, what exceeds a cap
counts as the cap: the value that about as many exceed as noise would hide, where bias and noise balance (Amin, Kulesza, Muñoz Medina
and Vassilvitskii 2019).

Rounds of the door (six): label, a histogram that gives ranks and the cap → moments → covariance, which whitens → rank, twice, the
second time of what the first left over → worth. Neighbours: add or remove one subject. Sensitivity: the `bound` of each query.
Training subjects alone take part. Steps give whole numbers below 2^53. Constants were set on CDNOW and grocery households.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import ONE, Features, in_turn
from engine.ranked import monotone
from engine.scale import UNIT, Scale
from engine.trainers import linear, whitening
from engine.trainers.rounds import Rounds
from engine.trainers.whitening import WHITE
from governance.door import Array, Batch, Cohort, Contribution, Grant, register
from governance.noise import NoiseSource

SHARES = {"label": 6.0, "moments": 8.0, "covariance": 15.0, "rank-1": 18.0, "rank-2": 18.0, "worth": 35.0}
"""Shares of μ², one for each round."""

RANKS = ("rank-1", "rank-2")
"""Rounds that fit the line; what they say is averaged by what each is worth."""

LABEL_BINS = 48
"""Bins of the label, even in its logarithm, besides one for its lower bound."""

FINEST = 2.0**-12
"""Upper end of the lowest of these bins, of the label's range."""

CLIP = 0.6
"""Clip radius of a row times its residual, in root mean square norms; ranks are at most 1 apart."""

LEVELS = 7
"""Levels of the label above its lower bound, of which curves are made."""

EXCEEDING = 3.0
"""Subjects above the cap, in standard deviations of a band's noise."""

BANDS = (4, 20)
"""Bands of the line whose worth is asked, at least and at most."""

TOPWARD = 3.0
"""Bands hold shares that fall off like this power towards the top, where most of the worth is."""

WORTH_A_BAND = 5.0
"""What a band is to be worth on average, in standard deviations of its noise."""

COUNTED = 0.5
"""What a subject adds to the count of its band, in caps: less, because counts are large."""

WORTH_BITS = 24
"""What a label is worth is a whole number of this many bits, of its range."""

POINTS = 65
"""Points of the curve from rank to score."""

ORDER = 1
"""Least step of scores from one point to the next, so that an order of people stays."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """A released line with a rising curve over it; everything in it went through the door.

    `weights` (d + 1,) whole numbers, see `linear`, give ranks; through `places` (k,) and `scores` (k,), both whole and rising, the
    curve goes from ranks to scores, on the grid of the label. `error` (d + 1,) standard deviation of `slopes`, chance and noise.
    """

    weights: Array
    places: Array
    scores: Array
    error: Array

    @property
    def slopes(self) -> Array:
        """(d + 1,) see `linear.slopes`; in ranks."""
        return linear.slopes(self.weights)

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: what is predicted, on the label's own scale."""
        return in_turn(features, lambda x: self._curved(linear.line(x, self.weights))).astype(np.int64)

    def edges(self, bins: int) -> Array:
        """(bins + 1,) scores that cut people evenly, as far as the model tells."""
        low, high = float(self.places[0]) / ONE, float(self.places[-1]) / ONE
        return linear.rising(self._curved(linear.evenly((low + high) / 2, (high - low) / (2 * linear.REACH), bins)))

    def _curved(self, ranks: Array) -> Array:
        at = np.clip(ranks, self.places[0], self.places[-1])
        low = np.clip(np.searchsorted(self.places, at, side="right") - 1, 0, len(self.places) - 2)
        rise = (at - self.places[low]) * (self.scores[low + 1] - self.scores[low]) / (self.places[low + 1] - self.places[low])
        return np.asarray(self.scores[low] + np.floor(rise))

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {"kind": "linear"} | {name: getattr(self, name).tolist() for name in ("weights", "places", "scores", "error")}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> LinearModel:
        """Out of `facts`."""
        return cls(*(np.asarray(facts[name]) for name in ("weights", "places", "scores", "error")))


@dataclass(frozen=True, slots=True)
class Valued:
    """What a build learned of a number: the model; the `cap` on the label's grid, which whatever exceeds it counts as; and `edges` on
    it between which about as many lie, as far as released ranks tell."""

    model: LinearModel
    cap: int
    edges: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Label:
    """Noisy first look at the label: the share (bins - 1,) of `subjects` that lie `below` each of `edges` (bins - 1,) on its grid, made
    rising; each count between edges had noise of deviation `sigma`."""

    edges: Array
    below: Array
    subjects: float
    sigma: float

    @property
    def shares(self) -> Array:
        """(bins,) of subjects."""
        return np.diff(np.concatenate([[0.0], self.below, [1.0]]))

    @property
    def ranks(self) -> Array:
        """(bins,) middle rank of each bin, whole, of ONE."""
        return np.rint(ONE * (np.concatenate([[0.0], self.below]) + self.shares / 2))

    def cap(self, exceeding: float) -> int:
        """The highest edge that surely as many subjects exceed, with one standard deviation of the noise to spare."""
        above = (1 - self.below) * self.subjects
        noise = self.sigma * np.sqrt(np.arange(len(self.edges), 0, -1))
        return int(self.edges[max(int(np.flatnonzero(np.append(True, above[1:] - noise[1:] >= exceeding)).max()), 0)])


def fit(cohort: Cohort, scale: Scale, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> Valued:
    """A model of `label`, whole numbers 0..ONE on `scale`, from training subjects. `grant` is used up.

    Where noise drowns the data, everybody is predicted the mean. Raises DoorError and BudgetError as the door does.
    """
    d, rounds = cohort.width, Rounds(cohort, grant.split(**SHARES), noise, progress)
    label = _label(rounds, scale)
    [sums] = rounds.ask("moments", "regression.moments", {}, (1, 2 * d), UNIT * math.sqrt(2 * d))
    mean, variance = whitening.centre(sums, label.subjects)
    white = whitening.whiten(rounds, "covariance", label.subjects, mean, variance)

    middle = float(label.shares @ label.ranks) / ONE
    spread = math.sqrt(float(label.shares @ (label.ranks / ONE - middle) ** 2))
    w, found, bound = np.append(np.zeros(d), middle), [], math.ceil(CLIP * white.norm * WHITE * ONE)
    for name in RANKS:
        parameters = white.parameters() | {"edges": label.edges, "ranks": label.ranks, "line": linear.whole(white.unwhitened(w))}
        [sums] = rounds.ask(name, "regression.rank", parameters, (1, d + 1), bound)
        w = w + sums / (WHITE * ONE * label.subjects)
        found.append(w)
    weights = [1 / rounds.sigma(name, bound) ** 2 for name in RANKS]
    w = np.average(found, axis=0, weights=weights)
    uncertain = 1 / sum(weights) / (WHITE * ONE * label.subjects) ** 2 + spread**2 / label.subjects
    kept = white.kept(w[:-1], uncertain)
    w[:-1] *= kept
    slopes = white.unwhitened(np.diag(np.append(kept, 1.0))) * math.sqrt(uncertain)

    line = linear.whole(white.unwhitened(w))
    error = np.sqrt((slopes**2).sum(axis=0)) * np.append(np.full(d, float(UNIT)), 1.0)
    places, scores, cap = _curve(rounds, label, scale, line, float(w[-1]), float(np.linalg.norm(w[:-1])))
    return Valued(LinearModel(line, places, scores, error), cap, _even(label, cap))


def _label(rounds: Rounds, scale: Scale) -> _Label:
    """The label's histogram, and from it the middle rank of each bin."""
    steps = scale.low + (scale.high - scale.low) * np.geomspace(FINEST, 1, LABEL_BINS)[:-1]
    edges = np.unique(np.append(1, np.maximum(scale.encode(steps) + UNIT, 2))).astype(np.float64)
    counts = rounds.ask("label", "regression.label", {"edges": edges}, (len(edges) + 1, 1), 1.0)[:, 0]
    below = monotone(np.cumsum(counts))
    subjects = max(float(below[-1]), 1.0)
    return _Label(edges, np.clip(below[:-1] / subjects, 0.0, 1.0), subjects, rounds.sigma("label", 1.0))


def _even(label: _Label, cap: int) -> Array:
    """(at most LEVELS,) edges of the label, at its lower bound and then at equal steps of rank, up to the cap."""
    steps = np.linspace(label.below[0], 1, LEVELS + 1)[1:-1]
    places = np.minimum(np.searchsorted(label.below, steps), len(label.edges) - 1)
    chosen = np.unique(np.append(label.edges[0], label.edges[places]))
    return np.asarray(chosen[chosen <= max(cap, label.edges[0])])


def _curve(rounds: Rounds, label: _Label, scale: Scale, line: Array, mean: float, spread: float) -> tuple[Array, Array, int]:
    """Places on the line, the score of each, and the cap: what bands of the line are worth on average, made rising."""
    from scipy.interpolate import PchipInterpolator  # here, as whoever only applies a model loads this module too
    from scipy.optimize import isotonic_regression
    from scipy.special import ndtr, ndtri

    sigma = rounds.sigma("worth", math.hypot(1, COUNTED))  # of a band's worth, in caps
    cap, worth = label.cap(EXCEEDING * sigma), worth_of(scale)
    most = max(float(worth[cap]), 2.0)
    middles = np.minimum(worth[np.rint(np.append(0, (label.edges + np.append(label.edges[1:], ONE)) / 2)).astype(int)], most)
    total = float(label.shares @ middles) * label.subjects
    bands = int(np.clip(total / (WORTH_A_BAND * most * sigma), *BANDS))

    shares = 1 - (np.arange(bands, -1, -1) / bands) ** TOPWARD
    cuts = ndtri(shares[1:-1])
    parameters = {"line": line, "edges": linear.rising(np.rint((mean + spread * cuts) * ONE)), "worth": np.minimum(worth, most)}
    parameters["one"] = np.array([math.floor(COUNTED * most)])
    sums = rounds.ask("worth", "regression.worth", parameters, (bands, 2), math.hypot(1, COUNTED) * most)
    counts = np.maximum(sums[:, 0] / parameters["one"][0], 1.0)
    means = isotonic_regression(np.clip(sums[:, 1] / counts, 0.0, most), weights=counts).x

    fine = np.linspace(-linear.REACH, linear.REACH, POINTS)
    adding = PchipInterpolator(shares, np.concatenate([[0.0], np.cumsum(means * np.diff(shares))]))  # worth below each share
    values = np.maximum.accumulate(np.clip(adding(ndtr(fine), nu=1), 0.0, most))
    places = linear.rising(np.rint((mean + spread * fine) * ONE))
    valued = scale.low + (scale.high - scale.low) * values / 2.0**WORTH_BITS
    return places, _ordered(np.asarray(scale.encode(valued) + float(UNIT))), cap


def worth_of(scale: Scale) -> Array:
    """(ONE + 1,) whole numbers: what each point of the label's grid is worth, of its range, in units of 2^-WORTH_BITS."""
    return np.rint((scale.decode(np.arange(ONE + 1.0) - UNIT) - scale.low) / (scale.high - scale.low) * 2.0**WORTH_BITS)


def _ordered(scores: Array) -> Array:
    """Scores, each at least ORDER above the one before, within the grid."""
    steps = ORDER * np.arange(len(scores))
    return np.asarray(np.minimum(np.maximum.accumulate(scores - steps) + steps, ONE - steps[::-1]))


@register("regression.label")
def label_bins(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One in the slot of the label's bin."""
    label = batch["label"]
    return Contribution(np.ones((len(label), 1)), np.searchsorted(parameters["edges"], label, side="right"))


@register("regression.moments")
def moments(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2d): x, x²/UNIT."""
    return Contribution(whitening.moments(batch))


@register("regression.rank")
def rank(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d + 1): (rank of the label − what the line says) · (whitened row, one), in units of 1/(ONE · WHITE)."""
    ranks = parameters["ranks"][np.searchsorted(parameters["edges"], batch["label"], side="right")]
    residual = np.clip(ranks - linear.line(batch["features"], parameters["line"]), -ONE, ONE)
    return Contribution(whitening.rows(batch, parameters) * residual[:, None])


@register("regression.worth")
def worth(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2) in the slot of the line's band: a constant, and what the label is worth, up to the cap."""
    label = np.clip(batch["label"], 0, ONE).astype(np.int64)
    values = np.stack([np.full(len(label), parameters["one"][0]), parameters["worth"][label]], axis=1)
    return Contribution(values, np.searchsorted(parameters["edges"], linear.line(batch["features"], parameters["line"]), side="right"))
