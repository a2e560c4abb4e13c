"""What a build asks the door about groups: one table of how they fare, and how well features would tell who belongs to which.

Three queries at most, so three rounds, each of them for all attributes at once; reads `groups` (n, attributes), −1 unknown.

- `tables`: subjects by group and outcome; where there is a score, by label too, and sums of (score − ½). A block for each attribute and
  each crossing of two; a subject adds (1, score − ½) times the block's weight to one slot of each, so that the L2 sensitivity
  is √(5/4 · Σ weights²) under add/remove neighbours, √(Σ weights²) without a score.
- `means`: count and sum of features, by group: L2 sensitivity √(attributes · (1 + d)), features being within ±1.
- `guesses`: subjects by their group and the one that a released rule names: L2 sensitivity √attributes.

Steps work on whole numbers, and give the same bits everywhere. Not here: verdicts (`audit.fairness`, `audit.proxies`), words
(`engine.described_fairness`), which subjects' groups may be read (`engine.stages`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.rates import certain
from engine.assess import OUTSIDE, Noisy
from engine.models import ONE
from engine.scale import UNIT
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register
from governance.noise import NoiseSource

CROSSING = 0.5
"""Weight of a crossing beside an attribute of its own: groups come before their crossings, which have more noise."""

SCORED = 5 / 4
"""Square of the norm of (1, score − ½)."""

STEPS = 2.0**24
"""Largest weight of a feature in a rule, as a whole number; with it a score is exact, whatever the order of its sum."""

DENSITY = 1 / math.sqrt(2 * math.pi)
"""Largest value of the standard normal density: how many more are named when a score moves by one of its standard deviations."""

NEVER = -(2.0**51)
"""Start of a group that a rule never names: below any score."""

READING = frozenset({"fairness.tables", "fairness.means", "fairness.guesses"})
"""Steps that read `groups`."""

Block = tuple[int, ...]
"""The attributes, by place, that a table is by: one, or two that are crossed."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One block. `counts` (groups, outcomes, states), `excess` alike; `sigma` of the noise of each, in subjects.

    States: without and with the label, and whoever is not looked at because errors are counted on the hold-out; one state where
    there is no score. Groups of a crossing: those of the first attribute, each by those of the second. `unknown`: noisy count.
    """

    block: Block
    counts: Array
    excess: Array
    unknown: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What tables are of: `sizes` (number of groups of each attribute), their `blocks`, number of `outcomes`; `part`: of a score,
    whose labels and scores are looked at; None without one."""

    sizes: tuple[int, ...]
    blocks: tuple[Block, ...]
    outcomes: int
    part: Part | None = None

    @property
    def states(self) -> int:
        """Of a subject in one outcome."""
        return {None: 1, Part.ALL: 2}.get(self.part, 3)

    @property
    def weights(self) -> Array:
        """Of each block."""
        return np.array([1.0 if len(block) == 1 else CROSSING for block in self.blocks])

    @property
    def bound(self) -> float:
        """L2 sensitivity."""
        return math.sqrt(float(self.weights @ self.weights) * (1.0 if self.part is None else SCORED))

    def groups(self, block: Block) -> int:
        """Groups of a block."""
        return math.prod(self.sizes[place] for place in block)


def tables(cohort: Cohort, asked: Asked, grant: Grant, noise: NoiseSource) -> tuple[Table, ...]:
    """How groups fare. Reads `groups`, `segment` (the last outcome: in no part), and of a score `label`, `score`, `part`."""
    cells = asked.outcomes * asked.states
    slots = max(map(asked.groups, asked.blocks)) * cells + 1
    parameters = {
        "blocks": np.array([(block[0], block[-1]) for block in asked.blocks], dtype=np.float64),
        "sizes": np.array(asked.sizes, dtype=np.float64),
        "weights": asked.weights,
        "cells": np.array([asked.outcomes, asked.states], dtype=np.float64),
    }
    values = 1 if asked.part is None else 2
    query = Query(StepName("fairness.tables"), parameters, (len(asked.blocks), slots, values), asked.bound)
    released, sigma = cohort.noisy_sum(query, grant, noise), grant.sigma(query.bound)
    found = []
    for block, weight, table in zip(asked.blocks, asked.weights, released / asked.weights[:, None, None], strict=True):
        shape, end = (asked.groups(block), asked.outcomes, asked.states), asked.groups(block) * cells
        excess = table[:end, 1].reshape(shape) if asked.part is not None else np.zeros(shape)
        found.append(Table(block, table[:end, 0].reshape(shape), excess, float(table[end, 0]), sigma / float(weight)))
    return tuple(found)


@register("fairness.tables")
def _tables(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Group, outcome and state in each block; the slot after all groups for whose group is unknown."""
    outcomes, states = parameters["cells"]
    segment = batch["segment"]
    cell = np.where(segment >= 0, segment, outcomes - 1) * states
    scores = np.zeros((len(cell), 0))
    if states > 1:
        looked_at = (batch["part"] == float(Part.HOLDOUT)) | (states == 2)
        cell = cell + np.where(looked_at, np.where(batch["label"] > 0, 1.0, 0.0), 2.0)
        scores = np.where(looked_at, (batch["score"] - ONE / 2) / ONE, 0.0)[:, None]
    sizes, known = parameters["sizes"], _known(batch, parameters["sizes"])
    slots, values = [], []
    for (first, second), weight in zip(parameters["blocks"].astype(np.int64), parameters["weights"], strict=True):
        group, of_all = known[:, first], sizes[first]
        if first != second:
            group = np.where((group >= 0) & (known[:, second] >= 0), group * sizes[second] + known[:, second], OUTSIDE)
            of_all = of_all * sizes[second]
        slots.append(np.where(group >= 0, group * outcomes * states + cell, of_all * outcomes * states))
        values.append(weight * np.hstack([np.ones((len(cell), 1)), scores * (group >= 0)[:, None]]))
    return Contribution(np.stack(values, axis=1), np.stack(slots, axis=1).astype(np.int64))


def means(cohort: Cohort, sizes: Sequence[int], grant: Grant, noise: NoiseSource) -> Noisy:
    """Count, and sum of each feature within ±1, by attribute and group, (attributes, most groups, 1 + d). Reads `groups`, `features`."""
    shape = (len(sizes), max(sizes), 1 + cohort.width)
    query = Query(StepName("fairness.means"), {"sizes": np.array(sizes, dtype=np.float64)}, shape, math.sqrt(shape[0] * shape[2]))
    return Noisy(cohort.noisy_sum(query, grant, noise), grant.sigma(query.bound))


@register("fairness.means")
def _means(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    known = _known(batch, parameters["sizes"])
    values = np.hstack([np.ones((len(known), 1)), batch["features"] / UNIT])
    return Contribution(np.repeat(values[:, None, :], known.shape[1], axis=1), known.astype(np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Names the group with the highest score, of one attribute. `weights` (groups, d) and `starts` (groups,): whole numbers.

    `differences` (groups, d): how far means of groups lie from everybody's, in standard deviations of everybody, with standard `errors`.
    `optimism` (groups,): by how much more often, as a share, members are named rather than others because the rule was made of them.
    """

    weights: Array
    starts: Array
    differences: Array
    errors: Array
    optimism: Array


def rules(found: Noisy, sizes: Sequence[int], spreads: Array) -> tuple[Rule, ...]:
    """A rule for each attribute, out of released means and variances `spreads` (d,) of features within ±1.

    Linear discriminants with all groups alike frequent and features taken one by one, which serves where there are few subjects for so
    many features (Bickel and Levina 2004); each difference is shrunk by what noise and chance make of it (James and Stein 1961).

    It is made of the subjects that it is tried on, since half of them would be seen through twice the noise. What that flatters it
    by is the covariance of its weights with the chance in their means (Efron 2004), in standard deviations of its scores, times
    the height of the normal density.
    """
    return tuple(_rule(table[:size], found.sigma, spreads) for table, size in zip(found.values, sizes, strict=True))


def _rule(table: Array, sigma: float, spreads: Array) -> Rule:
    counts = np.maximum(table[:, 0], 1.0)[:, None]
    nameable = np.array([certain(float(count), sigma) for count in table[:, 0]])
    own, all_ = table[:, 1:] / counts, table[nameable, 1:].sum(axis=0) / max(float(table[nameable, 0].sum()), 1.0)
    apart = own - all_
    variances = spreads / counts + sigma**2 * (1 + own**2) / counts**2
    errors = np.where(nameable[:, None], np.sqrt(variances), math.inf)
    kept = np.where(nameable[:, None], apart * np.maximum(0.0, 1 - variances / np.maximum(apart**2, 1e-12)), 0.0)
    weights = kept / spreads
    moved = np.where(np.abs(kept) > 0, 1 + variances / np.maximum(apart**2, 1e-12), 0.0).sum(axis=1) / counts[:, 0]
    spread = np.sqrt(np.maximum((weights**2 * spreads).sum(axis=1), 1e-12))
    optimism = np.minimum(1.0, DENSITY * moved / spread)
    starts = -(weights * (all_ + kept / 2)).sum(axis=1)
    scale = STEPS / max(float(np.abs(weights).max()), 1e-9)
    whole = np.where(nameable, np.clip(np.rint(starts * scale * UNIT), NEVER / 2, -NEVER / 2), NEVER)
    return Rule(np.rint(weights * scale), whole, apart / np.sqrt(spreads), errors / np.sqrt(spreads), optimism)


def guesses(cohort: Cohort, rules: Sequence[Rule], grant: Grant, noise: NoiseSource) -> tuple[Noisy, ...]:
    """Of each attribute, subjects by group and by the group that its rule names, (groups, groups). Reads `groups`, `features`."""
    sizes = [len(rule.starts) for rule in rules]
    parameters = {
        "sizes": np.array(sizes, dtype=np.float64),
        "weights": np.concatenate([rule.weights for rule in rules]),
        "starts": np.concatenate([rule.starts for rule in rules]),
    }
    query = Query(StepName("fairness.guesses"), parameters, (len(sizes), max(sizes) ** 2, 1), math.sqrt(len(sizes)))
    released, sigma = cohort.noisy_sum(query, grant, noise)[:, :, 0], grant.sigma(query.bound)
    return tuple(Noisy(row[: size**2].reshape(size, size), sigma) for row, size in zip(released, sizes, strict=True))


@register("fairness.guesses")
def _guesses(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    sizes, known = parameters["sizes"], _known(batch, parameters["sizes"])
    scores = batch["features"] @ parameters["weights"].T + parameters["starts"]
    ends = np.cumsum(sizes).astype(np.int64)
    named = [scores[:, end - int(size) : end].argmax(axis=1) for end, size in zip(ends, sizes, strict=True)]
    slots = np.where(known >= 0, known * sizes + np.stack(named, axis=1), OUTSIDE)
    return Contribution(np.ones((*slots.shape, 1)), slots.astype(np.int64))


def _known(batch: Batch, sizes: Array) -> NDArray[np.float64]:
    """The group of each subject in each attribute; `OUTSIDE` where it is unknown, or none of the domain."""
    groups = batch["groups"]
    return np.asarray(np.where((groups >= 0) & (groups < sizes), groups, OUTSIDE))
