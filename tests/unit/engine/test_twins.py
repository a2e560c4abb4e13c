"""Non-private twins: they learn what there is, and no row shows in an error or a warning (pytest makes errors of warnings)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.scale import UNIT
from engine.trainers import twins
from policies.segment import Clusters, Propensity
from tests.populations import Features, blobs, inertia


def _cut(twin: Callable[[Features, int], NDArray[np.int64]], features: Features) -> NDArray[np.int64]:
    return twin(features, 4)


PARTITIONS: dict[str, Callable[[Features], NDArray[np.int64]]] = {
    "density": lambda x: twins.density(x, 4, 30),
    **{name: partial(_cut, twin) for name, twin in twins.PARTITIONS.items()},
}
PREDICTORS = {**twins.CLASSIFIERS, "regression": twins.regression, "uplift": lambda x, y: twins.uplift(x, y, np.arange(len(y)) % 2)}
ODD = {
    "nobody": np.zeros((0, 3), dtype=np.int32),
    "one": np.full((1, 3), UNIT, dtype=np.int32),
    "two": np.array([[UNIT, 0, 0], [-UNIT, 0, 0]], dtype=np.int32),
    "alike": np.full((60, 3), -UNIT, dtype=np.int32),
}


def test_whatever_a_segment_may_ask_for_has_a_twin() -> None:
    methods, learners = (get_args(of.model_fields[name].annotation) for of, name in ((Clusters, "method"), (Propensity, "learner")))
    assert {*methods} == {*PARTITIONS}
    assert {*learners} <= {*twins.CLASSIFIERS}


def test_of_dense_regions_the_largest_are_kept_and_the_others_are_one_more() -> None:
    features = np.repeat(np.array([[-1, -1], [1, 1], [-1, 1]]) * UNIT // 2, (200, 100, 60), axis=0)
    noisy = np.clip(features + np.random.default_rng(0).normal(0, UNIT / 50, features.shape), -UNIT, UNIT).astype(np.int32)
    assert np.bincount(twins.density(noisy, 2, 40))[2] >= 60
    assert np.bincount(twins.density(noisy, 3, 40))[:3] == pytest.approx([200, 100, 60], abs=10)


@pytest.mark.parametrize("name", PARTITIONS)
def test_clusters_that_are_there_are_found(name: str) -> None:
    from sklearn.metrics import adjusted_rand_score

    features, centres = blobs(1_500, 3, 4, 0.04, seed=5)
    assert adjusted_rand_score(twins.nearest(features, centres), PARTITIONS[name](features)) > 0.95


def test_more_starts_are_no_worse_and_k_is_found() -> None:
    features, _ = blobs(1_500, 4, 6, 0.05, seed=1)
    best, once = twins.kmeans(features, 6), twins.kmeans(features, 6, starts=1)
    assert inertia(features, best) <= inertia(features, once)
    assert twins.best_k(features, 3, 8) == 6


@pytest.mark.parametrize("people", ODD)
@pytest.mark.parametrize("name", PARTITIONS)
def test_odd_people_make_no_partition_fail(name: str, people: str) -> None:
    found = PARTITIONS[name](ODD[people])
    assert found.shape == (len(ODD[people]),) and (found <= 4).all()
    assert twins.best_k(ODD[people], 2, 4) in (2, 3, 4)


@pytest.mark.parametrize("name", PREDICTORS)
@pytest.mark.parametrize("people", ODD)
@pytest.mark.parametrize("label", [0, 1, None])
def test_odd_people_make_no_prediction_fail(name: str, people: str, label: int | None) -> None:
    features = ODD[people]
    labels = np.arange(len(features)) % 2 if label is None else np.full(len(features), label)
    asked = np.zeros((3, 3), dtype=np.int32)
    for rows in (asked, asked[:0]):
        found = PREDICTORS[name](features, labels)(rows)
        assert found.shape == (len(rows),) and np.isfinite(found).all()


@pytest.mark.parametrize("name", twins.CLASSIFIERS)
def test_classifiers_rank_by_what_counts(name: str) -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(2)
    features = generator.integers(-UNIT, UNIT, (2_000, 3)).astype(np.int32)
    label = generator.random(2_000) < 1 / (1 + np.exp(-6 * features[:, 1] / UNIT))
    found = twins.CLASSIFIERS[name](features[:1_000], label[:1_000])(features[1_000:])
    assert ((found >= 0) & (found <= 1)).all()
    assert roc_auc_score(label[1_000:], found) > 0.9


def test_a_regression_and_an_uplift_find_the_slope() -> None:
    generator = np.random.default_rng(3)
    features, treated = generator.integers(-UNIT, UNIT, (8_000, 2)).astype(np.int32), generator.integers(0, 2, 8_000)
    amount = 50 + 20 * features[:, 0] / UNIT + generator.normal(size=8_000)
    ends = np.array([[UNIT, 0], [0, UNIT]], dtype=np.int32)
    assert twins.regression(features, amount)(ends) == pytest.approx([70, 50], abs=1)
    outcome = generator.random(8_000) < 0.4 + treated * 0.2 * features[:, 1] / UNIT
    assert twins.uplift(features, outcome, treated)(ends) == pytest.approx([0, 0.2], abs=0.05)
