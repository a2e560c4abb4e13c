"""The door for training by samples: noisy sums over Poisson samples of the subjects, step after step, paid for before the first.

What leaves is what leaves by `noisy_sum`: contributions of a registered step, clipped, truncated to the grid, summed exactly,
with discrete Gaussian noise from the same source. Two things differ. Each step takes every subject with a public probability,
by the operating system's randomness and by no generator of a learning library. And a step may compute in floating point, whose
last bits may depend on who else is in a batch, so that a sum may move by a little more than one subject: `assurance: floating
point` says so. The clip and the noise do not share that weakness.

Nothing public depends on how many there are: samples lie in as many rows at each step as `Sampled.rows` says, the rest being
made-up subjects that add nothing, and the mean is taken by public figures alone. Drawing the
sample takes longer the more subjects there are (GUARANTEES.md, "Time and size").

Neighbours, sensitivity and what a step may do: as in `governance.door`. What it costs: `governance.blocks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from governance.blocks import RATES, Sampled
from governance.door import CHOSEN, Array, BudgetError, Column, DoorError, Query, ReservationId, Rows, exact_sum, rehearse, to_units
from governance.grid import GRID, add
from governance.noise import NoiseSource

Randomness = Callable[[int], bytes]
"""So many random bytes."""

PATH = "samples"
"""What training by samples is called in a privacy transcript, beside the paths of grants."""


@dataclass(frozen=True, slots=True)
class SampledGrant:
    """The right to train by samples on these terms, once, under a reservation."""

    reservation: ReservationId
    terms: Sampled


class SampledMeter(Protocol):
    """Where training by samples is written down before its first noise is drawn."""

    def charge_sampled(self, grant: SampledGrant, query: Query) -> None:
        """Raises BudgetError if it was spent before, or is not what was reserved."""
        ...


@dataclass
class MemorySampledMeter:
    """A meter for arrays that never touch a workspace: benchmarks, tests."""

    spent: list[SampledGrant] = field(default_factory=list)

    def charge_sampled(self, grant: SampledGrant, query: Query) -> None:
        """See `SampledMeter.charge_sampled`."""
        if grant in self.spent:
            raise BudgetError("training by samples was charged already")
        self.spent.append(grant)


class Sampler(Protocol):
    """Admitted subjects behind the door, some of them at each step. A trainer cannot learn how many there are, or who."""

    @property
    def width(self) -> int:
        """Number of features d."""
        ...

    @property
    def terms(self) -> Sampled:
        """What is public of it."""
        ...

    def noisy_sum(self, query: Query, noise: NoiseSource) -> Array:
        """The noisy sum over the next sample, of shape `query.shape`, in the query's units. Raises DoorError, BudgetError."""
        ...


class LocalSampler:
    """Subjects on this machine, as columns of whole numbers (`governance.door.LocalCohort`), and one grant to sample them."""

    def __init__(
        self, columns: Mapping[str, Column], grant: SampledGrant, meter: SampledMeter, randomness: Randomness = os.urandom
    ) -> None:
        self._columns, self._grant, self._meter, self._randomness = dict(columns), grant, meter, randomness
        self._asked: Query | None = None
        self._steps = 0

    @property
    def width(self) -> int:
        """See `Sampler.width`."""
        return int(self._columns["features"].shape[1])

    @property
    def terms(self) -> Sampled:
        """See `Sampler.terms`."""
        return self._grant.terms

    def noisy_sum(self, query: Query, noise: NoiseSource) -> Array:
        """See `Sampler.noisy_sum`. All steps ask the same but for `parameters`; the first one charges them all."""
        self._begin(query)
        self._steps += 1
        if self._steps > self.terms.steps:
            raise BudgetError(f"step {self._steps} of training by samples, where {self.terms.steps} were granted")
        total = exact_sum(query, self._sample())
        return to_units(add(total, noise.draw(self.terms.noise * GRID, query.size)), query)

    def _begin(self, query: Query) -> None:
        if self._asked is None:
            if query.size != self.terms.size:
                raise DoorError(f"step `{query.step}`: expected {self.terms.size} numbers, as was granted, got {query.size}")
            rehearse(query, {name: column.shape[1:] for name, column in self._columns.items()})
            self._meter.charge_sampled(self._grant, query)
            self._asked = query
        first = self._asked
        if (query.step, query.shape, query.bound, query.part) != (first.step, first.shape, first.bound, first.part):
            raise DoorError(f"expected every step to ask what the first one did, `{first.step}`, got `{query.step}`")

    def _sample(self) -> Iterator[Rows]:
        """The next sample in its public number of rows; rows that are not `CHOSEN` are of nobody. One that needs more gets as many again:
        to leave somebody out would let one subject push another one out, and move the sum by two."""
        rows = self.terms.rows
        n = len(self._columns["features"])
        coins = np.frombuffer(self._randomness(4 * n), dtype=np.uint32)
        chosen = np.flatnonzero(coins < int(self.terms.rate * RATES))
        for start in range(0, max(len(chosen), 1), rows):
            some = chosen[start : start + rows]
            columns = {name: _filled(column, some, rows) for name, column in self._columns.items()}
            columns[CHOSEN] = np.arange(rows) < len(some)
            yield Rows(columns, 0, rows)


def _filled(column: Column, chosen: NDArray[np.int64], rows: int) -> Column:
    filled = np.zeros((rows, *column.shape[1:]), dtype=column.dtype)
    filled[: len(chosen)] = column[chosen]
    return filled
