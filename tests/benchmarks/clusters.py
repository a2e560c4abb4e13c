"""Prints how good and how fast DP clusters are, everything paid: `python -m tests.benchmarks.clusters [SEEDS]`.

Real tables are taken from `CONSENTRIC_DATA_DIR`; without it only generated ones are measured. Peers: DESIGN section 13.
"""

from __future__ import annotations

import os
import sys
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from engine.trainers import clusters
from governance.accounting import mu_squared_of
from governance.door import LocalCohort, MemoryMeter
from governance.noise import SystemNoise
from tests.populations import Features, best_inertia, blobs, cdnow, inertia, shoppers

TRAINING = Fraction(88, 100)


def measure(name: str, features: Features, k: int, epsilon: float, best: float, seeds: int) -> str:
    """One line of the table."""
    ratios, labels, start = [], [], time.perf_counter()
    for seed in range(seeds):
        meter = MemoryMeter(mu_squared_of(epsilon, 1e-5) * TRAINING)
        model = clusters.fit(LocalCohort({"features": features}, meter), k, meter.grant(), SystemNoise(), lambda _: None, seed)
        ratios.append(inertia(features, model.model.centres) / best)
        labels.append(model.model.assign(features))
    seconds = (time.perf_counter() - start) / seeds
    median, high = np.median(ratios), np.quantile(ratios, 0.9)
    return f"{name:24} {epsilon:4} {median:8.4f} {high:8.4f} {max(ratios):8.4f} {_agreement(labels):6.3f} {seconds:6.2f} s"


def _agreement(labels: list[np.ndarray]) -> float:
    """Median adjusted Rand index of neighbouring seeds."""
    from sklearn.metrics import adjusted_rand_score

    return float(np.median([adjusted_rand_score(left, right) for left, right in pairwise(labels)]))


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    populations = {
        "blobs 100k x 10, apart": (blobs(100_000, 10, 8, 0.1, seed=7)[0], 8, (0.1, 0.5)),
        "blobs 100k x 10, overlap": (blobs(100_000, 10, 8, 0.25, seed=7)[0], 8, (0.1, 0.5)),
    }
    if folder := os.environ.get("CONSENTRIC_DATA_DIR"):
        populations["CDNOW 23.6k x 5"] = (cdnow(Path(folder)), 6, (0.1, 0.5, 1.0))
        populations["shoppers 12.3k x 10"] = (shoppers(Path(folder)), 6, (0.1, 0.5, 1.0))
    print(f"{'population':24}    ε   median      p90      max    ARI   a fit      ({seeds} seeds)")
    for name, (features, k, epsilons) in populations.items():
        best = best_inertia(features, k, restarts=20)
        for epsilon in epsilons:
            print(measure(name, features, k, epsilon, best, seeds), flush=True)


if __name__ == "__main__":
    main()
