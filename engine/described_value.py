"""What is told of a predicted number: who is selected by which rule, how well predictions rank, and whether they come true."""

from __future__ import annotations

import numpy as np

from audit.report import Figure
from audit.uplift_page import Slope
from audit.value_page import Value as ValuePage
from audit.wording import number
from engine import ranked, value_curves
from engine.scale import UNIT, Scale
from engine.trainers.regression import WORTH_BITS, worth_of
from engine.training import Trained
from engine.wanted import Wanted
from governance.door import Array, Cohort, Grant
from governance.noise import NoiseSource
from policies.segment import Value


def selected(wanted: Wanted, trained: Trained) -> tuple[str, str]:
    """Name of the one part of a value, and who is in it."""
    return "most valuable", rule_of(wanted, trained)


def compared(wanted: Wanted, trained: Trained, cohort: Cohort, grant: Grant, noise: NoiseSource) -> tuple[tuple[Figure, ...], ValuePage]:
    """Concordance, predicted against observed, and what the page shows of them."""
    assert trained.valued is not None and trained.ranked is not None and trained.threshold is not None
    valued, everybody, scale, unit = trained.valued, trained.ranked, wanted.number.scale, wanted.number.unit
    worth = worth_of(scale)
    found = value_curves.table(cohort, everybody, trained.threshold, valued.edges, worth, valued.cap, grant, noise)
    cap = float(worth[valued.cap]) / 2.0**WORTH_BITS * (scale.high - scale.low)  # in units of the label, above its lower bound

    def shown(share: float) -> float:
        return scale.low + cap * share

    points = money(scale, everybody.edges)
    predicted = everybody.means(found.cuts, (points[1:] + points[:-1]) / 2)
    average = float(everybody.means(np.zeros(0), (points[1:] + points[:-1]) / 2)[0])
    observed, overall, about = value_curves.observed(found), value_curves.overall(found), ranked.words(found.part)
    order, brought = value_curves.concordance(found), value_curves.brought(found)
    utility = (
        Figure(
            "concordance",
            f"chance that of two with different labels the one with more scores higher, {about}",
            order.value,
            (order.low, order.high),
        ),
        Figure(
            "calibration gap",
            f"mean observed less mean predicted{f' in {unit}' if unit else ''}, {about}",
            shown(overall.value) - average,
            (shown(overall.low) - average, shown(overall.high) - average),
        ),
        Figure(
            "share brought",
            f"of all that the label adds up to, what the selected bring, {about}",
            brought.value,
            (brought.low, brought.high),
        ),
    )
    page = ValuePage(
        rule=rule_of(wanted, trained),
        capped=f"whatever exceeds {number(shown(1.0))}{f' {unit}' if unit else ''} counts as that, so that noise need not hide more",
        about=about,
        unit=unit,
        bands=tuple((float(p), shown(o.value), shown(o.low), shown(o.high)) for p, o in zip(predicted, observed, strict=True)),
        slopes=_slopes(wanted, trained),
    )
    return utility, page


def ranking(concordance: Figure) -> str:
    """Concordance in words; without a number where nothing is known of it."""
    low, high = concordance.interval or (0.0, 1.0)
    if (low, high) == (0.0, 1.0):
        return "concordance cannot be told: too few, or too much noise"
    return f"concordance {concordance.value:.2f} ({low:.2f} to {high:.2f})"


def money(scale: Scale, scores: Array) -> Array:
    """From the grid of scores to the label's own unit."""
    return scale.decode(scores - UNIT)


def rule_of(wanted: Wanted, trained: Trained) -> str:
    """Who is selected, in words."""
    model, unit = wanted.model, wanted.number.unit
    assert isinstance(model, Value) and trained.threshold is not None
    least = number(float(money(wanted.number.scale, np.array([trained.threshold]))[0]))
    return f"a prediction of at least {least}{f' {unit}' if unit else ''}" + (
        f", which the highest {100 * model.top:g} % reach" if model.top else ""
    )


def _slopes(wanted: Wanted, trained: Trained) -> tuple[Slope, ...]:
    assert trained.valued is not None
    effects, errors = 2 * trained.valued.model.slopes[:-1], 2 * trained.valued.model.error[:-1]
    return tuple(Slope(name, float(effect), float(error)) for name, effect, error in zip(wanted.features, effects, errors, strict=True))
