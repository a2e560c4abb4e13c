import math
import threading
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from governance.accounting import MIN_SIGMA
from governance.door import (
    CROSS,
    MAX_SIGMA,
    STEADY,
    Array,
    Batch,
    BudgetError,
    Contribution,
    DoorError,
    Grant,
    LocalCohort,
    MemoryMeter,
    Part,
    Query,
    ReservationId,
    StepName,
    exact_sum,
    grid_sigma,
    register,
    registered,
    rehearse,
    to_grid,
)
from governance.grid import GRID, MAX_ROWS, add, exceeds
from tests.fakes import SeededNoise, ZeroNoise

SECRET = "4711-secret"


@register("test.values")
def _values(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return Contribution(batch["features"], batch["slots"].astype(np.int64) if "slots" in batch else None)


@register("test.raises")
def _raises(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    if np.any(batch["features"] == 13):
        raise ValueError(f"{SECRET} {batch['features']}")
    return Contribution(batch["features"])


@register("test.doubles")
def _doubles(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return Contribution(np.repeat(batch["features"], 2, axis=0))


@register("test.doubles-later")
def _doubles_later(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return Contribution(np.repeat(batch["features"], 2 if batch["features"].any() else 1, axis=0))


@register("test.greedy")
def _greedy(_batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    raise MemoryError


@register("test.products")
def _products(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return Contribution(batch["features"], products=True)


@register("test.writes")
def _writes(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    batch["features"][0, 0] = 1
    return Contribution(batch["features"])


def query(step: str = "test.values", shape: tuple[int, int, int] = (1, 1, 2), bound: float = 10.0, part: Part = Part.ALL) -> Query:
    return Query(StepName(step), {}, shape, bound, part)


def grant(mu_squared: Fraction = Fraction(1), path: str = "all") -> Grant:
    return Grant(ReservationId("memory"), path, mu_squared)


def norms(whole: NDArray[np.int64]) -> list[int]:
    """Squared L2 norms in Python's integers, which cannot overflow."""
    return [sum(int(x) ** 2 for x in row.ravel()) for row in whole]


HARSH = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from(
        [0.0, -0.0, 5e-324, 1e-310, 1.0, 10.0, 2.0**31, 2.0**32, 2.0**53, 1e154, 1e155, 1e200, 1.7e308, math.inf, -math.inf, math.nan]
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    values=hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2), st.integers(1, 4)), elements=HARSH),
    bound=st.one_of(st.floats(2.0**-256, 2.0**256), st.sampled_from([1.0, 10.0, math.sqrt(2), 2.0**31 - 1, 2.0**-256, 2.0**256])),
    slots=hnp.arrays(np.int64, (6, 2), elements=st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4)),
)
def test_no_subject_moves_the_sum_by_more_than_the_bound(values: Array, bound: float, slots: NDArray[np.int64]) -> None:
    n, _, width = values.shape
    asked = query(shape=(2, 3, width), bound=bound)
    grid = to_grid(Contribution(values, slots[:n]), asked, {"features": values})
    assert max(norms(grid.values)) <= GRID**2
    for row in range(n):
        one = exact_sum(asked, [{"features": values[row : row + 1], "slots": slots[row : row + 1]}])
        assert norms(one[None]) <= [GRID**2]


def test_what_a_steady_sum_needs_is_what_was_rehearsed_however_many_there_are() -> None:
    """Else it would show how many: by running out of memory."""
    seen: set[tuple[int, int]] = set()

    @register("test.notes-how-many")
    def _notes(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
        seen.add((len(batch["features"]), threading.get_ident()))
        return Contribution(batch["features"])

    query = Query(StepName("test.notes-how-many"), {}, (1, 1, 2), 1e3)
    rehearse(query, {"features": (2,)}, steady=True)
    rehearsed = set(seen)
    for count in (1, STEADY, 3 * STEADY + 1):
        columns = {"features": np.full((count, 2), 250.0)}
        total = exact_sum(query, LocalCohort(columns, MemoryMeter(Fraction(1)), batch_rows=2 * STEADY).batches(), steady=True)
        assert total.tolist() == [int(GRID / 4) * count] * 2
    assert len(rehearsed) == 1 and seen == rehearsed


@settings(max_examples=200, deadline=None)
@given(
    direction=hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1, 1)),
    bound=st.floats(0.001, 2.0**40),
    stretch=st.floats(1.0, 1e6),
)
def test_clipping_keeps_the_direction_and_nearly_all_of_the_length(direction: Array, bound: float, stretch: float) -> None:
    length = float(np.linalg.norm(direction))
    if length < 1e-3:
        return
    values = direction[None] / length * bound * stretch
    grid = to_grid(Contribution(values), query(shape=(1, 1, len(direction)), bound=bound), {"features": values})
    assert np.allclose(grid.values[0, 0] / GRID, direction / length, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(values=hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(-5, 5)))
def test_values_within_the_bound_are_truncated_toward_zero(values: Array) -> None:
    grid = to_grid(Contribution(values), query(shape=(1, 1, 3), bound=16.0), {"features": values})
    exact = values * (GRID / 16.0)
    assert np.all(np.abs(grid.values[:, 0]) <= np.abs(exact))
    assert np.all(np.abs(grid.values[:, 0] - exact) < 1)


def test_what_is_not_finite_counts_as_zero() -> None:
    values = np.array([[np.nan, 3.0], [np.inf, 3.0], [-np.inf, 3.0]])
    assert exact_sum(query(), [{"features": values}]).tolist() == [0, 3 * int(3.0 * GRID / 10)]


def test_int64_squares_that_overflow_are_seen() -> None:
    values = np.full((1, 2), 2.0**32 - 1)  # each coordinate within the grid, squares of 2^64 together
    grid = to_grid(Contribution(values), query(bound=float(GRID)), {"features": values})
    assert norms(grid.values)[0] <= GRID**2


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.integers(1 - 2**32, 2**32 - 1)))
def test_the_last_check_of_the_norm_is_exact(whole: NDArray[np.int64]) -> None:
    assert exceeds(whole).tolist() == [norm > GRID**2 for norm in norms(whole)]


@pytest.mark.parametrize(
    ("row", "beyond"), [([GRID - 1] * 2, True), ([GRID // 2] * 4, False), ([GRID // 2] * 4 + [1], True), ([65536] * 8, False)]
)
def test_the_last_check_of_the_norm_at_its_edge(row: list[int], beyond: bool) -> None:
    assert exceeds(np.array([row])).tolist() == [beyond]


def columns(n: int, seed: int = 0) -> dict[str, NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    return {
        "features": random.integers(-32768, 32769, (n, 5)).astype(np.int32),
        "slots": random.integers(-1, 8, (n, 1)).astype(np.int32),
        "part": random.integers(1, 3, n).astype(np.int32),
    }


@pytest.mark.parametrize("bound", [32768 * math.sqrt(5), 9999.7])  # nobody clipped, most clipped
@pytest.mark.parametrize("slots", [1, 7])
def test_the_sum_has_the_same_bits_for_any_batches_and_order(bound: float, slots: int) -> None:
    rows = columns(5000)
    asked = query(shape=(1, slots, 5), bound=bound)

    def take(chosen: NDArray[np.int64]) -> Batch:
        return {name: column[chosen].astype(np.float64) for name, column in rows.items()}

    everyone = np.arange(5000)
    whole = exact_sum(asked, [take(everyone)])
    shuffled = np.random.default_rng(1).permutation(5000)
    assert np.array_equal(whole, exact_sum(asked, [take(part) for part in np.array_split(shuffled, 37)]))
    assert np.array_equal(whole, exact_sum(asked, [take(np.array([i])) for i in shuffled[:300]] + [take(shuffled[300:])]))
    assert whole.any()


def test_repeated_runs_on_threads_give_the_same_bits() -> None:
    cohort = LocalCohort(columns(20_000), MemoryMeter(Fraction(100)), batch_rows=777)
    asked, results = query(shape=(1, 7, 5), bound=1e5), []
    runs = [threading.Thread(target=lambda: results.append(exact_sum(asked, cohort.batches()))) for _ in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(results) == 8
    assert all(np.array_equal(results[0], other) for other in results)


def test_the_sum_is_that_of_python_integers() -> None:
    rows = columns(400)
    asked = query(shape=(1, 7, 5), bound=1e5)
    expected = [[0] * 5 for _ in range(7)]
    for features, slot in zip(rows["features"].tolist(), rows["slots"][:, 0].tolist(), strict=True):
        if 0 <= slot < 7:
            for j, value in enumerate(features):
                expected[slot][j] += int(value * (GRID / 1e5))
    assert exact_sum(asked, [LocalCohort(rows, MemoryMeter(Fraction(1))).batches().__next__()]).reshape(7, 5).tolist() == expected


@pytest.mark.slow
def test_a_batch_of_millions_is_summed_exactly() -> None:
    n = 3 * MAX_ROWS + 5
    values, slots = np.full((n, 1), 10.0), np.zeros((n, 1))
    one = exact_sum(query(shape=(1, 2, 1)), [{"features": values[:1], "slots": slots[:1]}])
    assert exact_sum(query(shape=(1, 2, 1)), [{"features": values, "slots": slots}]).tolist() == (one * n).tolist()


def test_only_the_part_that_was_asked_takes_part() -> None:
    rows = {"features": np.array([[1.0], [2.0], [4.0]]), "part": np.array([1, 2, 1])}
    asked = {part: exact_sum(query(shape=(1, 1, 1), bound=16.0, part=part), [rows])[0] * 16 / GRID for part in Part}
    assert asked == {Part.ALL: 7, Part.TRAIN: 5, Part.HOLDOUT: 2}


def test_slots_out_of_range_add_nothing() -> None:
    rows = {"features": np.ones((5, 1)), "slots": np.array([[0], [1], [2], [-1], [2**62]])}
    assert (exact_sum(query(shape=(1, 2, 1), bound=2.0), [rows]) > 0).tolist() == [True, True]
    assert exact_sum(query(shape=(1, 1, 1), bound=2.0), [rows]).tolist() == [GRID // 2]


class Loud(ZeroNoise):
    """Noise at both ends of int64."""

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        return np.array([2**63 - 1, -(2**63)], dtype=np.int64)


def test_noise_is_added_modulo_two_to_the_64() -> None:
    assert add(np.array([1, -1]), Loud().draw(1.0, 2)).tolist() == [-(2**63), 2**63 - 1]
    cohort = LocalCohort({"features": np.array([[10.0, -10.0]])}, MemoryMeter(Fraction(1)))
    assert np.sign(cohort.noisy_sum(query(bound=20.0), grant(), Loud())).ravel().tolist() == [-1, 1]


@pytest.mark.parametrize("noise", [np.zeros(1, dtype=np.int64), np.zeros((2, 1), dtype=np.int64), np.zeros(2, dtype=np.int32), np.zeros(2)])
def test_noise_of_another_shape_or_type_is_refused(noise: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="expected"):
        add(np.zeros(2, dtype=np.int64), noise)


def test_noise_has_the_sigma_of_the_grant() -> None:
    noise = ZeroNoise()
    cohort = LocalCohort({"features": np.ones((3, 2))}, MemoryMeter(Fraction(1)))
    cohort.noisy_sum(query(), grant(Fraction(1, 4)), noise)
    assert noise.sigmas == [pytest.approx(2 * GRID, rel=1e-14)]
    assert noise.sigmas[0] >= 2 * GRID
    assert grant(Fraction(1, 4)).sigma(10.0) == 20.0


@settings(max_examples=200, deadline=None)
@given(st.fractions(min_value=Fraction(1, 1 << 46), max_value=Fraction(1 << 15), max_denominator=1 << 60))
def test_noise_is_never_below_what_was_paid(mu_squared: Fraction) -> None:
    assert Fraction(grid_sigma(grant(mu_squared))) ** 2 * mu_squared >= GRID**2


@pytest.mark.parametrize(
    "mu_squared",
    [Fraction(0), Fraction(-1), Fraction(GRID, int(MIN_SIGMA)) ** 2 * 2, Fraction(GRID, int(MAX_SIGMA)) ** 2 / 2, Fraction(1, 10**300)],
)
def test_noise_that_would_not_be_gaussian_is_refused_and_costs_nothing(mu_squared: Fraction) -> None:
    meter = MemoryMeter(Fraction(10**9))
    with pytest.raises(DoorError):
        LocalCohort({"features": np.ones((3, 2))}, meter).noisy_sum(query(), grant(mu_squared), ZeroNoise())
    assert meter.spent == {}


def test_a_row_that_makes_a_step_raise_adds_zero_and_shows_nothing() -> None:
    features = np.ones((1000, 2))
    without = LocalCohort({"features": np.delete(features, 500, axis=0)}, MemoryMeter(Fraction(1)))
    features[500] = 13
    planted = LocalCohort({"features": features}, MemoryMeter(Fraction(1)), batch_rows=64)
    asked = query("test.raises")
    assert np.array_equal(planted.noisy_sum(asked, grant(), ZeroNoise()), without.noisy_sum(asked, grant(), ZeroNoise()))


def test_a_step_that_gives_one_subject_two_rows_is_refused() -> None:
    meter = MemoryMeter(Fraction(1))
    with pytest.raises(DoorError, match="from each subject"):
        LocalCohort({"features": np.ones((3, 2))}, meter).noisy_sum(query("test.doubles"), grant(), ZeroNoise())
    assert meter.spent == {}
    # one that hides it from the rehearsal gains nothing either
    assert exact_sum(query("test.doubles-later"), [{"features": np.ones((3, 2))}]).tolist() == [0, 0]


@pytest.mark.parametrize(
    "asked",
    [
        query("test.nobody-registered-this"),
        query(shape=(1, 1, 3)),  # more values than the step gives
        query(shape=(2, 1, 2)),
        query("test.greedy"),
        query("test.writes"),
        query(part=Part.TRAIN),  # the cohort is not split
    ],
    ids=lambda asked: f"{asked.step}-{asked.shape}-{asked.part.name}",
)
def test_a_faulty_query_fails_before_it_is_charged(asked: Query) -> None:
    meter = MemoryMeter(Fraction(1))
    with pytest.raises(DoorError):
        LocalCohort({"features": np.ones((3, 2))}, meter).noisy_sum(asked, grant(), ZeroNoise())
    assert meter.spent == {}


def test_nothing_is_computed_that_was_not_charged() -> None:
    seen: list[Array] = []

    @register("test.spy")
    def _spy(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
        seen.append(batch["features"])
        return Contribution(batch["features"])

    with pytest.raises(BudgetError):
        LocalCohort({"features": np.ones((3, 2))}, MemoryMeter(Fraction(1))).noisy_sum(query("test.spy"), grant(Fraction(2)), ZeroNoise())
    assert not np.any(seen)


def test_running_out_of_memory_is_a_fixed_error() -> None:
    with pytest.raises(DoorError, match="ran out of memory"):
        exact_sum(query("test.greedy"), [{"features": np.ones((3, 2))}])


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf, 1e300, 5e-324])
def test_bounds_that_cannot_be_held_are_refused(bound: float) -> None:
    with pytest.raises(DoorError, match="expected a bound"):
        query(bound=bound)


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, -1, 1), (1, 1)])
def test_shapes_that_hold_nothing_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(DoorError, match="expected a shape"):
        query(shape=shape)


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"features": np.ones((3, 2)), "label": np.ones(2)},
        {"features": np.ones((3, 2, 2))},
        {"features": np.array([["a", "b"]])},
        {"features": np.array([[None, 1]])},
    ],
)
def test_a_cohort_needs_columns_of_numbers_of_one_length(rows: dict[str, Array]) -> None:
    with pytest.raises(DoorError, match="expected"):
        LocalCohort(rows, MemoryMeter(Fraction(1)))


def test_refusals_show_no_row_and_no_count() -> None:
    with pytest.raises(DoorError) as error:
        LocalCohort({"features": np.ones((4711, 2)), "label": np.ones(4712)}, MemoryMeter(Fraction(1)))
    assert "471" not in str(error.value)


def test_nobody_is_a_sum_of_zero() -> None:
    cohort = LocalCohort({"features": np.empty((0, 2))}, MemoryMeter(Fraction(1)))
    assert cohort.noisy_sum(query(), grant(), ZeroNoise()).tolist() == [[[0.0, 0.0]]]
    assert cohort.width == 2


def test_a_grant_is_spent_once_and_not_beside_its_parts() -> None:
    meter = MemoryMeter(Fraction(1))
    parts = meter.grant().split(centres=3, counts=1)
    assert parts["centres"].mu_squared + parts["counts"].mu_squared == 1
    meter.charge(parts["centres"], query())
    finer = parts["centres"].split(a=1, b=1)
    for again in (parts["centres"], meter.grant(), finer["a"]):
        with pytest.raises(BudgetError):
            meter.charge(again, query())
    meter.charge(parts["counts"], query())
    assert sum(meter.spent.values()) == 1


def test_a_name_that_begins_like_a_spent_one_is_another() -> None:
    meter = MemoryMeter(Fraction(2))
    meter.charge(grant(path="all/step"), query())
    meter.charge(grant(path="all/step2"), query())
    assert len(meter.spent) == 2


def test_splitting_twice_does_not_double_the_limit() -> None:
    meter = MemoryMeter(Fraction(1))
    meter.charge(meter.grant().split(a=1, b=1e-9)["a"], query())
    with pytest.raises(BudgetError, match="exceeds"):
        meter.charge(meter.grant().split(c=1, d=1)["c"], query())


@pytest.mark.parametrize("weights", [{}, {"a": 0.0, "b": 1.0}, {"a": -1.0, "b": 3.0}, {"a": math.inf, "b": 1.0}, {"a": math.nan, "b": 1.0}])
def test_shares_that_could_enlarge_a_grant_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(DoorError, match="shares"):
        grant().split(**weights)


def test_a_negative_grant_earns_nothing() -> None:
    meter = MemoryMeter(Fraction(1))
    with pytest.raises(BudgetError):
        meter.charge(grant(Fraction(-5), "x"), query())


def test_step_names_are_taken_once() -> None:
    with pytest.raises(DoorError, match="twice"):
        register("test.values")(_values)
    assert registered()[StepName("test.values")] is _values


def test_released_values_are_in_units_of_the_query() -> None:
    cohort = LocalCohort({"features": np.full((500, 2), [3.0, -1.0])}, MemoryMeter(Fraction(1)))
    assert np.allclose(cohort.noisy_sum(query(), grant(), SeededNoise(1)).ravel(), [1500, -500], atol=6 * 10)


@given(hnp.arrays(np.float64, (6, 3), elements=st.floats(allow_nan=True, allow_infinity=True)), st.floats(1e-6, 1e12))
@settings(deadline=None)
def test_products_of_a_row_never_exceed_the_bound_and_add_up_to_their_sum(values: Array, bound: float) -> None:
    asked = query("test.products", (1, 1, 6), bound)
    grid = to_grid(Contribution(values, products=True), asked, {"features": values}).values[:, 0]
    assert all(sum(int(value) ** 2 for value in row) <= GRID**2 for row in grid)
    assert np.array_equal(exact_sum(asked, [{"features": values}]), grid.sum(axis=0).astype(np.int64))


def test_products_are_those_of_the_clipped_row() -> None:
    """(3, 4) has square norm 25: within 100 it is as it is, within 1 it is (0.6, 0.8)."""
    row = np.array([[3.0, 4.0]])
    for bound, x, y in ((100.0, 3.0, 4.0), (1.0, 0.6, 0.8)):
        [whole] = to_grid(Contribution(row, products=True), query("test.products", (1, 1, 3), bound), {"features": row}).values
        assert whole[0] * bound / GRID == pytest.approx([x * x, CROSS * x * y, y * y], rel=1e-3)


def test_a_row_at_the_bound_uses_it_up() -> None:
    """The weight of products beside squares is below √2, and by little: worst where values are alike and many."""
    row = np.full((1, 40), 1.0)
    [whole] = to_grid(Contribution(row, products=True), query("test.products", (1, 1, 820), 40.0), {"features": row}).values
    assert 0.985 < math.sqrt(float((whole**2).sum())) / GRID <= 1


@pytest.mark.parametrize(
    ("shape", "slots"), [((1, 1, 4), None), ((3, 1, 1), None), ((1, 2, 3), None), ((1, 1, 3), np.zeros((2, 1), np.int64))]
)
def test_products_have_a_shape_of_their_own(shape: tuple[int, int, int], slots: NDArray[np.int64] | None) -> None:
    rows = np.ones((2, 2))
    with pytest.raises(DoorError, match="values whose products"):
        to_grid(Contribution(rows, slots, products=True), query("test.products", shape), {"features": rows})


@pytest.mark.parametrize("step", ["test.values", "test.products"])
def test_steps_see_only_who_takes_part(step: str) -> None:
    generator = np.random.default_rng(0)
    columns = {"features": generator.normal(size=(500, 2)), "part": generator.choice([1.0, 2.0], 500)}
    shape = (1, 1, 2 if step == "test.values" else 3)
    train = {"features": columns["features"][columns["part"] == 1], "part": np.ones(np.count_nonzero(columns["part"] == 1))}
    for batch in (columns, {name: column[:1] for name, column in columns.items()}):
        rows = {name: column[batch["part"] == 1] for name, column in batch.items()}
        found = exact_sum(query(step, shape, part=Part.TRAIN), [batch])
        assert np.array_equal(found, exact_sum(query(step, shape), [rows]) if len(rows["part"]) else np.zeros(shape[2]))
    assert not exact_sum(query(step, shape, part=Part.HOLDOUT), [train]).any()
