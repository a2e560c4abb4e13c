"""What to expect of a value or an uplift before anything is spent, by public figures alone; see `engine.forecast`.

Both trainers fit a line in whitened coordinates, so that the noise of a slope is known: about √d/(μn) whatever the data. Of an
uplift it stands beside chance, which alone leaves 1/√n in a trial of n subjects, so that noise adds about d/(μ²n) to the variance
of chance. How many of the admitted are in the trial nobody knows before it is counted: the forecast holds where all are. Of a value
it turns the order of people; 144 runs on generated spending (n 500 to 30,000, d 4 to 25, ε 0.3 to 3, at the shares of a build)
lost about 60·x²/(1 + 50·x) of concordance, x = d/(μn), as propensities do of AUC.
"""

from __future__ import annotations

import math
from fractions import Fraction

from engine.forecast import MEANING, Forecast, verdict_of

ADDED = 30.0
"""Variance that noise adds to chance, in units of (d + 1)/(μ²n), at the shares of a build, where one in eight has the outcome."""

UPLIFT_GOOD, UPLIFT_FAIR = 0.25, 2.0
"""Variance added up to which an uplift is good, and is worth having: 2 makes a trial as one of a third of its size."""

TURNED, EASED = 60.0, 50.0
"""Loss of concordance of a value is TURNED·x²/(1 + EASED·x), x = d/(μn)."""

VALUE_GOOD, VALUE_FAIR = 0.01, 0.08
"""Loss of concordance up to which a value is good, and is worth having."""

LEAST, MOST = 0.1, 4.0
"""Ends of the intervals, as multiples of what is expected."""

CHANCE = 0.5


def forecast_uplift(noisy_n: float, d: int, mu_squared: Fraction) -> Forecast:
    """An uplift with `d` features where all of `noisy_n` are in the trial, hold-out included; `mu_squared` of the whole build."""
    added = min(ADDED * (d + 1) / max(float(mu_squared) * max(noisy_n, 1.0), 1e-3), 1e3)
    verdict = verdict_of(added, UPLIFT_GOOD, UPLIFT_FAIR)
    share = f"{100 * added:.0f} %" if added < 10 else "over 1000 %"
    words = f"if all of them are in the trial, noise adds about {share} to the variance of an uplift by chance: {MEANING[verdict]}"
    return Forecast(added, (LEAST * added, MOST * added), verdict, words)


def forecast_value(noisy_n: float, d: int, mu_squared: Fraction) -> Forecast:
    """A value of `noisy_n` subjects, hold-out included, with `d` features; `mu_squared` of the whole build."""
    x = d / max(math.sqrt(mu_squared) * max(noisy_n, 1.0), 1e-3)
    expected = min(TURNED * x * x / (1 + EASED * x), CHANCE)
    least, most = LEAST * expected, min(MOST * expected, CHANCE)
    verdict = verdict_of(expected, VALUE_GOOD, VALUE_FAIR)
    words = f"concordance expected {expected:.3f} below that without privacy ({least:.3f} to {most:.3f}): {MEANING[verdict]}"
    return Forecast(expected, (least, most), verdict, words)
