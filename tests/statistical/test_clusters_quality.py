"""Clusters are as good as promised, and the noise in their queries is what was paid for: the true one passes, ±30 % does not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.trainers import clusters
from governance.accounting import mu_squared_of
from governance.door import Array, Grant, LocalCohort, MemoryMeter, Query
from governance.noise import NoiseSource, SystemNoise
from tests.fakes import SeededNoise, ZeroNoise
from tests.populations import Features, best_inertia, blobs, cdnow, inertia, shoppers

TRAINING = Fraction(88, 100)
"""Share of a build's μ² that training gets; profiles and fairness take the rest."""


class Residuals:
    """A cohort that keeps what the noise added to each sum, in standard deviations of what the grant paid for."""

    def __init__(self, features: Features, meter: MemoryMeter) -> None:
        self._features = features
        self._inner = LocalCohort({"features": features}, meter)
        self.width = self._inner.width
        self.by_step: dict[str, list[Array]] = {}

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`."""
        released = self._inner.noisy_sum(query, grant, noise)
        exact = LocalCohort({"features": self._features}, MemoryMeter(grant.mu_squared)).noisy_sum(query, grant, ZeroNoise())
        self.by_step.setdefault(query.step, []).append((released - exact).ravel() / grant.sigma(query.bound))
        return released


def residuals(noise: NoiseSource) -> dict[str, Array]:
    """Of each step, over ten fits."""
    features, _ = blobs(3_000, 6, 4, 0.1, seed=0)
    found: dict[str, list[Array]] = {}
    for seed in range(10):
        meter = MemoryMeter(mu_squared_of(1.0, 1e-5))
        cohort = Residuals(features, meter)
        clusters.fit(cohort, 4, meter.grant(), noise, lambda _: None, seed)
        for step, parts in cohort.by_step.items():
            found.setdefault(step, []).extend(parts)
    return {step: np.concatenate(parts) for step, parts in found.items()}


def accepts(draws: Array) -> bool:
    """Whether independent draws could be standard normal: mean and variance within four standard errors."""
    n = len(draws)
    return abs(draws.mean()) < 4 / np.sqrt(n) and abs((draws**2).mean() - 1) < 4 * np.sqrt(2 / n)


def test_each_step_gets_the_noise_it_paid_for() -> None:
    found = residuals(SystemNoise())
    assert set(found) == {"clusters.moments", "clusters.covariance", "clusters.cells", "clusters.lloyd", "clusters.sizes"}
    assert all(accepts(draws) for draws in found.values())


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_noise_that_is_wrong_by_a_third_is_found(factor: float) -> None:
    draws = np.concatenate(list(residuals(SeededNoise(1, factor)).values()))
    assert not accepts(draws)


def ratios(features: Features, k: int, epsilon: float, seeds: range, noise: NoiseSource | None = None) -> Array:
    """Inertia against the best of ten non-private restarts, of builds at (ε, 1e-5), everything paid."""
    best = best_inertia(features, k)
    found = []
    for seed in seeds:
        meter = MemoryMeter(mu_squared_of(epsilon, 1e-5) * TRAINING)
        cohort = LocalCohort({"features": features}, meter)
        model = clusters.fit(cohort, k, meter.grant(), noise or SeededNoise(seed), lambda _: None, seed)
        found.append(inertia(features, model.model.centres) / best)
    return np.array(found)


@pytest.mark.slow
def test_purchases_of_real_customers_at_epsilon_one(data_dir: Path) -> None:
    """The release's promise, with the noise that the product uses."""
    found = ratios(cdnow(data_dir), 6, 1.0, range(20), SystemNoise())
    assert np.median(found) <= 1.005
    assert np.quantile(found, 0.9) <= 1.01


@pytest.mark.slow
def test_purchases_of_real_customers_at_half_of_that(data_dir: Path) -> None:
    assert np.median(ratios(cdnow(data_dir), 6, 0.5, range(100, 120))) <= 1.03


@pytest.mark.slow
def test_twelve_thousand_visits(data_dir: Path) -> None:
    assert np.median(ratios(shoppers(data_dir), 6, 1.0, range(100, 120))) <= 1.04


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "promised"), [(0.1, 1.005), (0.5, 1.001)])
def test_many_subjects_need_little_budget(epsilon: float, promised: float) -> None:
    features, _ = blobs(100_000, 10, 8, 0.1, seed=7)
    assert np.median(ratios(features, 8, epsilon, range(100, 105))) <= promised
