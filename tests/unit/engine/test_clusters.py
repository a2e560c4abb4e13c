"""`engine.trainers.clusters` and its rounds: steps have the bits and bounds that they claim, and clusters are found where they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest

from engine.models import Partition, released
from engine.scale import UNIT
from engine.trainers import clusters, lloyd, partitions, seeding
from engine.trainers.clusters import MethodName
from governance.accounting import mu_squared_of
from governance.door import Array, Contribution, DoorError, Grant, LocalCohort, MemoryMeter, ReservationId, StepName, registered
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise
from tests.populations import Features, best_inertia, blobs, inertia

METHODS: tuple[MethodName, ...] = ("centres", "hierarchy", "mixture", "density", "map")


def silent(_: str) -> None:
    """No progress."""


def fitted(
    features: Features,
    k: int | tuple[int, int],
    noise: NoiseSource,
    mu_squared: Fraction,
    method: MethodName = "centres",
    floor: int = 0,
) -> clusters.Clustered:
    meter = MemoryMeter(mu_squared)
    return clusters.fit(LocalCohort({"features": features}, meter), k, meter.grant(), noise, silent, 0, method, floor)


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
    "lloyd": ({"centres": CENTRES, "radius": np.array([40_000.0])}, lloyd.BOUND),
    "sizes": ({"sites": CENTRES, "parts": np.array([1.0, 0.0]), "reach": np.array([1e10]), "last": np.array([1.0])}, 1.0),
    "likeliest": (
        {
            "means": CENTRES,
            "forms": np.rint(np.stack([np.eye(6), np.eye(6) / 9]) * 2.0**27),
            "offsets": np.array([0.0, -9e6]),
            "parts": np.array([0.0, 1.0]),
        },
        1.0,
    ),
}


def contribution(step: str, features: Array) -> Contribution:
    return registered()[StepName(f"clusters.{step}")]({"features": features}, STEPS[step][0])


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
    near = -np.trunc(3 * lloyd.RADIUS / 40_000)
    assert given.values[0].tolist() == [near] * 6 + [lloyd.COUNT, np.trunc(6 * 9 / 40_000**2 * lloyd.SQUARE)]
    assert np.sqrt((given.values[1, :6] ** 2).sum()) == pytest.approx(lloyd.RADIUS, rel=1e-5)
    assert given.values[1, 6:].tolist() == [lloyd.COUNT, lloyd.SQUARE]


def test_covariance_is_of_what_lies_from_the_mean() -> None:
    given = seeding.covariance({"features": np.array([[4.0, 5.0]])}, {"mean": np.array([1.0, 0.0])})
    assert given.products
    assert given.values.tolist() == [[3.0, 5.0]]


def test_cells_outside_the_box_count_in_the_outermost() -> None:
    given = contribution("cells", CORNERS)
    assert given.slots is not None
    assert given.slots.tolist() == [35, 0, 30, 2 * 6 + 2]


def test_nearest_breaks_ties_by_the_lowest_index_and_takes_any_number_of_rows() -> None:
    centres = np.array([[5.0, 0.0], [-5.0, 0.0], [5.0, 0.0]])
    rows = np.tile(np.array([[0, 1], [6, 0], [-6, 0]]), (partitions.VALUES, 1))
    assert np.array_equal(partitions.nearest(rows, centres), np.tile([0, 0, 1], partitions.VALUES))
    assert partitions.nearest(rows[:0], centres).shape == (0,)


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
    assert 0 < np.abs(found.sizes - exact).max() < 5 * found.sizes_sigma.max() < 0.02 * len(features)


def test_few_features_spend_nothing_on_axes() -> None:
    features, _ = blobs(500, seeding.AXES, 3, 0.05, seed=1)
    meter = MemoryMeter(Fraction(1))
    clusters.fit(LocalCohort({"features": features}, meter), 3, meter.grant(), ZeroNoise(), silent, seed=0)
    assert "all/covariance" not in meter.spent
    assert sum(meter.spent.values()) == 1


def test_cells_are_cubes_within_the_number_wanted() -> None:
    assert seeding._sides(np.array([800.0, 400.0, 1.0]), 40.0, 2).tolist() == [9.0, 4.0, 1.0]
    assert seeding._sides(np.array([800.0, 800.0]), 99.0, 2).tolist() == [9.0, 9.0]
    assert seeding._sides(np.array([800.0]), 1.0, 30).tolist() == [30.0]


def test_grants_of_nothing_are_refused_by_the_door() -> None:
    features, _ = blobs(100, 3, 2, 0.1, seed=1)
    meter = MemoryMeter(Fraction(1))
    with pytest.raises(DoorError, match="nothing to spend"):
        clusters.fit(LocalCohort({"features": features}, meter), 2, Grant(ReservationId("r"), "all", Fraction(0)), ZeroNoise(), silent, 0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_what_is_apart_and_counts_what_it_assigns(method: MethodName) -> None:
    features, centres = blobs(20_000, 5, 4, 0.03, seed=12)
    found = fitted(features, 4, ZeroNoise(), Fraction(1), method)
    parts = found.model.assign(features)
    assert found.sizes == pytest.approx(np.bincount(parts, minlength=len(found.sizes)))
    everybody = partitions.nearest(features, centres)
    for part in range(4):
        own = parts == part
        assert np.bincount(everybody[own]).max() > 0.995 * own.sum() > 0
    assert len(found.sizes) == 4 + found.loose
    assert np.all(np.diff(found.sizes[:4]) <= 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_released_partition_is_the_same_again_out_of_its_facts(method: MethodName) -> None:
    features, _ = blobs(3_000, 6, 4, 0.2, seed=13)
    model = fitted(features, 4, SeededNoise(5), Fraction(1, 10), method).model
    again = released(json.loads(json.dumps(model.facts())))
    assert isinstance(again, Partition)
    assert np.array_equal(again.assign(features), model.assign(features))
    assert again.facts() == model.facts()


def test_centres_that_were_released_without_sites_still_apply() -> None:
    older = {"kind": "centres", "centres": [[0, 0], [9, 9]], "prototypes": [[0, 0], [9, 9]], "weights": [5.0, 7.0]}
    model = released(older)
    assert isinstance(model, Partition)
    assert model.assign(np.array([[1, 1], [8, 9]])).tolist() == [0, 1]


def test_parts_below_the_floor_are_merged_with_the_nearest() -> None:
    features = np.repeat(np.array([[-20_000, 0], [-19_000, 3_000], [20_000, 0]], dtype=np.int32), [5_000, 60, 5_000], axis=0)
    alone = fitted(features, 3, ZeroNoise(), Fraction(1))
    assert np.rint(alone.sizes).tolist() == [5_000, 5_000, 60] and alone.holds == (1, 1, 1)
    merged = fitted(features, 3, ZeroNoise(), Fraction(1), floor=100)
    assert np.rint(merged.sizes).tolist() == [5_060, 5_000] and merged.holds == (2, 1)
    assert merged.model.assign(features).tolist() == [0] * 5_060 + [1] * 5_000
    assert merged.sizes_sigma[0] == pytest.approx(merged.sizes_sigma[1] * np.sqrt(2))


def test_whoever_is_far_from_everybody_is_an_outlier() -> None:
    crowd, _ = blobs(20_000, 4, 3, 0.03, seed=14)
    features = np.vstack([crowd, np.full((3, 4), UNIT), np.full((3, 4), -UNIT)]).astype(np.int32)
    found = fitted(features, 3, SeededNoise(6), Fraction(1), "density")
    assert found.loose
    parts = found.model.assign(features)
    assert (parts[-6:] == 3).all() and (parts[:-6] == 3).mean() < 0.05
