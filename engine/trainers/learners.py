"""The learners of a propensity: which there are, and how many rounds of the door each takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from engine.models import Explained
from engine.trainers import additive, boosting, hybrid, logistic
from governance.door import Cohort, Grant
from governance.noise import NoiseSource

Learner = Literal["logistic", "additive", "boosting", "hybrid"]

ROUNDS: dict[str, int] = {
    "logistic": len(logistic.SHARES),
    "additive": len(additive.SHARES),
    "boosting": len(boosting.SHARES) + boosting.ROUNDS,
    "hybrid": len(additive.SHARES) + hybrid.ROUNDS,
}
"""Rounds of the door, whatever the population."""


def fit(learner: Learner, cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> Explained:
    """A model of `label` on `features`, from training subjects. `grant` is used up. Raises DoorError and BudgetError as the door does."""
    match learner:
        case "logistic":
            return logistic.fit(cohort, grant, noise, progress)
        case "additive":
            return additive.fit(cohort, grant, noise, progress)
        case "boosting":
            return boosting.fit(cohort, grant, noise, progress)
        case "hybrid":
            return hybrid.fit(cohort, grant, noise, progress)
