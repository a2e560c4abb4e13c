"""`engine.trainers.hierarchy`: Ward's method with weights is what Ward's method is without them, on points that are repeated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from engine.trainers.grouping import Prototypes, Tree
from engine.trainers.hierarchy import cut, hierarchy, ward

POINTS = np.random.default_rng(0).normal(0, 1_000, (30, 3))


def test_with_equal_weights_it_is_that_of_scipy() -> None:
    assert ward(POINTS, np.ones(30)) == pytest.approx(linkage(POINTS, "ward"), rel=1e-9)


def test_a_weight_counts_as_so_many_points() -> None:
    weights = np.random.default_rng(1).integers(1, 4, 30)
    heights = linkage(np.repeat(POINTS, weights, axis=0), "ward")[:, 2]
    assert ward(POINTS, weights.astype(np.float64))[:, 2] == pytest.approx(heights[heights > 1e-9], rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 7, 30])
def test_a_cut_gives_as_many_groups_as_were_asked_for(k: int) -> None:
    assert sorted(set(cut(ward(POINTS, np.ones(30)), k).tolist())) == list(range(k))


@pytest.mark.parametrize("k", [2, 5, 30])
def test_a_picture_has_every_group_once_and_cuts_between_unions(k: int) -> None:
    found = hierarchy(Prototypes(np.rint(POINTS), np.ones(30), 100.0), k, 0)
    drawn = found.picture
    assert isinstance(drawn, Tree)
    starts, ends = drawn.ends.T
    order = np.argsort(starts)
    assert (starts <= ends).all() and (ends[order][:-1] < starts[order][1:]).all()
    assert int((drawn.brackets[:, 1, 1] > drawn.cut).sum()) == k - 1
