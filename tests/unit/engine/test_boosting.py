"""`engine.trainers.boosting` and `.hybrid`: features that act on each other, Shapley values that are exact, splits that are public."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from engine.models import released
from engine.scale import UNIT
from engine.trainers import boosting, hybrid
from engine.trainers.boosting import DEPTH, Forest
from engine.trainers.probabilities import LOGIT
from tests.fakes import SeededNoise
from tests.labelled import Labelled, auc_of, door, learned


def crossed(n: int, seed: int) -> Labelled:
    """Two features of which neither tells anything alone."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, (n, 3))
    logits = 4 * np.sign(x[:, 0] * x[:, 1])
    return Labelled(np.rint(x * UNIT).astype(np.int32), (generator.random(n) < 1 / (1 + np.exp(-logits))).astype(np.int8))


def test_trees_find_what_curves_cannot() -> None:
    population = crossed(20_000, 0)
    part = population.part(0)
    aucs = {
        learner: auc_of(learned(learner, population, part, Fraction(1, 5), SeededNoise(0)).score(population.features), population, part)
        for learner in ("additive", "boosting", "hybrid")
    }
    assert aucs["additive"] < 0.55
    assert aucs["boosting"] > 0.8 and aucs["hybrid"] > 0.7


@pytest.fixture(scope="module")
def forest() -> Forest:
    generator = np.random.default_rng(1)
    of, edges = generator.integers(0, 3, (6, DEPTH)), generator.integers(2, 14, (6, DEPTH))
    leaves = np.rint(generator.normal(size=(6, 1 << DEPTH)) * LOGIT)
    return Forest(of.astype(np.float64), edges.astype(np.float64), leaves, generator.uniform(0.1, 0.9, (6, DEPTH)))


def test_contributions_are_shapley_values(forest: Forest) -> None:
    """Against the definition: the mean, over all orders in which answers become known, of what each changes."""
    features = np.random.default_rng(2).integers(-UNIT, UNIT + 1, (3, 3))
    bins = np.clip((features + UNIT) * 16 // (2 * UNIT), 0, 15)
    for row, found in zip(bins, forest.contributions(features), strict=True):
        expected = np.zeros(3)
        for of, edges, leaves, shares in zip(forest.of, forest.edges, forest.leaves, forest.shares, strict=True):
            answers = [row[int(feature)] > edge for feature, edge in zip(of, edges, strict=True)]
            for order in permutations(range(DEPTH)):
                for place, level in enumerate(order):
                    before, after = (_mean(leaves, shares, answers, set(order[:end])) for end in (place, place + 1))
                    expected[int(of[level])] += (after - before) / 24
        assert found == pytest.approx(expected / LOGIT, abs=1e-9)


def _mean(leaves: np.ndarray, shares: np.ndarray, answers: list[bool], known: set[int]) -> float:
    """Of the leaves that agree with the known answers, by the shares of the others."""
    total = 0.0
    for leaf, value in enumerate(leaves):
        said = [bool(leaf >> level & 1) for level in range(DEPTH)]
        if all(said[level] == answers[level] for level in known):
            total += value * np.prod(
                [share if yes else 1 - share for level, (yes, share) in enumerate(zip(said, shares, strict=True)) if level not in known]
            )
    return total


def test_curves_are_contributions_of_a_feature_alone() -> None:
    """One tree that asks about three features, one of them twice: by itself an answer moves the mean of the leaves."""
    leaves = np.zeros(1 << DEPTH)
    leaves[1] = 16 * LOGIT  # yes to the first question, no to all others
    one = Forest(np.array([[0.0, 1, 2, 1]]), np.array([[7.0, 3, 3, 11]]), leaves[None], np.full((1, DEPTH), 0.5))
    assert one.curves(4)[0] == pytest.approx([-1.0] * 8 + [1.0] * 8)
    assert one.curves(4)[3] == pytest.approx(0.0)
    assert one.curves(4)[1] == pytest.approx([1.0 + 1.0] * 4 + [-1.0 + 1.0] * 8 + [-1.0 - 1.0] * 4)


def test_splits_are_public_and_ask_only_about_what_varies() -> None:
    population = crossed(2000, 3)
    population.features[:, 2] = UNIT
    models = []
    for seed in (0, 0, 1):
        cohort, meter = door(population, population.part(0), Fraction(10))
        models.append(boosting.fit(cohort, meter.grant(), SeededNoise(5), lambda _: None, seed).forest)
    assert np.array_equal(models[0].of, models[1].of) and np.array_equal(models[0].edges, models[1].edges)
    assert not np.array_equal(models[0].of, models[2].of)
    assert set(np.unique(models[0].of)) == {0.0, 1.0}


def test_a_hybrid_is_the_sum_of_its_parts() -> None:
    population = crossed(3000, 4)
    cohort, meter = door(population, population.part(0), Fraction(1))
    model = hybrid.fit(cohort, meter.grant(), SeededNoise(0), lambda _: None)
    logits = model.additive.logits(population.features) + model.forest.logits(population.features)
    rest = logits / LOGIT - model.contributions(population.features).sum(axis=1)
    assert np.ptp(rest) < 1e-9
    again = released(model.facts())
    assert isinstance(again, hybrid.HybridModel)
    assert np.array_equal(again.score(population.features), model.score(population.features))
    assert again.curves() == pytest.approx(model.curves())
