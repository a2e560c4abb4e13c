"""The door: every statistic that leaves a population leaves through `noisy_sum`.

A *query* names a registered step, a pure function that gives each data subject one contribution, and the L2 bound of
that contribution. A *cohort* is where the subjects' rows live. The door clips, truncates to a public grid, checks,
sums exactly, and adds discrete Gaussian noise; nothing that a row holds can raise an exception on the way.

Neighbours: add or remove one subject with all rows. Sensitivity of a query: its `bound`, whatever the step computes,
because the clip and the integer check come after it, as long as the step is row-wise and a cohort has one row a subject.
A step is rehearsed on one made-up subject before anything is charged, so that a faulty query fails without data; a subject
that makes a step raise adds zero, like one whose vector fails the check: an exception would show that the subject is there.

Not here: what is asked (trainers, assessment), what it may cost (`governance.budget`), where noise comes from
(`governance.noise`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from functools import cache, reduce
from itertools import chain, islice
from threading import Lock
from typing import Any, NewType, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn, without types

from governance.accounting import MIN_SIGMA
from governance.grid import GRID, add, clip, roots, rows_at_once, scatter, triangle
from governance.noise import NoiseSource

StepName = NewType("StepName", str)
ReservationId = NewType("ReservationId", str)

MAX_SIGMA = 2.0**56
"""Most noise in grid units: the sampler saturates at ±2^63 = 128 σ, which no draw reaches; saturated noise would hide nothing."""

Array = NDArray[np.float64]
Column = NDArray[Any]
Batch = Mapping[str, Array]
"""Columns of some subjects, row i the same subject in each: `features` (n, d) in grid units, others (n,) or (n, m). Read-only."""


class DoorError(Exception):
    """A query or grant that cannot be answered; never depends on a row."""


class BudgetError(Exception):
    """More was asked than was granted or is left; nothing was drawn."""


class Part(IntEnum):
    """The keyed, stable split of subjects: who takes part in a query."""

    ALL = 0
    TRAIN = 1
    HOLDOUT = 2


@dataclass(frozen=True, slots=True)
class Contribution:
    """What each subject adds. `values` (n, m) or (n, b, m); `slots` (n,) or (n, b): the slot of 0..s-1 that each of
    the b blocks adds its m values to (a slot outside that range adds nothing; no slots: slot 0).

    `products`: of a query of one block and slot, a subject adds instead the products of its values (n, k) with each other: k(k+1)/2 of
    them, the upper triangle by rows, off the diagonal times `CROSS`. Their L2 norm is at most the square norm of the values.
    """

    values: Array
    slots: NDArray[np.int64] | None = None
    products: bool = False


CROSS = 7 / 5
"""Weight of a product of two values beside squares, just below √2: with √2 itself the norm would be the square norm, but not whole."""


def symmetric(products: Array) -> Array:
    """(k, k) sums of products of values, out of what was released of them, (k(k+1)/2,)."""
    k = math.isqrt(2 * len(products))
    upper = np.zeros((k, k))
    across, down = np.triu_indices(k)
    upper[across, down] = products / np.where(across == down, 1.0, CROSS)
    return np.asarray(upper + np.triu(upper, 1).T)


CHOSEN = "chosen"
"""A column that a door adds to a batch: rows where it is 0 are of nobody, and add nothing (`governance.sampling`)."""

Step = Callable[[Batch, Mapping[str, Array]], Contribution]

_STEPS: dict[StepName, Step] = {}


def register(name: str) -> Callable[[Step], Step]:
    """Give a step its name. Steps are pure, row-wise (a subject's contribution depends on no other subject), and give
    whole numbers, exact below 2^53, where bits must agree between engines."""

    def enter(step: Step) -> Step:
        if name in _STEPS:
            raise DoorError(f"step names must differ, got `{name}` twice")
        _STEPS[StepName(name)] = step
        return step

    return enter


def registered() -> Mapping[StepName, Step]:
    """The steps known here; a partner is handed this and runs nothing else."""
    return dict(_STEPS)


@dataclass(frozen=True, slots=True)
class Query:
    """A question to a cohort.

    `parameters`: released or public arrays. `shape` (b, s, m): blocks, slots, values. `bound`: L2 bound of one
    subject's whole contribution, in the contribution's own units; larger ones are clipped. `part`: who takes part.
    """

    step: StepName
    parameters: Mapping[str, Array]
    shape: tuple[int, int, int]
    bound: float
    part: Part = Part.ALL

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise DoorError(f"query `{self.step}`: expected a shape of three positive numbers, got {self.shape}")
        if not 2.0**-256 <= self.bound <= 2.0**256:
            raise DoorError(f"query `{self.step}`: expected a bound in [2^-256, 2^256], got {self.bound}")

    @property
    def size(self) -> int:
        """Number of scalar draws."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to spend `mu_squared` (μ² of Gaussian DP) once, under a reservation. `path` names the part of it."""

    reservation: ReservationId
    path: str
    mu_squared: Fraction

    def sigma(self, bound: float) -> float:
        """Noise that a query of this bound gets, in the query's own units."""
        return bound / math.sqrt(self.mu_squared)

    def split(self, **weights: float) -> dict[str, Grant]:
        """Named shares in proportion to `weights` (> 0); they add up to this grant exactly, which is then used up."""
        if not weights or any(not 0 < weight < math.inf for weight in weights.values()):
            raise DoorError(f"grant `{self.path}`: expected shares above 0, got {weights}")
        total = sum(Fraction(w) for w in weights.values())
        return {
            name: Grant(self.reservation, f"{self.path}/{name}", self.mu_squared * Fraction(weight) / total)
            for name, weight in weights.items()
        }


class Meter(Protocol):
    """Where spending is written down before noise is drawn."""

    def charge(self, grant: Grant, query: Query) -> None:
        """Raises BudgetError if the grant, a part of it or what it is part of was spent before, or exceeds its reservation."""
        ...


@dataclass
class MemoryMeter:
    """A meter for arrays that never touch a workspace: façades, benchmarks, tests."""

    limit: Fraction
    spent: dict[str, Fraction] = field(default_factory=dict)

    def grant(self) -> Grant:
        """The whole."""
        return Grant(ReservationId("memory"), "all", self.limit)

    def charge(self, grant: Grant, query: Query) -> None:
        """See `Meter.charge`."""
        check_path(grant.path, self.spent)
        if grant.mu_squared <= 0:
            raise BudgetError(f"grant `{grant.path}` holds nothing to spend")
        if sum(self.spent.values(), grant.mu_squared) > self.limit:
            raise BudgetError(f"grant `{grant.path}` exceeds the limit")
        self.spent[grant.path] = grant.mu_squared


def check_path(path: str, spent: Iterable[str]) -> None:
    """A grant is spent once, and not beside a part of it or what it is part of; raises BudgetError."""
    for other in spent:
        if path == other or path.startswith(other + "/") or other.startswith(path + "/"):
            raise BudgetError(f"grant `{path}` was spent already, as `{other}`")


class Cohort(Protocol):
    """Admitted subjects behind the door. A trainer takes a cohort, never a table, and cannot learn its size."""

    @property
    def width(self) -> int:
        """Number of features d."""
        ...

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """The noisy sum over subjects, of shape `query.shape`, in the query's units. Raises DoorError, BudgetError."""
        ...


class LocalCohort:
    """Subjects on this machine, as columns of whole numbers. `columns` holds `features` (n, d), and what else steps read."""

    def __init__(self, columns: Mapping[str, Column], meter: Meter, batch_rows: int = 1 << 16) -> None:
        """Raises DoorError if columns are not numbers of one or two dimensions, or differ in length."""
        if not columns or len({len(column) for column in columns.values()}) != 1:
            raise DoorError(f"expected columns of one length, got `{'`, `'.join(columns)}`")
        for name, column in columns.items():
            if column.ndim not in (1, 2) or column.dtype.kind not in "biuf":
                raise DoorError(f"column `{name}`: expected numbers of one or two dimensions, got {column.ndim} of {column.dtype}")
        self._columns = dict(columns)
        self._meter = meter
        self._batch_rows = batch_rows

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return int(self._columns["features"].shape[1])

    def batches(self) -> Iterator[Batch]:
        """Inside the door only: subjects, some at a time."""
        n = len(next(iter(self._columns.values())))
        return (Rows(self._columns, start, min(n, start + self._batch_rows)) for start in range(0, n, self._batch_rows))

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`. What can fail fails first, without data; then it is charged; then computed."""
        sigma = grid_sigma(grant)
        rehearse(query, {name: column.shape[1:] for name, column in self._columns.items()})
        self._meter.charge(grant, query)
        total = exact_sum(query, self.batches())
        return to_units(add(total, noise.draw(sigma, query.size)), query)


@dataclass(frozen=True, slots=True)
class Rows(Mapping[str, Array]):
    """Rows [start, stop) of columns; a column turns into float64 when it is asked for, so that steps pay for what they read."""

    columns: Mapping[str, Column]
    start: int
    stop: int

    def __getitem__(self, name: str) -> Array:
        column = np.asarray(self.columns[name][self.start : self.stop], dtype=np.float64)
        column.flags.writeable = False
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


@dataclass(frozen=True, slots=True)
class Some(Mapping[str, Array]):
    """The rows of a batch at `places`, looked up when a column is asked for."""

    batch: Rows
    places: NDArray[np.int64]

    def __getitem__(self, name: str) -> Array:
        column = np.asarray(self.batch.columns[name][self.batch.start : self.batch.stop][self.places], dtype=np.float64)
        column.flags.writeable = False
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)


STEADY = 1024
"""Most subjects in a call of a step whose parameters somebody else made up."""


@dataclass(frozen=True, slots=True)
class Steady(Mapping[str, Array]):
    """Some subjects, and made-up ones after them, all zeros, so that there are always `rows`."""

    batch: Rows | Some
    rows: int

    def __getitem__(self, name: str) -> Array:
        column = self.batch[name]
        whole = np.zeros((self.rows, *column.shape[1:]))
        whole[: len(column)] = column
        whole.flags.writeable = False
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)


def rows_of(batch: Batch) -> int:
    """Number of subjects in a batch."""
    if isinstance(batch, Steady):
        return batch.rows
    if isinstance(batch, Some):
        return len(batch.places)
    return batch.stop - batch.start if isinstance(batch, Rows) else len(next(iter(batch.values())))


def _taking_part(query: Query, batch: Rows) -> Rows | Some:
    """Without whoever takes no part: their rows would be set to zero (`to_grid`), but cost as much as others."""
    if query.part is Part.ALL:
        return batch
    return Some(batch, np.flatnonzero(batch["part"] == float(query.part)))


def part_of(batch: Batch, start: int, stop: int) -> Rows:
    """Rows [start, stop) of a batch; of rows that turn into float64 when asked for, no more than these do."""
    if isinstance(batch, Rows):
        return Rows(batch.columns, batch.start + start, batch.start + stop)
    return Rows(batch, start, stop)


def rehearse(query: Query, shapes: Mapping[str, tuple[int, ...]], steady: bool = False) -> None:
    """Answer for one made-up subject, all zeros, or for as many as every call of `exact_sum` has that is `steady`. `shapes`: of each
    column, without the subjects. Raises DoorError."""
    if query.step not in _STEPS:
        raise DoorError(f"no step is registered as `{query.step}`")
    count = min(rows_at_once(query.shape[0] * query.shape[2]), STEADY) if steady else 1
    try:
        subjects = Rows({name: np.zeros((count, *shape)) for name, shape in shapes.items()}, 0, count)
        with np.errstate(all="ignore"):
            to_grid(_STEPS[query.step](subjects, query.parameters), query, subjects)
    except Exception as error:
        raise DoorError(f"step `{query.step}` cannot answer this query: {type(error).__name__}: {error}") from error


def grid_sigma(grant: Grant) -> float:
    """Noise in grid units, rounded up. Raises DoorError below `MIN_SIGMA`."""
    if grant.mu_squared <= 0:
        raise DoorError(f"grant `{grant.path}` holds nothing to spend")
    sigma = math.nextafter(math.nextafter(GRID / math.sqrt(grant.mu_squared), math.inf), math.inf)
    if not MIN_SIGMA <= sigma <= MAX_SIGMA:
        size = "large" if sigma < MIN_SIGMA else "small"
        raise DoorError(f"grant `{grant.path}` is too {size}: noise of {sigma:.3g} grid units, expected 2^24 to 2^56")
    return sigma


def to_units(released: NDArray[np.int64], query: Query) -> Array:
    """From grid units to the query's own."""
    return (released.astype(np.float64) * (query.bound / GRID)).reshape(query.shape)


def exact_sum(query: Query, batches: Iterable[Batch], steady: bool = False) -> NDArray[np.int64]:
    """Inside the door only: the exact int64 sum of grid contributions, (b·s·m,), whatever the order of batches.

    Threads take turns at what comes next, so that memory does not grow with the subjects. `steady` is for parameters that somebody else
    made up: steps are exact for those of our trainers, but with others a product of matrices rounds, and rounds the last rows
    of a piece otherwise than the rest, so that one subject would change the contributions of a few. Then every call has as
    many rows, and a subject's contribution is the same wherever it stands. One thread makes them, so that memory, too, is that
    of one call, which `rehearse` has tried: whether there is enough does not depend on how many subjects there are.
    """
    most = rows_at_once(query.shape[0] * query.shape[2])
    always = min(most, STEADY) if steady else None
    pieces = _pieces(batches, always or most)
    first = list(islice(pieces, 2))
    workers = 1 if steady else min(len(first), os.cpu_count() or 1)  # a thread costs more than a small population
    waiting, turn = chain(first, pieces), Lock()

    def work(_: int) -> NDArray[np.int64]:
        total = np.zeros(query.size, dtype=np.int64)
        while True:
            with turn:
                piece = next(waiting, None)
            if piece is None:
                return total
            total = add(total, _sum_of(query, piece, always))

    with one_blas_thread():
        if workers < 2:
            return work(0)
        with ThreadPoolExecutor(workers) as pool:
            return reduce(add, pool.map(work, range(workers)))


def _pieces(batches: Iterable[Batch], rows: int) -> Iterator[Rows]:
    """Subjects, so many at a time as one thread takes."""
    for batch in batches:
        n = rows_of(batch)
        yield from (part_of(batch, start, min(n, start + rows)) for start in range(0, n, rows))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products of matrices stay on the thread that asks: the rows are shared out already, and products of few rows are soon done."""
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _sum_of(query: Query, rows: Rows, always: int | None) -> NDArray[np.int64]:
    """Sum over some rows. Where the step raises, they are halved down to the subject that does it, who adds zero.

    `always`: how many subjects the step sees, whoever takes part.
    """
    try:
        with np.errstate(all="ignore"):
            there = _taking_part(query, rows)
            if (n := rows_of(there)) == 0:
                return np.zeros(query.size, dtype=np.int64)
            some = Steady(there, always) if always else there
            given = _STEPS[query.step](some, query.parameters)
            if given.products:
                whole = _roots(given, query, some)[:n]
                return triangle(whole.T @ whole)
            grid = to_grid(given, query, some)
            return scatter(grid.values[:n], None if grid.slots is None else grid.slots[:n], query.shape[1])
    except MemoryError:
        raise DoorError(f"step `{query.step}` ran out of memory") from None
    except Exception:  # noqa: BLE001 (whatever a row makes a step raise would show that row)
        n = rows_of(rows)
        if n == 1:
            return np.zeros(query.size, dtype=np.int64)
        return add(_sum_of(query, part_of(rows, 0, n // 2), always), _sum_of(query, part_of(rows, n // 2, n), always))


@dataclass(frozen=True, slots=True)
class GridContribution:
    """Values (n, b, m), whole numbers of norm at most `GRID`, and their slots (n, b); None: slot 0."""

    values: Array
    slots: NDArray[np.int64] | None


def to_grid(given: Contribution, query: Query, batch: Batch) -> GridContribution:
    """Each row of L2 norm at most `GRID`, or zero (`governance.grid.clip`); zero for whoever takes no part.

    Raises DoorError for a contribution without one row a subject: two rows would be two contributions.
    """
    if given.products:
        whole = _roots(given, query, batch)
        return GridContribution(triangle(whole[:, :, None] * whole[:, None, :]).astype(np.float64)[:, None, :], None)
    blocks, _, width = query.shape
    n = rows_of(batch)
    values = np.asarray(given.values, dtype=np.float64)
    place = None if given.slots is None else np.asarray(given.slots, dtype=np.int64)
    fits = place is None or (place.shape[:1] == (n,) and place.size == n * blocks)
    if values.shape[:1] != (n,) or values.size != n * blocks * width or not fits:
        raise DoorError(f"step `{query.step}`: expected values for {blocks} x {width} and slots for {blocks} from each subject")
    whole = clip(values.reshape(n, blocks * width), query.bound)
    _only_who_takes_part(whole, query, batch)
    return GridContribution(whole.reshape(n, blocks, width), None if place is None else place.reshape(n, blocks))


def _roots(given: Contribution, query: Query, batch: Batch) -> Array:
    """(n, k) whole numbers whose products are the contribution; zero for whoever takes no part. Raises DoorError as `to_grid` does."""
    values = np.asarray(given.values, dtype=np.float64)
    k = values.shape[-1]
    if values.shape != (rows_of(batch), k) or query.shape != (1, 1, k * (k + 1) // 2) or given.slots is not None:
        raise DoorError(f"step `{query.step}`: expected values whose products are {query.shape[2]} from each subject")
    whole = roots(values, query.bound)
    _only_who_takes_part(whole, query, batch)
    return whole


def _only_who_takes_part(whole: Array, query: Query, batch: Batch) -> None:
    """Sets the rows of all others to zero."""
    if query.part is not Part.ALL:
        whole[batch["part"] != float(query.part)] = 0
    if CHOSEN in batch:
        whole[batch[CHOSEN] == 0] = 0
