"""The learn stage: which trainer, at which share of the budget, and who belongs to what by the model that came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import curves
from engine.assess import Noisy
from engine.bench import Bench
from engine.models import ONE, Model
from engine.planning import Planned
from engine.stages import People, Run
from engine.trainers import clusters, logistic
from engine.trainers.clusters import Clustered
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

    `assigned` (n_subjects,): the part of each, or NOBODY. `clustered`: what else is known of clusters. `score` (n_subjects,) on the
    grid 0..65536, `threshold` on it too; `scores`: their noisy histogram. Subjects' rows never leave but through the door or the
    release gate.
    """

    model: Model
    assigned: NDArray[np.int64]
    clustered: Clustered | None = None
    score: NDArray[np.int64] | None = None
    threshold: int | None = None
    scores: Noisy | None = None

    def released(self) -> dict[str, Any]:
        """The model as JSON: everything in it went through the door."""
        return self.model.facts() | ({} if self.threshold is None else {"threshold": self.threshold})


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
            return Learned(clustered.model, clustered.model.assign(people.features), clustered)
        case Propensity(threshold=fixed, top=top):
            scorer = logistic.fit(cohort, run.grants["train"], bench.noise, bench.progress)
            score = scorer.score(people.features)
            histogram = curves.scores(people.cohort(run.meter, score=score), run.grants["scores"], bench.noise)
            threshold = round(fixed * ONE) if fixed else curves.threshold(histogram, top or 1.0)
            return Learned(scorer, np.where(score >= threshold, 0, NOBODY), None, score, threshold, histogram)
