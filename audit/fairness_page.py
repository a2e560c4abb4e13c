"""The fairness section of a report: what stands in which table, on which axis, and what is said at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from audit import plots
from audit.fairness import Bounds, FairnessFinding, GroupFinding, Measure, Verdict

MEANING = {
    Measure.SELECTION: "how many of a group are chosen",
    Measure.TRUE_POSITIVE: "of those who do what the segment is about, how many are chosen",
    Measure.FALSE_POSITIVE: "of those who do not, how many are chosen all the same",
    Measure.CALIBRATION: "how many do what the segment is about, less how many their scores predicted",
}
"""Each measure in words."""

_WORDS = {Measure.SELECTION: "Ratio to the highest", Measure.CALIBRATION: "Observed less predicted"}
_WORST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the plots of a measure end, and which bounds are dashed; `said`: the same in words, `plain`: how it compares."""

    ends: tuple[float, float]
    bounds: tuple[float, ...]
    said: str
    plain: str


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that belong in one table: same measure and outcome. `rate_end`: where the axis of rates ends."""

    measure: Measure
    outcome: str
    rows: list[GroupFinding]
    axis: Axis
    rate_end: float

    @property
    def title(self) -> str:
        """What the table is about."""
        return f"{self.measure.value}: {self.outcome}" if self.outcome else self.measure.value


@dataclass(frozen=True, slots=True)
class Glance:
    """The group that is furthest from passing under one measure of one attribute; `unjudged`: how many rows are too small to judge."""

    attribute: str
    measure: Measure
    row: GroupFinding | None
    axis: Axis | None
    verdict: Verdict
    unjudged: int = 0


def blocks(finding: FairnessFinding) -> list[Block]:
    """The tables of one attribute, in the order of its findings."""
    found = []
    for (measure, outcome), run in groupby(finding.groups, key=lambda group: (group.measure, group.outcome)):
        rows = list(run)
        rate_end = min(1.0, plots.nice(max(row.rate.high for row in rows)))
        found.append(Block(measure, outcome, rows, _axis(measure, rows, finding.bounds), rate_end))
    return found


def glances(findings: Iterable[FairnessFinding]) -> list[Glance]:
    """For each attribute and measure, what to look at first."""
    found = []
    for finding in findings:
        if not finding.groups:
            found.append(Glance(finding.attribute, Measure.SELECTION, None, None, finding.verdict))
        for measure in dict.fromkeys(group.measure for group in finding.groups):
            rows = [group for group in finding.groups if group.measure is measure]
            verdict = next(verdict for verdict in _WORST if any(row.verdict is verdict for row in rows))
            row = max((row for row in rows if row.verdict is verdict), key=_behind)
            unjudged = sum(each.compared is None for each in rows)
            found.append(Glance(finding.attribute, measure, row, _axis(measure, rows, finding.bounds), verdict, unjudged))
    return found


def visible(row: GroupFinding) -> str:
    """The smallest gap that could have been seen."""
    if row.detectable is None:
        return "none, however large"
    return f"a ratio of {row.detectable:.2f}" if row.measure is Measure.SELECTION else f"{100 * row.detectable:.0f} points"


def _behind(row: GroupFinding) -> tuple[bool, float]:
    """How far from equality a group may be; whoever was not judged comes last, as there is nothing to show."""
    if row.compared is None:
        return False, 0.0
    return True, -row.compared.low if row.measure is Measure.SELECTION else max(abs(row.compared.low), row.compared.high)


def _axis(measure: Measure, rows: Sequence[GroupFinding], bounds: Bounds) -> Axis:
    plain = _WORDS.get(measure, "Gap to the highest")
    if measure is Measure.SELECTION:
        return Axis((0.0, 1.0), (bounds.min_ratio,), f"0 to 1; dashed: at least {bounds.min_ratio:g}", plain)
    far = [max(abs(row.compared.low), row.compared.high) for row in rows if row.compared]
    end = min(1.0, plots.nice(max([1.5 * bounds.max_gap, *far])))
    if measure is Measure.CALIBRATION:
        said = f"−{end:g} to {end:g}; dashed: at most {bounds.max_gap:g} either way"
        return Axis((-end, end), (-bounds.max_gap, bounds.max_gap), said, plain)
    return Axis((0.0, end), (bounds.max_gap,), f"0 to {end:g}; dashed: at most {bounds.max_gap:g}", plain)
