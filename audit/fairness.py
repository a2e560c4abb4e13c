"""Whether groups fare alike, judged from noisy tables: pass, fail or inconclusive, never a guess.

Each measure compares a group with the group of the highest rate, *whichever that is*: the ratio of selection rates is
θ = min(1, min over h of p_g/p_h) (the four-fifths rule: a screen, not law) and the gap of error rates is
max(0, max over h of p_h - p_g). Their intervals take the minimum or maximum over all pairs of both ends, so that no
group is favoured by being picked as the highest after looking. All intervals that decide one attribute hold together with
the stated confidence (Bonferroni over measures, outcomes and pairs), and include sampling and noise (`audit.intervals`).

A group passes only if its whole interval keeps the bound and fails only if its whole interval breaks it. A group of
which fewer than 30 subjects are certain (noisy count less three standard deviations) is never judged. Not here: where
tables come from (the door), what a verdict leads to (the policy's gate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from audit.intervals import Interval, critical, difference, rate, ratio

LEAST_SUBJECTS = 30
"""Subjects that must be certain to be counted before a rate is judged (DESIGN section 8)."""

SIGMAS = 3.0
"""Standard deviations of noise taken off a count before it is called certain."""


class Verdict(StrEnum):
    """Ordered from best to worst in `worst`."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


class Measure(StrEnum):
    """What is compared: selection by ratio, error rates by gap."""

    SELECTION = "selection rate"
    TRUE_POSITIVE = "true positive rate"
    FALSE_POSITIVE = "false positive rate"


@dataclass(frozen=True, slots=True)
class Confusion:
    """Hold-out subjects by group, each in one of four disjoint cells; noisy counts, one a group; `sigma` of each cell."""

    true_positives: tuple[float, ...]
    false_positives: tuple[float, ...]
    false_negatives: tuple[float, ...]
    true_negatives: tuple[float, ...]
    sigma: float

    def lengths(self) -> set[int]:
        """Numbers of groups that the cells speak of; one number if they fit together."""
        return {len(cells) for cells in (self.true_positives, self.false_positives, self.false_negatives, self.true_negatives)}


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Subjects by group and outcome, each in one cell at most (so that noise is independent and sensitivity 1).

    `outcomes`: the clusters, or for propensities e.g. ("selected", "not selected"). `counts`: noisy, (groups, outcomes).
    `sigma`: standard deviation of each cell's noise, in subjects. `judged`: outcomes whose rates are compared, none: all.
    `unknown`: noisy count of subjects whose group is not known or may not be read.
    """

    attribute: str
    groups: tuple[str, ...]
    outcomes: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    sigma: float
    judged: tuple[str, ...] = ()
    confusion: Confusion | None = None
    unknown: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError where shapes do not match."""
        shape = (len(self.groups), len(self.outcomes))
        if len(self.counts) != shape[0] or any(len(row) != shape[1] for row in self.counts):
            raise ValueError(f"`counts` of `{self.attribute}` do not match its groups and outcomes, expected {shape[0]} x {shape[1]}")
        if not set(self.judged) <= set(self.outcomes):
            raise ValueError(f"`judged` of `{self.attribute}` must be outcomes, got {self.judged}, expected some of {self.outcomes}")
        if self.confusion and self.confusion.lengths() != {len(self.groups)}:
            raise ValueError(f"`confusion` of `{self.attribute}` does not match its groups, expected {shape[0]} of each cell")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What passes: ratio of selection rates at least `min_ratio`, gaps of error rates at most `max_gap`."""

    min_ratio: float = 0.8
    max_gap: float = 0.1
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class GroupFinding:
    """One group under one measure of one outcome.

    `subjects`: noisy count that the rate is a share of, with the `sigma` of its noise. `rate`: at the stated confidence by
    itself. `compared`: ratio or gap to the group of the highest rate, at the stated confidence together with all others of
    the attribute; None where nothing was judged. `detectable`: the ratio (gap) at which a group as large as this one is
    seen to differ from the highest half of the time; nearer to equality it mostly goes unseen.
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


@dataclass(frozen=True, slots=True)
class FairnessFinding:
    """One attribute. `coverage`: noisy share of subjects whose group is known."""

    attribute: str
    verdict: Verdict
    reason: str
    bounds: Bounds
    coverage: float
    groups: tuple[GroupFinding, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A rate's two disjoint noisy counts."""

    group: str
    successes: float
    failures: float
    sigma_successes: float
    sigma_failures: float

    @property
    def subjects(self) -> float:
        return self.successes + self.failures

    @property
    def sigma(self) -> float:
        return math.hypot(self.sigma_successes, self.sigma_failures)

    @property
    def certain(self) -> bool:
        return self.subjects - SIGMAS * self.sigma >= LEAST_SUBJECTS

    def rate(self, z: float) -> Interval:
        return rate(self.successes, self.failures, self.sigma_successes, self.sigma_failures, z)

    def rate_if(self, share: float, z: float) -> Interval:
        """The interval that a group of this size and noise would have around `share`."""
        n = max(self.subjects, 0.0)
        return rate(share * n, (1 - share) * n, self.sigma_successes, self.sigma_failures, z)


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
    z = critical(bounds.confidence, max(1, len(measured) * pairs))
    by_ratio = _Comparison(ratio, min, 1.0, bounds.min_ratio, "ratio", lambda value: value >= bounds.min_ratio)
    by_gap = _Comparison(_shortfall, max, 0.0, bounds.max_gap, "gap", lambda value: value <= bounds.max_gap)
    groups = tuple(
        finding
        for measure, outcome, cells in measured
        for finding in _compare(measure, outcome, cells, by_ratio if measure is Measure.SELECTION else by_gap, z, bounds.confidence)
    )
    verdict = worst(groups)
    known = sum(sum(row) for row in table.counts)
    total = known + max(table.unknown, 0.0)
    coverage = min(1.0, max(0.0, known / total)) if total > 0 else 0.0
    return FairnessFinding(table.attribute, verdict, _why(groups, verdict), bounds, coverage, groups)


def worst(findings: Iterable[FairnessFinding | GroupFinding]) -> Verdict:
    """Fail if any fails, pass only if all pass; nothing judged is inconclusive."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def _measured(table: GroupTable) -> Iterable[tuple[Measure, str, list[_Cell]]]:
    """Every rate that is compared, with its cells by group."""
    others = table.sigma * math.sqrt(max(0, len(table.outcomes) - 1))
    for outcome in table.judged or table.outcomes:
        at = table.outcomes.index(outcome)
        yield (
            Measure.SELECTION,
            outcome,
            [_Cell(group, row[at], sum(row) - row[at], table.sigma, others) for group, row in zip(table.groups, table.counts, strict=True)],
        )
    if confusion := table.confusion:
        for measure, successes, failures in (
            (Measure.TRUE_POSITIVE, confusion.true_positives, confusion.false_negatives),
            (Measure.FALSE_POSITIVE, confusion.false_positives, confusion.true_negatives),
        ):
            columns = zip(table.groups, successes, failures, strict=True)
            yield measure, "", [_Cell(group, s, f, confusion.sigma, confusion.sigma) for group, s, f in columns]


def _compare(
    measure: Measure, outcome: str, cells: Sequence[_Cell], comparison: _Comparison, z: float, confidence: float
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


def _detectable(cell: _Cell, highest: Interval, comparison: _Comparison, z: float) -> float:
    """Where the interval would end that has equality at its middle."""
    interval = comparison.pair(cell.rate_if(highest.value, z), highest)
    return interval.low if comparison.equal == 1.0 else interval.high


def _decide(cell: _Cell, compared: Interval | None, detectable: float | None, comparison: _Comparison) -> tuple[Verdict, str]:
    if not cell.certain:
        return (
            Verdict.INCONCLUSIVE,
            f"too few to judge: about {max(0, round(cell.subjects)):,} counted with noise, fewer than {LEAST_SUBJECTS} of them certain",
        )
    if compared is None or detectable is None:
        return Verdict.INCONCLUSIVE, "no other group is large enough to compare with"
    span = f"the {comparison.word} lies between {compared.low:.2f} and {compared.high:.2f}"
    if comparison.keeps(compared.low) and comparison.keeps(compared.high):
        return Verdict.PASS, f"{span}, all of it within the bound of {comparison.bound:.2f}"
    if not comparison.keeps(compared.low) and not comparison.keeps(compared.high):
        return Verdict.FAIL, f"{span}, all of it beyond the bound of {comparison.bound:.2f}"
    nearer = "above" if comparison.equal > comparison.bound else "below"
    unseen = f"at this size and noise, a {comparison.word} {nearer} {detectable:.2f} mostly cannot be told from equality"
    return Verdict.INCONCLUSIVE, f"{span}, on both sides of the bound of {comparison.bound:.2f}; {unseen}"


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
