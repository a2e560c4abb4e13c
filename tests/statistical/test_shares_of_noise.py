"""The noise of a sum over partners: the true one is accepted, one that is 30 % off is not, and no partner's share is the whole."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from federated.shares import Sharing
from governance.door import Grant, ReservationId, grid_sigma
from governance.noise import NoiseSource, SystemNoise
from tests.fakes import SeededNoise

DRAWS = 2_000
GRANT = Grant(ReservationId("test"), "all", Fraction(1, 10))


def deviation_is(noise: NoiseSource, sharing: Sharing, shares: int, expected: float) -> bool:
    """Whether draws of so many shares have that deviation, by χ²; a false alarm below 1e-6."""
    total = sum(noise.draw(sharing.share_sigma(GRANT), DRAWS).astype(float) for _ in range(shares))
    statistic = float(np.sum((total / expected) ** 2))
    return 5e-7 < stats.chi2(DRAWS).cdf(statistic) < 1 - 5e-7


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_all_shares_are_the_noise_that_the_grant_says(factor: float) -> None:
    sharing = Sharing(4, 3, 1)
    assert deviation_is(SeededNoise(1, factor), sharing, 4, grid_sigma(GRANT)) == (factor == 1)


@pytest.mark.slow
def test_the_fewest_honest_shares_are_the_noise_that_was_paid_for() -> None:
    sharing = Sharing(4, 3, 2)
    paid = sharing.price(GRANT, ReservationId("here"))
    assert deviation_is(SystemNoise(), sharing, 3, 2 * grid_sigma(paid))  # the bound is twice as far: a subject is at two partners
    assert not deviation_is(SystemNoise(), sharing, 2, 2 * grid_sigma(paid))
    assert math.isclose(2 * grid_sigma(paid), grid_sigma(GRANT) * math.sqrt(3 / 4), rel_tol=1e-12)
