"""The learn stage: which trainer, at which share of the budget, and who belongs to what by the model that came out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from engine import deep_training, training
from engine.bench import Bench
from engine.models import Partition
from engine.planning import Planned, learner_at
from engine.stages import People, Run
from engine.training import Trained
from engine.wanted import wanted
from governance.door import Cohort, Column
from policies.segment import Clusters, Propensity, Segment

NOBODY = -1
"""Part of whoever is in no segment."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Learned(Trained):
    """What was trained, and inside the governed process what it says of each subject.

    `assigned` (n_subjects,): the part of each, or NOBODY; `score` (n_subjects,) on the grid 0..65536. Subjects' rows never leave but
    through the door or the release gate.
    """

    assigned: NDArray[np.int64]
    score: NDArray[np.int64] | None = None

    @property
    def columns(self) -> dict[str, Column]:
        """What assessment is shown of it, beside features and label."""
        return {"segment": self.assigned} if self.score is None else {"segment": self.assigned, "score": self.score}


def training_steps(spec: Segment) -> int:
    """Steps that the trainer of a segment reports at most: which learner the forecast takes, the plan shows."""
    if isinstance(spec.model, Propensity) and spec.deep:
        return deep_training.STEPS
    return training.steps(spec.model) + (deep_training.STEPS if spec.deep else 0)


def learn(bench: Bench, plan: Planned, people: People, run: Run) -> Learned:
    """Train through the door, then apply the released model to everybody."""
    trained = _trained(bench, plan, people, run)
    if isinstance(trained.model, Partition):
        return _learned(trained, trained.model.assign(people.features))
    score = trained.model.score(people.features)
    trained = training.cut(wanted(plan), trained, people.cohort(run.meter, score=score), run.grants, bench.noise)
    return _learned(trained, np.where(score >= (trained.threshold or 0), 0, NOBODY), score)


def _trained(bench: Bench, plan: Planned, people: People, run: Run) -> Trained:
    spec, grant = plan.prepared.spec, run.grants["train"]
    cohort: Cohort = people.cohort(run.meter)
    match spec.model:
        case Clusters(embed=embed) if embed:
            cohort, grant, embedding = deep_training.embedded(bench, spec, people, run)
            trained = training.fit(wanted(plan), None, cohort, grant, bench.noise, bench.progress)
            assert trained.clustered is not None  # what clusters give
            model = deep_training.of_features(trained.clustered.model, embedding)
            return Trained(model=model, clustered=replace(trained.clustered, model=model))
        case Propensity():
            learner = learner_at(plan.prepared, plan.snapshot).learner
            if learner == "network":
                return Trained(model=deep_training.network_of(bench, spec, people, run))
            return training.fit(wanted(plan), learner, cohort, grant, bench.noise, bench.progress)
    return training.fit(wanted(plan), None, cohort, grant, bench.noise, bench.progress)


def _learned(trained: Trained, assigned: NDArray[np.int64], score: NDArray[np.int64] | None = None) -> Learned:
    return Learned(**{each.name: getattr(trained, each.name) for each in fields(Trained)}, assigned=assigned, score=score)
