"""`engine.bounds`: quantiles that skewed data have, that noise does not widen, and that cost what they say."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import bounds
from engine.assess import Noisy
from governance.accounting import mu_squared_of
from governance.door import GRID, LocalCohort, MemoryMeter, exact_sum
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise
from tests.populations import skewed
from tests.trainers import Watched

Values = NDArray[np.float64]
AFFORDED = mu_squared_of(1.0, 1e-5) * Fraction(6, 106)
"""What a build of ε 1 has for bounds."""


def estimated(raw: Values, noise: NoiseSource, mu_squared: Fraction = AFFORDED) -> tuple[bounds.Bounds | None, ...]:
    meter = MemoryMeter(mu_squared)
    cohort = LocalCohort({"features": np.zeros((len(raw), 1)), "raw": raw}, meter)
    return bounds.estimate(cohort, [0.02] * raw.shape[1], meter.grant(), noise)


@pytest.mark.parametrize("seed", range(5))
def test_skewed_values_lie_between_their_bounds(seed: int) -> None:
    columns = skewed(20_000, seed)
    found = estimated(np.stack(list(columns.values()), axis=1), SeededNoise(seed))
    for (name, values), pair in zip(columns.items(), found, strict=True):
        assert pair is not None, name
        low, high = float(pair.low), float(pair.high)
        assert (values < low).mean() <= 0.06, name
        assert 0.002 <= (values > high).mean() <= 0.06, name
        assert high <= 3 * np.quantile(values, 0.98), name
        assert low >= np.quantile(values, 0.02) - 0.6 * np.ptp(np.quantile(values, [0.02, 0.98])), name


def test_noise_hardly_ever_carries_bounds_away() -> None:
    """Slots of somebody, and 218 of nobody: what counts as occupied never lies eight slots off; of noise alone nothing is told."""
    generator = np.random.default_rng(3)
    here = slice(bounds.ZERO + 33, bounds.ZERO + 40)
    people = np.zeros(bounds.SLOTS)
    people[here] = 10.0
    for _ in range(500):
        noise = generator.normal(0.0, 1.0, bounds.SLOTS)
        occupied = np.flatnonzero(bounds._occupied(Noisy(people + noise, 1.0)))
        assert here.start - 8 <= occupied.min() <= here.start
        assert here.stop - 1 <= occupied.max() < here.stop + 8
        assert not bounds._occupied(Noisy(noise, 1.0)).any()


def test_without_values_there_are_no_bounds() -> None:
    raw = np.stack([np.full(5_000, np.nan), np.linspace(1, 100, 5_000)], axis=1)
    nothing, something = estimated(raw, SeededNoise(1))
    assert nothing is None
    assert something is not None
    assert Decimal(1) <= something.low < something.high <= Decimal(120)


@pytest.mark.parametrize("value", [0.0, 7.0, -7.0])
def test_one_value_alone_has_bounds_around_it(value: float) -> None:
    [pair] = estimated(np.full((5_000, 1), value), SeededNoise(2))
    assert pair is not None
    assert float(pair.low) <= value <= float(pair.high)
    assert pair.low < pair.high


def test_bounds_are_round_and_lie_outside() -> None:
    exact = np.repeat(np.array([[-130.0], [27.0], [410.0]]), [40, 4_000, 40], axis=0)
    [pair] = estimated(exact, ZeroNoise())
    assert pair is not None
    assert pair.low in {Decimal(-150), Decimal(20), Decimal(25)}
    assert str(pair.high) in {"30", "40"}


def test_one_subject_moves_the_histogram_by_at_most_its_bound() -> None:
    raw = np.stack(list(skewed(300, 0).values()), axis=1)
    watched = Watched({"features": np.zeros((300, 1)), "raw": raw}, MemoryMeter(AFFORDED))
    bounds.estimate(watched, [0.02] * 6, watched.meter.grant(), SeededNoise(0))
    [(query, grant)] = watched.asked
    assert watched.meter.spent == {grant.path: AFFORDED}
    for extreme in (1e300, -1e-300, np.inf, np.nan):
        more = np.vstack([raw, np.full((1, 6), extreme)])
        without, with_one = (
            exact_sum(query, LocalCohort({"features": np.zeros((len(given), 1)), "raw": given}, MemoryMeter(AFFORDED)).batches())
            for given in (raw, more)
        )
        moved = [int(change) for change in with_one - without]
        assert sum(change * change for change in moved) <= GRID**2


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (0.7, False), (1.3, False)])
def test_the_histogram_has_the_noise_that_was_paid(factor: float, right: bool) -> None:
    """χ² of 6 × 225 empty slots: within five deviations, where a third more or less lies beyond ten."""
    watched = Watched({"features": np.zeros((10, 1)), "raw": np.full((10, 6), np.nan)}, MemoryMeter(AFFORDED))
    bounds.estimate(watched, [0.02] * 6, watched.meter.grant(), SeededNoise(5, factor))
    z = watched.released[0].ravel() * (float(AFFORDED) / 6) ** 0.5
    assert (abs(float((z**2).sum()) - z.size) < 5 * (2 * z.size) ** 0.5) is right
