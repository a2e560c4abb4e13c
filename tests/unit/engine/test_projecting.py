"""`engine.trainers.projecting`: what is alike is pruned, what is left is turned, and models come back to features."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import models
from engine.scale import UNIT
from engine.trainers import clusters, projecting
from engine.trainers.projecting import Projection, Seen
from governance.accounting import mu_squared_of
from governance.door import LocalCohort, MemoryMeter
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise

AFFORDED = mu_squared_of(1.0, 1e-5)


def alike(n: int, seed: int) -> NDArray[np.int32]:
    """Six features: three of their own in three blobs, and the third, the first and minus the second again, with a little more."""
    generator = np.random.default_rng(seed)
    blob = generator.choice([-0.5, 0.0, 0.5], (n, 1))
    own = blob * np.array([1.0, -1.0, 0.4]) + generator.normal(0, 0.12, (n, 3))
    again = own[:, [2, 0, 1]] * np.array([1.0, 0.8, -1.0]) + generator.normal(0, 0.01, (n, 3))
    return np.rint(np.clip(np.hstack([own, again]), -1, 1) * UNIT).astype(np.int32)


def cohort(features: NDArray[np.int32], meter: MemoryMeter) -> LocalCohort:
    return LocalCohort({"features": features, "part": np.zeros(len(features), np.int8)}, meter)


def looked(features: NDArray[np.int32], prune: float | None, components: int | None, noise: NoiseSource) -> Projection:
    meter = MemoryMeter(AFFORDED)
    return projecting.look(cohort(features, meter), prune, components, meter.grant(), noise, lambda _round: None)


@pytest.mark.parametrize("seed", range(3))
def test_features_that_say_the_same_are_pruned(seed: int) -> None:
    found = looked(alike(30_000, seed), 0.97, None, SeededNoise(seed))
    assert found.kept == (0, 1, 2)
    assert np.array_equal(found.apply(alike(50, 9)), alike(50, 9)[:, :3])


def test_noise_alone_prunes_nothing() -> None:
    for seed in range(20):
        assert looked(alike(150, seed), 0.9, None, SeededNoise(seed)).kept == tuple(range(6))


def test_components_keep_distances_in_proportion() -> None:
    features = alike(20_000, 1)
    found = looked(features, None, 3, ZeroNoise())
    columns = found.apply(features)
    assert np.abs(columns).max() <= UNIT
    assert found.explained > 0.98
    assert np.array_equal(columns, np.trunc(columns))
    chosen = np.random.default_rng(0).integers(0, len(features), (500, 2))
    far, near = (np.linalg.norm(x[chosen[:, 0]] - x[chosen[:, 1]], axis=1) for x in (features.astype(float), columns))
    ratio = near[far > UNIT] / far[far > UNIT]
    assert ratio.std() / ratio.mean() < 0.03
    assert np.abs(found.features(columns) - features).mean() < 0.03 * UNIT


def test_pruned_features_come_back_with_those_that_stand_for_them() -> None:
    features = alike(30_000, 2)
    found = looked(features, 0.97, None, SeededNoise(2))
    back = found.features(found.apply(features))
    assert np.array_equal(back[:, :3], features[:, :3])
    assert np.abs(back[:, 3:] - features[:, 3:]).mean() < 0.05 * UNIT


def test_a_trainer_sees_columns_through_the_same_door() -> None:
    features = alike(5_000, 3)
    meter = MemoryMeter(AFFORDED)
    inside = cohort(features, meter)
    seen, grant = projecting.prepared(inside, 0.97, 2, meter.grant(), SeededNoise(3), lambda _round: None)
    assert isinstance(seen, Seen)
    assert seen.width == 2
    learned = clusters.fit(seen, 3, grant, SeededNoise(4), lambda _round: None, seed=0)
    whole = projecting.of_features(learned.model, seen)
    apart = MemoryMeter(Fraction(1))
    columns = cohort(seen.projection.apply(features).astype(np.int32), apart)
    again = clusters.fit(columns, 3, MemoryMeter(grant.mu_squared).grant(), SeededNoise(4), lambda _round: None, seed=0)
    assert np.array_equal(learned.model.centres, again.model.centres)  # the same bits as if columns had been features
    assert np.array_equal(whole.assign(features), learned.model.assign(seen.projection.apply(features)))
    assert sum(meter.spent.values()) == AFFORDED
    released = models.released(whole.facts())
    assert isinstance(released, projecting.Projected)
    assert np.array_equal(released.assign(features), whole.assign(features))
    assert released.facts() == whole.facts()
    moved = np.array([features[whole.assign(features) == part].mean(axis=0) for part in range(3)])
    assert np.abs(whole.centres - moved).mean() < 0.1 * UNIT


def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    meter = MemoryMeter(AFFORDED)
    inside = cohort(alike(10, 0), meter)
    assert projecting.prepared(inside, None, None, meter.grant(), ZeroNoise(), lambda _round: None) == (inside, meter.grant())
    assert meter.spent == {}
