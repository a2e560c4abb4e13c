"""Proxies: how well somebody who knows the features, or the segment, could tell who belongs to which group.

Features are judged by a guess: a released rule that reads features and names a group for everybody. A group is told apart by as
much as the rule names it more often for members than for others (Youden's J: 0 for a guess that knows nothing, 1 for one that is
never wrong). The same is read off the segment: how much more often members of a group are in a part than others. Intervals
include sampling and noise, and hold together over all that is compared (Bonferroni), so that of 100 attributes of which features
tell nothing at most 5 are said to be told. A rule that guesses badly shows less than somebody cleverer might see: what is found
here is there, and what is not found may be. Not here: the rule (`engine.group_tables`); whether that is fair (`audit.fairness`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from audit.intervals import Interval, critical, difference
from audit.rates import Cell, too_few

HARDLY = 0.1
"""A group that is named for at most so much more of its members than of others is hardly told."""


MEASURE = "told by features"
"""What this is called beside measures of fairness."""


class Told(StrEnum):
    """Whether a group can be told: yes, next to nothing, or nobody knows."""

    TOLD = "told"
    HARDLY = "hardly told"
    UNKNOWN = "inconclusive"


@dataclass(frozen=True, slots=True)
class Guesses:
    """Subjects by the group that they belong to and the group that the rule names: noisy counts (groups, groups), `sigma` each.

    `features`: what the rule reads; `differences` (groups, features): by how many standard deviations of everybody the group's mean lies
    above everybody's, with standard errors `errors` (sampling and noise; infinite where the group is too small). `optimism` (groups,): by
    how much a rule that was made of the same subjects may be flattered. Intervals of every group allow for the largest, since what
    flatters the score of one group takes names from the others: of two groups, both are named more often for members by as much.
    """

    counts: tuple[tuple[float, ...], ...]
    sigma: float
    features: tuple[str, ...]
    differences: tuple[tuple[float, ...], ...]
    errors: tuple[tuple[float, ...], ...]
    optimism: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GroupProxy:
    """One group. `right`: of its members, how many are named; `wrong`: of others, how many; `told`: the first less the second,
    with `detectable`, the smallest that could have been seen. `segment`: how much more often members are in the part `part`."""

    group: str
    subjects: float
    sigma: float
    right: Interval
    wrong: Interval
    told: Interval | None
    detectable: float | None
    verdict: Told
    reason: str
    part: str = ""
    segment: Interval | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A feature that stands for a group: by how many standard deviations its mean there lies above everybody's."""

    feature: str
    group: str
    difference: Interval


@dataclass(frozen=True, slots=True)
class ProxyFinding:
    """One attribute. `standing`: the features that certainly differ, the most different first."""

    verdict: Told
    reason: str
    groups: tuple[GroupProxy, ...]
    standing: tuple[Standing, ...]


def judge(
    groups: Sequence[str],
    guesses: Guesses,
    outcomes: Sequence[str],
    counts: Sequence[Sequence[float]],
    sigma: float,
    confidence: float = 0.95,
) -> ProxyFinding:
    """What features and parts tell of one attribute; `counts` (groups, outcomes) with noise `sigma` as in a `GroupTable`."""
    named = [_against_others(groups, guesses.counts, place, place, guesses.sigma) for place in range(len(groups))]
    z, among = critical(confidence, max(1, len(groups))), critical(confidence, max(1, len(groups) * len(outcomes)))
    alone = critical(confidence)
    found, flattered = [], max(guesses.optimism)
    for place, (own, others) in enumerate(named):
        told, detectable = None, None
        if own.certain and others.certain:
            apart = difference(own.rate(z), others.rate(z))
            told = Interval(apart.value, max(-1.0, apart.low - flattered), apart.high)
            unseen = difference(own.rate_if(others.rate(z).value, z), others.rate(z)).high + flattered
            detectable = unseen if unseen < 1 - others.rate(z).value else None
        part, segment = _by_segment(groups, outcomes, counts, sigma, place, among)
        verdict, reason = _decide(own, told, detectable)
        rates = own.rate(alone), others.rate(alone)
        found.append(GroupProxy(groups[place], own.subjects, own.sigma, *rates, told, detectable, verdict, reason, part, segment))
    verdict = _worst(found)
    return ProxyFinding(verdict, _why(found, verdict), tuple(found), _standing(groups, guesses, confidence))


def _against_others(groups: Sequence[str], counts: Sequence[Sequence[float]], group: int, column: int, sigma: float) -> tuple[Cell, Cell]:
    """How often `column` is hit in `group`, and in all others."""
    width, rest = len(counts[group]), len(groups) - 1
    missed = sigma * math.sqrt(max(0, width - 1))
    others = [row for place, row in enumerate(counts) if place != group]
    hit = sum(row[column] for row in others)
    return (
        Cell(groups[group], counts[group][column], sum(counts[group]) - counts[group][column], sigma, missed),
        Cell("", hit, sum(map(sum, others)) - hit, sigma * math.sqrt(rest), missed * math.sqrt(rest)),
    )


def _by_segment(
    groups: Sequence[str], outcomes: Sequence[str], counts: Sequence[Sequence[float]], sigma: float, group: int, z: float
) -> tuple[str, Interval | None]:
    """The part in which members of a group are most unlike others, and by how much."""
    found: list[tuple[str, Interval]] = []
    for column, outcome in enumerate(outcomes):
        own, others = _against_others(groups, counts, group, column, sigma)
        if own.certain and others.certain:
            found.append((outcome, difference(own.rate(z), others.rate(z))))
    return max(found, key=lambda each: abs(each[1].value)) if found else ("", None)


def _decide(own: Cell, told: Interval | None, detectable: float | None) -> tuple[Told, str]:
    if told is None:
        return Told.UNKNOWN, too_few(own.subjects) if not own.certain else "there are too few others to compare with"
    span = f"named {_points(told.low)} to {_points(told.high)} percentage points more often for members than for others"
    if told.high <= HARDLY:
        return Told.HARDLY, f"{span}, which is next to nothing"
    if told.low > 0:
        return Told.TOLD, f"{span}: features stand for this group"
    seen = (
        "nothing, however large, could have been seen" if detectable is None else f"less than {_points(detectable)} points would not show"
    )
    return Told.UNKNOWN, f"{span}; at this size and noise, {seen}"


def _points(share: float) -> str:
    return f"{100 * share:.0f}".replace("-", "−")


def _worst(found: Sequence[GroupProxy]) -> Told:
    """Told if any group is; hardly if all are hardly."""
    verdicts = {each.verdict for each in found}
    if Told.TOLD in verdicts:
        return Told.TOLD
    return Told.HARDLY if verdicts == {Told.HARDLY} else Told.UNKNOWN


def _why(found: Sequence[GroupProxy], verdict: Told) -> str:
    names = ", ".join(each.group for each in found if each.verdict is verdict)
    match verdict:
        case Told.TOLD:
            return f"features stand for {names}: leaving the attribute out does not make a segment blind to it"
        case Told.HARDLY:
            return "features tell next to nothing of who belongs to which group"
        case Told.UNKNOWN:
            return f"too few subjects, or too much noise, to say whether features stand for {names}"


def _standing(groups: Sequence[str], guesses: Guesses, confidence: float) -> tuple[Standing, ...]:
    """Features that differ for certain, over all groups and features together."""
    z = critical(confidence, max(1, len(groups) * len(guesses.features)))
    found = []
    for group, differences, errors in zip(groups, guesses.differences, guesses.errors, strict=True):
        for feature, value, error in zip(guesses.features, differences, errors, strict=True):
            if abs(value) > z * error:
                found.append(Standing(feature, group, Interval(value, value - z * error, value + z * error)))
    return tuple(sorted(found, key=lambda each: -abs(each.difference.value)))
