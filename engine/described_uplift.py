"""What is told of an uplift: who is persuadable by which rule, how well the model finds them, and whether the arms were alike."""

from __future__ import annotations

import numpy as np

from audit.report import Figure
from audit.uplift_page import Slope
from audit.uplift_page import Uplift as UpliftPage
from engine import ranked, trial, uplift_curves
from engine.models import ONE
from engine.trainers.uplift import UpliftModel
from engine.training import Trained
from engine.wanted import Wanted
from governance.door import Array, Cohort, Grant
from governance.noise import NoiseSource
from policies.segment import Uplift

POINTS = 100.0
"""Uplift is shown in percentage points."""


def selected(wanted: Wanted, trained: Trained) -> tuple[str, str]:
    """Name of the one part of an uplift, and who is in it."""
    return "persuadable", rule_of(wanted, trained)


def compared(wanted: Wanted, trained: Trained, cohort: Cohort, grant: Grant, noise: NoiseSource) -> tuple[tuple[Figure, ...], UpliftPage]:
    """Qini coefficient, effects with intervals, and what the page shows of them."""
    assert trained.trial is not None and trained.ranked is not None and trained.threshold is not None
    model, everybody = trained.trial.model, trained.ranked
    found = uplift_curves.table(cohort, everybody, trained.threshold, grant, noise)
    qini, mean, chosen = uplift_curves.qini(found), uplift_curves.average(found), uplift_curves.selected(found)
    about = ranked.words(found.part)
    utility = (
        Figure(
            "Qini",
            f"outcomes added per treated subject, above treating at random, over all shares treated, {about}",
            qini.value,
            (qini.low, qini.high),
        ),
        Figure("average effect", f"rate of the outcome among treated less that among control, {about}", mean.value, (mean.low, mean.high)),
        Figure("effect among the selected", f"the same, among whoever is selected, {about}", chosen.value, (chosen.low, chosen.high)),
    )
    points = POINTS * uplift_of(everybody.edges)
    predicted = everybody.means(found.cuts, (points[1:] + points[:-1]) / 2)
    observed = uplift_curves.banded(found)
    page = UpliftPage(
        rule=rule_of(wanted, trained),
        trial=trial.words(trained.trial.balance),
        about=about,
        gains=tuple((float(share), float(added)) for share, added in uplift_curves.gains(found.counts.values)),
        bands=tuple((float(p), POINTS * o.value, POINTS * o.low, POINTS * o.high) for p, o in zip(predicted, observed, strict=True)),
        slopes=_slopes(wanted, model),
    )
    return utility, page


def ranking(qini: Figure) -> str:
    """The Qini coefficient in words; without a number where nothing is known of it."""
    low, high = qini.interval or (-1.0, 1.0)
    if (low, high) == (-1.0, 1.0):
        return "the uplift cannot be told: too few in an arm, or too much noise"
    return f"Qini {qini.value:.4f} ({low:.4f} to {high:.4f})"


def uplift_of(scores: Array) -> Array:
    """From the grid of scores to −1 … 1."""
    return np.asarray(2 * scores / ONE - 1)


def rule_of(wanted: Wanted, trained: Trained) -> str:
    """Who is selected, in words."""
    model = wanted.model
    assert isinstance(model, Uplift) and trained.threshold is not None
    least = POINTS * float(uplift_of(np.array([trained.threshold]))[0])
    rule = f"a predicted uplift of at least {least:.2f} percentage points"
    return rule + (f", which the {100 * model.top:g} % who are most persuadable reach" if model.top else "")


def _slopes(wanted: Wanted, model: UpliftModel) -> tuple[Slope, ...]:
    effects, errors = 2 * POINTS * model.slopes[:-1], 2 * POINTS * model.error[:-1]
    return tuple(Slope(name, float(effect), float(error)) for name, effect, error in zip(wanted.features, effects, errors, strict=True))
