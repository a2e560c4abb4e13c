from __future__ import annotations

import numpy as np
import pytest

from engine.scale import UNIT
from engine.trainers.grouping import Prototypes
from engine.trainers.standins import CORRECTED, StandIns, stand_ins, start
from tests.populations import blobs


def of(points: list[list[float]]) -> StandIns:
    return StandIns(np.array(points), np.hstack([np.array(points), np.ones((len(points), 1))]) / len(points))


def test_stand_ins_lie_about_their_prototypes_as_subjects_do() -> None:
    generator = np.random.default_rng(1)
    within = np.array([[9e6, 4e6], [4e6, 4e6]])
    points = np.array([[-8000.0, 0.0], [8000.0, 4000.0], [0.0, 9000.0]])
    weights = np.array([100.0, 300.0, 200.0])
    subjects = np.repeat(points, 100 * weights.astype(int) // 100, axis=0)
    subjects = subjects + generator.multivariate_normal([0, 0], within, len(subjects))
    made = stand_ins(Prototypes(points, weights, float(np.trace(within))), np.cov(subjects.T))
    assert made.weighted[:, -1].sum() == pytest.approx(1)
    assert made.weighted[:, :-1].sum(axis=0) == pytest.approx(weights @ points / 600)  # two of them, one on either side
    assert np.cov(made.points.T, aweights=made.weighted[:, -1]) == pytest.approx(np.cov(subjects.T), rel=0.1)


def test_noise_that_leaves_no_spread_still_leaves_some() -> None:
    points = np.array([[-9000.0, 0.0], [9000.0, 0.0]])
    made = stand_ins(Prototypes(points, np.ones(2), 2e6), np.zeros((2, 2)))
    assert np.all(made.points.std(axis=0) > 900)
    assert np.abs(made.points).max() <= UNIT


def test_centres_go_to_the_mean_of_whoever_is_nearest_and_stay_where_nobody_is() -> None:
    made = of([[0, 0], [2, 0], [10, 0], [14, 0]])
    assert made.moved(np.array([[1.0, 1.0], [11.0, 0.0], [99.0, 9.0]])).tolist() == [[1, 0], [12, 0], [99, 9]]


def test_where_stand_ins_are_right_a_correction_goes_on_as_subjects_would() -> None:
    subjects, _ = blobs(2000, 2, 3, 0.4, seed=3)
    made = of(subjects.astype(float).tolist())
    before = np.array([[0.0, 0.0], [500.0, 500.0], [900.0, -900.0]])
    moved = made.moved(before)
    assert made.corrected(before, moved) == pytest.approx(made.settled(moved, CORRECTED))


def test_three_corrected_steps_go_further_than_three_steps() -> None:
    subjects, centres = blobs(20_000, 4, 6, 0.35, seed=3)
    others = np.random.default_rng(4).permutation(subjects)[:3000] * 0.98 + 200  # a little beside the truth
    true, made = of(subjects.astype(float).tolist()), of(others.tolist())
    plain = corrected = made.settled(centres, 3)
    for _ in range(3):
        plain, corrected = true.moved(plain), made.corrected(corrected, true.moved(corrected))
    end = true._closest(true.settled(corrected, 100))
    assert end - true._closest(corrected) < 0.5 * (end - true._closest(plain))


def test_the_best_of_many_starts_is_found_and_one_optimum_counts_once() -> None:
    subjects, centres = blobs(3000, 3, 4, 0.05, seed=5)
    made = of(subjects.astype(float).tolist())
    poor = np.repeat(centres[:1], 4, axis=0) + np.arange(4)[:, None]
    assert len(made.best([centres, centres[::-1], poor], 30, left=5)) == 2
    prototypes = Prototypes(np.repeat(centres, 2, axis=0) + np.array([[9.0], [-9.0]] * 4), np.ones(8), 3 * (0.05 * UNIT) ** 2)
    found = start(made, prototypes, poor, seed=0)
    assert np.abs(np.sort(found[:, 0]) - np.sort(centres[:, 0])).max() < 200
