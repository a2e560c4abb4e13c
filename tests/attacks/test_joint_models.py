"""A coordinator who sends a model that does one thing to one subject: it learns nothing by it that it did not pay for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from audit import verify
from engine.models import ONE
from engine.partners import columns
from engine.scale import UNIT
from engine.stages import People
from engine.trainers import linear
from federated.questions import Asked
from governance.door import Grant, Query, ReservationId, StepName
from governance.grid import GRID
from tests.partners import agreement, limit, noises, partners

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


@pytest.mark.parametrize("seed", [3, 8, 19])
def test_parameters_that_round_couple_no_two_subjects(seed: int) -> None:
    """Weights beyond what sums of floats hold exactly, and a slot for each line that they give: one more subject moves nobody else."""
    generator = np.random.default_rng(seed)
    features = generator.integers(-UNIT, UNIT + 1, (1_010, 20)).astype(np.int32)
    weights = generator.normal(size=21) * 2.0**60
    edges = np.unique(linear.line(features.astype(np.float64), weights))
    parameters = {"one": np.ones(1), "worth": np.zeros(ONE + 1), "edges": edges, "line": weights}
    agreed = agreement(2, 20)
    grant = Grant(ReservationId("there"), "all", Fraction(1, 100))
    asked = Asked(1, Query(StepName("regression.worth"), parameters, (1, len(edges) + 1, 2), 1.0), grant)

    def sums(n: int) -> NDArray[np.int64]:
        there = {"features": features[:n], "label": np.zeros(n, np.int32), "part": np.zeros(n, np.int8)}
        partner = partners(agreed, [there, there], [limit(agreed, Fraction(1))] * 2, noises(2))[0]
        return partner.contribution(asked, np.zeros(asked.query.size, np.int64))

    counted = [sums(n) for n in range(1_000, 1_010)]
    assert all(np.linalg.norm((more - fewer).astype(float)) <= GRID for fewer, more in pairwise(counted))
