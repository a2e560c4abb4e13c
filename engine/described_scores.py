"""What is told of scores: who is selected by which rule, how well they rank and how honest they are, through the door."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from audit.report import Coefficient, Figure, Profile
from audit.report import Propensity as PropensityPage
from engine import curves
from engine.models import ONE, Explained
from engine.training import Trained
from engine.wanted import Wanted
from governance.door import Array, Cohort, Grant
from governance.door import Part as DoorPart
from governance.noise import NoiseSource
from policies.segment import Propensity

MIXED = 0.25
"""Share of a curve's way against its trend from which on it has none."""

_GIVES = "the probability that somebody does what the segment is about"
_ALONE = "What is told of a feature here is what it adds by itself."
_HOW = {
    "logistic": f"A weighted sum of the features gives {_GIVES}.",
    "additive": f"Every feature adds something by a curve of its own; together they give {_GIVES}.",
    "boosting": f"Many small trees, added up, give {_GIVES}. {_ALONE}",
    "network": f"A neural network gives {_GIVES}. {_ALONE}",
    "hybrid": f"A curve for every feature, and many small trees in which features act on each other, together give {_GIVES}. {_ALONE}",
}


def selected(wanted: Wanted, trained: Trained) -> tuple[str, str]:
    """Name of the one part of a score, and who is in it."""
    assert isinstance(wanted.model, Propensity)
    top = wanted.model.top
    rule = f"probability from {(trained.threshold or 0) / ONE:.3f}"
    return "likely", rule + (f", which the likeliest {100 * top:g} % reach" if top else "")


def ranked(wanted: Wanted, trained: Trained, cohort: Cohort, grant: Grant, noise: NoiseSource) -> tuple[tuple[Figure, ...], PropensityPage]:
    """AUC with its interval, calibration, and what the page shows of them."""
    assert trained.scores is not None and isinstance(trained.model, Explained)
    curve = curves.curve(cohort, trained.scores, grant, noise)
    area, gap = curves.auc(curve), curves.calibration_gap(curve)
    whom = "on the hold-out" if curve.part is DoorPart.HOLDOUT else "on everybody, because noise would drown the hold-out alone"
    utility = (
        Figure("AUC", f"chance that somebody with the label scores above somebody without, {whom}", area.value, (area.low, area.high)),
        Figure("calibration gap", f"observed rate less the mean prediction, {whom}", gap.value, (gap.low, gap.high)),
    )
    ends = np.concatenate([[0.0], curves.score_edges() / ONE, [1.0]])
    page = PropensityPage(
        rule=rule_of(wanted.model, trained),
        threshold=(trained.threshold or 0) / ONE,
        edges=tuple(float(e) for e in ends),
        counts=tuple(float(c) for c in trained.scores.values),
        roc=curves.roc(curve),
        calibration=curves.calibration(curve),
        coefficients=(),
        how=_HOW[trained.model.facts()["kind"]],
    )
    return utility, page


def effects(model: Explained, profiles: Sequence[Profile]) -> tuple[Coefficient, ...]:
    """What each feature does to the score by itself, the strongest first: released curves, laid over released profiles."""
    found = []
    for profile, curve in zip(profiles, model.curves(), strict=True):
        selected = np.maximum(profile.histograms[0], 0.0)
        everybody = selected + np.maximum(profile.rest, 0.0)
        adds = curve.reshape(len(selected), -1).mean(axis=1)  # a profile has fewer bins
        mean = _mean(adds, everybody)
        found.append(
            Coefficient(
                feature=profile.feature,
                effect=float(curve[-1] - curve[0]),
                strength=math.sqrt(_mean((adds - mean) ** 2, everybody)),
                selected=_mean(adds, selected) - mean,
                curve=tuple(float(each) for each in curve),
                ends=(profile.edges[0], profile.edges[-1]),
                unit=profile.unit,
                trend=_trend(curve),
            )
        )
    return tuple(sorted(found, key=lambda each: -each.strength))


def _mean(values: Array, weights: Array) -> float:
    return float(values @ weights / max(float(weights.sum()), 1e-9))


def _trend(curve: Array) -> str:
    """Which way a curve goes, in words for whoever it is about."""
    moves = np.diff(curve)
    up, down = float(moves[moves > 0].sum()), -float(moves[moves < 0].sum())
    if min(up, down) > MIXED * max(up, down):
        return "depends on the value, up and down"
    return "more likely the larger it is" if up >= down else "less likely the larger it is"


def ranking(area: Figure) -> str:
    """AUC in words; without a number where nothing is known of it."""
    low, high = area.interval or (0.0, 1.0)
    if (low, high) == (0.0, 1.0):
        return "AUC cannot be told: too few with the label, or without it, or too much noise"
    return f"AUC {area.value:.2f} ({low:.2f} to {high:.2f})"


def rule_of(model: object, trained: Trained) -> str:
    """Who is selected, in words."""
    top = model.top if isinstance(model, Propensity) else None
    return f"the likeliest {100 * top:g} %" if top else f"probability of at least {(trained.threshold or 0) / ONE:.2f}"
