"""What a comparison stands on: peers get each category as one, a package that is missing is named."""

from __future__ import annotations

import math

import numpy as np

from engine.scale import UNIT
from tests.benchmarks import others
from tests.benchmarks.others import Other


def spread(codes: np.ndarray, values: int) -> np.ndarray:
    """One column a value, at either end of the grid."""
    return np.where(codes[:, None] == np.arange(values), UNIT, -UNIT)


def test_columns_of_one_category_become_one_again() -> None:
    generator = np.random.default_rng(0)
    numbers, first, second = generator.integers(-UNIT, UNIT, (500, 2)), generator.integers(0, 2, 500), generator.integers(0, 5, 500)
    features = np.column_stack([numbers, spread(first, 2), spread(second, 5)]).astype(np.int32)
    given, codes = others._columns(features)
    assert np.array_equal(given * UNIT, numbers)
    assert np.array_equal(codes, np.column_stack([first, second]))
    rows, longest = others._short_rows(features)
    assert longest == math.sqrt(4) and np.linalg.norm(rows, axis=1).max() <= longest
    assert set(np.unique(rows[:, 2:])) == {0.0, 1.0}


def test_what_is_missing_is_said_with_what_brings_it() -> None:
    assert Other("numpy", ("numpy",), "bench").missing is None
    said = Other("A peer", ("numpy", "no_such_module"), "bench").missing
    assert said == "A peer is left out, for want of `no_such_module`: pip install -e '.[bench]'"
