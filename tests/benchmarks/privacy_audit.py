"""Prints how often the privacy audit finds noise that is a quarter of what is claimed, and how often it is wrong about true noise.

`python -m tests.benchmarks.privacy_audit [RUNS] [TRAINER ...]`: runs of each kind (default 100) of every trainer, or of those whose
name begins so, with 6 features at ε 1 and 3, δ = 1e-5. Noise is seeded: the audit looks for what is wrong with its size. Seconds are
those of a processor. Goals: DESIGN section 13.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from engine.privacy_audit import Audited, Shape, Verdict, audit
from tests.fakes import SeededNoise
from tests.trainers import TRAINERS, Trainer

SABOTAGED = 0.25

FEATURES = 6


@dataclass(frozen=True)
class Timed:
    """One audit and the seconds it took."""

    found: Audited
    seconds: float


def run(trainer: Trainer, epsilon: float, factor: float, seed: int) -> Timed:
    """One audit."""
    start = time.process_time()
    noise, generator = SeededNoise(seed, factor), np.random.default_rng(seed + 1_000_000)
    return Timed(audit(trainer.fit, Shape(FEATURES), epsilon, 1e-5, noise, generator), time.process_time() - start)


def measure(trainer: Trainer, epsilon: float, runs: int) -> str:
    """One line of the table."""
    wrong, right = ([run(trainer, epsilon, factor, seed) for seed in range(runs)] for factor in (SABOTAGED, 1.0))
    caught, alarms = (sum(each.found.verdict is Verdict.TOO_LITTLE for each in several) for several in (wrong, right))
    low, high = (np.median([each.found.lower for each in several]) for several in (right, wrong))
    seconds = np.mean([each.seconds for each in wrong + right])
    return f"{trainer.name:22} {epsilon:4} {caught:4} of {runs:3} {alarms:4} of {runs:3} {high:10.2f} {low:8.2f} {seconds:7.1f} s"


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    chosen = [trainer for trainer in TRAINERS if trainer.name.startswith(tuple(sys.argv[2:]) or "")]
    print(f"{'trainer':22} {'ε':>4} {'caught':>11} {'alarms':>11} {'ε ≥ (σ/4)':>10} {'ε ≥ (σ)':>8} {'an audit':>9}")
    for trainer in chosen:
        for epsilon in (1.0, 3.0):
            print(measure(trainer, epsilon, runs), flush=True)


if __name__ == "__main__":
    main()
