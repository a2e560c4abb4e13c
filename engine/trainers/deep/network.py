"""A propensity network: one hidden layer, trained by private stochastic gradients, released as whole numbers.

One exact round before tells the scale of each feature and the base rate, one after calibrates: gradients that are clipped pull where
they point and not how hard, so that log-odds have the right order and the wrong size. The round counts labels by log-odds, and a line
through these (Platt 1999) becomes part of the last layer. All steps of the descent are one charge
(`governance.sampling`). Training subjects alone take part. Abadi et al. 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Features
from engine.scale import UNIT
from engine.trainers import designs
from engine.trainers.deep import gradients
from engine.trainers.deep.dense import WEIGHT_BITS, Shape, hidden, sums, unframed, whole
from engine.trainers.deep.descent import descend, standardised
from engine.trainers.designs import BINS
from engine.trainers.probabilities import LOGIT, logit, scores
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, register
from governance.noise import NoiseSource
from governance.sampling import Sampler

FARTHEST, LINES = 8.0, 32
"""Log-odds are counted in so many even bins of ±FARTHEST."""

LEAST_SLOPE = 0.05
"""Calibration keeps the order of scores, whatever the noise."""

PATH = 32
"""Steps of the way from the average subject."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A released network. `layers`: (inputs + 1, outputs) whole numbers each, the last with one output, log-odds; `mean` (d,) of
    features on the grid, the average subject that others are explained against."""

    layers: tuple[Array, ...]
    mean: Array

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: a probability."""
        return scores(_log_odds_of(features, self.layers))

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {"kind": "network", "layers": [layer.tolist() for layer in self.layers], "mean": self.mean.tolist()}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Network:
        """Out of `facts`."""
        layers = tuple(np.asarray(layer, dtype=np.float64) for layer in facts["layers"])
        return cls(layers, np.asarray(facts["mean"], dtype=np.float64))

    def contributions(self, features: Features) -> Array:
        """See `Explained.contributions`: integrated gradients along the way from the average subject (Sundararajan, Taly, Yan 2017,
        whose Proposition 1 says that they add up to the difference), by the middle of PATH steps."""
        inner, outer = (layer / 2.0**WEIGHT_BITS for layer in self.layers)
        away = (np.asarray(features, dtype=np.float64) - self.mean) / UNIT
        slopes = np.zeros_like(away)
        for share in (np.arange(PATH) + 0.5) / PATH:
            squashed = np.tanh((self.mean / UNIT + share * away) @ inner[:-1] + inner[-1])
            slopes += ((1 - squashed**2) * outer[:-1, 0]) @ inner[:-1].T / PATH
        return away * slopes

    def curves(self) -> Array:
        """See `Explained.curves`: log-odds against the average subject's, with one feature moved."""
        d, middles = len(self.mean), (np.arange(BINS) + 0.5) * (2 * UNIT / BINS) - UNIT
        moved = np.repeat(self.mean[None, :], d * BINS, axis=0).reshape(d, BINS, d)
        moved[np.arange(d), :, np.arange(d)] = middles
        return (self._log_odds(moved.reshape(-1, d)) - self._log_odds(self.mean[None, :])).reshape(d, BINS)

    def _log_odds(self, features: Array) -> Array:
        inner, outer = (layer / 2.0**WEIGHT_BITS for layer in self.layers)
        return np.asarray((np.tanh(features / UNIT @ inner[:-1] + inner[-1]) @ outer[:-1] + outer[-1])[:, 0])


def fit(
    cohort: Cohort, sampler: Sampler, shape: Shape, grant: Grant, noise: NoiseSource, progress: Callable[[str], None], seed: int
) -> Network:
    """A network of `label` on `features`. `grant` is used up, and so is what `sampler` was granted.

    `seed` is of the first weights, which are public. Raises DoorError and BudgetError as the door does.
    """
    rounds = Rounds(cohort, grant.split(moments=1, calibration=1), noise, progress)
    spread = designs.spread(rounds, "moments", cohort.width)
    frame = standardised(spread.mean, spread.size)
    start = shape.start(np.random.default_rng(seed))
    start[-1] = logit(spread.positives)
    weights = descend(sampler, gradients.NETWORK, shape, start, frame, Part.TRAIN, noise, progress)
    first, last = shape.layers(weights)
    layers = whole([unframed(first, frame["mean"], frame["matrix"]), last])
    slope, shift = _line(rounds, layers)
    return Network((layers[0], *whole([slope * last + shift * np.eye(len(last))[:, -1:]])), spread.mean)


def _line(rounds: Rounds, layers: tuple[Array, ...]) -> tuple[float, float]:
    """What log-odds are to be multiplied by (never turned round), and what is to be added; one round, L2 sensitivity 1."""
    from sklearn.linear_model import LogisticRegression

    parameters = {"inner": layers[0], "outer": layers[1]}
    counts = rounds.ask("calibration", "deep.calibration", parameters, (2 * LINES, 1), 1.0).reshape(LINES, 2)
    middles = ((np.arange(LINES) + 0.5) / LINES * 2 - 1) * FARTHEST
    weights = np.maximum(counts, 0.0) + 1e-3
    found = LogisticRegression(C=1e3).fit(np.repeat(middles, 2)[:, None], np.tile([0, 1], LINES), weights.ravel())
    return max(float(found.coef_[0, 0]), LEAST_SLOPE), float(found.intercept_[0])


def _log_odds_of(features: Features, layers: tuple[Array, ...]) -> Array:
    """(n,) whole log-odds, in LOGIT."""
    told = sums(hidden(features, layers[:-1]).astype(np.float64), layers[-1])[:, 0]
    return told * (LOGIT / (UNIT * 2.0**WEIGHT_BITS))


@register("deep.calibration")
def calibration(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the slot of its log-odds and label."""
    log_odds = _log_odds_of(batch["features"], (parameters["inner"], parameters["outer"])) / LOGIT
    place = np.clip(np.floor((log_odds / FARTHEST + 1) * (LINES / 2)), 0, LINES - 1)
    return Contribution(np.ones((len(place), 1)), (2 * place + (batch["label"] > 0)).astype(np.int64))
