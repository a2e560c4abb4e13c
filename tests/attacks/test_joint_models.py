"""A coordinator who sends a model that does one thing to one subject: it learns nothing by it that it did not pay for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from audit import verify
from engine.partners import columns
from engine.stages import People

CROWD = [[place, 0, 0] for place in range(1000)]
TARGET = [29999, 30000, 30000]
SITES = [[0, 0, 0], [30000, 30000, 30000]]

AT_ONE = {"kind": "centres", "centres": SITES, "sites": SITES, "parts": [0], "reach": 2.0**53, "prototypes": SITES, "weights": [1, 1]}
"""Whoever is nearest to the second site is of a part that is not there: registered code raises."""

BY_COUNT: dict[str, dict[str, Any]] = {
    "a threshold for each": {
        "kind": "linear",
        "weights": [0, 0, 0, 0],
        "places": [0, 65536],
        "scores": [0, 65536],
        "error": [0],
        "threshold": [-1] * 1000,
    },
    "a mean for each": {
        "kind": "projected",
        "projection": {"mean": [[0, 0, 0]] * 1000, "matrix": [[1, 0], [0, 1], [0, 0]], "back": [[0, 0]] * 3, "kept": [0], "explained": 1.0},
        "model": {"kind": "centres", "centres": [[0, 0], [9, 9]], "prototypes": [[0, 0]], "weights": [1]},
    },
}
"""What fits a thousand subjects, and no other number."""


def people(rows: Sequence[Sequence[int]]) -> People:
    """So many, with these features."""
    features, n = np.asarray(rows, np.int32), len(rows)
    return cast(
        People,
        SimpleNamespace(
            features=features,
            subjects=pa.array([str(place) for place in range(n)]),
            flags=np.zeros((n, 4), np.int16),
            columns=lambda: {"features": features, "part": np.zeros(n, np.int8)},
        ),
    )


def segments(model: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return columns.columns(people(rows), verify.canonical(model))["segment"]


def test_who_makes_a_model_fail_changes_nobody_else() -> None:
    """Else one subject would move a sum by everybody's contribution, and no noise would hide it."""
    without, there = segments(AT_ONE, CROWD), segments(AT_ONE, [*CROWD[:500], TARGET, *CROWD[500:]])
    assert (without == 0).all()
    assert there[500] == -1 and np.array_equal(np.delete(there, 500), without)


@pytest.mark.parametrize("what", BY_COUNT)
@pytest.mark.parametrize("count", [1, 2, 999, 1000])
def test_a_model_that_fits_one_number_of_subjects_alone_is_refused_whatever_there_are(what: str, count: int) -> None:
    with pytest.raises(ValueError, match=r"shape|broadcast|threshold|whole number"):
        segments(BY_COUNT[what], CROWD[:1] * count)


def test_nobody_has_columns_of_the_same_shapes_as_somebody() -> None:
    nobody = columns.modelled(AT_ONE, np.zeros((0, 3), np.int32))
    assert nobody["segment"].shape == (0,) and nobody["segment"].dtype == segments(AT_ONE, CROWD).dtype
