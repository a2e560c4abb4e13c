"""The page of a joint model: what partners agreed on, what they learned together, what it cost each, and where the proof lies.

Like `audit.report`: frozen values in, one self-contained page out. It has nothing that a partner knows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from audit import fairness_page, pages, plots, wording
from audit.clusters_page import Clusters
from audit.explanation_page import Explanation
from audit.fairness import worst
from audit.report import Command, Count, Fairness, Figure, Part, Profile, Propensity
from audit.uplift_page import Uplift
from audit.value_page import Value


@dataclass(frozen=True, slots=True)
class Feature:
    """What every partner worked out of its own data."""

    name: str
    meaning: str
    bounds: str


@dataclass(frozen=True, slots=True)
class Question:
    """One that was answered, in words. `charged`: μ² at each partner; `without`: who was lost in its round."""

    round: int
    what: str
    draws: int
    charged: float
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Partner:
    """`epsilon` charged and `head` of its transcript, as it said when it got the model; None and empty until then. Of whom nothing had left
    before, the head is empty too."""

    name: str
    epsilon: float | None = None
    head: str = ""


@dataclass(frozen=True, slots=True)
class JointReport:
    """Everything that the page shows. `terms`: as (what, value); `epsilon`: of all rounds, at each partner; `digests`: (what, SHA-256)."""

    name: str
    purpose: str
    led_by: str
    partners: tuple[Partner, ...]
    features: tuple[Feature, ...]
    terms: tuple[tuple[str, str], ...]
    rounds: int
    subjects: Count
    parts: tuple[Part, ...]
    profiles: tuple[Profile, ...]
    utility: tuple[Figure, ...]
    forecast: str
    epsilon: float
    delta: float
    assurance: str
    transcript: tuple[Question, ...]
    digests: tuple[tuple[str, str], ...]
    verify: tuple[Command, ...]
    notes: tuple[str, ...] = ()
    propensity: Propensity | None = None
    clusters: Clusters | None = None
    value: Value | None = None
    uplift: Uplift | None = None
    explanation: Explanation = field(default_factory=Explanation)
    fairness: Fairness | None = None

    @property
    def silent(self) -> tuple[str, ...]:
        """Partners who have not said that they have the model."""
        return tuple(partner.name for partner in self.partners if partner.epsilon is None)


def render(report: JointReport) -> str:
    """The page. Autoescaped: nothing in the report can become markup."""
    filters = (wording.count, wording.number, wording.percent, wording.interval, wording.small, wording.sentence, wording.minus)
    return pages.template("joint.html", *filters, plots=plots, worst=worst, fairness_page=fairness_page).render(report=report)
