"""Words for what the engine shows."""

from __future__ import annotations

import datetime as dt

from audit.wording import percent
from governance.verdicts import Reason
from policies.segment import Clusters, KRange, Propensity, Uplift, Value

WELL_COVERED = 0.9
"""Share of subjects with a known group, below which somebody should ask why."""

_WORDS = {
    Reason.REQUESTED: "asked, no answer yet",
    Reason.NO_NOTICE: "no proof of notice",
    Reason.NO_BASIS: "no legal basis in their jurisdiction",
    Reason.CHILD: "a child, without a guardian's consent",
    Reason.MERGED: "another key of the same person stands for it",
}


BELONGS = {
    "centres": "the group whose centre yours are nearest to",
    "hierarchy": "the group whose typical figures yours are nearest to; groups are branches of a tree of such figures",
    "mixture": "the group in which figures such as yours are likeliest, by how its figures scatter and how large it is",
    "density": "the crowd whose typical figures yours are nearest to, or to the outliers where they are far from everybody's",
    "map": "the group whose area of a map of typical figures yours are nearest to",
}
"""Who is in which part, by the way in which parts were made."""


def reason_words(reason: Reason) -> str:
    """An admission reason as people read it."""
    return _WORDS.get(reason, reason.name.lower().replace("_", " "))


def model_words(model: Clusters | Propensity | Value | Uplift) -> str:
    """What is learned, and who is selected by it."""
    match model:
        case Clusters(k=KRange(least=least, most=most)):
            return f"between {least} and {most} clusters, as many as the prototypes suggest"
        case Clusters(k=k):
            return f"{k} clusters"
        case Propensity(top=top, threshold=threshold):
            return "propensity: " + (f"the likeliest {100 * top:g} %" if top else f"whoever has a probability of at least {threshold:g}")
        case Value(top=top, above=above):
            return "value: " + (f"the {100 * top:g} % of whom most is expected" if top else f"whoever is predicted at least {above}")
        case Uplift(top=top, above=above):
            points = 100 * (above or 0.0)
            return "uplift: " + (f"the {100 * top:g} % who are most persuadable" if top else f"an uplift of at least {points:g} points")


def duration_words(length: dt.timedelta) -> str:
    """A window as people say it: `90 days`, `12 hours`."""
    hours = round(length.total_seconds() / 3600)
    number, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"{number:,} {unit}" + ("" if number == 1 else "s")


def coverage_words(share: float) -> str:
    """Of how many subjects a fairness attribute is known, and what keeps it from being known."""
    text = f"the group is known for {percent(min(1.0, share))} of those counted"
    if share < WELL_COVERED:
        text += (
            ": the others may not be used for the fairness purpose (no consent; no proof of notice, where silence is a yes), "
            "or have no value, or none of the declared domain"
        )
    return text
