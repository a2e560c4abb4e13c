"""Bounds of skewed features: ours beside diffprivlib's quantiles, at the same price.

Both get what a build of ε 1 has for bounds, as (ε, δ = 1e-5); diffprivlib's quantiles (exponential mechanism; Smith, 2011) share their ε
evenly, and need a range to look in: ±10^9, because bounds are asked for where nobody knows any, or ten times the true range,
which is a present. Told are the mean over seeds and features of the share of the data outside (non-private quantiles: 4 %), and the
geometric mean of how wide bounds are, ÷ the width of non-private quantiles: too wide is lost resolution, too narrow lost tails.

    python -m tests.benchmarks.bounds [SEEDS]
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine import bounds
from governance.accounting import epsilon_of, mu_squared_of
from governance.door import LocalCohort, MemoryMeter
from governance.noise import SystemNoise
from tests.benchmarks.others import DELTA, DIFFPRIVLIB
from tests.populations import skewed

Values = NDArray[np.float64]

BEYOND = 0.02
AFFORDED = mu_squared_of(1.0, DELTA) * Fraction(6, 106)


@dataclass(frozen=True, slots=True)
class Found:
    """Of one feature: the share of the data outside its bounds, and their width ÷ that of non-private quantiles."""

    outside: float
    wide: float


def judged(values: Values, low: float, high: float) -> Found:
    """How good bounds are."""
    true = float(np.ptp(np.quantile(values, [BEYOND, 1 - BEYOND])))
    return Found(float(((values < low) | (values > high)).mean()), max(high - low, 1e-9) / true)


def ours(columns: dict[str, Values]) -> list[Found]:
    """All features in one round."""
    raw, meter = np.stack(list(columns.values()), axis=1), MemoryMeter(AFFORDED)
    cohort = LocalCohort({"features": np.zeros((len(raw), 1)), "raw": raw}, meter)
    found = bounds.estimate(cohort, [BEYOND] * raw.shape[1], meter.grant(), SystemNoise())
    return [
        judged(values, *((0.0, 1.0) if pair is None else (float(pair.low), float(pair.high))))
        for values, pair in zip(columns.values(), found, strict=True)
    ]


def theirs(columns: dict[str, Values], known: bool, seed: int) -> list[Found]:
    """Two quantiles a feature, each with its share of ε."""
    from diffprivlib.tools import quantile

    share = epsilon_of(AFFORDED, 0, DELTA) / (2 * len(columns))
    found = []
    for place, values in enumerate(columns.values()):
        ends = (10 * float(values.min()) - 1, 10 * float(values.max()) + 1) if known else (-1e9, 1e9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            low, high = (
                float(quantile(values, q, epsilon=share, bounds=ends, random_state=97 * seed + place)) for q in (BEYOND, 1 - BEYOND)
            )
        found.append(judged(values, low, high))
    return found


def told(found: list[Found]) -> str:
    """Both figures."""
    return f"{np.mean([each.outside for each in found]):.1%}, {np.exp(np.mean(np.log([each.wide for each in found]))):.2g} ×"


def main() -> None:
    """A row for each number of people."""
    seeds = int(float(sys.argv[1])) if len(sys.argv) > 1 else 5
    peers = {"±10^9": False, "ten times the range": True} if DIFFPRIVLIB.missing is None else {}
    print(f"{'people':<10}{'ours':<18}" + "".join(f"{'diffprivlib, ' + name:<34}" for name in peers))
    for n in (5_000, 20_000, 100_000):
        people = [skewed(n, seed) for seed in range(seeds)]
        row = [[found for columns in people for found in ours(columns)]]
        row += [[found for seed, columns in enumerate(people) for found in theirs(columns, known, seed)] for known in peers.values()]
        print(f"{n:<10,}{told(row[0]):<18}" + "".join(f"{told(found):<34}" for found in row[1:]), flush=True)
    if DIFFPRIVLIB.missing:
        print(DIFFPRIVLIB.missing)


if __name__ == "__main__":
    main()
