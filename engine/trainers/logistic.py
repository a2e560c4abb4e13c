"""A DP logistic model: noisy Newton steps on features of like size (`engine.trainers.newton`), released as one weight a feature.

Rounds of the door (nine): moments → covariance → seven gradients. Not here: thresholds and evaluation (`engine.assess`),
forecasts (`engine.forecast`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Features, in_turn
from engine.scale import UNIT
from engine.trainers import designs, newton, probabilities
from engine.trainers.probabilities import LOGIT
from engine.trainers.rounds import Rounds
from governance.door import Array, Cohort, Grant
from governance.noise import NoiseSource

SHARES = {"moments": 6.5} | newton.SHARES
"""Shares of μ², one for each round."""


@dataclass(frozen=True, slots=True, eq=False)
class LogisticModel:
    """A released logistic model; everything in it went through the door.

    `weights` (d + 1,) whole numbers, the last for the constant UNIT, in log-odds · 2^40 a grid unit; `subjects`: noisy number of
    training subjects with standard deviation `subjects_sigma`; `error` (d + 1,) standard deviation of `coefficients` that comes
    from noise alone (sampling is not in it); `mean` (d,) noisy, on the grid: what contributions are measured from.
    """

    weights: Array
    subjects: float
    subjects_sigma: float
    error: Array
    mean: Array

    @property
    def coefficients(self) -> Array:
        """(d + 1,) change of the log-odds as a feature goes from the middle to the upper end of its range; last, the intercept."""
        return np.asarray(self.weights * (UNIT / LOGIT))

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: a probability."""
        return probabilities.scores(self.logits(features))

    def logits(self, features: Features) -> Array:
        """(n,) exact whole log-odds, in units of 2^-40."""
        return in_turn(features, lambda x: x @ self.weights[:-1] + UNIT * self.weights[-1])

    def contributions(self, features: Features) -> Array:
        """(n, d) what each feature adds to a subject's log-odds, against a subject of mean features. Exact."""
        return np.asarray((np.asarray(features, dtype=np.float64) - self.mean) * self.weights[:-1] / LOGIT)

    def curves(self) -> Array:
        """(d, BINS) contribution of each feature in the middle of its bins: a line."""
        return np.asarray((designs.MIDDLES - self.mean[:, None]) * self.weights[:-1, None] / LOGIT)

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {
            "kind": "logistic",
            "weights": self.weights.tolist(),
            "subjects": self.subjects,
            "subjects_sigma": self.subjects_sigma,
            "error": self.error.tolist(),
            "mean": self.mean.tolist(),
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> LogisticModel:
        """Out of `facts`; a model of before contributions were told has them measured from the middle of each range."""
        weights = np.asarray(facts["weights"])
        mean = np.asarray(facts.get("mean", np.zeros(len(weights) - 1)))
        return cls(weights, facts["subjects"], facts["subjects_sigma"], np.asarray(facts["error"]), mean)


def fit(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> LogisticModel:
    """A logistic model of `label` on `features`, from training subjects. `grant` is used up.

    Where noise drowns the data, probabilities tend to the base rate. Raises DoorError and BudgetError as the door does.
    """
    rounds = Rounds(cohort, grant.split(**SHARES), noise, progress)
    seen = designs.spread(rounds, "moments", cohort.width)
    design = designs.plain(seen)
    fitted = newton.fit(rounds, design, seen)
    weights, _ = design.released(fitted.weights)
    error = np.sqrt((design.slopes(fitted.error) ** 2).sum(axis=0)) * UNIT
    return LogisticModel(weights, seen.subjects, seen.sigma, error, seen.mean)
