"""`engine.movement`: the table counts who it says, costs one draw of sensitivity 1, and reads old segments on the grid of then."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.explanation_page import Named
from engine import movement
from engine.scale import UNIT, Scale
from engine.trainers.partitions import FAR, Nearest
from governance.door import LocalCohort, MemoryMeter
from tests.fakes import SeededNoise, ZeroNoise
from tests.releases import FEATURES, WIDE, last, spec
from tests.trainers import Watched

HERE = (Named("S1", "a"), Named("S4", "b"))


def columns(n: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(seed)
    return {"features": np.zeros((n, 1)), "origin": generator.integers(-1, 3, n), "segment": generator.integers(-1, 2, n)}


def test_the_table_counts_everybody_once() -> None:
    people = columns(2_000)
    meter = MemoryMeter(Fraction(1, 10))
    moved = movement.movement(LocalCohort(people, meter), last(), HERE, meter.grant(), ZeroNoise())
    for row, origin in enumerate((0, 1, 2, -1)):
        for column, segment in enumerate((0, 1, -1)):
            expected = ((people["origin"] == origin) & (people["segment"] == segment)).sum()
            assert moved.counts[row][column] == pytest.approx(expected, abs=1e-6)
    assert moved.loose
    assert (moved.origins, moved.targets) == (last().parts, HERE)


def test_it_is_one_question_of_sensitivity_one() -> None:
    watched = Watched(columns(500), MemoryMeter(Fraction(1, 10)))
    moved = movement.movement(watched, last(), HERE, watched.meter.grant(), SeededNoise(0))
    [(query, grant)] = watched.asked
    assert (query.bound, query.shape) == (1.0, (1, 12, 1))
    assert watched.meter.spent == {grant.path: watched.meter.limit}
    assert moved.sigma == pytest.approx(10**0.5)


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (0.7, False), (1.3, False)])
def test_the_table_has_the_noise_that_was_paid(factor: float, right: bool) -> None:
    draws = []
    for seed in range(60):
        meter = MemoryMeter(Fraction(1, 10))
        empty = LocalCohort({name: column[:0] for name, column in columns(1).items()}, meter)
        moved = movement.movement(empty, last(), HERE, meter.grant(), SeededNoise(seed, factor))
        draws += [value / moved.sigma for row in moved.counts for value in row]
    square = float(np.square(draws).sum())
    assert (abs(square - len(draws)) < 5 * (2 * len(draws)) ** 0.5) is right


def test_origins_are_what_the_last_model_says_on_its_own_grid() -> None:
    """The same people on wider scales and in another order of features get the same part, but for rounding at a border."""
    generator = np.random.default_rng(1)
    values = {"recency": generator.uniform(20, 120, 3_000), "frequency": generator.uniform(2, 20, 3_000)}
    values["spend"] = generator.uniform(20, 200, 3_000)
    then = {"recency": Scale(10, 150), "frequency": Scale(1, 25), "spend": Scale(10, 250, log=True)}
    order = ("spend", "recency", "frequency")
    old = np.stack([then[name].encode(values[name]) for name in order], axis=1)
    sites = generator.integers(-UNIT, UNIT, (3, 3)).astype(np.float64)
    model = Nearest("centres", sites, sites, np.arange(3.0), FAR, sites, np.ones(3))
    before = dataclasses.replace(last(), model=model.facts(), order=order)
    now = np.stack([WIDE[name].encode(values[name]) for name in FEATURES], axis=1)
    assert (movement.origins(before, now, WIDE, then) == model.assign(old)).mean() > 0.998
    exactly = np.stack([then[name].encode(values[name]) for name in FEATURES], axis=1)
    assert np.array_equal(movement.origins(before, exactly, {name: then[name] for name in FEATURES}, then), model.assign(old))


def test_only_a_release_that_serves_the_same_use_is_compared_with() -> None:
    assert movement.comparable(last(), spec())
    assert not movement.comparable(None, spec())
    assert not movement.comparable(dataclasses.replace(last(), serves=False), spec())
    assert not movement.comparable(last(), spec(purpose="analytics.reporting"))
    assert not movement.comparable(last(), spec(features={"recency": spec().features["recency"].model_dump()}))
