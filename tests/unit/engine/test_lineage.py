"""`engine.lineage`: segments keep ids and names while they are the same, whatever their order, and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from audit.explanation_page import Named
from engine.lineage import Last, Lineage, matched, trace
from engine.scale import Scale
from tests.releases import FEATURES, NAMES, OLD, WIDE, Centres, last, profiles, spec
from tests.scenes import GROUPS


def traced(centres: Centres, called: Sequence[str], since: Last | None, scales: dict[str, Scale] = WIDE, **more: Any) -> Lineage:
    return trace(called, profiles(centres), scales, spec(**more), since)


def test_a_first_build_numbers_its_segments() -> None:
    found = traced(OLD, NAMES, None)
    assert found.parts == (Named("S1", "recent"), Named("S2", "high spend"), Named("S3", "lapsing"))
    assert (found.stayed, found.came, found.went, found.highest) == ((), (), (), 3)


def test_what_moved_a_little_in_another_order_keeps_id_and_name() -> None:
    moved = ((125.0, 2.3, 40.0), (14.0, 12.0, 26.0), (75.0, 6.5, 150.0))
    found = traced(moved, ("a", "b", "c"), last())
    assert found.parts == (Named("S3", "lapsing"), Named("S1", "recent"), Named("S2", "high spend"))
    assert (found.came, found.went, found.highest) == ((), (), 3)


def test_other_bounds_do_not_matter() -> None:
    narrow = {"recency": Scale(5, 150), "frequency": Scale(1, 25, log=True), "spend": Scale(15, 250)}
    assert [part.id for part in traced(OLD, NAMES, last(), narrow).parts] == ["S1", "S2", "S3"]


def test_a_new_segment_gets_an_id_that_nobody_had() -> None:
    found = traced((OLD[0], (70.0, 30.0, 2.0), OLD[1]), ("x", "y", "z"), last(highest=7))
    assert found.parts == (Named("S1", "recent"), Named("S8", "y"), Named("S2", "high spend"))
    assert found.came == (Named("S8", "y"),)
    assert found.went == (Named("S3", "lapsing"),)
    assert found.highest == 8


def test_a_split_leaves_the_id_with_the_nearer_half() -> None:
    halves = (OLD[0], (66.0, 6.0, 150.0), (85.0, 6.0, 220.0), OLD[2])
    found = traced(halves, ("a", "b", "c", "d"), last())
    assert [part.id for part in found.parts] == ["S1", "S2", "S4", "S3"]


def test_pinned_names_go_before_all_others() -> None:
    found = traced(OLD, NAMES, last(), names={"S3": "Lapsing regulars", "S2": "recent", "S9": "nobody"})
    assert found.parts == (Named("S1", "recent (2)"), Named("S2", "recent"), Named("S3", "Lapsing regulars"))


def test_a_name_that_stays_is_not_given_twice() -> None:
    found = traced((*OLD, (10.0, 2.0, 300.0)), ("a", "b", "c", "lapsing"), last())
    assert found.parts[3] == Named("S4", "lapsing (2)")


def test_features_that_mean_something_else_are_not_compared() -> None:
    feature = {"table": "purchases", "agg": "sum(amount)", "bounds": [0, 9]}
    other = spec(features={**GROUPS["features"], "spend": feature, "recency": feature | {"agg": "max(weight)"}})
    found = traced(OLD, NAMES, last(before=other))
    assert [part.id for part in found.parts] == ["S4", "S5", "S6"]
    assert len(found.went) == 3
    bounds_alone = spec(features={**GROUPS["features"], "spend": GROUPS["features"]["spend"] | {"bounds": [Decimal(1), Decimal(9)]}})
    assert last(before=bounds_alone).same(spec()) == FEATURES


@pytest.mark.parametrize("seed", range(5))
def test_matching_survives_noise_and_order(seed: int) -> None:
    generator = np.random.default_rng(seed)
    old = generator.uniform(-1, 1, (6, 5))
    apart = min(float(np.linalg.norm(a - b)) for i, a in enumerate(old) for b in old[:i])
    order = generator.permutation(6)
    step = generator.normal(0, 1, (6, 5))
    new = old[order] + 0.3 * apart * step / np.linalg.norm(step, axis=1, keepdims=True)
    assert sorted(matched(old, new)) == sorted((int(then), now) for now, then in enumerate(order))
    assert matched(old, old + 100) == []
