"""What is told of scores: who is selected by which rule, how well they rank and how honest they are, through the door."""

from __future__ import annotations

import numpy as np

from audit.report import Coefficient, Figure
from audit.report import Propensity as PropensityPage
from engine import assess as door
from engine import curves
from engine.bench import Bench
from engine.learning import Learned
from engine.models import ONE
from engine.parts import Part, part_of
from engine.planning import Planned
from engine.stages import Run
from engine.trainers.logistic import LogisticModel
from governance.door import Cohort
from governance.door import Part as DoorPart
from policies.segment import Propensity


def selected(bench: Bench, plan: Planned, learned: Learned, run: Run, cohort: Cohort) -> tuple[Part, ...]:
    """The one part of a score, with its noisy size."""
    model = plan.prepared.spec.model
    assert isinstance(model, Propensity)
    size = door.sizes(cohort, 1, run.grants["sizes"], bench.noise)
    threshold = (learned.threshold or 0) / ONE
    rule = f"probability from {threshold:.3f}" + (f", which the likeliest {100 * model.top:g} % reach" if model.top else "")
    return (part_of(plan, "likely", rule, float(size.values[0]), size.sigma, float(size.values[0]) / max(plan.snapshot.admitted, 1.0)),)


def ranked(bench: Bench, plan: Planned, learned: Learned, run: Run, cohort: Cohort) -> tuple[tuple[Figure, ...], PropensityPage]:
    """AUC with its interval, calibration, and what the page shows of them."""
    assert learned.scores is not None and isinstance(learned.model, LogisticModel)
    curve = curves.curve(cohort, learned.scores, run.grants["curve"], bench.noise)
    area, gap = curves.auc(curve), curves.calibration_gap(curve)
    whom = "on the hold-out" if curve.part is DoorPart.HOLDOUT else "on everybody, because noise would drown the hold-out alone"
    utility = (
        Figure("AUC", f"chance that somebody with the label scores above somebody without, {whom}", area.value, (area.low, area.high)),
        Figure("calibration gap", f"observed rate less the mean prediction, {whom}", gap.value, (gap.low, gap.high)),
    )
    ends = np.concatenate([[0.0], curves.score_edges() / ONE, [1.0]])
    spec, effects = plan.prepared.spec, 2 * learned.model.coefficients[:-1]
    strongest = sorted(zip(spec.features, effects, strict=True), key=lambda pair: -abs(pair[1]))
    page = PropensityPage(
        rule=rule_of(spec.model, learned),
        threshold=(learned.threshold or 0) / ONE,
        edges=tuple(float(e) for e in ends),
        counts=tuple(float(c) for c in learned.scores.values),
        roc=curves.roc(curve),
        calibration=curves.calibration(curve),
        coefficients=tuple(Coefficient(name, float(effect)) for name, effect in strongest),
    )
    return utility, page


def ranking(area: Figure) -> str:
    """AUC in words; without a number where nothing is known of it."""
    low, high = area.interval or (0.0, 1.0)
    if (low, high) == (0.0, 1.0):
        return "AUC cannot be told: too few with the label, or without it, or too much noise"
    return f"AUC {area.value:.2f} ({low:.2f} to {high:.2f})"


def rule_of(model: object, learned: Learned) -> str:
    """Who is selected, in words."""
    top = model.top if isinstance(model, Propensity) else None
    return f"the likeliest {100 * top:g} %" if top else f"probability of at least {(learned.threshold or 0) / ONE:.2f}"
