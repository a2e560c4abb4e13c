"""Prints how often a build is as good as its forecast said: `python -m tests.benchmarks.forecast [SEEDS]`.

Clusters and propensities: tables of people, of which none was used to fit the forecast, whole and in samples of some sizes, with some k
and ε; propensities with the learner that `auto` takes, at the share of a build that training gets.
"""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from engine.forecast import forecast_clusters
from engine.forecast_scores import chosen, forecast_propensity
from engine.shares import PROPENSITY_SHARES
from governance.accounting import mu_squared_of
from governance.noise import SystemNoise
from tests.benchmarks.clusters import private, real
from tests.labelled import Labelled, credit, losses, visits
from tests.populations import best_inertia, inertia

SIZES = (500, 1_500, 5_000, 15_000, 50_000)
EPSILONS = (0.2, 0.5, 1.0, 2.0)
ASKED = (3, 5, 8)
"""Numbers of clusters."""

LOOKED_AT = ("CDNOW", "shoppers")
"""Tables that the forecast's interval was fitted to."""


def clusters(folder: Path, seeds: int) -> None:
    """One line a table: of how many builds the inertia ratio lay within the interval, and on which side the others lay."""
    print(f"{'population':24} builds  within   below   above   refused (seeds: {seeds})")
    every = []
    for case in (case for case in real(folder) if not case.name.startswith(LOOKED_AT)):
        features = case.features()
        found, refused = [], 0
        for n in [size for size in SIZES if size < len(features)] + [len(features)]:
            rows = features[np.random.default_rng(n).choice(len(features), n, replace=False)]
            for k in ASKED:
                best = best_inertia(rows, k, restarts=5)
                for epsilon in EPSILONS:
                    forecast = forecast_clusters(n, 0.0, rows.shape[1], k, mu_squared_of(epsilon, 1e-5))
                    if forecast.verdict == "noise":  # nothing is built
                        refused += 1
                        continue
                    for seed in range(seeds):
                        ratio = max(inertia(rows, private(rows, k, epsilon, SystemNoise(), seed).model.centres) / best, 1.0)
                        found.append((ratio > forecast.interval[1]) - (ratio < forecast.interval[0]))
        every += found
        _line(case.name, np.array(found), str(refused))
    _line("all", np.array(every), "")


def propensities(folder: Path, seeds: int) -> None:
    """The same of the loss of AUC against non-private logistic regression."""
    print(f"\n{'population':24} builds  within   below   above   refused (seeds: {seeds})")
    share = Fraction(PROPENSITY_SHARES["train"]) / Fraction(sum(PROPENSITY_SHARES.values()))
    every = []
    for name, population in (("credit card holders", credit(folder)), ("Hillstrom visits", visits(folder))):
        found, refused = [], 0
        d = population.features.shape[1]
        for n in [size for size in SIZES if size < len(population.label)] + [len(population.label)]:
            rows = np.random.default_rng(n).choice(len(population.label), n, replace=False)
            some = Labelled(population.features[rows], population.label[rows])
            for epsilon in EPSILONS:
                mu_squared = mu_squared_of(epsilon, 1e-5)
                choice = chosen("auto", n, d, mu_squared)
                forecast = forecast_propensity(n, d, mu_squared, choice)
                if forecast.verdict == "noise":
                    refused += 1
                    continue
                assert choice.learner != "network"  # auto takes none
                lost = losses(some, mu_squared * share, [SystemNoise()] * seeds, choice.learner)
                found += [int(loss > forecast.interval[1]) - int(loss < forecast.interval[0]) for loss in lost]
        every += found
        _line(name, np.array(found), str(refused))
    _line("all", np.array(every), "")


def _line(name: str, found: np.ndarray, refused: str) -> None:
    shares = (float((found == side).mean()) for side in (0, -1, 1))
    print(f"{name:24} {len(found):6} " + " ".join(f"{share:7.1%}" for share in shares) + f"   {refused}", flush=True)


def main() -> None:
    """Print the tables."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if folder := os.environ.get("CONSENTRIC_DATA_DIR"):
        clusters(Path(folder), seeds)
        propensities(Path(folder), seeds)
    else:
        print("set CONSENTRIC_DATA_DIR: the forecast is tested on tables of people")


if __name__ == "__main__":
    main()
