"""Sums over samples: of whom, how many at most, with which noise, and charged before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from governance.blocks import RATES, Sampled
from governance.door import GRID, Array, Batch, BudgetError, Contribution, DoorError, Part, Query, ReservationId, StepName, register
from governance.sampling import LocalSampler, MemorySampledMeter, SampledGrant
from tests.fakes import ZeroNoise

SEEN: list[tuple[int, Array]] = []
"""Rows and features of each batch that the step below saw."""


@register("test.sampled")
def _step(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    SEEN.append((len(batch["features"]), np.array(batch["features"])))
    if parameters.get("fails", np.zeros(1))[0] and (batch["features"] == 7).any():
        raise ValueError("7 is here")
    return Contribution(batch["features"] + parameters["shift"])


def terms(**changes: Any) -> Sampled:
    given: dict[str, Any] = {"rate": Fraction(1, 4), "noise": 2.0, "steps": 3, "size": 2, "rows": 40}
    return Sampled(**given | changes)


def asked(part: Part = Part.ALL, bound: float = 100.0, **parameters: float) -> Query:
    given = {"shift": 0.0} | parameters
    return Query(StepName("test.sampled"), {name: np.array([value]) for name, value in given.items()}, (1, 1, 2), bound, part)


def coins(*chosen: int, n: int) -> bytes:
    """Random bytes that choose these subjects at a rate of 1/4."""
    thrown = np.full(n, RATES - 1, dtype=np.uint32)
    thrown[list(chosen)] = RATES // 4 - 1
    return thrown.tobytes()


def sampler(features: Array, *thrown: bytes, of: Sampled | None = None, **columns: Array) -> LocalSampler:
    left = iter(thrown)
    grant = SampledGrant(ReservationId("memory"), of or terms())
    return LocalSampler({"features": features, **columns}, grant, MemorySampledMeter(), lambda _size: next(left))


def people(n: int) -> Array:
    return np.arange(2.0 * n).reshape(n, 2)


def test_the_sum_is_of_the_sample_alone_whatever_the_step_says_of_empty_rows() -> None:
    features = people(10)
    found = sampler(features, coins(2, 7, n=10)).noisy_sum(asked(shift=5.0), ZeroNoise())
    assert found.ravel() == pytest.approx(features[[2, 7]].sum(axis=0) + 10, abs=1e-6)


def test_who_takes_no_part_adds_nothing() -> None:
    part = np.array([1, 2] * 5, dtype=np.int8)
    found = sampler(people(10), coins(2, 7, n=10), part=part).noisy_sum(asked(Part.TRAIN), ZeroNoise())
    assert found.ravel() == pytest.approx(people(10)[2], abs=1e-6)


def test_a_step_sees_as_many_rows_whoever_is_there() -> None:
    seen = []
    for n, chosen in ((0, ()), (1, (0,)), (300, tuple(range(40)))):
        SEEN.clear()
        sampler(people(n), coins(*chosen, n=n)).noisy_sum(asked(), ZeroNoise())
        seen.append([rows for rows, _ in SEEN])
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][-1] == terms().rows


def test_a_sample_that_does_not_fit_is_summed_whole() -> None:
    features = np.ones((50, 2))
    found = sampler(features, coins(*range(50), n=50)).noisy_sum(asked(), ZeroNoise())
    assert found.ravel() == pytest.approx([50, 50], abs=1e-5)


def test_noise_is_as_granted_and_sampling_by_the_rate() -> None:
    noise = ZeroNoise()
    found = LocalSampler({"features": np.ones((40_000, 2))}, SampledGrant(ReservationId("m"), terms(rows=40_000)), MemorySampledMeter())
    total = found.noisy_sum(asked(), noise).ravel()
    assert noise.sigmas == [2.0 * GRID]
    assert abs(total[0] - 10_000) < 5 * np.sqrt(40_000 * 3 / 16)
    assert found.noisy_sum(asked(), noise).ravel()[0] != total[0]


def test_one_subject_moves_a_sum_by_the_bound_at_most() -> None:
    far = np.vstack([people(9), [[1e9, -1e9]]])
    within = sampler(far, coins(3, 9, n=10)).noisy_sum(asked(bound=4.0), ZeroNoise()).ravel()
    without = sampler(far[:9], coins(3, n=9)).noisy_sum(asked(bound=4.0), ZeroNoise()).ravel()
    assert 3.9 < np.linalg.norm(within - without) <= 4.0


def test_a_subject_that_makes_the_step_raise_adds_nothing() -> None:
    features = np.array([[1.0, 1.0], [7.0, 7.0], [3.0, 3.0]])
    found = sampler(features, coins(0, 1, 2, n=3)).noisy_sum(asked(fails=1.0), ZeroNoise())
    assert found.ravel() == pytest.approx([4, 4], abs=1e-6)


def test_all_steps_are_charged_once_and_before_the_first_noise() -> None:
    meter, drawn = MemorySampledMeter(), []

    class Watching(ZeroNoise):
        def draw(self, sigma: float, size: int) -> Any:
            drawn.append(len(meter.spent))
            return super().draw(sigma, size)

    grant = SampledGrant(ReservationId("m"), terms())
    one = LocalSampler({"features": people(8)}, grant, meter)
    for _ in range(3):
        one.noisy_sum(asked(), Watching())
    assert (meter.spent, drawn) == ([grant], [1, 1, 1])
    with pytest.raises(BudgetError, match="step 4 of training by samples, where 3 were granted"):
        one.noisy_sum(asked(), Watching())
    with pytest.raises(BudgetError, match="charged already"):
        LocalSampler({"features": people(8)}, grant, meter).noisy_sum(asked(), Watching())
    assert len(drawn) == 3


def test_what_was_not_granted_is_not_asked() -> None:
    one = sampler(people(8), *[coins(n=8)] * 9)
    with pytest.raises(DoorError, match="expected 2 numbers, as was granted, got 4"):
        one.noisy_sum(Query(StepName("test.sampled"), {"shift": np.zeros(1)}, (1, 2, 2), 1.0), ZeroNoise())
    one.noisy_sum(asked(), ZeroNoise())
    for other in (asked(bound=101.0), asked(Part.TRAIN)):
        with pytest.raises(DoorError, match="expected every step to ask what the first one did"):
            one.noisy_sum(other, ZeroNoise())
