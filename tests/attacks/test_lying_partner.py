"""A partner that lies: about its rows, it moves a sum by what its subjects may add; about its vector, there is no sum that partners cannot
have.

The coordinator cannot see a vector, and so not whose is out of range: what it can see is the sum (federated/README.md, "What is promised").
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.scale import UNIT
from engine.trainers import clusters, lloyd
from federated import payloads, wire
from federated.cohort import FederatedCohort
from federated.contract import Agreed
from federated.courier import Answerer, InProcess
from federated.masking import Ring
from federated.messages import Step
from federated.replies import AbortedError
from governance.door import Contribution, Grant, MemoryMeter, Query, ReservationId, StepName, register
from governance.grid import GRID
from tests.fakes import ZeroNoise
from tests.partners import agreement, courier, parted, partners
from tests.trainers import population

THERE = ReservationId("there")
GRANT = Grant(THERE, "all", Fraction(1, 100))


@register("tests.lying.features")
def features(batch: Any, parameters: Any) -> Contribution:
    """Every feature."""
    return Contribution(batch["features"])


QUERY = Query(StepName("tests.lying.features"), {}, (1, 1, 4), 1e3)


def among(agreed: Agreed, rows: list[dict[str, NDArray[Any]]], lie: Callable[[Ring], Ring] = lambda vector: vector) -> FederatedCohort:
    """Partners without noise; the first sends `lie` of its masked vector."""
    honest = courier(partners(agreed, rows, [MemoryMeter(Fraction(10**3)) for _ in rows], [ZeroNoise()] * len(rows))).partners

    def lying(request: bytes) -> bytes:
        reply = honest["p0"](request)
        asked = wire.message(request)
        if asked.step is not Step.VECTOR:
            return reply
        answer = wire.answer(asked, reply)
        vector = payloads.read_vector(answer, len(answer.payload[1][0]) // 8)
        return asked.answer(payloads.write_vector(lie(vector))).encoded()

    answerers: dict[str, Answerer] = {**honest, "p0": lying}
    return FederatedCohort(agreed, InProcess(answerers))


ROWS = [{"features": np.full((10, 4), float(place))} for place in range(3)]
MOST = 3 * 50 * 1e3
"""What 3 partners of 50 subjects may hold, in units of the query."""


def shifted(by: float) -> Callable[[Ring], Ring]:
    """A vector with so much more in one place, in units of the query."""
    grid = np.zeros(4, dtype=np.int64)
    grid[0] = round(by * GRID / 1e3)
    return lambda vector: vector + grid.view(np.uint64)


@pytest.mark.parametrize(
    "lie",
    [
        lambda vector: np.random.default_rng(1).integers(0, 2**64 - 1, 4, dtype=np.uint64),
        lambda vector: np.zeros(4, dtype=np.uint64),
        lambda vector: ~vector,
        shifted(1.01 * MOST + 64 * 1e4 + 4e4),
        shifted(-1.01 * MOST - 64 * 1e4 - 4e4),
        shifted(2**62 / GRID * 1e3),
    ],
    ids=["random", "zeros", "negative", "beyond", "beyond, below", "far beyond"],
)
def test_a_vector_that_makes_a_sum_which_partners_cannot_have_gives_none(lie: Callable[[Ring], Ring]) -> None:
    agreed = agreement(3, 4, max_subjects=50)
    assert among(agreed, ROWS).noisy_sum(QUERY, GRANT, ZeroNoise()).ravel() == pytest.approx([30] * 4, abs=1e-3)
    with pytest.raises(AbortedError, match="round 1 was aborted, its sum is larger than what all partners together may hold"):
        among(agreed, ROWS, lie).noisy_sum(QUERY, GRANT, ZeroNoise())


def test_a_shift_within_what_partners_may_hold_is_not_seen() -> None:
    """What is not promised: nothing proves that a vector is in range."""
    found = among(agreement(3, 4, max_subjects=50), ROWS, shifted(0.9 * MOST)).noisy_sum(QUERY, GRANT, ZeroNoise()).ravel()
    assert found == pytest.approx([30 + 0.9 * MOST, 30, 30, 30], abs=1e-3)


@pytest.mark.parametrize("noise", [1 / 100, 1e-6])
def test_honest_partners_with_all_the_subjects_and_noise_that_they_may_have_get_their_sum(noise: float) -> None:
    agreed, grant = agreement(3, 4, max_subjects=50), Grant(THERE, "all", Fraction(noise))
    full = [{"features": np.full((50, 4), 1e9)} for _ in range(3)]
    extreme = shifted(8 * grant.sigma(1e3))  # a draw of eight standard deviations
    assert np.linalg.norm(among(agreed, full, extreme).noisy_sum(QUERY, grant, ZeroNoise())) > 0.999 * MOST


def centre(rows: list[dict[str, NDArray[Any]]], radius: float) -> NDArray[np.float64]:
    """Where one Lloyd step from the origin leads, without noise."""
    parameters = {"centres": np.zeros((1, 2)), "radius": np.array([radius])}
    cohort = among(agreement(2, 2), rows)
    sums = cohort.noisy_sum(Query(StepName("clusters.lloyd"), parameters, (1, 1, 4), lloyd.BOUND), GRANT, ZeroNoise()).ravel()
    return np.asarray(radius * sums[:2] / lloyd.RADIUS / (sums[2] / lloyd.COUNT))


WILD = st.sampled_from([-UNIT, UNIT, 0.0, -0.0, 1e300, -1e300, 5e-324, float("nan"), float("inf"), -float("inf")])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(WILD | st.floats(), WILD | st.floats()), min_size=1, max_size=40), st.sampled_from([1e3, 1e4, 2.0 * UNIT]))
def test_rows_of_a_liar_move_a_centre_by_no_more_than_the_stated_bound(wild: list[tuple[float, float]], radius: float) -> None:
    """2m/(N + m) clip radii, of m subjects beside N."""
    honest = {"features": np.random.default_rng(2).integers(-UNIT, UNIT, (200, 2)).astype(float)}
    without = centre([{"features": np.zeros((0, 2))}, honest], radius)
    moved = np.linalg.norm(centre([{"features": np.array(wild)}, honest], radius) - without)
    assert moved <= (2 * len(wild) / (200 + len(wild)) + 1e-5) * radius


def test_rows_of_a_liar_who_agrees_with_nobody_come_close_to_the_stated_bound() -> None:
    """The bound is no larger than it has to be: everybody at one end, and the liar's at the other."""
    honest, wild = {"features": np.full((200, 2), UNIT)}, {"features": np.full((20, 2), -UNIT)}
    moved = np.linalg.norm(centre([wild, honest], 1e3) - centre([{"features": np.zeros((0, 2))}, honest], 1e3))
    assert moved == pytest.approx(2 * 20 / 220 * 1e3, rel=1e-3)


def test_centres_stay_within_the_public_bounds_whatever_is_sent() -> None:
    generator = np.random.default_rng(3)
    agreed = agreement(3, 6, max_subjects=1_000)

    def lie(vector: Ring) -> Ring:
        more = generator.normal(size=len(vector))
        return vector + np.rint(more / np.linalg.norm(more) * 3e3 * GRID).astype(np.int64).view(np.uint64)

    cohort = among(agreed, parted(population(1_000, 4), (300, 300)), lie)
    model = clusters.fit(cohort, 4, GRANT, ZeroNoise(), lambda _: None, 0).model
    assert np.isfinite(model.centres).all() and np.abs(model.centres).max() <= UNIT
