"""`engine.explaining`: rules that separate, with shares that hold, found on released histograms alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.explanation_page import Named
from audit.report import Profile
from engine.explaining import rules
from engine.scale import UNIT, Scale

PARTS = (Named("S1", "one"), Named("S2", "two"), Named("S3", "three"))
SCALES = {"recency": Scale(0, 400), "spend": Scale(0, 80), "height": Scale(0, 1)}
BINS = 8


def people(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Three segments: S1 lapsed and spends little; S2 spends much; S3 is recent. Height says nothing."""
    generator = np.random.default_rng(seed)
    part = generator.choice(3, n, p=[0.3, 0.3, 0.4])
    recency = generator.normal(np.array([250, 250, 60])[part], 35)
    spend = generator.normal(np.array([18, 60, 30])[part], 8)
    return np.stack([recency, spend, generator.random(n)], axis=1), part


def profiles(values: NDArray[np.float64], part: NDArray[np.int64], sigma: float, seed: int, parts: int = 3) -> list[Profile]:
    generator = np.random.default_rng(seed)
    found = []
    for place, (name, scale) in enumerate(SCALES.items()):
        bins = np.clip((scale.encode(values[:, place]) + UNIT) * BINS // (2 * UNIT), 0, BINS - 1)
        counts = np.stack([np.bincount(bins[part == each], minlength=BINS) for each in (*range(parts), -1)])
        noisy = counts + generator.normal(0, sigma, counts.shape)
        edges = scale.decode(np.linspace(-UNIT, UNIT, BINS + 1))
        rows = tuple(tuple(map(float, row)) for row in noisy)
        found.append(
            Profile(name, "days" if name == "recency" else "", (0.0,) * parts, tuple(map(float, edges)), rows[:-1], rows[-1], sigma)
        )
    return found


def holds(words: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Who a rule covers, read back from its words."""
    inside = np.ones(len(values), dtype=bool)
    for condition in words.split(" and "):
        name, where, *rest = condition.split(" ")
        column = values[:, list(SCALES).index(name)]
        if rest[0] == "to":
            inside &= (column > float(where)) & (column < float(rest[1]))
        else:
            inside &= column > float(rest[0]) if where == "above" else column < float(rest[0])
    return inside


@pytest.mark.parametrize("seed", range(3))
def test_rules_separate_and_their_shares_hold(seed: int) -> None:
    values, part = people(6_000, seed)
    for sigma in (0.0, 20.0):
        found = rules(profiles(values, part, sigma, seed), PARTS)
        assert [rule.part for rule in found] == list(PARTS)
        assert "recency above" in found[0].words
        assert "spend below" in found[0].words
        assert "spend above" in found[1].words
        assert "recency below" in found[2].words
        assert not any("height" in rule.words for rule in found)
        for place, rule in enumerate(found):
            covered, own = holds(rule.words, values), part == place
            for share, true in (
                (rule.covers, covered[own].mean()),
                (rule.others, covered[~own].mean()),
                (rule.precision, own[covered].mean()),
            ):
                assert share.value == pytest.approx(true, abs=0.02 + sigma / 400)
                assert share.low - 0.03 <= true <= share.high + 0.03
            assert rule.covers.value > 0.85
            assert rule.others.value < 0.1


def test_intervals_are_as_wide_as_the_noise() -> None:
    values, part = people(6_000, 1)
    widths = []
    for sigma in (0.0, 10.0, 30.0):
        found = rules(profiles(values, part, sigma, 1), PARTS)
        widths.append(np.mean([rule.precision.high - rule.precision.low for rule in found]))
    assert widths[0] < 1e-9
    assert widths[0] < widths[1] < widths[2]


def test_where_nothing_separates_no_rule_is_made_up() -> None:
    generator = np.random.default_rng(0)
    values = np.stack([generator.uniform(0, 400, 3_000), generator.uniform(0, 80, 3_000), generator.random(3_000)], axis=1)
    for seed in range(10):
        found = rules(profiles(values, generator.integers(0, 3, 3_000), 15.0, seed), PARTS)
        assert [rule.words for rule in found] == ["", "", ""]


def test_whoever_is_in_no_segment_is_one_of_the_others() -> None:
    values, part = people(6_000, 2)
    selected = np.where(part == 0, 0, -1)
    [rule] = rules(profiles(values, selected, 5.0, 2, parts=1), PARTS[:1])
    assert "recency above" in rule.words
    assert "spend below" in rule.words
    assert rule.covers.value > 0.85
    assert rule.others.value < 0.15


def test_empty_segments_and_noise_alone_are_no_error() -> None:
    values: Sequence[float] = [0.0] * BINS
    edges = tuple(map(float, range(BINS + 1)))
    empty = [Profile("x", "", (0.0, 0.0), edges, (tuple(values), tuple(values)), (), 3.0)]
    assert [rule.words for rule in rules(empty, PARTS[:2])] == ["", ""]
