"""What every training does, wherever rows are: fit a model through the door, and read from the door where its scores are cut.

`fit`, then the model is shown to the cohort (`segment`, `score`), then `cut`. Everything here is released. Not here: deep models, which are
not learned from sums, and who belongs to what (`engine.learning`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine import curves, ranked, trial
from engine.assess import Noisy
from engine.forecast_scores import AUTOMATIC
from engine.models import ONE, Explained, Model
from engine.ranked import Ranked
from engine.scale import UNIT
from engine.trainers import clusters, learners, projecting, regression, uplift
from engine.trainers.clusters import Clustered
from engine.trainers.learners import Learner
from engine.trainers.regression import LinearModel, Valued
from engine.trainers.uplift import Trial, UpliftModel
from engine.wanted import Wanted
from governance.door import Cohort, Grant
from governance.noise import NoiseSource
from policies.segment import Clusters, KRange, Propensity, Uplift, Value

STEPS = 9
"""Rounds of the door that a trainer may take, and so the steps that it reports; of a propensity see `engine.trainers.learners`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trained:
    """A released model. `clustered`: what else is known of clusters; `threshold` on the grid 0..65536 of scores; `scores` of a propensity,
    `ranked` of others: their noisy histogram; `valued`, `trial`: what else is known of a value or an uplift."""

    model: Model
    clustered: Clustered | None = None
    threshold: int | None = None
    scores: Noisy | None = None
    ranked: Ranked | None = None
    valued: Valued | None = None
    trial: Trial | None = None

    def released(self) -> dict[str, Any]:
        """The model as JSON: everything in it went through the door."""
        return self.model.facts() | ({} if self.threshold is None else {"threshold": self.threshold})


def steps(model: Clusters | Propensity | Value | Uplift) -> int:
    """Steps that training from sums reports at most: which learner the forecast takes, is known later."""
    if not isinstance(model, Propensity):
        return STEPS
    names = AUTOMATIC if model.learner == "auto" else (model.learner,)
    return max(learners.ROUNDS.get(name, STEPS) for name in names)


def fit(
    wanted: Wanted, learner: Learner | None, cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]
) -> Trained:
    """The model, without its threshold yet. `grant` is used up; `learner`: of a propensity.

    Raises Refused for a trial that cannot teach.
    """
    match wanted.model:
        case Clusters(k=k, prepare=columns, method=method):
            asked = (k.least, k.most) if isinstance(k, KRange) else k
            prune, components = (columns.prune, columns.components) if columns else (None, None)
            seen, grant = projecting.prepared(cohort, prune, components, grant, noise, progress)
            clustered = clusters.fit(seen, asked, grant, noise, progress, 0, method, wanted.floor)
            clustered = replace(clustered, model=projecting.of_features(clustered.model, seen))
            return Trained(model=clustered.model, clustered=clustered)
        case Propensity():
            assert learner is not None  # whoever wants a propensity has chosen one
            return Trained(model=learners.fit(learner, cohort, grant, noise, progress))
        case Value():
            valued = regression.fit(cohort, wanted.number.scale, grant, noise, progress)
            return Trained(model=valued.model, valued=valued)
        case Uplift():
            tried = uplift.fit(cohort, grant, noise, progress)
            trial.gate(wanted, tried.balance)
            return Trained(model=tried.model, trial=tried)


def cut(wanted: Wanted, trained: Trained, cohort: Cohort, grants: Mapping[str, Grant], noise: NoiseSource) -> Trained:
    """With the threshold of a score, by its noisy histogram; clusters have none, and nothing is asked. Reads `score`."""
    match wanted.model:
        case Clusters():
            return trained
        case Propensity(threshold=fixed, top=top):
            assert isinstance(trained.model, Explained)  # what learners give
            histogram = curves.scores(cohort, grants["scores"], noise)
            threshold = round(fixed * ONE) if fixed else curves.threshold(histogram, top or 1.0)
            return replace(trained, threshold=threshold, scores=histogram)
        case Value(above=above, top=top):
            least = None if above is None else int(wanted.number.scale.encode(np.array([float(above)]))[0]) + UNIT
        case Uplift(above=above, top=top):
            least = None if above is None else round((above + 1) / 2 * ONE)
    assert isinstance(trained.model, LinearModel | UpliftModel)  # what regressions give
    everybody = ranked.ranked(cohort, trained.model.edges(ranked.BINS), grants["scores"], noise)
    return replace(trained, threshold=everybody.threshold(top or 1.0) if least is None else least, ranked=everybody)
