"""DP uplift: whom a treatment persuades, from a randomised trial, by noisy moments in whitened coordinates.

With y the outcome, t = 0 or 1 the arm, p the share of the treated and m(x) the expected outcome whatever the arm, randomisation
makes E[(t − p)(y − m(x)) | x] = p(1 − p) τ(x), where τ(x) is the uplift (Robinson 1988; Nie and Wager 2021, the R-learner). In
whitened rows z the second moment is the identity, so that one noisy sum of (t − p)(y − m) z is a least-squares fit of τ. Two
regressions of the arms would pay for the outcome twice and take a small difference of two noisy ones.

Rounds of the door (five): moments by arm → covariance, which whitens → outcome, which is m → effect, twice, the second time
of what the first left over. At the end each direction is shrunk by what is known of noise and chance in it (empirical Bayes): a priori
slopes of τ are alike in all features, so that directions in which people hardly differ carry little uplift.

Neighbours: add or remove one subject. Sensitivity: the `bound` of each query. Training subjects in an arm take part, all others
add zero. Steps give whole numbers below 2^53. Not here: whether the arms were drawn at random (`engine.uplift_curves`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import ONE, Features, in_turn
from engine.scale import UNIT
from engine.trainers import linear, whitening
from engine.trainers.rounds import Rounds
from engine.trainers.whitening import WHITE, Whitening
from governance.door import Array, Batch, Cohort, Contribution, Grant, register
from governance.noise import NoiseSource

SHARES = {"moments": 8.0, "covariance": 15.0, "outcome": 17.0, "effect-1": 25.0, "effect-2": 35.0}
"""Shares of μ², one for each round."""

CLIP = 0.95
"""Clip radius of a row times its residual, in root mean square norms and largest usual residuals."""

ARM = 1 << 12
"""The arm less its share is a whole number of this many parts."""

MAX_RESIDUAL = 2 * ONE
"""Keeps contributions exact."""

EFFECTS = ("effect-1", "effect-2")
"""Rounds that ask for the effect; what they say is averaged by what each is worth."""

MOST = 0.5
"""Largest mean and standard deviation of an uplift: what lies far beyond is noise, and would leave the grid of scores."""

LEAST_SHARE = 0.02
"""An arm is taken to have this share at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """Whether features tell the arm, as they should not in a randomised trial: from released moments alone.

    `subjects` of control and treatment that trained, with standard deviation `sigma`; `distance`: Mahalanobis distance of their
    means, less what noise and chance make of it; `chance`: probability of as large a difference where arms were drawn at random.
    """

    subjects: tuple[float, float]
    sigma: float
    distance: float
    chance: float

    @property
    def told(self) -> float:
        """How well features tell the arm, as an AUC: 0.5 not at all."""
        return NormalDist().cdf(self.distance / math.sqrt(2))


@dataclass(frozen=True, slots=True, eq=False)
class UpliftModel:
    """A released line of the uplift; everything in it went through the door.

    `weights` (d + 1,) whole numbers, see `linear`; `mean` and `spread` (standard deviation) of the uplift over subjects, as far as
    the model tells; `error` (d + 1,) standard deviation of `slopes`, chance and noise.
    """

    weights: Array
    mean: float
    spread: float
    error: Array

    @property
    def slopes(self) -> Array:
        """(d + 1,) see `linear.slopes`; in probability."""
        return linear.slopes(self.weights)

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: −1 to 1 of uplift are 0 to ONE."""
        return np.clip(np.floor((in_turn(features, lambda x: linear.line(x, self.weights)) + ONE) / 2), 0, ONE).astype(np.int64)

    def edges(self, bins: int) -> Array:
        """(bins + 1,) scores that cut people evenly, as far as the model tells."""
        return linear.rising(np.floor((linear.evenly(self.mean, self.spread, bins) + ONE) / 2))

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {
            "kind": "uplift",
            "weights": self.weights.tolist(),
            "mean": self.mean,
            "spread": self.spread,
            "error": self.error.tolist(),
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> UpliftModel:
        """Out of `facts`."""
        return cls(np.asarray(facts["weights"]), facts["mean"], facts["spread"], np.asarray(facts["error"]))


@dataclass(frozen=True, slots=True)
class Trial:
    """What a build learned of a campaign: the model, and whether arms were drawn at random."""

    model: UpliftModel
    balance: Balance


@dataclass(frozen=True, slots=True, eq=False)
class _Arms:
    """Noisy first look: subjects (2,) and rate of the outcome (2,) by arm, features' mean (2, d) by arm, and over both, with variance."""

    subjects: Array
    rates: Array
    means: Array
    mean: Array
    variance: Array

    @property
    def share(self) -> float:
        """Of the treated, a whole number of 1/ARM."""
        held = np.clip(self.subjects[1] / self.subjects.sum(), LEAST_SHARE, 1 - LEAST_SHARE)
        return float(np.rint(ARM * held)) / ARM


def fit(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> Trial:
    """The uplift of a boolean `label` by `treatment` (1, 0, below 0: in no arm), from training subjects. `grant` is used up.

    Where noise drowns the data, everybody's uplift tends to the mean. Raises DoorError and BudgetError as the door does.
    """
    rounds = Rounds(cohort, grant.split(**SHARES), noise, progress)
    arms = _arms(rounds, cohort.width)
    subjects, share = float(arms.subjects.sum()), arms.share
    white = whitening.whiten(rounds, "covariance", subjects, arms.mean, arms.variance)
    rate, mean = float(arms.subjects @ arms.rates / subjects), float(arms.rates[1] - arms.rates[0])
    largest = CLIP * white.norm * WHITE * ONE * max(rate, 1 - rate)

    outcome = np.append(np.zeros(cohort.width), rate)
    parameters = white.parameters() | {"share": np.array([share * ARM])}
    parameters |= {"outcome": linear.whole(white.unwhitened(outcome)), "effect": linear.whole(np.append(outcome[:-1], mean))}
    [sums] = rounds.ask("outcome", "uplift.outcome", parameters, (1, len(outcome)), math.ceil(largest))
    parameters["outcome"] = linear.whole(white.unwhitened(outcome + sums / (WHITE * ONE * subjects)))

    information = share * (1 - share) * subjects
    unit, bound = WHITE * ONE * ARM * information, math.ceil(largest * ARM * max(share, 1 - share))
    effect, found = np.append(np.zeros(cohort.width), mean), []
    for name in EFFECTS:
        parameters["effect"] = linear.whole(white.unwhitened(effect))
        [sums] = rounds.ask(name, "uplift.effect", parameters, (1, len(effect)), bound)
        effect = effect + sums / unit
        found.append(effect)
    weights = [1 / rounds.sigma(name, bound) ** 2 for name in EFFECTS]
    effect = np.average(found, axis=0, weights=weights)
    variance = 1 / sum(weights) / unit**2 + rate * (1 - rate) / information
    kept = white.kept(effect[:-1], variance)
    effect[:-1] *= kept
    effect *= np.append(np.full(cohort.width, min(1.0, MOST / max(float(np.linalg.norm(effect[:-1])), 1e-12))), 1.0)
    effect[-1] = np.clip(effect[-1], -MOST, MOST)
    slopes = white.unwhitened(np.diag(np.append(kept, 1.0))) * math.sqrt(variance)
    return Trial(
        UpliftModel(
            weights=linear.whole(white.unwhitened(effect)),
            mean=float(effect[-1]),
            spread=float(np.linalg.norm(effect[:-1])),
            error=np.sqrt((slopes**2).sum(axis=0)) * np.append(np.full(cohort.width, float(UNIT)), 1.0),
        ),
        _balance(rounds, arms, white),
    )


def _arms(rounds: Rounds, d: int) -> _Arms:
    """Sums of 1, outcome, x and x² by arm in one round. The public bound of each feature is all that bounds them."""
    sums = rounds.ask("moments", "uplift.moments", {}, (2, 2 * d + 2), _moments_bound(d))
    subjects = np.maximum(sums[:, 0] / UNIT, 1.0)
    rates = np.clip((sums[:, 1] / UNIT / subjects + 1) / 2, 0.01, 0.99)
    mean, variance = whitening.centre(sums[:, 2:].sum(axis=0), float(subjects.sum()))
    return _Arms(subjects, rates, np.clip(sums[:, 2 : d + 2] / subjects[:, None], -UNIT, UNIT), mean, variance)


def _moments_bound(d: int) -> float:
    return UNIT * math.sqrt(2 * d + 2)


def _balance(rounds: Rounds, arms: _Arms, white: Whitening) -> Balance:
    """Whitened difference of the arms' means: normal with variance 1/n₀ + 1/n₁ and that of the noise where arms were drawn at random."""
    from scipy.special import chdtrc  # here, as whoever only applies a model loads this module too

    d = len(arms.mean)
    matrix = white.matrix / (WHITE * 2.0**whitening.WHITE_BITS)
    difference = (arms.means[1] - arms.means[0]) @ matrix
    noise = rounds.sigma("moments", _moments_bound(d)) ** 2 * float((arms.subjects**-2.0).sum())
    covariance = np.eye(d) * float((1 / arms.subjects).sum()) + noise * matrix.T @ matrix
    chi_square = float(difference @ np.linalg.solve(covariance, difference))
    excess = float(difference @ difference - np.trace(covariance))
    control, treated = (float(n) for n in arms.subjects)
    sigma = rounds.sigma("moments", _moments_bound(d)) / UNIT
    return Balance((control, treated), sigma, math.sqrt(max(excess, 0.0)), float(chdtrc(d, max(chi_square, 0.0))))


def _residual(batch: Batch, parameters: Mapping[str, Array]) -> tuple[Array, Array]:
    """(n, 1) outcome less what is expected of it in the subject's arm, on the grid of scores; and the arm less its share, of ARM."""
    x, arm = batch["features"], ARM * batch["treatment"] - parameters["share"][0]
    expected = linear.line(x, parameters["outcome"]) + np.floor(arm * linear.line(x, parameters["effect"]) / ARM)
    residual = np.clip(ONE * batch["label"] - expected, -MAX_RESIDUAL, MAX_RESIDUAL)
    return residual[:, None] * whitening.taking_part(batch), arm[:, None]


@register("uplift.moments")
def moments(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2 + d + d) in the slot of the arm: UNIT, ±UNIT for the outcome, x, x²/UNIT."""
    label = (2 * batch["label"] - 1)[:, None]
    values = np.hstack([np.full((len(label), 1), float(UNIT)), UNIT * label, whitening.moments(batch)])
    return Contribution(values, batch["treatment"].astype(np.int64))


@register("uplift.outcome")
def outcome(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d + 1): residual · (whitened row, one), in units of 1/(ONE · WHITE)."""
    residual, _ = _residual(batch, parameters)
    return Contribution(whitening.rows(batch, parameters) * residual)


@register("uplift.effect")
def effect(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d + 1): (arm − share) · residual · (whitened row, one), in units of 1/(ARM · ONE · WHITE)."""
    residual, arm = _residual(batch, parameters)
    return Contribution(whitening.rows(batch, parameters) * (residual * arm))
