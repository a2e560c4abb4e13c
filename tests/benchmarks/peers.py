"""Ours beside other libraries, in one run, as Markdown: `python -m tests.benchmarks.peers [SEEDS] [TABLE ...]`.

Tables: `clusters`, `propensity`, `speed`. Everything that ours learns is paid; the whole ε goes into training, for peers as for
ours, at δ = 1e-5. Whom they learn from: `people`; who the others are: `others`. One split and one noise a seed, the same for all.
Not here: what privacy costs each of our trainers (`cost`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from engine.trainers import twins
from tests import labelled, populations
from tests.benchmarks import others, ours, people
from tests.benchmarks.others import DELTA, DIFFPRIVLIB, DP_EBM, OPACUS, Centres, Clusterer, Features, Other, Ranker
from tests.labelled import Labelled

SEEDS = 20
EPSILONS = (0.1, 0.5, 1.0)
"""Of clusters; propensities are compared at the last of them."""

RESTARTS = 20
"""Of the k-means that inertia is compared with."""


CLUSTERERS: tuple[tuple[str, Clusterer, Other | None], ...] = (
    ("ours", ours.clustered, None),
    ("diffprivlib", others.diffprivlib_clusters, DIFFPRIVLIB),
    ("scikit-learn, one start, not private", others.one_start, None),
)
RANKERS: tuple[tuple[str, Ranker, Other | None], ...] = (
    ("ours", ours.ranked("auto"), None),
    ("DP-EBM", others.dp_ebm, DP_EBM),
    ("diffprivlib logistic", others.diffprivlib_logistic, DIFFPRIVLIB),
    ("Opacus network", others.opacus_network, OPACUS),
    ("logistic, not private", others.twin("logistic"), None),
    ("boosting, not private", others.twin("boosting"), None),
)


def clusters_table(seeds: int) -> None:
    """Inertia against the best of many non-private starts, and how far fits agree."""
    known = [(name, fit) for name, fit, other in CLUSTERERS if here(other)]
    rows = []
    for who, features, k in people.clustered():
        best = populations.best_inertia(features, k, RESTARTS)
        for epsilon in EPSILONS:
            cells = [who, people.size(features, k), f"{epsilon:g}"]
            for _, fit in known:
                found, seconds = timed(fit, seeds, features, k, epsilon)
                ratios = [populations.inertia(features, centres) / best for centres in found]
                middle, high = np.median(ratios), np.quantile(ratios, 0.9)
                cells.append(f"{middle:.4f} ({high:.4f}), {agreement(features, found):.3f}, {seconds:.2f} s")
            rows.append(cells)
            people.say(" | ".join(cells))
    print(f"Median (p90) of inertia ÷ best of {RESTARTS} non-private starts, agreement of fits (ARI), seconds a fit:")
    table(["people", "n × d, k", "ε", *(name for name, _ in known)], rows)


def propensity_table(seeds: int) -> None:
    """Test AUC, mean over splits, with the standard deviation."""
    known = [(name, fit) for name, fit, other in RANKERS if here(other)]
    rows = []
    for who, population in people.ranked():
        cells = [who, people.size(population.features)]
        for _, fit in known:
            areas, seconds = ranked(fit, population, EPSILONS[-1], seeds)
            cells.append(f"{np.mean(areas):.4f} ± {np.std(areas):.4f}, {seconds:.2f} s")
        rows.append(cells)
        people.say(" | ".join(cells))
    print(f"AUC on the hold-out at ε {EPSILONS[-1]:g}, mean ± standard deviation over splits, seconds a fit:")
    table(["people", "n × d", *(name for name, _ in known)], rows)


def speed_table(seeds: int) -> None:
    """How many times as long a fit takes, medians of a few in turn."""
    times = min(seeds, 5)
    features = populations.blobs(1_000_000, 10, 8, 0.25, seed=7)[0]
    own, theirs = in_turn(times, lambda s: ours.clustered(features, 8, 1.0, s), lambda s: others.one_start(features, 8, 1.0, s))
    rows = [["clusters, 1M × 10, k = 8", f"{own:.2f} s", f"scikit-learn KMeans, one start: {theirs:.2f} s", f"{theirs / own:.1f} ×"]]
    for who, population in people.ranked() if here(DP_EBM) else ():
        part = population.part(0)
        own, theirs = in_turn(
            times,
            lambda s, of=population, on=part: ours.ranked("auto")(of, on, 1.0, s),  # type: ignore[misc]
            lambda s, of=population, on=part: others.dp_ebm(of, on, 1.0, s),  # type: ignore[misc]
        )
        name = f"propensity, {who}, {people.size(population.features)}"
        rows.append([name, f"{own:.2f} s", f"DP-EBM: {theirs:.2f} s", f"{theirs / own:.1f} ×"])
    print("Seconds a fit, medians, one after the other:")
    table(["", "ours", "peer", "peer ÷ ours"], rows)


def ranked(fit: Ranker, population: Labelled, epsilon: float, seeds: int) -> tuple[list[float], float]:
    """Test AUC of one split a seed, and seconds a fit."""
    areas, seconds = [], 0.0
    for seed in range(seeds):
        part = population.part(seed)
        start = time.perf_counter()
        scores = fit(population, part, epsilon, seed)
        seconds += time.perf_counter() - start
        areas.append(labelled.auc_of(scores, population, part))
    return areas, seconds / seeds


def timed(fit: Clusterer, seeds: int, features: Features, k: int, epsilon: float) -> tuple[list[Centres], float]:
    """Centres of each seed, and seconds a fit."""
    start = time.perf_counter()
    found = [fit(features, k, epsilon, seed) for seed in range(seeds)]
    return found, (time.perf_counter() - start) / seeds


def in_turn(times: int, ours: Callable[[int], Any], theirs: Callable[[int], Any]) -> tuple[float, float]:
    """Median seconds of each, one after the other, so that a busy machine hinders both."""
    found: list[list[float]] = [[], []]
    for seed in range(times):
        for taken, fit in zip(found, (ours, theirs), strict=True):
            start = time.perf_counter()
            fit(seed)
            taken.append(time.perf_counter() - start)
    return float(np.median(found[0])), float(np.median(found[1]))


def agreement(features: Features, found: list[Centres]) -> float:
    """Median adjusted Rand index of neighbouring seeds; NaN of one."""
    from sklearn.metrics import adjusted_rand_score

    parts = [twins.nearest(features, centres) for centres in found]
    return float(np.median([adjusted_rand_score(left, right) for left, right in pairwise(parts)])) if len(parts) > 1 else float("nan")


def here(other: Other | None) -> bool:
    """Whether it is installed; says what is not."""
    if other is not None and other.missing:
        people.say(other.missing)
    return other is None or other.missing is None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As Markdown, on standard output."""
    print(f"\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


TABLES: dict[str, Callable[[int], None]] = {
    "clusters": clusters_table,
    "propensity": propensity_table,
    "speed": speed_table,
}


def main(arguments: Sequence[str]) -> None:
    """Print the tables that are asked for, or all."""
    seeds = int(arguments[0]) if arguments else SEEDS
    print(f"{seeds} seeds, δ = {DELTA:g}", flush=True)
    for name in arguments[1:] or TABLES:
        TABLES[name](seeds)


if __name__ == "__main__":
    main(sys.argv[1:])
