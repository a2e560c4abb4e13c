"""What to expect of any model before anything is spent on it, by public figures and a noisy count alone, wherever rows are."""

from __future__ import annotations

from fractions import Fraction

from engine.forecast import Forecast, forecast_clusters
from engine.forecast_lines import forecast_uplift, forecast_value
from engine.forecast_scores import Choice, forecast_propensity
from policies.segment import Clusters, KRange, Propensity, Uplift, Value


def expected(
    model: Clusters | Propensity | Value | Uplift, d: int, noisy_n: float, sigma: float, mu_squared: Fraction, choice: Choice | None
) -> Forecast:
    """A model of `noisy_n` subjects (standard deviation `sigma`) with `d` features; `mu_squared` of a whole build, at the shares that
    forecasts were fitted to (`engine.shares`); `choice` of a propensity."""
    match model:
        case Clusters(k=k):
            return forecast_clusters(noisy_n, sigma, d, k.most if isinstance(k, KRange) else k, mu_squared)
        case Value():
            return forecast_value(noisy_n, d, mu_squared)
        case Uplift():
            return forecast_uplift(noisy_n, d, mu_squared)
        case Propensity():
            assert choice is not None  # a propensity has a learner
            return forecast_propensity(noisy_n, d, mu_squared, choice)
