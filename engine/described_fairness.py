"""What is told of groups: how they fare, crossed with each other too, and whether features or segments stand for them.

Attributes are read here, for the fairness purpose, and nowhere else. What crossings there are is public: every pair of declared
attributes, by the product of their declared domains. One whose combinations would be too few to be judged, whatever
the door said, is not asked for, costs nothing, and is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from audit import fairness as judging
from audit import proxies
from audit.balance import balances
from audit.fairness import Bounds, Confusion, FairnessFinding, GroupTable, Scores
from audit.intervals import Interval
from audit.passport import FairnessVerdict
from audit.rates import LEAST_SUBJECTS, SIGMAS
from engine import assess, group_tables
from engine.assess import Noisy
from engine.bench import Bench
from engine.curves import HELD_OUT, HOLDOUT_WORTH
from engine.group_tables import Asked, Block, Table
from engine.learning import Learned
from engine.models import ONE, Scorer
from engine.parts import Part as Segment
from engine.planning import Planned
from engine.ranked import words
from engine.stages import People, Run, groups
from engine.training import Trained
from engine.wanted import Wanted, wanted
from governance.door import Array, Cohort, Grant, Part
from governance.noise import NoiseSource
from policies.segment import Propensity

SHARES = {"tables": 60.0, "means": 20.0, "guesses": 20.0}
"""Shares of what a build spends on fairness."""

SELECTED = ("selected", "not selected")


@dataclass(frozen=True, slots=True)
class Declared:
    """`attributes`: the public groups of each, in the order of the column `groups`; `bounds`: what passes."""

    attributes: Mapping[str, tuple[str, ...]]
    bounds: Bounds


def findings(
    bench: Bench, plan: Planned, people: People, learned: Learned, run: Run, parts: Sequence[Segment], shapes: Noisy
) -> tuple[FairnessFinding, ...]:
    """Of a build's own people; none where no attribute is declared."""
    prepared = plan.prepared
    gate, tables = prepared.policy.fairness, prepared.contract.tables
    if not prepared.spec.fairness or gate is None:
        return ()
    attributes = {f"{a.table}.{a.column}": tables[a.table].columns[a.column].domain or () for a in prepared.spec.fairness}
    declared = Declared(attributes, Bounds(gate.min_ratio, gate.max_gap))
    cohort = people.cohort(run.meter, groups=groups(bench, plan, people), **learned.columns)
    return judged(declared, wanted(plan), learned, cohort, run.grants["fairness"], bench.noise, parts, shapes)


def judged(
    declared: Declared,
    wanted: Wanted,
    trained: Trained,
    cohort: Cohort,
    grant: Grant,
    noise: NoiseSource,
    parts: Sequence[Segment],
    shapes: Noisy,
) -> tuple[FairnessFinding, ...]:
    """One finding an attribute, then one for each crossing, wherever rows are. `grant` is used up; `shapes`: released profiles of all parts
    (`engine.assess.profiles`). Reads `groups`, `segment`, `features`, and of a propensity `label`, `score`, `part`."""
    grants, bounds = grant.split(**SHARES), declared.bounds
    names, domains, features = list(declared.attributes), list(declared.attributes.values()), list(wanted.features)
    sizes = tuple(map(len, domains))
    selecting = isinstance(trained.model, Scorer)
    outcomes = SELECTED if selecting else tuple(part.name for part in parts)
    scored = isinstance(wanted.model, Propensity)  # others predict no condition that errors could be counted of

    asked = _asked(sizes, len(outcomes), scored, wanted.subjects, grants["tables"])
    tables = group_tables.tables(cohort, asked, grants["tables"], noise)
    means = group_tables.means(cohort, sizes, grants["means"], noise)
    rules = group_tables.rules(means, sizes, _spreads(shapes))
    guessed = group_tables.guesses(cohort, rules, grants["guesses"], noise)

    found = []
    for table in tables:
        labels = tuple(" and ".join(each) for each in product(*(domains[place] for place in table.block)))
        threshold = (trained.threshold or 0) / ONE
        shown = _shown(table, " × ".join(names[place] for place in table.block), labels, outcomes, selecting, asked.part, threshold)
        finding = judging.judge(shown, bounds)
        if len(table.block) == 1:
            (place,) = table.block
            rule = rules[place]
            guesses = proxies.Guesses(
                _rows(guessed[place].values),
                guessed[place].sigma,
                tuple(features),
                _rows(rule.differences),
                _rows(rule.errors),
                _row(rule.optimism),
            )
            told_by = outcomes[:1] if selecting else outcomes  # not being selected tells nothing that being selected does not
            finding = replace(finding, proxy=proxies.judge(labels, guesses, told_by, shown.counts, shown.sigma))
        found.append(finding if selecting else replace(finding, balance=balances(outcomes, shown.counts, shown.sigma)))
    left = [pair for pair in combinations(range(len(sizes)), 2) if pair not in asked.blocks]
    return (*found, *(_left_out(pair, names, asked.groups(pair), wanted.subjects, bounds) for pair in left))


def evidence(findings: Sequence[FairnessFinding]) -> tuple[FairnessVerdict, ...]:
    """What a passport says of all this: each group under each measure, then how well features tell it."""
    found = []
    for finding in findings:
        for each in finding.groups:
            ends = _ends(each.compared)
            shown = each.measure.value, each.outcome, each.group, each.verdict.value, *ends, each.detectable
            found.append(FairnessVerdict(finding.attribute, *shown))
        for told in finding.proxy.groups if finding.proxy else ():
            found.append(
                FairnessVerdict(finding.attribute, proxies.MEASURE, "", told.group, told.verdict.value, *_ends(told.told), told.detectable)
            )
    return tuple(found)


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _asked(sizes: tuple[int, ...], outcomes: int, scored: bool, subjects: float, grant: Grant) -> Asked:
    """Every attribute, and every crossing of which an average combination could be certain; of a score, on whom errors are counted.

    On the hold-out alone where an average group of it stands out of the noise; else on everybody, as curves are.
    """
    pairs = tuple(combinations(range(len(sizes)), 2))
    singles: tuple[Block, ...] = tuple((place,) for place in range(len(sizes)))
    asked = Asked(sizes, singles + pairs, outcomes, Part.ALL if scored else None)
    sigma = grant.sigma(asked.bound)
    noise = sigma / group_tables.CROSSING * math.sqrt(outcomes * asked.states)
    worth = tuple(pair for pair in pairs if subjects / asked.groups(pair) >= LEAST_SUBJECTS + SIGMAS * noise)
    held_out = scored and HELD_OUT * subjects / max(sizes) >= HOLDOUT_WORTH * sigma
    return replace(asked, blocks=singles + worth, part=Part.HOLDOUT if held_out else asked.part)


def _shown(
    table: Table, name: str, labels: tuple[str, ...], outcomes: tuple[str, ...], selecting: bool, part: Part | None, threshold: float
) -> GroupTable:
    """As `audit` judges it: states summed up for outcomes, and told apart for errors."""
    confusion = scores = None
    if part is not None:
        order = [(0, 1), (0, 0), (1, 1), (1, 0)]  # selected or not, with the label or not: as a confusion has them
        true, false, missed, rest = (_row(table.counts[:, outcome, state]) for outcome, state in order)
        confusion = Confusion(true, false, missed, rest, table.sigma, words(part))
        scores = Scores(tuple(_row(table.excess[:, outcome, state]) for outcome, state in order), threshold, table.sigma)
    return GroupTable(
        attribute=name,
        groups=labels,
        outcomes=outcomes,
        counts=_rows(table.counts.sum(axis=2)),
        sigma=table.sigma * math.sqrt(table.counts.shape[2]),
        judged=outcomes[:1] if selecting else (),
        confusion=confusion,
        unknown=table.unknown,
        scores=scores,
    )


def _left_out(pair: tuple[int, int], names: Sequence[str], combined: int, subjects: float, bounds: Bounds) -> FairnessFinding:
    why = (
        f"{combined:,} combinations of about {subjects:,.0f} subjects are too few each to be judged at this budget, "
        "so nothing was asked and nothing paid"
    )
    return judging.unasked(" × ".join(names[place] for place in pair), why, bounds)


def _spreads(shapes: Noisy) -> Array:
    """Variance of each feature within ±1, over everybody: of bins, and within them. (d,)"""
    counts = np.maximum(shapes.values.sum(axis=0), 0.0)
    width = 2 / assess.PROFILE_BINS
    middles = -1 + width * (np.arange(assess.PROFILE_BINS) + 0.5)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    average = shares @ middles
    return np.asarray((shares * (middles - average[:, None]) ** 2).sum(axis=1) + width**2 / 12)


def _row(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _rows(values: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(_row(row) for row in values)
