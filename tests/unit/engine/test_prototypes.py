"""`engine.trainers.prototypes`: weights mean what copies mean; scores agree with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score, silhouette_score

from engine.trainers.prototypes import choose, davies_bouldin, merge, silhouette, weighted_kmeans

GENERATOR = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 15)
POINTS = GENERATOR.normal(size=(45, 3)) + 4.0 * LABELS[:, None]


def test_scores_agree_with_scikit_learn_where_weights_are_equal() -> None:
    ones = np.ones(45)
    assert davies_bouldin(POINTS, ones, LABELS) == pytest.approx(davies_bouldin_score(POINTS, LABELS))
    assert silhouette(POINTS, ones, LABELS) == pytest.approx(silhouette_score(POINTS, LABELS))


def test_davies_bouldin_with_weights_is_that_of_copies() -> None:
    weights = GENERATOR.integers(1, 6, 45)
    copies = np.repeat(np.arange(45), weights)
    assert davies_bouldin(POINTS, weights.astype(float), LABELS) == pytest.approx(davies_bouldin_score(POINTS[copies], LABELS[copies]))


def test_silhouette_follows_the_heavy_prototypes() -> None:
    points = np.array([[0.0], [1.0], [10.0], [11.0], [5.5], [5.6]])
    labels = np.array([0, 0, 1, 1, 0, 1])
    light, heavy = (silhouette(points, np.array([9.0, 9.0, 9.0, 9.0, w, w]), labels) for w in (0.1, 90.0))
    assert light > 0.8 and heavy < 0.2


def test_one_cluster_has_no_silhouette() -> None:
    assert silhouette(POINTS, np.ones(45), np.zeros(45, dtype=int)) == 0.0
    assert davies_bouldin(POINTS, np.ones(45), np.zeros(45, dtype=int)) == np.inf


def test_a_merge_weighs_prototypes() -> None:
    merged = merge(np.array([[0.0], [4.0], [100.0]]), np.array([3.0, 1.0, 1.0]), 2, seed=0)
    assert sorted(merged.centres.ravel().tolist()) == [1.0, 100.0]
    assert merged.variance == pytest.approx((3 * 1 + 9) / 5)


def test_the_fewest_clusters_that_are_as_good_are_chosen() -> None:
    tried = [merge(POINTS, np.ones(45), k, seed=0) for k in (2, 3, 4, 5)]
    assert choose(tried).k == 3
    assert choose([tried[1], tried[1]]).k == 3


def test_coinciding_points_are_no_error() -> None:
    centres, labels, variance = weighted_kmeans(np.zeros((5, 2)), np.ones(5), 3, 2, seed=0)
    assert centres.shape == (3, 2) and labels.shape == (5,) and variance == 0.0
