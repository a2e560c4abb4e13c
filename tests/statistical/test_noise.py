"""The noise that the product uses: the true standard deviation is accepted, one 30 % off is rejected.

n draws of variance σ²: Σx²/σ² is χ² with n degrees, within ±6 √(2n) of n but for one run in 10^9. With n = 4,000 that is
±13.4 % of the variance, and 0.7² or 1.3² lie far outside. The discrete Gaussian's variance differs from σ² by less than 1e-9.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from governance.accounting import MIN_SIGMA
from governance.door import MAX_SIGMA, Batch, Contribution, LocalCohort, MemoryMeter, Query, StepName, register
from governance.noise import NoiseSource, SystemNoise
from tests.fakes import SeededNoise

DRAWS = 4000


@register("test.nothing")
def _nothing(batch: Batch, _parameters: object) -> Contribution:
    return Contribution(batch["features"])


def accepts(draws: NDArray[np.float64], sigma: float) -> bool:
    """Whether variance, mean and kurtosis are those of N(0, σ²), at six deviations."""
    z = draws / sigma
    n = z.size
    variance = abs(float(np.mean(z**2)) - 1) <= 6 * math.sqrt(2 / n)
    mean = abs(float(np.mean(z))) <= 6 / math.sqrt(n)
    fourth = abs(float(np.mean(z**4)) - 3) <= 6 * math.sqrt(96 / n)
    return variance and mean and fourth


@pytest.mark.parametrize("sigma", [MIN_SIGMA, 2.0**32 * 27.31, MAX_SIGMA])
def test_system_noise_has_the_sigma_that_was_asked(sigma: float) -> None:
    draws = SystemNoise().draw(sigma, DRAWS)
    assert draws.dtype == np.int64
    assert draws.shape == (DRAWS,)
    assert accepts(draws.astype(np.float64), sigma)
    assert not accepts(draws.astype(np.float64), sigma * 1.3)
    assert not accepts(draws.astype(np.float64), sigma * 0.7)
    assert np.abs(draws.astype(np.float64)).max() < 2.0**62  # never saturated


def test_system_noise_differs_from_draw_to_draw() -> None:
    first, second = SystemNoise().draw(MIN_SIGMA, DRAWS), SystemNoise().draw(MIN_SIGMA, DRAWS)
    assert np.mean(first == second) < 0.001
    assert abs(np.corrcoef(first, second)[0, 1]) < 6 / math.sqrt(DRAWS)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 6 / math.sqrt(DRAWS)


def released(noise: NoiseSource) -> NDArray[np.float64]:
    """What leaves the door for a population that adds nothing, at μ = 1/4 and bound 10."""
    cohort = LocalCohort({"features": np.zeros((5, DRAWS))}, MemoryMeter(Fraction(1)))
    grant = MemoryMeter(Fraction(1, 16)).grant()
    return cohort.noisy_sum(Query(StepName("test.nothing"), {}, (1, 1, DRAWS), 10.0), grant, noise).ravel()


def test_what_leaves_the_door_has_the_noise_that_was_paid() -> None:
    assert accepts(released(SystemNoise()), 40.0)


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_noise_that_is_wrong_by_a_third_is_found(factor: float) -> None:
    assert accepts(released(SeededNoise(7)), 40.0)
    assert not accepts(released(SeededNoise(7, factor)), 40.0)
