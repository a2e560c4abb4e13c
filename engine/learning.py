"""The learn stage: which trainer, at which share of the budget, and who belongs to what by the model that came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import clusters, curves, propensity
from engine.assess import Noisy
from engine.bench import Bench
from engine.clusters import ClusterModel
from engine.planning import Planned
from engine.propensity import PropensityModel
from engine.stages import People, Run
from policies.segment import Clusters, KRange, Propensity, Segment

TRAINING_STEPS = 9
"""Rounds of the door that a trainer may take, and so the steps that it reports."""

CLUSTER_SHARES = {"train": 88.0, "profiles": 7.0, "flags": 1.0, "fairness": 4.0}
PROPENSITY_SHARES = {"train": 65.0, "scores": 4.0, "curve": 14.0, "profiles": 5.0, "sizes": 2.0, "flags": 1.0, "fairness": 9.0}
"""Shares of a build's μ²; what a segment does not ask for goes to the others in proportion."""

NOBODY = -1
"""Part of whoever is in no segment."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A released model, and inside the governed process what it says of each subject.

    `assigned` (n_subjects,): the part of each, or NOBODY. `score` (n_subjects,) probability on the grid 0..65536.
    `threshold` on the same grid; `scores`: their noisy histogram. Subjects' rows never leave but through the door or the release gate.
    """

    model: ClusterModel | PropensityModel
    assigned: NDArray[np.int64]
    score: NDArray[np.int64] | None = None
    threshold: int | None = None
    scores: Noisy | None = None

    def released(self) -> dict[str, Any]:
        """The model as JSON: everything in it went through the door."""
        match self.model:
            case ClusterModel(centres=centres, prototypes=prototypes, weights=weights):
                return {"centres": centres.tolist(), "prototypes": prototypes.tolist(), "weights": weights.tolist()}
            case PropensityModel() as model:
                return {"weights": model.weights.tolist(), "threshold": self.threshold}


def shares_of(spec: Segment) -> dict[str, float]:
    """Shares of the budget, without those that `spec` has no use for."""
    shares = dict(CLUSTER_SHARES if isinstance(spec.model, Clusters) else PROPENSITY_SHARES)
    if not spec.fairness:
        del shares["fairness"]
    return shares


def learn(bench: Bench, plan: Planned, people: People, run: Run) -> Learned:
    """Train through the door, then apply the released model to everybody."""
    spec = plan.prepared.spec
    cohort = people.cohort(run.meter)
    match spec.model:
        case Clusters(k=k):
            wanted = (k.least, k.most) if isinstance(k, KRange) else k
            clustered = clusters.fit(cohort, wanted, run.grants["train"], bench.noise, bench.progress, seed=0)
            return Learned(clustered, clusters.assign(clustered, people.features))
        case Propensity(threshold=fixed, top=top):
            scorer = propensity.fit(cohort, run.grants["train"], bench.noise, bench.progress)
            score = propensity.score(scorer, people.features)
            histogram = curves.scores(people.cohort(run.meter, score=score), run.grants["scores"], bench.noise)
            threshold = round(fixed * propensity.ONE) if fixed else curves.threshold(histogram, top or 1.0)
            return Learned(scorer, np.where(score >= threshold, 0, NOBODY), score, threshold, histogram)
