"""`engine.trainers.merging`: no part that may be too small is left, if merging can help."""

from __future__ import annotations

import numpy as np

from engine.trainers.merging import above_floor

CENTRES = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [11.0, 0.0]])


def test_nothing_is_merged_without_need() -> None:
    sizes = np.array([140.0, 140.0, 140.0, 140.0])
    assert above_floor(CENTRES, sizes, 10.0, 100, False) == [(0,), (1,), (2,), (3,)]
    assert above_floor(CENTRES, sizes, 10.0, 0, False) == [(0,), (1,), (2,), (3,)]


def test_a_small_part_goes_to_the_nearest_and_noise_counts() -> None:
    assert above_floor(CENTRES, np.array([500.0, 90.0, 500.0, 500.0]), 1.0, 100, False) == [(0, 1), (2,), (3,)]
    assert above_floor(CENTRES, np.array([500.0, 500.0, 500.0, 120.0]), 7.0, 100, False) == [(0,), (1,), (2, 3)]


def test_merged_parts_carry_the_noise_of_all() -> None:
    sizes = np.array([60.0, 60.0, 500.0, 500.0])
    assert above_floor(CENTRES, sizes, 1.0, 100, False) == [(0, 1), (2,), (3,)]
    assert above_floor(CENTRES, sizes, 6.0, 100, False) == [(0, 1, 2), (3,)]  # 120 less three of 6 times the root of 2


def test_where_all_together_are_too_few_nothing_helps() -> None:
    assert above_floor(CENTRES, np.full(4, 20.0), 1.0, 100, False) == [(0,), (1,), (2,), (3,)]


def test_what_lies_nowhere_is_merged_with_nothing() -> None:
    assert above_floor(CENTRES, np.array([500.0, 20.0, 500.0, 5.0]), 1.0, 100, True) == [(0, 1), (2,), (3,)]
