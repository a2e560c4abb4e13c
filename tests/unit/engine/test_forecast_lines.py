from __future__ import annotations

import pytest

from engine.forecast_lines import forecast_uplift, forecast_value
from governance.accounting import mu_squared_of

ONE = mu_squared_of(1.0, 1e-5)


@pytest.mark.parametrize("forecast", [forecast_uplift, forecast_value])
def test_more_people_and_more_budget_promise_more(forecast: object) -> None:
    assert callable(forecast)
    expected = [forecast(n, 8, ONE).expected for n in (100, 1_000, 10_000, 100_000)]
    assert expected == sorted(expected, reverse=True)
    assert forecast(5_000, 8, ONE / 4).expected > forecast(5_000, 8, ONE).expected
    assert forecast(5_000, 40, ONE).expected > forecast(5_000, 8, ONE).expected


@pytest.mark.parametrize("n", [-50.0, 0.0, 300.0])
def test_too_few_people_would_be_noise(n: float) -> None:
    for found in (forecast_uplift(n, 8, ONE), forecast_value(n, 8, ONE)):
        assert found.verdict == "noise"
        assert "would be noise" in found.words
        assert found.interval[0] <= found.expected <= found.interval[1]


def test_a_large_campaign_is_worth_it() -> None:
    """As Hillstrom's, where noise adds a twentieth at the whole budget and so about an eighth at a build's share."""
    assert forecast_uplift(42_693, 11, ONE).verdict == "good"
    assert 0.05 < forecast_uplift(42_693, 11, ONE).expected < 0.25
    assert forecast_value(23_570, 7, ONE).verdict == "good"
