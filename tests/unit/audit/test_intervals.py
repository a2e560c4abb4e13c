from __future__ import annotations

import math

import pytest

from audit import intervals


def test_without_noise_a_rate_is_wilsons() -> None:
    interval = intervals.rate(15, 85, 0, 0, 1.959964)
    assert interval.value == 0.15
    assert (interval.low, interval.high) == pytest.approx((0.0931, 0.2328), abs=5e-5)


def test_without_noise_a_difference_is_newcombes() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80."""
    z = intervals.critical(0.95)
    gap = intervals.difference(intervals.rate(56, 14, 0, 0, z), intervals.rate(48, 32, 0, 0, z))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_noise_widens_an_interval_until_it_says_nothing() -> None:
    spans = [(i := intervals.rate(30, 70, sigma, sigma, 1.96)).high - i.low for sigma in (0, 5, 15, 200)]
    assert spans == sorted(spans)
    assert spans[-1] == 1.0


@pytest.mark.parametrize(("successes", "failures", "value"), [(-4.0, 100.0, 0.0), (100.0, -4.0, 1.0), (-4.0, -9.0, 0.5)])
def test_counts_below_zero_make_no_nonsense(successes: float, failures: float, value: float) -> None:
    interval = intervals.rate(successes, failures, 5.0, 5.0, 1.96)
    assert interval.value == value
    assert 0.0 <= interval.low <= interval.value <= interval.high <= 1.0


def test_a_ratio_to_a_rate_that_may_be_zero_has_no_upper_end() -> None:
    z = 1.96
    quotient = intervals.ratio(intervals.rate(10, 90, 0, 0, z), intervals.rate(0, 100, 0, 0, z))
    assert quotient.value == math.inf and quotient.high == math.inf and quotient.low > 0


def test_more_comparisons_ask_for_more() -> None:
    assert intervals.critical(0.95) == pytest.approx(1.95996, abs=1e-5)
    assert intervals.critical(0.95, 10) == pytest.approx(2.80703, abs=1e-5)
