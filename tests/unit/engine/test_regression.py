from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from engine.models import ONE, released
from engine.scale import Scale
from engine.trainers.regression import LinearModel
from governance.door import Part
from tests.fakes import SeededNoise, ZeroNoise
from tests.trials import spenders, valued, worth_of, worth_without_privacy

ENOUGH = Fraction(1, 10)


@pytest.mark.parametrize("high", [300.0, 10_000.0])
@pytest.mark.parametrize("log", [True, False])
def test_amounts_are_ranked_and_come_true_whatever_the_bounds(high: float, log: bool) -> None:
    spending = spenders(12_000, 1, high=300.0)
    spending = replace(spending, scale=Scale(0, high, log))
    part = spending.part(0)
    explained, ranks, ratio = worth_of(
        spending.predicted(valued(spending, part, ENOUGH, SeededNoise(1)).model.score(spending.features)), spending, part
    )
    without = worth_without_privacy(spending, part)
    assert ranks > without[1] - 0.01
    assert explained > without[0] - 0.05
    assert ratio == pytest.approx(1, abs=0.2)


def test_the_cap_lies_where_few_are() -> None:
    spending = spenders(12_000, 2)
    part = spending.part(0)
    found = valued(spending, part, ENOUGH, SeededNoise(2))
    above = (spending.label[part == Part.TRAIN] > found.cap).sum()
    assert 5 <= above <= 200
    assert spending.predicted(found.model.scores.astype(np.int64)).max() <= spending.predicted(np.array([found.cap])).max() + 1


def test_edges_of_the_label_hold_about_as_many() -> None:
    spending = spenders(12_000, 3)
    found = valued(spending, spending.part(0), ENOUGH, SeededNoise(3))
    counts = np.bincount(np.searchsorted(found.edges, spending.label, side="right"))
    assert counts[0] == (spending.amount == 0).sum()
    assert counts[1:].max() < 3 * counts[1:].min()


def test_scores_rise_with_the_line_and_keep_an_order() -> None:
    for noise in (ZeroNoise(), SeededNoise(4)):
        model = valued(spenders(400, 4), np.ones(400, np.int8), Fraction(1, 1_000), noise).model
        assert (np.diff(model.places) >= 1).all()
        assert (np.diff(model.scores) >= 1).all()
        assert model.scores[0] >= 0
        assert model.scores[-1] <= ONE


def test_a_model_is_read_as_it_was_released() -> None:
    spending = spenders(1_000, 5)
    model = valued(spending, spending.part(0), ENOUGH, SeededNoise(5)).model
    again = released(model.facts())
    assert isinstance(again, LinearModel)
    assert np.array_equal(again.score(spending.features), model.score(spending.features))


def test_edges_cut_people_evenly() -> None:
    spending = spenders(20_000, 6)
    model = valued(spending, spending.part(0), ENOUGH, SeededNoise(6)).model
    counts, _ = np.histogram(model.score(spending.features), model.edges(10))
    assert counts.min() > 1_000


def test_hold_out_subjects_teach_nothing() -> None:
    spending, part = spenders(2_000, 7), spenders(2_000, 7).part(0)
    other = replace(spending, amount=np.where(part == Part.HOLDOUT, 999.0, spending.amount))
    one, two = (valued(each, part, ENOUGH, SeededNoise(7)).model for each in (spending, other))
    assert np.array_equal(one.weights, two.weights)
    assert np.array_equal(one.scores, two.scores)
