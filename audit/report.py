"""The officer's report: frozen values in, one self-contained HTML page out.

The page loads nothing (its own Content-Security-Policy forbids it), runs nothing, and the same report gives the same
bytes. Every count in it is noisy; `sigma` is the standard deviation of its noise, and the page shows ± 1.96 of them.
Not here: where values come from (others translate into these), numbers and dates in words (`audit.wording`), pictures
(`audit.plots`).
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from enum import StrEnum

from audit import fairness_page, pages, plots, wording
from audit.clusters_page import Clusters
from audit.explanation_page import Explanation
from audit.fairness import FairnessFinding, Verdict, worst
from audit.uplift_page import Uplift
from audit.value_page import Value


class Status(StrEnum):
    """Where the segment stands, in words."""

    QUARANTINE = "in quarantine, awaiting approval"
    APPROVED = "approved, not yet released"
    RELEASED = "released"
    REJECTED = "rejected"
    RECALLED = "recalled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Count:
    """A noisy number of subjects, with the standard deviation of its noise."""

    label: str
    value: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Heading:
    """What the report is about. `subject` in the singular and plural; `notes` stand at the top, e.g. that consents are generated;
    `request`: what was asked for besides features, as (what, value)."""

    segment: str
    description: str
    status: Status
    purpose: str
    purpose_key: str
    controller: str
    dataset: str
    subject: tuple[str, str]
    as_of: dt.date
    built_by: str
    built_at: dt.datetime
    notes: tuple[str, ...] = ()
    request: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that was asked for. `window` in words, and `bounds` of its values; the label is one too."""

    name: str
    expression: str
    table: str
    window: str | None = None
    why: str | None = None
    bounds: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on one column, purpose or row rule. `cause`: permit, forbid, no permit, gap, error, fairness only.
    `asked`: False for a column that the segment left alone, and that would have been denied."""

    subject: str
    allowed: bool
    cause: str
    rule: str
    reason: str
    condition: str = ""
    legal: str | None = None
    remedy: str | None = None
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Admission:
    """The noisy histogram of one snapshot: who was admitted, and who was left out, by reason."""

    snapshot: str
    taken_at: dt.datetime
    admitted: Count
    excluded: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class QualityRule:
    """A declared rule for bad values, and how many subjects it touched (None: not counted)."""

    rule: str
    affected: Count | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One cluster, or the selected of a propensity. `share` of admitted subjects, 0 to 1; `id`: what it keeps from build to build."""

    name: str
    description: str
    size: Count
    share: float
    id: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """One feature over all parts, in its own unit. `edges` (bins + 1,) evenly spaced on the feature's scale;
    `histograms` (parts, bins) noisy counts, or empty, and `rest` (bins,) of whoever is in no part, with deviation `sigma`."""

    feature: str
    unit: str
    centres: tuple[float, ...]
    edges: tuple[float, ...] = ()
    histograms: tuple[tuple[float, ...], ...] = ()
    rest: tuple[float, ...] = ()
    sigma: float = 0.0

    def mark(self, part: int) -> float | None:
        """Where the centre lies, as a share of the histogram's width."""
        return wording.place(self.centres[part], self.edges)


@dataclass(frozen=True, slots=True)
class Coefficient:
    """Effect of one feature on the log-odds, from the lower end of its declared range to the upper. `strength`: how much it moves
    people, as the standard deviation of what it adds; `selected`: what it adds to the selected on average; `curve`: what it adds by
    itself on even bins of its range, whose `ends` are in its `unit`; `trend`: in words for whoever it is about."""

    feature: str
    effect: float
    strength: float = 0.0
    selected: float = 0.0
    curve: tuple[float, ...] = ()
    ends: tuple[float, float] = (0.0, 0.0)
    unit: str = ""
    trend: str = ""

    @property
    def largest(self) -> float:
        """The most that it adds or takes by itself."""
        return max(map(abs, self.curve))


@dataclass(frozen=True, slots=True)
class Propensity:
    """What a propensity is like, on the hold-out. `rule`: who is selected, in words. `edges` (bins + 1,) of scores and their
    noisy `counts`; `roc`: (false, true positive rate); `calibration`: (predicted, observed, low, high); `how`: what makes the score,
    in words."""

    rule: str
    threshold: float
    edges: tuple[float, ...]
    counts: tuple[float, ...]
    roc: tuple[tuple[float, float], ...]
    calibration: tuple[tuple[float, float, float, float], ...]
    coefficients: tuple[Coefficient, ...]
    how: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure of usefulness, beside what was forecast before spending; `interval` and `forecast` are (low, high)."""

    name: str
    meaning: str
    value: float
    interval: tuple[float, float] | None = None
    forecast: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Fairness:
    """One finding an attribute. `consequence`: what the policy does with the verdict, in words. `well_covered`: the share of
    subjects with a known group below which the page says what keeps a group from being known."""

    findings: tuple[FairnessFinding, ...]
    consequence: str
    well_covered: float = 0.9


@dataclass(frozen=True, slots=True)
class Spending:
    """One step of the privacy transcript; `mu_squared` in units of Gaussian differential privacy, which add up."""

    step: str
    what: str
    mu_squared: float
    draws: int


@dataclass(frozen=True, slots=True)
class Account:
    """A budget in ε at its δ. Spent and left need not add up to the limit: the books add μ², not ε."""

    name: str
    period: str
    limit: float
    spent: float
    left: float
    delta: float


@dataclass(frozen=True, slots=True)
class Privacy:
    """What this build cost, and what stands in the books. `assurance` e.g. "exact integer noise"; `recipients` get the membership list.

    `training`: how samples were trained on, in words; then ε is of all that was drawn, and not of the transcript alone.
    """

    epsilon: float
    delta: float
    assurance: str
    transcript: tuple[Spending, ...]
    accounts: tuple[Account, ...]
    recipients: tuple[str, ...] = ()
    training: str = ""


@dataclass(frozen=True, slots=True)
class Minimisation:
    """Columns (`table.column`) that expressions name, that the binder saw, that were granted; the SQL that ran; `mode`: how.

    `physical`: columns that existed where it ran (None: unknown, as earlier versions did not look).
    """

    expression: tuple[str, ...]
    binder: tuple[str, ...]
    granted: tuple[str, ...]
    sql: tuple[str, ...]
    mode: str = ""
    physical: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person decided."""

    principal: str
    decision: str
    at: dt.datetime
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run, and what it shows."""

    line: str
    shows: str


@dataclass(frozen=True, slots=True)
class Record:
    """Where the proof lies. `digests`: (what, SHA-256 in hexadecimal)."""

    build: str
    log_index: int
    digests: tuple[tuple[str, str], ...]
    verify: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows, in its order. `forecast`: what was expected before anything was spent, in words."""

    heading: Heading
    features: tuple[Feature, ...]
    decisions: tuple[Decision, ...]
    admission: Admission
    quality: tuple[QualityRule, ...]
    parts: tuple[Part, ...]
    profiles: tuple[Profile, ...]
    propensity: Propensity | None
    utility: tuple[Figure, ...]
    fairness: Fairness | None
    privacy: Privacy
    minimisation: Minimisation
    approvals: tuple[Approval, ...]
    approvals_required: int
    record: Record
    forecast: str = ""
    explanation: Explanation = field(default_factory=Explanation)
    clusters: Clusters | None = None
    value: Value | None = None
    uplift: Uplift | None = None


def render(report: Report) -> str:
    """The page. Autoescaped: nothing in the report can become markup."""
    filters = (
        wording.count,
        wording.number,
        wording.percent,
        wording.interval,
        wording.small,
        wording.sentence,
        wording.moment,
        wording.day,
        wording.quoted,
        wording.minus,
    )
    page = pages.template("report.html", *filters, plots=plots, worst=worst, fairness_page=fairness_page)
    return page.render(report=report, summary=_summary(report))


def _summary(report: Report) -> str:
    """The report in a few plain sentences."""
    heading, admission, many = report.heading, report.admission, report.heading.subject[1]
    done = f"divided {_counted(admission.admitted)} {many} into {len(report.parts)} segments"
    if report.propensity or report.value or report.uplift:
        done = f"scored {_counted(admission.admitted)} {many} and selected {_counted(*(part.size for part in report.parts))} of them"
    sentences = [f"This build {done}, for the purpose “{heading.purpose}”."]
    if admission.excluded:
        most = max(admission.excluded, key=lambda count: count.value)
        sentences.append(f"{_counted(*admission.excluded)} {many} were left out, most often because: {most.label}.")
    asked = [decision.allowed for decision in report.decisions if decision.asked]
    denied = asked.count(False)
    sentences.append(f"{denied} of {len(asked)} decisions were denials." if denied else "Nothing that was asked for was denied.")
    if report.fairness and report.fairness.findings:
        sentences.append(f"Fairness is {_FAIRNESS[worst(report.fairness.findings)]}.")
    sentences.append(f"The model and its statistics cost ε {wording.number(report.privacy.epsilon)} of differential privacy.")
    sentences.append(f"The segment is {heading.status.value}.")
    return " ".join(sentences)


def _counted(*counts: Count) -> str:
    """Disjoint sets of subjects taken together; their noises are independent."""
    return wording.count(sum(count.value for count in counts), math.hypot(*(count.sigma for count in counts)))


_FAIRNESS = {
    Verdict.PASS: "within the policy's bounds",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.FAIL: "outside the policy's bounds",
}
