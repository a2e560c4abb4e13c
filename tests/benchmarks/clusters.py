"""Prints how good and how fast DP clusters are, everything paid: `python -m tests.benchmarks.clusters [SEEDS]`.

Real tables are taken from `CONSENTRIC_DATA_DIR`; without it only generated ones are measured. All were looked
at while constants were chosen (`engine.trainers.clusters`) but the visitors of Hillstrom's campaign. Peers: DESIGN section 13.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.trainers import clusters
from governance.accounting import mu_squared_of
from governance.door import LocalCohort, MemoryMeter
from governance.noise import NoiseSource, SystemNoise
from tests.populations import Features, adult, blobs, cdnow, counts, credit, hillstrom, inertia, retail, shoppers, unlike

TRAINING = Fraction(88, 100)
"""Share of a build's μ² that training gets."""

MILLION = 1_000_000


@dataclass(frozen=True)
class Case:
    """A population, how many clusters, and the ε at which it is measured."""

    name: str
    features: Callable[[], Features]
    k: int
    epsilons: tuple[float, ...]


GENERATED = (
    Case("blobs 100k x 10, apart", lambda: blobs(100_000, 10, 8, 0.1, seed=7)[0], 8, (0.1, 0.5)),
    Case("blobs 100k x 10, overlap", lambda: blobs(100_000, 10, 8, 0.25, seed=7)[0], 8, (0.1, 0.5)),
    Case("blobs 100k x 5, 12 apart", lambda: blobs(100_000, 5, 12, 0.08, seed=11)[0], 12, (0.1, 0.5)),
    Case("blobs 100k x 20, overlap", lambda: blobs(100_000, 20, 6, 0.3, seed=13)[0], 6, (0.1, 0.5)),
    Case("unlike 100k x 8", lambda: unlike(100_000, 8, 6, seed=5), 6, (0.1, 0.5)),
    Case("counts 30k x 6", lambda: counts(30_000, 6, 5, seed=3), 5, (0.5, 1.0)),
    Case("blobs 20k x 8, apart", lambda: blobs(20_000, 8, 5, 0.1, seed=9)[0], 5, (0.5, 1.0)),
)


def real(folder: Path) -> tuple[Case, ...]:
    """Tables of people."""
    return (
        Case("CDNOW 23.6k x 5", lambda: cdnow(folder), 6, (0.1, 0.5, 1.0)),
        Case("adult 45.2k x 5", lambda: adult(folder), 5, (0.1, 0.5, 1.0)),
        Case("credit 30k x 11", lambda: credit(folder), 6, (0.5, 1.0)),
        Case("shoppers 12.3k x 10", lambda: shoppers(folder), 6, (0.5, 1.0)),
        Case("gift shop 4.4k x 4", lambda: retail(folder), 5, (0.5, 1.0)),
        Case("Hillstrom 64k x 5", lambda: hillstrom(folder), 6, (0.1, 0.5, 1.0)),
    )


def private(features: Features, k: int, epsilon: float, noise: NoiseSource, seed: int) -> clusters.Clustered:
    """What a build's training at (ε, 1e-5) releases."""
    meter = MemoryMeter(mu_squared_of(epsilon, 1e-5) * TRAINING)
    return clusters.fit(LocalCohort({"features": features}, meter), k, meter.grant(), noise, lambda _: None, seed)


def measure(case: Case, seeds: int) -> None:
    """One line for each ε."""
    from sklearn.cluster import KMeans

    features = case.features()
    runs = [KMeans(case.k, n_init=10, random_state=seed).fit(features.astype(np.float64)) for seed in range(4)]
    best = min(inertia(features, run.cluster_centers_) for run in runs)
    alike = agreement([run.labels_ for run in runs])
    for epsilon in case.epsilons:
        start = time.perf_counter()
        found = [private(features, case.k, epsilon, SystemNoise(), seed) for seed in range(seeds)]
        seconds = (time.perf_counter() - start) / seeds
        ratios = [inertia(features, each.model.centres) / best for each in found]
        own = agreement([each.model.assign(features) for each in found])
        median, high = np.median(ratios), np.quantile(ratios, 0.9)
        print(
            f"{case.name:24} {epsilon:4} {median:8.4f} {high:8.4f} {max(ratios):8.4f} {own:6.3f} {alike:8.3f} {seconds:6.2f} s", flush=True
        )


def agreement(labels: list[NDArray[np.generic]]) -> float:
    """Median adjusted Rand index of neighbouring seeds."""
    from sklearn.metrics import adjusted_rand_score

    return float(np.median([adjusted_rand_score(left, right) for left, right in pairwise(labels)]))


def speed(seeds: int) -> None:
    """Against scikit-learn with one start, in turns, both with all processors; centres and the noise of ε = 1 included."""
    from sklearn.cluster import KMeans

    for spread, name in ((0.1, "apart"), (0.25, "overlap")):
        features = blobs(MILLION, 10, 8, spread, seed=7)[0]
        plain = features.astype(np.float64)
        ours, theirs = [], []
        for seed in range(seeds):
            start = time.perf_counter()
            private(features, 8, 1.0, SystemNoise(), seed)
            middle = time.perf_counter()
            KMeans(8, n_init=1, random_state=seed).fit(plain)
            ours.append(middle - start)
            theirs.append(time.perf_counter() - middle)
        mine, other = float(np.median(ours)), float(np.median(theirs))
        print(f"1M x 10, {name:8} {mine:6.2f} s, scikit-learn with one start {other:6.2f} s: {mine / other:.2f} x", flush=True)


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    SystemNoise().draw(2.0**25, 1)  # the sampler takes seconds to import
    folder = os.environ.get("CONSENTRIC_DATA_DIR")
    print(f"{'population':24}    ε   median      p90      max    ARI  without    a fit      ({seeds} seeds)")
    for case in (*GENERATED, *(real(Path(folder)) if folder else ())):
        measure(case, seeds)
    print()
    speed(max(3, seeds // 4))


if __name__ == "__main__":
    main()
