"""What to expect before anything is spent: how far a private result will be from a non-private one, by public figures alone.

Both formulas are noise over signal. A noisy mean of n/k subjects with d features errs by about √d·k/(μn) clip radii, and
inertia pays the square of that; a noisy logistic model errs by about d/(μn) standard deviations of its score. The constants
were fitted by eye to runs of the trainers here, with the shares of a build and everything paid:

- clusters: 1,132 runs on generated blobs (n 300 to 50,000, d 3 to 16, k 3 to 8, ε 0.2 to 3, apart or overlapping) have a
  median excess inertia of 40·x²; CDNOW and the online shoppers at ε 0.1 to 1 add about 2·x, because neighbouring local
  optima are harder to tell apart on real tables;
- propensity: 1,529 runs on generated logistic data (n 300 to 30,000, d 3 to 32, ε 0.2 to 3, base rate 0.09 to 0.5, AUC of
  the non-private model 0.63 to 0.91) have a mean loss of AUC of 60·x²/(1 + 50·x).

Of these runs, 90 in 100 fell into the interval for clusters, and 86 in 100 into that for propensities. Not here: what
follows from a verdict (`engine.planning`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Verdict = Literal["good", "fair", "noise"]

CLUSTERS_GOOD, CLUSTERS_FAIR = 0.05, 0.3
"""Expected excess inertia up to which clusters are good, and are worth having."""

PROPENSITY_GOOD, PROPENSITY_FAIR = 0.01, 0.08
"""Expected loss of AUC up to which a propensity is good, and is worth having."""

CLUSTERS_LEAST, PROPENSITY_LEAST, MOST = 0.02, 0.1, 3.0
"""Ends of the intervals, as multiples of what is expected; blobs lose far less than real tables do."""

CHANCE = 0.5
"""AUC of a coin: a loss is never larger than what lies between it and 1."""

_MEANING: dict[Verdict, str] = {
    "good": "good enough to act on",
    "fair": "the broad picture holds, details may be noise",
    "noise": "the result would be noise",
}


@dataclass(frozen=True, slots=True)
class Forecast:
    """`expected` and `interval`: the inertia ratio to the best non-private clusters (1 is best), or the loss of AUC against
    non-private logistic regression (0 is best). `words` explain it to whoever decides on the budget."""

    expected: float
    interval: tuple[float, float]
    verdict: Verdict
    words: str


def forecast_clusters(noisy_n: float, n_sigma: float, d: int, k: int, mu_squared: Fraction) -> Forecast:
    """`k` clusters of `noisy_n` subjects (standard deviation `n_sigma`) with `d` features; `mu_squared` of the whole build."""

    def excess(n: float) -> float:
        x = _noise_to_signal(math.sqrt(d) * k, n, mu_squared)
        return min(2 * x + 40 * x * x, 1e3)

    expected, least, most = excess(noisy_n), CLUSTERS_LEAST * excess(noisy_n + 2 * n_sigma), MOST * excess(noisy_n - 2 * n_sigma)
    verdict = _verdict(expected, CLUSTERS_GOOD, CLUSTERS_FAIR)
    words = (
        f"clusters expected {_percent(expected)} looser than without privacy ({_percent(least)} to {_percent(most)}): {_MEANING[verdict]}"
    )
    return Forecast(1 + expected, (1 + least, 1 + most), verdict, words)


def forecast_propensity(noisy_n: float, d: int, mu_squared: Fraction) -> Forecast:
    """A propensity of `noisy_n` subjects, hold-out included, with `d` features; `mu_squared` of the whole build."""
    x = _noise_to_signal(d, noisy_n, mu_squared)
    expected = min(60 * x * x / (1 + 50 * x), CHANCE)
    least, most = PROPENSITY_LEAST * expected, min(MOST * expected, CHANCE)
    verdict = _verdict(expected, PROPENSITY_GOOD, PROPENSITY_FAIR)
    words = f"AUC expected {expected:.3f} below that without privacy ({least:.3f} to {most:.3f}): {_MEANING[verdict]}"
    return Forecast(expected, (least, most), verdict, words)


def _noise_to_signal(scale: float, n: float, mu_squared: Fraction) -> float:
    """scale / (μ n); with nobody to learn from, or nothing to spend, as bad as for one subject at a thousandth of μ = 1."""
    return scale / max(math.sqrt(mu_squared) * max(n, 1.0), 1e-3)


def _verdict(expected: float, good: float, fair: float) -> Verdict:
    return "good" if expected <= good else "fair" if expected <= fair else "noise"


def _percent(excess: float) -> str:
    return f"{excess:.1%}" if excess < 1 else "over 100%"
