"""`engine.trainers.clusters`: steps have the bits and bounds that they claim, and clusters are found where they are."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest

from engine.scale import UNIT
from engine.trainers import clusters
from governance.accounting import mu_squared_of
from governance.door import Array, Contribution, DoorError, Grant, LocalCohort, MemoryMeter, ReservationId
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise
from tests.populations import Features, best_inertia, blobs, inertia


def silent(_: str) -> None:
    """No progress."""


def fitted(features: Features, k: int | tuple[int, int], noise: NoiseSource, mu_squared: Fraction) -> clusters.ClusterModel:
    meter = MemoryMeter(mu_squared)
    return clusters.fit(LocalCohort({"features": features}, meter), k, meter.grant(), noise, silent, seed=0)


CORNERS = np.array([[UNIT] * 6, [-UNIT] * 6, [UNIT, -UNIT] * 3, [0] * 6], dtype=np.float64)
CENTRES = np.array([[UNIT] * 6, [1] * 6], dtype=np.float64)
BOX = {"half": np.full(2, 9e8), "cell": np.full(2, 3e8), "side": np.full(2, 6.0)}
STEPS: dict[str, tuple[Mapping[str, Array], float]] = {
    "moments": ({"weight": np.array([80_265.0])}, float(np.sqrt(18)) * UNIT + 1),
    "covariance": ({"mean": np.full(6, 7.0), "radius": np.array([50_000.0])}, 50_000.0**2),
    "cells": (
        {
            "mean": np.full(6, 7.0),
            "axes": np.eye(6)[:, :2] * UNIT,
            "half": np.full(2, 9e8),
            "cell": np.full(2, 3e8),
            "side": np.full(2, 6.0),
        },
        1.0,
    ),
    "lloyd": ({"centres": CENTRES, "radius": np.array([40_000.0]), "weight": np.array([14_000.0])}, float(np.hypot(40_000, 14_000))),
    "sizes": ({"centres": CENTRES}, 1.0),
}


def contribution(step: str, features: Array) -> Contribution:
    given: Contribution = getattr(clusters, step)({"features": features}, STEPS[step][0])
    return given


@pytest.mark.parametrize("step", STEPS)
def test_contributions_are_whole_and_within_the_bound(step: str) -> None:
    scattered = np.random.default_rng(0).integers(-UNIT, UNIT + 1, (500, 6)).astype(np.float64)
    values = contribution(step, np.vstack([CORNERS, scattered])).values
    assert np.array_equal(values, np.trunc(values))
    assert np.sqrt((values**2).sum(axis=1)).max() <= STEPS[step][1]
    assert np.abs(values).max() < 2.0**53


@pytest.mark.parametrize("step", STEPS)
def test_a_contribution_depends_on_its_own_row_alone(step: str) -> None:
    rows = np.random.default_rng(1).integers(-UNIT, UNIT + 1, (300, 6)).astype(np.float64)
    together = contribution(step, rows)
    for place in (0, 7, 299):
        alone = contribution(step, rows[place : place + 1])
        assert np.array_equal(alone.values[0], together.values[place])
        if alone.slots is not None and together.slots is not None:
            assert alone.slots[0] == together.slots[place]


def test_a_lloyd_offset_is_taken_from_the_nearest_centre_and_clipped() -> None:
    given = contribution("lloyd", np.array([[UNIT - 3.0] * 6, [-UNIT] * 6]))
    assert given.slots is not None and given.slots.tolist() == [0, 1]
    assert given.values[0].tolist() == [-3.0] * 6 + [14_000.0]
    far = np.sqrt((given.values[1, :6] ** 2).sum())
    assert 39_990 < far <= 40_000 and given.values[1, 6] == 14_000.0


def test_covariance_takes_the_upper_triangle() -> None:
    step = {"mean": np.array([1.0, 0.0]), "radius": np.array([1e9])}
    given = clusters.covariance({"features": np.array([[4.0, 5.0]])}, step)
    assert given.values.tolist() == [[9.0, 21.0, 25.0]]  # 15·√2 truncates to 21


def test_cells_outside_the_box_count_in_the_outermost() -> None:
    given = contribution("cells", CORNERS)
    assert given.slots is not None
    assert given.slots.tolist() == [35, 0, 30, 2 * 6 + 2]


def test_nearest_breaks_ties_by_the_lowest_index_and_takes_any_number_of_rows() -> None:
    centres = np.array([[5.0, 0.0], [-5.0, 0.0], [5.0, 0.0]])
    rows = np.tile(np.array([[0, 1], [6, 0], [-6, 0]]), (clusters.ROWS, 1))
    assert np.array_equal(clusters.nearest(rows, centres), np.tile([0, 0, 1], clusters.ROWS))
    assert clusters.nearest(rows[:0], centres).shape == (0,)


@pytest.mark.parametrize("d", [2, 8])
def test_separated_blobs_are_recovered_without_noise(d: int) -> None:
    features, centres = blobs(4_000, d, 5, 0.03, seed=3)
    found = fitted(features, 5, ZeroNoise(), Fraction(1))
    distance = np.sqrt(((centres[:, None] - found.model.centres) ** 2).sum(axis=2))
    assert sorted(distance.argmin(axis=1)) == list(range(5))
    assert distance.min(axis=1).max() < 0.01 * UNIT
    assert found.sizes == pytest.approx(np.bincount(found.model.assign(features), minlength=5))
    assert np.all(np.diff(found.sizes) <= 0)


def test_centres_lie_on_the_grid() -> None:
    features, _ = blobs(2_000, 6, 4, 0.1, seed=4)
    found = fitted(features, 4, SeededNoise(1), mu_squared_of(0.1, 1e-5))
    for points in (found.model.centres, found.model.prototypes):
        assert np.array_equal(points, np.rint(points)) and np.abs(points).max() <= UNIT


def test_k_is_found_on_the_prototypes() -> None:
    features, _ = blobs(20_000, 6, 5, 0.04, seed=8)
    found = fitted(features, (2, 8), SeededNoise(2), mu_squared_of(1.0, 1e-5))
    assert len(found.model.centres) == 5
    assert [each.k for each in found.tried] == [2, 3, 4, 5, 6, 7, 8]
    assert found.silhouette > 0.7 and found.davies_bouldin < 0.6
    assert found.notes[0].startswith("5 of 2 to 8 clusters")


def test_noise_costs_little_where_there_are_many_subjects() -> None:
    features, _ = blobs(20_000, 6, 5, 0.1, seed=5)
    found = fitted(features, 5, SeededNoise(3), mu_squared_of(1.0, 1e-5))
    assert inertia(features, found.model.centres) < 1.01 * best_inertia(features, 5, restarts=3)


def test_less_budget_means_more_noise() -> None:
    features, _ = blobs(3_000, 6, 5, 0.1, seed=6)

    def typical(mu_squared: Fraction) -> float:
        return float(np.median([inertia(features, fitted(features, 5, SeededNoise(s), mu_squared).model.centres) for s in range(3)]))

    assert typical(Fraction(1, 4000)) > 1.1 * typical(Fraction(1))


def test_sizes_are_counts_with_the_noise_they_claim() -> None:
    features, _ = blobs(20_000, 4, 3, 0.05, seed=9)
    found = fitted(features, 3, SeededNoise(4), mu_squared_of(1.0, 1e-5))
    exact = np.bincount(found.model.assign(features), minlength=3)
    assert 0 < np.abs(found.sizes - exact).max() < 5 * found.sizes_sigma < 0.02 * len(features)


def test_few_features_spend_nothing_on_axes() -> None:
    features, _ = blobs(500, clusters.AXES, 3, 0.05, seed=1)
    meter = MemoryMeter(Fraction(1))
    clusters.fit(LocalCohort({"features": features}, meter), 3, meter.grant(), ZeroNoise(), silent, seed=0)
    assert "all/covariance" not in meter.spent
    assert sum(meter.spent.values()) == 1


def test_cells_are_cubes_within_the_number_wanted() -> None:
    assert clusters._sides(np.array([800.0, 400.0, 1.0]), 40.0, 2).tolist() == [9.0, 4.0, 1.0]
    assert clusters._sides(np.array([800.0, 800.0]), 99.0, 2).tolist() == [9.0, 9.0]
    assert clusters._sides(np.array([800.0]), 1.0, 30).tolist() == [30.0]


def test_grants_of_nothing_are_refused_by_the_door() -> None:
    features, _ = blobs(100, 3, 2, 0.1, seed=1)
    meter = MemoryMeter(Fraction(1))
    with pytest.raises(DoorError, match="nothing to spend"):
        clusters.fit(LocalCohort({"features": features}, meter), 2, Grant(ReservationId("r"), "all", Fraction(0)), ZeroNoise(), silent, 0)
