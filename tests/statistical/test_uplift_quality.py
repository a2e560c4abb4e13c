"""What privacy costs an uplift and a value, everything paid: goals of the issue on real tables, and generated ones anywhere."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from governance.accounting import mu_squared_of
from tests.fakes import SeededNoise
from tests.trials import (
    Spending,
    Trial,
    cdnow,
    hillstrom,
    persuadable,
    qini_of,
    qini_without_privacy,
    spenders,
    tried,
    valued,
    worth_of,
    worth_without_privacy,
)

pytestmark = pytest.mark.slow
data = pytest.mark.skipif("CONSENTRIC_DATA_DIR" not in os.environ, reason="CONSENTRIC_DATA_DIR is not set")

ONE = mu_squared_of(1.0, 1e-5)


def qinis(trial: Trial, mu_squared: Fraction, splits: int) -> tuple[float, float]:
    """Mean of ours and of the non-private T-learner's."""
    found = []
    for seed in range(splits):
        part = trial.part(seed)
        ours = tried(trial, part, mu_squared, SeededNoise(seed)).model.score(trial.features)
        found.append((qini_of(ours, trial, part), qini_without_privacy(trial, part)))
    ours_mean, without = np.mean(found, axis=0)
    return float(ours_mean), float(without)


def worths(spending: Spending, splits: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means of R², rank correlation and predicted ÷ observed, of ours and of ridge regression."""
    ours, without = [], []
    for seed in range(splits):
        part = spending.part(seed)
        predicted = spending.predicted(valued(spending, part, ONE, SeededNoise(seed)).model.score(spending.features))
        ours.append(worth_of(predicted, spending, part))
        without.append(worth_without_privacy(spending, part))
    return tuple(np.mean(ours, axis=0)), tuple(np.mean(without, axis=0))


@data
def test_uplift_on_hillstrom() -> None:
    ours, without = qinis(hillstrom(Path(os.environ["CONSENTRIC_DATA_DIR"])), ONE, 5)
    assert ours >= 0.88 * without


def test_uplift_on_generated_trials() -> None:
    ours, without = qinis(persuadable(20_000, 1), ONE, 4)
    assert ours >= 0.97 * without


def test_at_little_budget_the_same_trial_tells_less() -> None:
    much, _ = qinis(persuadable(4_000, 2), ONE, 6)
    little, _ = qinis(persuadable(4_000, 2), ONE / 2_000, 6)
    assert little < 0.6 * much


@data
def test_value_on_cdnow() -> None:
    (explained, ranks, ratio), (ridge, ridge_ranks, _) = worths(cdnow(Path(os.environ["CONSENTRIC_DATA_DIR"])), 4)
    assert explained > ridge - 0.03
    assert ranks > ridge_ranks
    assert ratio == pytest.approx(1, abs=0.15)


def test_value_on_generated_spending() -> None:
    (explained, ranks, ratio), (ridge, ridge_ranks, _) = worths(spenders(20_000, 1), 3)
    assert explained > ridge
    assert ranks > ridge_ranks - 0.01
    assert ratio == pytest.approx(1, abs=0.1)
