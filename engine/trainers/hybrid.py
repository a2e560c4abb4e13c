"""The hybrid: an additive model, and random trees boosted on what it leaves over, so that features may act on each other too.

Rounds of the door: the ten of `engine.trainers.additive`, then `ROUNDS` of trees (`engine.trainers.boosting`), which spread their
splits by the same histogram. Neighbours and sensitivity: as there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Features
from engine.trainers import additive, boosting, probabilities
from engine.trainers.additive import AdditiveModel
from engine.trainers.boosting import Forest
from engine.trainers.rounds import Rounds
from governance.door import Array, Cohort, Grant
from governance.noise import NoiseSource

ROUNDS = 5
"""Rounds of trees."""

ADDITIVE = 0.65
"""Share of μ² for the additive model. Tuned once, on online shoppers, telco churn and adult at ε 1."""


@dataclass(frozen=True, slots=True, eq=False)
class HybridModel:
    """Log-odds of both added up."""

    additive: AdditiveModel
    forest: Forest

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: a probability."""
        return probabilities.scores(self.additive.logits(features) + self.forest.logits(features))

    def contributions(self, features: Features) -> Array:
        """(n, d) what each feature adds to a subject's log-odds: exact for the additive part, Shapley values for the trees."""
        return self.additive.contributions(features) + self.forest.contributions(features)

    def curves(self) -> Array:
        """(d, BINS) what each feature adds by itself, in the middle of its bins."""
        return self.additive.curves() + self.forest.curves(len(self.additive.mean))

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {"kind": "hybrid", "additive": self.additive.facts(), "forest": self.forest.facts()}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> HybridModel:
        """Out of `facts`."""
        return cls(AdditiveModel.of(facts["additive"]), Forest.made(facts["forest"]))


def fit(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None], seed: int = 0) -> HybridModel:
    """A hybrid model of `label` on `features`, from training subjects. `grant` is used up; `seed` makes the public splits.

    Raises DoorError and BudgetError as the door does.
    """
    grants = grant.split(additive=ADDITIVE, trees=1 - ADDITIVE)
    smooth = additive.fit(cohort, grants["additive"], noise, progress)
    rounds = Rounds(cohort, grants["trees"].split(**boosting.shares_of(ROUNDS, 1.0)), noise, progress)
    start = {"weights": smooth.weights, "shapes": smooth.shapes, "base": np.zeros(1)}
    return HybridModel(smooth, boosting.grow(rounds, ROUNDS, smooth.masses, start, seed))
