"""`engine.trainers.additive`: shapes where features have them, none where they cannot, and sums that are exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from engine.scale import UNIT
from engine.trainers import additive, designs
from engine.trainers.probabilities import LOGIT
from governance.door import Array
from tests.fakes import SeededNoise, ZeroNoise
from tests.labelled import Labelled, auc_of, auc_without_privacy, door


def bent(n: int, seed: int) -> Labelled:
    """Four features: the first matters at both ends of its range, the second is a line, the third of two values, the fourth nothing."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, (n, 4))
    x[:, 2] = np.where(generator.random(n) < 0.3, 1.0, -1.0)
    logits = 6 * x[:, 0] ** 2 - 3 + x[:, 1] + 0.5 * x[:, 2]
    return Labelled(np.rint(x * UNIT).astype(np.int32), (generator.random(n) < 1 / (1 + np.exp(-logits))).astype(np.int8))


@pytest.fixture(scope="module")
def fitted() -> tuple[Labelled, additive.AdditiveModel]:
    population = bent(20_000, 0)
    cohort, meter = door(population, population.part(0), Fraction(1, 10))
    return population, additive.fit(cohort, meter.grant(), SeededNoise(0), lambda _: None)


def test_it_finds_the_shape_that_a_line_cannot(fitted: tuple[Labelled, additive.AdditiveModel]) -> None:
    population, model = fitted
    part = population.part(0)
    assert auc_of(model.score(population.features), population, part) > auc_without_privacy(population, part) + 0.1
    first, second, _, fourth = model.curves()
    assert min(first[0], first[-1]) > first[7:9].mean() + 3
    assert second[-1] - second[0] == pytest.approx(2.0, abs=0.5)
    assert np.ptp(fourth) < 0.5
    assert not model.shapes[2].any()  # two values have no shape beside a line


def test_contributions_add_up_to_the_score(fitted: tuple[Labelled, additive.AdditiveModel]) -> None:
    population, model = fitted
    rest = model.logits(population.features) / LOGIT - model.contributions(population.features).sum(axis=1)
    assert np.ptp(rest) < 1e-9
    middles = np.tile(designs.MIDDLES[:, None], 4)
    assert model.contributions(middles) == pytest.approx(model.curves().T)


def test_masses_are_shares_of_training_subjects(fitted: tuple[Labelled, additive.AdditiveModel]) -> None:
    _, model = fitted
    assert model.masses.sum(axis=1) == pytest.approx(1.0)
    assert model.masses[2, [0, -1]] == pytest.approx([0.7, 0.3], abs=0.02)


def test_functions_are_orthogonal_to_the_line_and_have_the_variance_that_they_say() -> None:
    mass = np.random.default_rng(1).dirichlet(np.ones(designs.BINS))
    found = additive._functions(mass)
    middles = np.linspace(-1, 1, designs.BINS)
    assert len(found) == additive.SHAPES
    assert [value for value, _ in found] == sorted((value for value, _ in found), reverse=True)
    for value, column in found:
        assert mass @ column == pytest.approx(0.0, abs=1e-9)
        assert (mass * middles) @ column == pytest.approx(0.0, abs=1e-9)
        assert mass @ column**2 == pytest.approx(value)


def test_many_features_share_the_functions_that_there_may_be() -> None:
    generator = np.random.default_rng(2)
    x = np.rint(generator.uniform(-UNIT, UNIT, (500, 60))).astype(np.int32)
    population = Labelled(x, (generator.random(500) < 0.5).astype(np.int8))
    cohort, meter = door(population, population.part(0), Fraction(100))
    model = additive.fit(cohort, meter.grant(), ZeroNoise(), lambda _: None)
    assert 0 < np.count_nonzero(model.shapes.any(axis=1)) <= additive.MOST_SHAPES


def test_the_last_bin_and_the_first_take_the_ends_of_the_grid() -> None:
    ends: Array = np.array([-UNIT, -UNIT + 1, 0, UNIT - 1, UNIT], dtype=np.float64)
    assert designs.bins(ends).tolist() == [0, 0, 8, 15, 15]
