"""What is told of a predicted number: who is selected by which rule, how well predictions rank, and whether they come true."""

from __future__ import annotations

import numpy as np

from audit.report import Figure
from audit.uplift_page import Slope
from audit.value_page import Value as ValuePage
from audit.wording import number
from engine import parts, ranked, value_curves
from engine.bench import Bench
from engine.learning import Learned
from engine.parts import Part, unit_of
from engine.planning import Planned
from engine.scale import UNIT
from engine.stages import Run, label_scale
from engine.trainers.regression import WORTH_BITS, worth_of
from governance.door import Array, Cohort
from policies.segment import Label, Value


def selected(bench: Bench, plan: Planned, learned: Learned, run: Run, cohort: Cohort) -> tuple[Part, ...]:
    """The one part of a value, with its noisy size."""
    return parts.selected(bench, plan, run, cohort, "most valuable", rule_of(plan, learned))


def compared(bench: Bench, plan: Planned, learned: Learned, run: Run, cohort: Cohort) -> tuple[tuple[Figure, ...], ValuePage]:
    """Concordance, predicted against observed, and what the page shows of them."""
    assert learned.valued is not None and learned.ranked is not None and learned.threshold is not None
    label, valued, everybody = _label(plan), learned.valued, learned.ranked
    scale, worth, unit = label_scale(label), worth_of(label_scale(label)), _unit(plan)
    grant, noise = run.grants["curve"], bench.noise
    found = value_curves.table(cohort, everybody, learned.threshold, valued.edges, worth, valued.cap, grant, noise)
    cap = float(worth[valued.cap]) / 2.0**WORTH_BITS * (scale.high - scale.low)  # in units of the label, above its lower bound

    def shown(share: float) -> float:
        return scale.low + cap * share

    points = money(label, everybody.edges)
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
        rule=rule_of(plan, learned),
        capped=f"whatever exceeds {number(shown(1.0))}{f' {unit}' if unit else ''} counts as that, so that noise need not hide more",
        about=about,
        unit=unit,
        bands=tuple((float(p), shown(o.value), shown(o.low), shown(o.high)) for p, o in zip(predicted, observed, strict=True)),
        slopes=_slopes(plan, learned),
    )
    return utility, page


def ranking(concordance: Figure) -> str:
    """Concordance in words; without a number where nothing is known of it."""
    low, high = concordance.interval or (0.0, 1.0)
    if (low, high) == (0.0, 1.0):
        return "concordance cannot be told: too few, or too much noise"
    return f"concordance {concordance.value:.2f} ({low:.2f} to {high:.2f})"


def money(label: Label, scores: Array) -> Array:
    """From the grid of scores to the label's own unit."""
    return label_scale(label).decode(scores - UNIT)


def rule_of(plan: Planned, learned: Learned) -> str:
    """Who is selected, in words."""
    model, unit = plan.prepared.spec.model, _unit(plan)
    assert isinstance(model, Value) and learned.threshold is not None
    least = number(float(money(_label(plan), np.array([learned.threshold]))[0]))
    return f"a prediction of at least {least}{f' {unit}' if unit else ''}" + (
        f", which the highest {100 * model.top:g} % reach" if model.top else ""
    )


def _label(plan: Planned) -> Label:
    label = plan.prepared.spec.label
    assert label is not None  # no value without one
    return label


def _unit(plan: Planned) -> str:
    label = _label(plan)
    return unit_of(plan.prepared.contract.tables[label.table], label.agg) or ""


def _slopes(plan: Planned, learned: Learned) -> tuple[Slope, ...]:
    assert learned.valued is not None
    effects, errors = 2 * learned.valued.model.slopes[:-1], 2 * learned.valued.model.error[:-1]
    return tuple(
        Slope(name, float(effect), float(error)) for name, effect, error in zip(plan.prepared.spec.features, effects, errors, strict=True)
    )
