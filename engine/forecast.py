"""What to expect before anything is spent: how far a private result will be from a non-private one, by public figures alone.

Clusters here; propensities: `engine.forecast_scores`, values and uplifts: `engine.forecast_lines`. The formula is noise over signal: a
noisy mean of n/k subjects errs by about k/(μn) clip radii, and the more clusters, the more of them can be lost. The constants were
fitted by eye to runs of the trainer, with the shares of a build and everything paid: 1,938 on generated sets of seven kinds (blobs
apart, near and overlapping, of unlike shape and size, counts, heavy tails, counts beside blobs; n 300 to 50,000, d 2 to 16, k 2 to 10,
ε 0.1 to 4) have a median excess inertia of 12.8·x^1.6 with x = k^(4/3) d^(1/5)/(μn). Where hardly any is expected, another of
the local optima may be found; CDNOW and the online shoppers, in samples of several sizes, then mostly lose up to 0.01 + 2.5·x more.

Of these runs, 95 in 100 fell into the interval. Not here: what follows from a verdict (`engine.planning`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Verdict = Literal["good", "fair", "noise"]

CLUSTERS_GOOD, CLUSTERS_FAIR = 0.05, 0.3
"""Expected excess inertia up to which clusters are good, and are worth having."""

CLUSTERS_LEAST, CLUSTERS_MOST = 0.25, 6.0
"""Ends of the interval for clusters, as multiples of what is expected."""

NEXT_BEST, NEARLY_BEST = 2.5, 0.01
"""What the upper end has on top, because another local optimum may be found: so many times x, and a little whatever the noise."""

VISIBLE = 1e-3
"""Excess inertia below which the best of non-private restarts may be the looser one."""

MEANING: dict[Verdict, str] = {
    "good": "good enough to act on",
    "fair": "the broad picture holds, details may be noise",
    "noise": "the result would be noise",
}


@dataclass(frozen=True, slots=True)
class Forecast:
    """`expected` and `interval`: the inertia ratio to the best non-private clusters (1 is best), or the loss of AUC against
    non-private logistic regression (below 0: a gain). `words` explain it to whoever decides on the budget."""

    expected: float
    interval: tuple[float, float]
    verdict: Verdict
    words: str


EXACT = Forecast(1.0, (1.0, 1.0), "good", "exact, as nothing is hidden by noise; how good it is, nobody is shown")
"""Of a build without differential privacy."""


def forecast_clusters(noisy_n: float, n_sigma: float, d: int, k: int, mu_squared: Fraction) -> Forecast:
    """`k` clusters of `noisy_n` subjects (standard deviation `n_sigma`) with `d` features; `mu_squared` of the whole build."""

    def signal(n: float) -> float:
        return _noise_to_signal(math.pow(k, 4 / 3) * math.pow(d, 0.2), n, mu_squared)

    def excess(x: float) -> float:
        return min(12.8 * math.pow(x, 1.6), 1e3)

    expected = excess(signal(noisy_n))
    least, unsure = CLUSTERS_LEAST * excess(signal(noisy_n + 2 * n_sigma)), signal(noisy_n - 2 * n_sigma)
    least = least if least >= VISIBLE else 0.0
    most = min(CLUSTERS_MOST * excess(unsure) + NEXT_BEST * unsure + NEARLY_BEST, CLUSTERS_MOST * 1e3)
    verdict = verdict_of(expected, CLUSTERS_GOOD, CLUSTERS_FAIR)
    words = (
        f"clusters expected {_percent(expected)} looser than without privacy ({_percent(least)} to {_percent(most)}): {MEANING[verdict]}"
    )
    return Forecast(1 + expected, (1 + least, 1 + most), verdict, words)


def _noise_to_signal(scale: float, n: float, mu_squared: Fraction) -> float:
    """scale / (μ n); with nobody to learn from, or nothing to spend, as bad as for one subject at a thousandth of μ = 1."""
    return scale / max(math.sqrt(mu_squared) * max(n, 1.0), 1e-3)


def verdict_of(expected: float, good: float, fair: float) -> Verdict:
    """What a loss is worth that is expected to be good up to one bound, and worth having up to another."""
    return "good" if expected <= good else "fair" if expected <= fair else "noise"


def _percent(excess: float) -> str:
    return f"{excess:.1%}" if excess < 1 else "over 100%"
