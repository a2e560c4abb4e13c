"""`engine.trainers.logistic`: exact steps, a ranking like logistic regression's, a budget that adds up, and grace where noise drowns it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from engine.models import ONE
from engine.scale import UNIT
from engine.trainers import designs, logistic, newton
from engine.trainers.logistic import SHARES
from engine.trainers.probabilities import LOGIT, LOGITS, STEPS_A_LOGIT
from governance.accounting import mu_squared_of
from governance.door import Array, Cohort, Grant, LocalCohort, MemoryMeter, Part, Query, exact_sum
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise
from tests.labelled import auc_of, auc_without_privacy, fitted, generated


class Recording:
    """A cohort that remembers what it was asked, and what it answered."""

    def __init__(self, inner: Cohort) -> None:
        self._inner = inner
        self.width = inner.width
        self.queries: list[Query] = []

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`."""
        self.queries.append(query)
        return self._inner.noisy_sum(query, grant, noise)


def columns(n: int = 3000, d: int = 6) -> dict[str, np.ndarray]:
    population = generated(n, d, seed=1)
    return {"features": population.features, "label": population.label, "part": population.part(1)}


@pytest.fixture(scope="module")
def asked() -> dict[str, Query]:
    """What a fit asks, by round."""
    meter = MemoryMeter(Fraction(1))
    cohort = Recording(LocalCohort(columns(), meter))
    logistic.fit(cohort, meter.grant(), SeededNoise(0), lambda _: None)
    return dict(zip(SHARES, cohort.queries, strict=True))


@pytest.mark.parametrize("name", ["moments", "covariance", "gradient-1", "gradient-7"])
def test_sums_have_the_same_bits_in_any_batches(asked: dict[str, Query], name: str) -> None:
    query = asked[name]
    whole = LocalCohort(columns(), MemoryMeter(Fraction(1)))
    expected = exact_sum(query, whole.batches())
    for rows in (1, 7, 1000):
        batches = list(LocalCohort(columns(), MemoryMeter(Fraction(1)), batch_rows=rows).batches())
        assert np.array_equal(exact_sum(query, batches[::-1]), expected)


def test_steps_give_whole_numbers_from_rows_at_the_ends_of_the_grid() -> None:
    batch = {
        "features": np.array([[UNIT] * 64, [-UNIT] * 64, [UNIT, -UNIT] * 32], dtype=np.float64),
        "label": np.array([0.0, 1.0, 1.0]),
    }
    parameters = {
        "mean": np.full(64, -UNIT, dtype=np.float64),
        "scale": np.full(64, 2.0**24 * 30),
        "tables": np.full((designs.BINS, 20), 2.0**19),
        "of": np.arange(20.0),
        "matrix": np.full((84, 84), 2.0**24 - 1),
        "weights": np.full(65, 2.0**31 - 1),
        "shapes": np.full((64, designs.BINS), 2.0**45),
        "table": np.full(2 * LOGITS * STEPS_A_LOGIT, 12345.0),
    }
    for step in (designs.moments, newton.covariance, newton.gradient):
        values = step(batch, parameters).values
        assert np.all(values == np.trunc(values))
        assert np.abs(values).max() < 2.0**53


def test_only_training_subjects_count() -> None:
    held_back = columns()
    rest = held_back["part"] == Part.HOLDOUT
    held_back["label"] = np.where(rest, 1 - held_back["label"], held_back["label"])
    models = []
    for each in (columns(), held_back):
        meter = MemoryMeter(Fraction(1))
        models.append(logistic.fit(LocalCohort(each, meter), meter.grant(), SeededNoise(0), lambda _: None))
    assert np.array_equal(models[0].weights, models[1].weights)


def test_rounds_and_budget_add_up() -> None:
    meter = MemoryMeter(Fraction(1, 20))
    names: list[str] = []
    logistic.fit(LocalCohort(columns(), meter), meter.grant(), SeededNoise(0), names.append)
    assert len(meter.spent) == len(names) <= 9
    assert set(meter.spent) == {f"all/{name}" for name in SHARES}
    assert sum(meter.spent.values()) == Fraction(1, 20)


def test_without_noise_it_ranks_like_logistic_regression() -> None:
    population = generated(10_000, 8, seed=2)
    part = population.part(0)
    model = fitted(population, part, Fraction(1, 10), ZeroNoise())
    private = auc_of(model.score(population.features), population, part)
    assert auc_without_privacy(population, part) - private == pytest.approx(0.0, abs=0.002)
    assert model.subjects == pytest.approx(np.count_nonzero(part == Part.TRAIN), abs=0.01)


def test_probabilities_are_calibrated() -> None:
    population = generated(20_000, 8, seed=3)
    part = population.part(0)
    model = fitted(population, part, mu_squared_of(1.0, 1e-5), SeededNoise(3))
    scores = model.score(population.features) / ONE
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0)):
        inside = (scores >= low) & (scores < high)
        assert population.label[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.06)


def test_score_is_the_logistic_function_of_the_weights() -> None:
    model = fitted(generated(3000, 4, seed=4), generated(3000, 4, seed=4).part(0), Fraction(1), SeededNoise(4))
    features = np.random.default_rng(0).integers(-UNIT, UNIT + 1, (70_000, 4))
    logits = (features @ model.weights[:-1] + UNIT * model.weights[-1]) / LOGIT
    assert logits == pytest.approx(features / UNIT @ model.coefficients[:-1] + model.coefficients[-1])
    scores = model.score(features)
    assert scores.min() >= 0 and scores.max() <= ONE
    assert scores / ONE == pytest.approx(1 / (1 + np.exp(-logits)), abs=1 / STEPS_A_LOGIT)
    order = np.argsort(logits)
    assert np.all(np.diff(scores[order]) >= 0)


@pytest.mark.parametrize("n", [0, 1, 50, 1700])
@pytest.mark.parametrize("d", [1, 60])
def test_too_few_subjects_end_in_a_model_and_not_in_an_error(n: int, d: int) -> None:
    population = generated(n, d, seed=5)
    model = fitted(population, population.part(0), mu_squared_of(0.7, 1e-5), SeededNoise(n + d))
    assert np.all(np.isfinite(model.weights)) and np.all(np.isfinite(model.error)) and model.error.shape == (d + 1,)
    scores = model.score(generated(100, d, seed=6).features)
    assert scores.min() >= 0 and scores.max() <= ONE


def test_more_budget_means_smaller_stated_error() -> None:
    population = generated(5000, 5, seed=7)
    errors = [fitted(population, population.part(0), Fraction(1, m), SeededNoise(7)).error.mean() for m in (100, 4, 1)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_stated_error_is_what_noise_does_to_coefficients() -> None:
    population = generated(10_000, 4, seed=8)
    part = population.part(0)
    models = [fitted(population, part, Fraction(1, 10), SeededNoise(seed)) for seed in range(25)]
    spread = np.std([model.coefficients for model in models], axis=0)
    assert np.all(spread / np.mean([model.error for model in models], axis=0) < 1.8)
    assert np.all(spread / np.mean([model.error for model in models], axis=0) > 0.6)


def test_contributions_add_up_to_the_score_and_are_nothing_for_the_mean() -> None:
    population = generated(3000, 4, seed=9)
    model = fitted(population, population.part(0), Fraction(1), SeededNoise(9))
    parts = model.contributions(population.features)
    rest = model.logits(population.features) / LOGIT - parts.sum(axis=1)
    assert np.ptp(rest) < 1e-9
    assert model.contributions(model.mean[None, :]) == pytest.approx(0.0)
    middles = np.tile(designs.MIDDLES[:, None], 4)
    assert model.contributions(middles) == pytest.approx(model.curves().T)
