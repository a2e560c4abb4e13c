"""Clusters are as good as promised, everything paid (the noise in their queries: `test_trainers_noise`)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.trainers import clusters
from governance.accounting import mu_squared_of
from governance.door import Array, LocalCohort, MemoryMeter
from governance.noise import NoiseSource, SystemNoise
from tests.fakes import SeededNoise
from tests.populations import Features, best_inertia, blobs, cdnow, inertia, shoppers

TRAINING = Fraction(88, 100)
"""Share of a build's μ² that training gets; profiles and fairness take the rest."""


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
