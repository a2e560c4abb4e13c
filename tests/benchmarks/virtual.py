"""Many partners in one process, asked by the bytes that a network would carry: how long a round takes. `rounds.py` calls it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fractions import Fraction
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.cohort import FederatedCohort
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
    """Noise as the product draws it, and the seconds that it took."""

    source: NoiseSource = field(default_factory=SystemNoise)
    seconds: float = 0.0

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `NoiseSource.draw`."""
        began = perf_counter()
        drawn = self.source.draw(sigma, size)
        self.seconds += perf_counter() - began
        return drawn


@dataclass(frozen=True)
class Lap:
    """One round in `seconds`, without the noise of all partners, which took `noise` seconds before it opened."""

    seconds: float
    noise: float


def laps(count: int, dimensions: int, rounds: int, **contract: Any) -> list[Lap]:
    """Rounds of so many partners; the first is not counted."""
    agreed, noise = agreement(count, 1, **contract), Timed()
    rows = [{"features": np.zeros((3, 1))} for _ in range(count)]
    sites = partners(agreed, rows, [MemoryMeter(Fraction(10**6)) for _ in rows], [noise] * count)
    cohort, found = FederatedCohort(agreed, courier(sites)), []
    query = Query(StepName("tests.benchmarks.wide"), {"width": np.array(dimensions)}, (1, 1, dimensions), 1e3)
    for number in range(rounds + 1):
        began, noise.seconds = perf_counter(), 0.0
        summed = cohort.noisy_sum(query, Grant(ReservationId("there"), f"round{number}", Fraction(1, 10**4)), ZeroNoise())
        found.append(Lap(perf_counter() - began - noise.seconds, noise.seconds))
        assert abs(summed.mean() - 3 * count) < 10 * 1e3 * 100 / np.sqrt(dimensions)
    return found[1:]


def main(count: int = 100, dimensions: int = 1_000, rounds: int = 5) -> int:
    """Print medians, with and without dropouts; 1 where a round without dropouts takes more than 3 s."""
    said = {"abort on any loss": {}, "a third may be lost": {"dropouts": count // 3, "least_partners": count - count // 3}}
    slow = 0
    for name, contract in said.items():
        found = laps(count, dimensions, rounds, **contract)
        seconds, noise = (float(np.median([getattr(lap, each) for lap in found])) for each in ("seconds", "noise"))
        print(f"{count} virtual partners × {dimensions:,} dimensions, {name}: {seconds:.2f} s a round, noise {noise:.2f} s before it opens")
        slow |= name == "abort on any loss" and seconds > 3
    return slow


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
