"""The learn stage: which trainer, at which share of the budget, and who belongs to what by the model that came out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import curves, deep_training, ranked, trial
from engine.assess import Noisy
from engine.bench import Bench
from engine.forecast_scores import AUTOMATIC
from engine.models import ONE, Explained, Model
from engine.planning import Planned, learner_at
from engine.ranked import Ranked
from engine.scale import UNIT
from engine.stages import People, Run, label_scale
from engine.trainers import clusters, learners, projecting, regression, uplift
from engine.trainers.clusters import Clustered
from engine.trainers.regression import LinearModel, Valued
from engine.trainers.uplift import Trial, UpliftModel
from policies.segment import Clusters, KRange, Propensity, Segment, Uplift, Value

TRAINING_STEPS = 9
"""Rounds of the door that a trainer may take, and so the steps that it reports; of a propensity see `engine.trainers.learners`."""

NOBODY = -1
"""Part of whoever is in no segment."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A released model, and inside the governed process what it says of each subject.

    `assigned` (n_subjects,): the part of each, or NOBODY. `clustered`: what else is known of clusters. `score` (n_subjects,) on the
    grid 0..65536, `threshold` on it too; `scores` of a propensity, `ranked` of others: their noisy histogram; `valued`, `trial`: what else
    is known of a value or an uplift. Subjects' rows never leave but through the door or the
    release gate.
    """

    model: Model
    assigned: NDArray[np.int64]
    clustered: Clustered | None = None
    score: NDArray[np.int64] | None = None
    threshold: int | None = None
    scores: Noisy | None = None
    ranked: Ranked | None = None
    valued: Valued | None = None
    trial: Trial | None = None

    def released(self) -> dict[str, Any]:
        """The model as JSON: everything in it went through the door."""
        return self.model.facts() | ({} if self.threshold is None else {"threshold": self.threshold})


def training_steps(spec: Segment) -> int:
    """Steps that the trainer of a segment reports at most: which learner the forecast takes, the plan shows."""
    if not isinstance(spec.model, Propensity):
        return TRAINING_STEPS + (deep_training.STEPS if spec.deep else 0)
    asked = spec.model.learner
    if asked == "network":
        return deep_training.STEPS
    names = AUTOMATIC if asked == "auto" else (asked,)
    return max(learners.ROUNDS.get(name, TRAINING_STEPS) for name in names)


def learn(bench: Bench, plan: Planned, people: People, run: Run) -> Learned:
    """Train through the door, then apply the released model to everybody."""
    spec = plan.prepared.spec
    cohort = people.cohort(run.meter)
    match spec.model:
        case Clusters(k=k, prepare=wanted_columns, method=method, embed=embed):
            wanted = (k.least, k.most) if isinstance(k, KRange) else k
            prune, components = (wanted_columns.prune, wanted_columns.components) if wanted_columns else (None, None)
            shown, grant, embedding = deep_training.embedded(bench, spec, people, run) if embed else (cohort, run.grants["train"], None)
            seen, grant = projecting.prepared(shown, prune, components, grant, bench.noise, bench.progress)
            floor = plan.prepared.policy.cohort_floor
            clustered = clusters.fit(seen, wanted, grant, bench.noise, bench.progress, 0, method, floor)
            clustered = replace(clustered, model=deep_training.of_features(projecting.of_features(clustered.model, seen), embedding))
            return Learned(clustered.model, clustered.model.assign(people.features), clustered)
        case Propensity(threshold=fixed, top=top):
            learner, grant = learner_at(plan.prepared, plan.snapshot).learner, run.grants["train"]
            if learner == "network":
                scorer: Explained = deep_training.network_of(bench, spec, people, run)
            else:
                scorer = learners.fit(learner, cohort, grant, bench.noise, bench.progress)
            score = scorer.score(people.features)
            histogram = curves.scores(people.cohort(run.meter, score=score), run.grants["scores"], bench.noise)
            threshold = round(fixed * ONE) if fixed else curves.threshold(histogram, top or 1.0)
            return Learned(scorer, np.where(score >= threshold, 0, NOBODY), None, score, threshold, histogram)
        case Value(above=above, top=top):
            assert spec.label is not None  # no value without one
            scale = label_scale(spec.label)
            valued = regression.fit(cohort, scale, run.grants["train"], bench.noise, bench.progress)
            fixed = None if above is None else int(scale.encode(np.array([float(above)]))[0]) + UNIT
            return replace(_ranked(bench, people, run, valued.model, fixed, top), valued=valued)
        case Uplift(above=above, top=top):
            tried = uplift.fit(cohort, run.grants["train"], bench.noise, bench.progress)
            trial.gate(plan.prepared, tried.balance)
            fixed = None if above is None else round((above + 1) / 2 * ONE)
            return replace(_ranked(bench, people, run, tried.model, fixed, top), trial=tried)


def _ranked(bench: Bench, people: People, run: Run, model: LinearModel | UpliftModel, fixed: int | None, top: float | None) -> Learned:
    """Everybody's score, its noisy histogram, and who is selected: from the score `fixed` on, or the `top` share."""
    score = model.score(people.features)
    cohort = people.cohort(run.meter, score=score)
    everybody = ranked.ranked(cohort, model.edges(ranked.BINS), run.grants["scores"], bench.noise)
    threshold = everybody.threshold(top or 1.0) if fixed is None else fixed
    return Learned(model, np.where(score >= threshold, 0, NOBODY), score=score, threshold=threshold, ranked=everybody)
