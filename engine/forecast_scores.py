"""What to expect of a propensity before anything is spent, and which learner to take, by public figures alone; see `engine.forecast`.

A noisy logistic model loses AUC as noise outgrows signal: 10·d^0.7/(μn)^1.35 of it, up to chance. Fitted by least squares on logarithms to
372 runs of the trainer with the shares of a build, everything paid, on shoppers, telco, adult and grocery households, whole and in
samples from 1,500, and on generated logistic data (n 600 to 45,000, d 4 to 46, ε 0.2 to 2); of these 94 in 100 lay in the interval.
What curves and trees find beside a weighted sum cannot be known before a look at the data: the interval leaves room for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from engine.forecast import MEANING, Forecast, verdict_of
from engine.trainers.learners import Learner
from policies import segment

AUTOMATIC: tuple[Learner, ...] = ("logistic", "hybrid")
"""What `auto` takes one of. Curves alone were nowhere better than curves and trees, nor trees alone."""

ENOUGH, ENOUGH_A_FEATURE = 4000.0, 60.0
"""People, and people for each feature, in units of 1/μ, from which on curves and trees find more than noise takes from them."""


GOOD, FAIR = 0.01, 0.08
"""Expected loss of AUC up to which a propensity is good, and is worth having."""

MOST, SPREAD = 3.0, 0.004
"""Upper end of the interval, as a multiple of what is expected, and what a hold-out's chance does to either end."""

GAINS = 0.035
"""What curves and trees may find more than a weighted sum, in AUC."""

LAGS = {"boosting": 0.02}
"""What a learner loses besides noise: trees alone need more rounds than there are to find a weighted sum."""

CHANCE = 0.5
"""AUC of a coin: a loss is never larger than what lies between it and 1."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A learner, and why it."""

    learner: Learner | Literal["network"]
    why: str


def chosen(asked: segment.Learner, noisy_n: float, d: int, mu_squared: Fraction) -> Choice:
    """What is asked for, or what `noisy_n` subjects, hold-out included, with `d` features can carry at `mu_squared` of a whole build."""
    if asked != "auto":
        return Choice(asked, "the segment asks for it")
    if math.sqrt(mu_squared) * noisy_n >= max(ENOUGH, ENOUGH_A_FEATURE * d):
        return Choice("hybrid", "there are enough people for curves and trees")
    return Choice("logistic", "noise would drown more than a weighted sum")


def forecast_propensity(noisy_n: float, d: int, mu_squared: Fraction, choice: Choice) -> Forecast:
    """A propensity of `noisy_n` subjects, hold-out included, with `d` features; `mu_squared` of the whole build."""
    people = max(math.sqrt(mu_squared) * max(noisy_n, 1.0), 1e-3)
    lost = CHANCE * (1 - math.exp(-10 * d**0.7 / people**1.35 / CHANCE))
    expected = min(lost + LAGS.get(choice.learner, 0.0), CHANCE)
    least, most = -(SPREAD if choice.learner == "logistic" else GAINS), min(MOST * expected + SPREAD, CHANCE)
    verdict = verdict_of(expected, GOOD, FAIR)
    words = f"AUC expected {expected:.3f} below that of a weighted sum without privacy ({least:+.3f} to {most:+.3f}): {MEANING[verdict]}"
    return Forecast(expected, (least, most), verdict, f"{words}; learner: {choice.learner}, as {choice.why}")
