"""Many partners in one process, asked by the bytes that a network would carry: how long a round takes, with and without losses.

Run with `python -m tests.benchmarks.virtual [PARTNERS DIMENSIONS ROUNDS]`; `rounds.py` calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated import wire
from federated.cohort import FederatedCohort
from federated.courier import Courier
from federated.messages import Step
from governance.door import Contribution, Grant, MemoryMeter, Query, ReservationId, StepName, register
from governance.noise import NoiseSource, SystemNoise
from tests.fakes import ZeroNoise
from tests.partners import agreement, courier, partners


@register("tests.benchmarks.wide")
def wide(batch: Any, parameters: Any) -> Contribution:
    """As many ones for each subject as were asked for."""
    return Contribution(np.ones((len(batch["features"]), int(parameters["width"]))))


@dataclass
class Timed:
    """Noise as the product draws it, and the seconds that it took, of the clock and of the processor."""

    source: NoiseSource = field(default_factory=SystemNoise)
    seconds: float = 0.0
    busy: float = 0.0

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `NoiseSource.draw`."""
        began, worked = perf_counter(), process_time()
        drawn = self.source.draw(sigma, size)
        self.seconds += perf_counter() - began
        self.busy += process_time() - worked
        return drawn


@dataclass(frozen=True)
class Losing:
    """A courier that reaches some partners up to a step of each round, and no more from there."""

    courier: Courier
    lost: frozenset[str] = frozenset()
    at: Step = Step.FINISH

    def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """See `Courier.exchange`."""
        steps, step = list(Step), wire.message(next(iter(requests.values()))).step
        late = steps.index(step) >= steps.index(self.at)
        return self.courier.exchange({name: request for name, request in requests.items() if not (late and name in self.lost)})


@dataclass(frozen=True)
class Lap:
    """One round in `seconds`, of which the processor was `busy` for some, without the noise of all partners, which took `noise` seconds
    before it opened."""

    seconds: float
    busy: float
    noise: float


def laps(count: int, dimensions: int, rounds: int, lost: int = 0, at: Step = Step.FINISH, **contract: Any) -> list[Lap]:
    """Rounds of so many partners, of whom some are `lost` from a step on; the first round is not counted."""
    agreed, noise = agreement(count, 1, **contract), Timed()
    rows = [{"features": np.zeros((3, 1))} for _ in range(count)]
    sites = partners(agreed, rows, [MemoryMeter(Fraction(10**6)) for _ in rows], [noise] * count)
    over = Losing(courier(sites), frozenset(site.name for site in sites[:lost]), at)
    there = count - lost * (at in (Step.KEYS, Step.SHARES, Step.VECTOR))  # whoever sent a vector is in the sum
    cohort, found = FederatedCohort(agreed, over), []
    query = Query(StepName("tests.benchmarks.wide"), {"width": np.array(dimensions)}, (1, 1, dimensions), 1e3)
    for number in range(rounds + 1):
        noise.seconds = noise.busy = 0.0
        began, worked = perf_counter(), process_time()
        summed = cohort.noisy_sum(query, Grant(ReservationId("there"), f"round{number}", Fraction(1, 10**4)), ZeroNoise())
        found.append(Lap(perf_counter() - began - noise.seconds, process_time() - worked - noise.busy, noise.seconds))
        assert abs(summed.mean() - 3 * there) < 10 * 1e3 * 100 / np.sqrt(dimensions)
    return found[1:]


def main(count: int = 100, dimensions: int = 1_000, rounds: int = 5) -> int:
    """Print medians, with and without dropouts; 1 where a round takes more than 3 s."""
    lost = count // 3
    may: dict[str, Any] = {"dropouts": lost, "least_partners": count - lost}
    said: dict[str, dict[str, Any]] = {
        "abort on any loss": {},
        "a third may be lost, nobody is": may,
        "a third is lost before its vectors": may | {"lost": lost, "at": Step.VECTOR},
        "a third is lost behind its vectors": may | {"lost": lost, "at": Step.ATTEST},
    }
    slow = False
    for name, changed in said.items():
        found = laps(count, dimensions, rounds, **changed)
        seconds, busy, noise = (float(np.median([getattr(lap, each) for lap in found])) for each in ("seconds", "busy", "noise"))
        print(
            f"{count} virtual partners × {dimensions:,} dimensions, {name}: {seconds:.2f} s a round, {busy:.2f} s of the processor; "
            f"noise {noise:.2f} s before it opens",
            flush=True,
        )
        slow |= seconds > 3
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
