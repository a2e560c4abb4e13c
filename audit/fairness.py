"""Whether groups fare alike, judged from noisy tables: pass, fail or inconclusive, never a guess.

Each measure compares a group with the group of the highest rate, *whichever that is*: the ratio of selection rates is
θ = min(1, min over h of p_g/p_h) (the four-fifths rule: a screen, not law) and the gap of error rates is
max(0, max over h of p_h - p_g). Their intervals take the minimum or maximum over all pairs of both ends, so that no
group is favoured by being picked as the highest after looking. Calibration compares with nobody: it is how much more often
what was predicted came true in a group than its scores said. All intervals include sampling and noise (`audit.intervals`).

**Many comparisons.** All intervals that decide one table hold together with the stated confidence (Bonferroni over measures,
outcomes and pairs, which may depend on each other in any way). So at most 5 in 100 such tables pass or fail even one group
wrongly. Holm's step-down tests would decide a little more often, but their verdicts could not be read off the intervals that
are shown, and an officer must be able to see why.

A group passes only if its whole interval keeps the bound and fails only if its whole interval breaks it. A group of
which fewer than 30 subjects are certain (noisy count less three standard deviations) is never judged. Not here: where
tables come from (the door), what a verdict leads to (the policy's gate), how parts are made up (`audit.balance`), what
features tell of a group (`audit.proxies`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from audit.balance import Balance
from audit.calibration import Scored
from audit.intervals import Interval, critical, difference, ratio
from audit.proxies import ProxyFinding
from audit.rates import Cell, too_few


class Verdict(StrEnum):
    """Ordered from best to worst in `worst`."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


class Measure(StrEnum):
    """What is compared: selection by ratio, error rates by gap; of calibration, what came true with what was predicted."""

    SELECTION = "selection rate"
    TRUE_POSITIVE = "true positive rate"
    FALSE_POSITIVE = "false positive rate"
    CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class Confusion:
    """Subjects by group, each in one of four disjoint cells; noisy counts, one a group; `sigma` of each cell. `about`: who, in words."""

    true_positives: tuple[float, ...]
    false_positives: tuple[float, ...]
    false_negatives: tuple[float, ...]
    true_negatives: tuple[float, ...]
    sigma: float
    about: str = ""

    @property
    def cells(self) -> tuple[tuple[float, ...], ...]:
        """In the order of the fields."""
        return self.true_positives, self.false_positives, self.false_negatives, self.true_negatives


@dataclass(frozen=True, slots=True)
class Scores:
    """Over the subjects of a `Confusion`: noisy sums of (score − ½) in each of its cells, (4, groups), with deviation `sigma` each.

    Scores lie between 0 and 1; whoever reaches `threshold` is selected.
    """

    excess: tuple[tuple[float, ...], ...]
    threshold: float
    sigma: float


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Subjects by group and outcome, each in one cell at most (so that noise is independent and sensitivity 1).

    `outcomes`: the clusters, or for propensities e.g. ("selected", "not selected"). `counts`: noisy, (groups, outcomes).
    `sigma`: standard deviation of each cell's noise, in subjects. `judged`: outcomes whose rates are compared, none: all.
    `unknown`: noisy count of subjects whose group is not known or may not be read. `scores` only beside `confusion`.
    """

    attribute: str
    groups: tuple[str, ...]
    outcomes: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    sigma: float
    judged: tuple[str, ...] = ()
    confusion: Confusion | None = None
    unknown: float = 0.0
    scores: Scores | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where shapes do not match."""
        shape = (len(self.groups), len(self.outcomes))
        if len(self.counts) != shape[0] or any(len(row) != shape[1] for row in self.counts):
            raise ValueError(f"`counts` of `{self.attribute}` do not match its groups and outcomes, expected {shape[0]} x {shape[1]}")
        if not set(self.judged) <= set(self.outcomes):
            raise ValueError(f"`judged` of `{self.attribute}` must be outcomes, got {self.judged}, expected some of {self.outcomes}")
        for name, cells in (("confusion", self.confusion and self.confusion.cells), ("scores", self.scores and self.scores.excess)):
            if cells and {len(each) for each in cells} != {shape[0]}:
                raise ValueError(f"`{name}` of `{self.attribute}` does not match its groups, expected {shape[0]} of each cell")
        if self.scores and not self.confusion:
            raise ValueError(f"`scores` of `{self.attribute}` are summed over a confusion, got none, expected one")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What passes: ratio of selection rates at least `min_ratio`, gaps of error rates and of calibration at most `max_gap`."""

    min_ratio: float = 0.8
    max_gap: float = 0.1
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """One group under one measure of one outcome.

    `subjects`: noisy count that the rate is a share of, with the `sigma` of its noise. `rate`: at the stated confidence by
    itself; of calibration, how many did what was `predicted` of them. `compared`: ratio or gap to the group of the highest rate (of
    calibration, `rate` less `predicted`), at the stated confidence together with all others of the attribute; None where nothing was
    judged. `detectable`: the smallest gap that could have been seen, as the ratio (gap) at which a group as large as this one is
    seen to differ half of the time; nearer to equality it mostly goes unseen. None where no gap could have been.
    """

    measure: Measure
    outcome: str
    group: str
    subjects: float
    sigma: float
    rate: Interval
    compared: Interval | None
    detectable: float | None
    verdict: Verdict
    reason: str
    predicted: float | None = None


@dataclass(frozen=True, slots=True)
class FairnessFinding:
    """One attribute, or the crossing of several. `coverage`: noisy share of subjects whose group is known.

    `comparisons`: how many hold together; `about`: whom error rates and calibration are about, in words. `balance`: how each part is
    made up of groups. `proxy`: what features and segments tell of the attribute; neither decides anything.
    """

    attribute: str
    verdict: Verdict
    reason: str
    bounds: Bounds
    coverage: float
    groups: tuple[GroupFinding, ...]
    comparisons: int = 0
    about: str = ""
    balance: tuple[Balance, ...] = ()
    proxy: ProxyFinding | None = None


@dataclass(frozen=True, slots=True)
class _Comparison:
    """How a measure compares two rates, what it makes of all pairs, and what it says about it."""

    pair: Callable[[Interval, Interval], Interval]
    extreme: Callable[[Iterable[float]], float]
    equal: float
    bound: float
    word: str
    keeps: Callable[[float], bool]


def judge(table: GroupTable, bounds: Bounds) -> FairnessFinding:
    """The verdict on one attribute: fails if any group fails, passes only if every group is judged and passes."""
    measured = list(_measured(table))
    pairs = len(table.groups) * (len(table.groups) - 1) // 2
    comparisons = len(measured) * pairs + (len(table.groups) if table.scores else 0)
    z = critical(bounds.confidence, max(1, comparisons))
    by_ratio = _Comparison(ratio, min, 1.0, bounds.min_ratio, "ratio", lambda value: value >= bounds.min_ratio)
    by_gap = _Comparison(_shortfall, max, 0.0, bounds.max_gap, "gap", lambda value: value <= bounds.max_gap)
    groups = tuple(
        finding
        for measure, outcome, cells in measured
        for finding in _compare(measure, outcome, cells, by_ratio if measure is Measure.SELECTION else by_gap, z, bounds.confidence)
    )
    groups += tuple(_calibrated(table, by_gap, z, bounds.confidence))
    verdict = worst(groups)
    known = sum(sum(row) for row in table.counts)
    total = known + max(table.unknown, 0.0)
    coverage = min(1.0, max(0.0, known / total)) if total > 0 else 0.0
    about = table.confusion.about if table.confusion else ""
    return FairnessFinding(table.attribute, verdict, _why(groups, verdict), bounds, coverage, groups, comparisons, about)


def unasked(attribute: str, why: str, bounds: Bounds) -> FairnessFinding:
    """What could not be judged whatever the door said, and so was not asked: never a pass."""
    return FairnessFinding(attribute, Verdict.INCONCLUSIVE, why, bounds, 0.0, ())


class Judged(Protocol):
    """What has a verdict, as found here or as somebody else wrote it."""

    @property
    def verdict(self) -> str:
        """One of `Verdict`, where it was written here."""
        ...


def worst(findings: Iterable[Judged]) -> Verdict:
    """Fail if any fails, pass only if all pass; nothing judged is inconclusive."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def _measured(table: GroupTable) -> Iterable[tuple[Measure, str, list[Cell]]]:
    """Every rate that is compared, with its cells by group."""
    others = table.sigma * math.sqrt(max(0, len(table.outcomes) - 1))
    for outcome in table.judged or table.outcomes:
        at = table.outcomes.index(outcome)
        yield (
            Measure.SELECTION,
            outcome,
            [Cell(group, row[at], sum(row) - row[at], table.sigma, others) for group, row in zip(table.groups, table.counts, strict=True)],
        )
    if confusion := table.confusion:
        for measure, successes, failures in (
            (Measure.TRUE_POSITIVE, confusion.true_positives, confusion.false_negatives),
            (Measure.FALSE_POSITIVE, confusion.false_positives, confusion.true_negatives),
        ):
            columns = zip(table.groups, successes, failures, strict=True)
            yield measure, "", [Cell(group, s, f, confusion.sigma, confusion.sigma) for group, s, f in columns]


def _compare(
    measure: Measure, outcome: str, cells: Sequence[Cell], comparison: _Comparison, z: float, confidence: float
) -> Iterable[GroupFinding]:
    """Each group against all that are large enough to be judged."""
    alone = critical(confidence)
    judged = {cell.group: cell.rate(z) for cell in cells if cell.certain}
    for cell in cells:
        others = [interval for group, interval in judged.items() if group != cell.group]
        compared = detectable = None
        if cell.group in judged and others:
            compared = _against(judged[cell.group], others, comparison)
            highest = max(others, key=lambda interval: interval.value)
            detectable = _detectable(cell, highest, comparison, z)
        verdict, reason = _decide(cell, compared, detectable, comparison)
        yield GroupFinding(measure, outcome, cell.group, cell.subjects, cell.sigma, cell.rate(alone), compared, detectable, verdict, reason)


def _shortfall(mine: Interval, other: Interval) -> Interval:
    return difference(other, mine)


def _against(mine: Interval, others: Sequence[Interval], comparison: _Comparison) -> Interval:
    """Over all pairs; the highest itself is at equality."""
    pairs = [comparison.pair(mine, other) for other in others]
    value, low, high = (
        comparison.extreme([comparison.equal, *ends]) for ends in zip(*((p.value, p.low, p.high) for p in pairs), strict=True)
    )
    return Interval(value, low, high)


def _detectable(cell: Cell, highest: Interval, comparison: _Comparison, z: float) -> float | None:
    """Where the interval would end that has equality at its middle; None where that is beyond any gap that there can be."""
    interval = comparison.pair(cell.rate_if(highest.value, z), highest)
    if comparison.equal == 1.0:
        return interval.low if interval.low > 0 else None
    return interval.high if interval.high <= highest.value else None


def _decide(cell: Cell, compared: Interval | None, detectable: float | None, comparison: _Comparison) -> tuple[Verdict, str]:
    if not cell.certain:
        return Verdict.INCONCLUSIVE, too_few(cell.subjects)
    if compared is None:
        return Verdict.INCONCLUSIVE, "no other group is large enough to compare with; no gap, however large, could have been seen"
    verdict, span = _placed(compared, compared, comparison)
    return verdict, span if verdict is not Verdict.INCONCLUSIVE else f"{span}; {_visible(detectable, comparison)}"


def _placed(shown: Interval, held: Interval, comparison: _Comparison) -> tuple[Verdict, str]:
    """On which side of the bound `held` lies, with the words for what is `shown`."""
    span = f"the {comparison.word} lies between {shown.low:.2f} and {shown.high:.2f}"
    match comparison.keeps(held.low), comparison.keeps(held.high):
        case True, True:
            return Verdict.PASS, f"{span}, all of it within the bound of {comparison.bound:.2f}"
        case False, False:
            return Verdict.FAIL, f"{span}, all of it beyond the bound of {comparison.bound:.2f}"
    return Verdict.INCONCLUSIVE, f"{span}, on both sides of the bound of {comparison.bound:.2f}"


def _visible(detectable: float | None, comparison: _Comparison) -> str:
    """The smallest gap that could have been seen, in words."""
    if detectable is None:
        return "at this size and noise, no gap, however large, could have been seen"
    if comparison.equal == 1.0:
        return (
            f"the smallest gap that could have been seen is a ratio of {detectable:.2f}: "
            f"a group of this size, chosen {100 * detectable:.0f} times where the highest is chosen 100 times"
        )
    return f"the smallest gap that could have been seen at this size and noise is {100 * detectable:.0f} percentage points"


def _calibrated(table: GroupTable, comparison: _Comparison, z: float, confidence: float) -> Iterable[GroupFinding]:
    """Of each group, how many did what the score is about, less how many its scores predicted; in either direction."""
    if table.scores is None or table.confusion is None:
        return
    sigma, tau = table.confusion.sigma, table.scores.sigma
    for place, group in enumerate(table.groups):
        counts, excess = ([cells[place] for cells in each] for each in (table.confusion.cells, table.scores.excess))
        scored = Scored(counts, excess, table.scores.threshold, sigma, tau)
        cell = Cell(group, scored.positives, scored.subjects - scored.positives, sigma * math.sqrt(2), sigma * math.sqrt(2))
        compared = detectable = None
        verdict, reason = Verdict.INCONCLUSIVE, too_few(cell.subjects)
        if cell.certain:
            compared, flat = scored.gap(z), scored.flat(z)
            detectable = flat if flat < 1 else None
            verdict, reason = _placed(compared, _either_way(compared), comparison)
            reason += f"; {_visible(detectable, comparison)}" if verdict is Verdict.INCONCLUSIVE else ""
        rate = cell.rate(critical(confidence))
        yield GroupFinding(
            Measure.CALIBRATION, "", group, cell.subjects, cell.sigma, rate, compared, detectable, verdict, reason, scored.predicted
        )


def _either_way(gap: Interval) -> Interval:
    """How large a gap is, whichever sign it has."""
    low, high = sorted((abs(gap.low), abs(gap.high)))
    return Interval(abs(gap.value), 0.0 if gap.low <= 0 <= gap.high else low, high)


def _why(groups: Sequence[GroupFinding], verdict: Verdict) -> str:
    """One sentence for the attribute, naming the groups that decided it."""
    deciding = list(dict.fromkeys(finding.group for finding in groups if finding.verdict is verdict))
    if not groups:
        return "there was nothing to compare"
    match verdict:
        case Verdict.PASS:
            return "every group keeps the bounds, over the whole of its interval"
        case Verdict.FAIL:
            return f"the bounds are broken for {', '.join(deciding)}"
        case Verdict.INCONCLUSIVE:
            return f"too few subjects, or too much noise, to say for {', '.join(deciding)}"
