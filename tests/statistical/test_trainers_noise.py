"""Every trainer's sums carry the noise that their shares of the grant paid for: the true one passes, ±30 % does not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import chi2

from governance.door import Array, LocalCohort, MemoryMeter, exact_sum, to_units
from governance.noise import NoiseSource, SystemNoise
from tests.fakes import SeededNoise
from tests.trainers import Trainer, every_trainer, population, trained

FITS, ENOUGH = 6, 500
"""Fits at most, and draws of all steps from which on there are no more."""

UNLIKELY = 1e-6
"""Chance that independent standard normal draws are not accepted."""

TELLING = 450
"""Draws from which on noise that is wrong by 30 % is always told from the true one."""


def residuals(trainer: Trainer, noise: NoiseSource) -> Mapping[str, Array]:
    """Of each step, what the noise added to its sums, in standard deviations of what the grant paid for."""
    columns = population(300)
    found: dict[str, list[Array]] = {}
    for _ in range(FITS):
        if sum(draws.size for parts in found.values() for draws in parts) >= ENOUGH:
            break
        _, watched, _ = trained(trainer, columns, noise)
        for (query, grant), released in zip(watched.asked, watched.released, strict=True):
            exact = exact_sum(query, LocalCohort(columns, MemoryMeter(grant.mu_squared)).batches())
            found.setdefault(query.step, []).append((released - to_units(exact, query)).ravel() / grant.sigma(query.bound))
    return {step: np.concatenate(parts) for step, parts in found.items()}


def accepts(draws: Array) -> bool:
    """Whether independent draws could be standard normal, by their mean and their variance."""
    n = len(draws)
    mean, variance = chi2.cdf(n * draws.mean() ** 2, 1), chi2.cdf((draws**2).sum(), n)
    return bool(mean < 1 - UNLIKELY / 2 and UNLIKELY / 4 < variance < 1 - UNLIKELY / 4)


@every_trainer
def test_each_step_gets_the_noise_it_paid_for(trainer: Trainer) -> None:
    found = residuals(trainer, SystemNoise())
    assert [step for step, draws in found.items() if not accepts(draws)] == []
    assert accepts(np.concatenate(list(found.values())))


@every_trainer
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_noise_that_is_wrong_by_a_third_is_found(trainer: Trainer, factor: float) -> None:
    found = residuals(trainer, SeededNoise(1, factor))
    assert not accepts(np.concatenate(list(found.values())))
    assert [step for step, draws in found.items() if len(draws) >= TELLING and accepts(draws)] == []
