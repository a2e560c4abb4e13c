"""`engine.naming`: names that a marketer would read, all different, always the same."""

from __future__ import annotations

import numpy as np
import pytest

from engine.naming import FeatureHint, name_clusters
from engine.scale import UNIT

RFM = (
    FeatureHint("recency", "days_since( max(bought_on) )"),
    FeatureHint("frequency", "count(*)"),
    FeatureHint("spend", "avg(amount)", "USD"),
)


def names(hints: tuple[FeatureHint, ...], centres: list[list[float]], weights: list[float] | None = None) -> tuple[str, ...]:
    return name_clusters(hints, np.array(centres) * UNIT, np.array(weights or [1.0] * len(centres)))


def test_kinds_have_words_and_an_order() -> None:
    assert names(RFM, [[0.8, 0.5, 0.9], [-0.8, -0.5, -0.9]]) == ("frequent, high spend, lapsing", "rare, low spend, recent")


@pytest.mark.parametrize(
    ("hint", "low", "high"),
    [
        (FeatureHint("age_of_account", "days_since(min(joined))"), "new", "long-standing"),
        (FeatureHint("visits", "count(distinct basket_id)"), "few visits", "many visits"),
        (FeatureHint("items_bought", "sum(quantity)", "CDs"), "low items bought", "high items bought"),
        (FeatureHint("private", "sum(sales) filter (where brand = 'Private')", "USD"), "low private", "high private"),
        (FeatureHint("revenue", "SUM( sales )", "€"), "low spend", "high spend"),
        (FeatureHint("tenure", "days_since(min(a)) - days_since(max(a))"), "low tenure", "high tenure"),
    ],
)
def test_words_come_from_the_expression(hint: FeatureHint, low: str, high: str) -> None:
    assert names((hint,), [[-0.5], [0.5]]) == (low, high)


def test_features_that_would_share_words_keep_their_names() -> None:
    two = (FeatureHint("spend", "sum(sales)", "USD"), FeatureHint("spend_90d", "sum(sales)", "USD"))
    assert names(two, [[0.5, -0.5], [-0.5, 0.5]]) == ("high spend, low spend 90d", "low spend, high spend 90d")


def test_what_does_not_stand_out_is_typical() -> None:
    assert names(RFM, [[0.9, 0.9, 0.9], [-0.9, -0.9, -0.9], [0.0, 0.0, 0.0]])[2] == "typical"


def test_a_feature_that_is_the_same_everywhere_is_not_named() -> None:
    assert names(RFM, [[0.5, 0.5, 0.001], [-0.5, 0.5, -0.001]]) == ("lapsing", "recent")


def test_the_mean_is_weighted() -> None:
    middle = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    assert names(RFM, middle, [98.0, 2.0]) == ("typical", "lapsing")
    assert names(RFM, middle, [2.0, 98.0]) == ("recent", "typical")


def test_clusters_alike_are_told_apart() -> None:
    same_traits = [[0.9, 0.9, 0.0], [0.9, 0.8, 0.0], [-0.9, -0.85, 0.0]]
    assert names(RFM, same_traits) == ("very frequent, lapsing", "frequent, lapsing", "rare, recent")
    by_another = [[0.9, 0.0, 0.02], [0.9, 0.0, -0.02], [-0.9, 0.0, 0.0]]
    assert names(RFM, by_another) == ("high spend, lapsing", "low spend, lapsing", "recent")


def test_names_differ_have_at_most_three_traits_and_are_repeatable() -> None:
    hints = tuple(FeatureHint(f"f{i}", f"max(c{i})") for i in range(6))
    for seed in range(200):
        generator = np.random.default_rng(seed)
        centres = generator.choice([-0.5, 0.0, 0.5], (12, 6)) * UNIT
        weights = generator.normal(50.0, 40.0, 12)
        found = name_clusters(hints, centres, weights)
        assert len(set(found)) == 12
        assert max(name.count(",") for name in found) <= 2
        assert found == name_clusters(hints, centres, weights)


def test_centres_that_coincide_are_numbered() -> None:
    assert names(RFM, [[0.0, 0.0, 0.0]] * 3) == ("rare, low spend, recent", "rare, low spend, recent (2)", "rare, low spend, recent (3)")
