"""Our trainers on arrays, as a build calls them, in the shape of `tests.benchmarks.others`: the whole ε is theirs, and all is paid."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine import assess
from engine.forecast_scores import chosen
from engine.trainers import clusters, learners
from engine.trainers.partitions import Labels
from governance.accounting import mu_squared_of
from governance.door import Column, Grant, LocalCohort, MemoryMeter
from governance.noise import SystemNoise
from policies.segment import Learner
from tests.benchmarks.others import DELTA, Centres, Features, Ranker, Scores
from tests.labelled import Labelled

COUNT = 0.02
"""Share of μ² for a noisy count of people, by which `auto` chooses; a build takes it from the snapshot, which is paid apart."""

HARDLY = Fraction(400)
"""μ² that is worth no privacy: noise of a twentieth of one subject."""


def clustered(features: Features, k: int, epsilon: float, seed: int) -> Centres:
    """Centres."""
    cohort, grant = _door(epsilon, features=features)
    return np.asarray(clusters.fit(cohort, k, grant, SystemNoise(), lambda _: None, seed).model.centres)


def parts(features: Features, k: int, epsilon: float | None, seed: int, method: clusters.MethodName) -> Labels:
    """The part of each, made in another way; without an ε, with hardly any noise."""
    cohort, grant = _door(epsilon, features=features)
    return clusters.fit(cohort, k, grant, SystemNoise(), lambda _: None, seed, method).model.assign(features)


def ranked(asked: Learner) -> Ranker:
    """A propensity by one learner, or by the one that `auto` takes."""

    def rank(population: Labelled, part: NDArray[np.int8], epsilon: float, seed: int) -> Scores:
        n, d = population.features.shape
        columns = {"features": population.features, "label": population.label, "part": part, "segment": np.zeros(n, np.int64)}
        cohort, grant = _door(epsilon, **columns)
        learner = asked
        if asked == "auto":
            shares = grant.split(count=COUNT, train=1 - COUNT)
            count = float(assess.sizes(cohort, 1, shares["count"], SystemNoise()).values[0])
            learner, grant = chosen("auto", count, d, grant.mu_squared).learner, shares["train"]
        model = learners.fit(learner, cohort, grant, SystemNoise(), lambda _: None)
        return model.score(population.features).astype(np.float64)

    return rank


def _door(epsilon: float | None, **columns: Column) -> tuple[LocalCohort, Grant]:
    meter = MemoryMeter(HARDLY if epsilon is None else mu_squared_of(epsilon, DELTA))
    return LocalCohort(columns, meter), meter.grant()
