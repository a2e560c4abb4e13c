"""Noisy tables of who is where: sizes of segments, profiles of features, groups by segment, rules that touched rows.

Every subject counts in one cell of each block, so the L2 bound is the square root of the number of blocks, and noise
is independent between cells. Neighbours: add or remove one subject. Raises DoorError and BudgetError as the door does.
Segments are the column `segment`: a cluster's number, or for propensities 1 selected and 0 not. Not here: what the
tables mean (`audit.fairness`, `engine.naming`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT, Scale
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register
from governance.noise import NoiseSource

FLAGS = 4
"""Quality flags of a subject."""


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Noisy numbers of subjects, `values` (m,), each with noise of standard deviation `sigma`."""

    values: Array
    sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Noisy `counts` (k, d, bins) by segment, feature and even bin of the grid, each with noise of standard deviation `sigma`."""

    counts: Array
    sigma: float

    def edges(self, scale: Scale) -> Array:
        """(bins + 1,) ends of the bins in units of the feature that has this scale."""
        bins = self.counts.shape[2]
        return scale.decode((np.arange(bins + 1) * 2 / bins - 1) * UNIT)

    def shares(self) -> Array:
        """(k, d, bins) distribution of each feature in each segment, adding up to 1: cells hidden by noise are taken as empty."""
        clear = np.where(self.counts > 2 * self.sigma, self.counts, 0.0)
        total = clear.sum(axis=2, keepdims=True)
        return np.where(total > 0, clear / np.where(total > 0, total, 1.0), 1 / self.counts.shape[2])

    def quantiles(self, scales: Sequence[Scale], shares: Sequence[float] = (0.25, 0.5, 0.75)) -> Array:
        """(k, d, len(shares)) quantiles in units of the features, even within a bin."""
        k, d, bins = self.counts.shape
        cumulative = np.concatenate([np.zeros((k, d, 1)), np.cumsum(self.shares(), axis=2)], axis=2)
        ends = (np.arange(bins + 1) * 2 / bins - 1) * UNIT
        found = np.empty((k, d, len(shares)))
        for segment in range(k):
            for feature in range(d):
                found[segment, feature] = scales[feature].decode(_inverse(cumulative[segment, feature], ends, np.asarray(shares)))
        return found


class Cell(IntEnum):
    """Where a propensity's subject counts: training subjects by selection, hold-out subjects by selection and label."""

    TRAIN_REST = 0
    TRAIN_SELECTED = 1
    TRUE_NEGATIVE = 2
    FALSE_POSITIVE = 3
    FALSE_NEGATIVE = 4
    TRUE_POSITIVE = 5


@dataclass(frozen=True, slots=True, eq=False)
class GroupCounts:
    """Subjects by group and cell. `counts`: for each attribute noisy (groups + 1, cells), the last row for unknown groups.

    Each count has noise of standard deviation `sigma`; a sum of j of them has √j times that.
    """

    counts: tuple[Array, ...]
    sigma: float


def segment_sizes(cohort: Cohort, k: int, grant: Grant, noise: NoiseSource) -> Counts:
    """Subjects in each of `k` segments. One round, bound 1."""
    query = Query(StepName("tables.sizes"), {}, (1, k, 1), 1.0)
    return Counts(cohort.noisy_sum(query, grant, noise).ravel(), grant.sigma(1.0))


def profiles(cohort: Cohort, k: int, grant: Grant, noise: NoiseSource, bins: int = 32) -> Profile:
    """Histogram of every feature in each of `k` segments. One round, bound √d."""
    d = cohort.width
    query = Query(StepName("tables.profiles"), {"bins": np.array([float(bins)])}, (d, k * bins, 1), math.sqrt(d))
    counts = cohort.noisy_sum(query, grant, noise).reshape(d, k, bins)
    return Profile(counts.transpose(1, 0, 2), grant.sigma(query.bound))


def groups_by_segment(cohort: Cohort, groups: Sequence[int], k: int, grant: Grant, noise: NoiseSource) -> GroupCounts:
    """Groups of each attribute by segment, cells 0..k-1. `groups`: how many each attribute has. One round, bound √attributes."""
    return _by_group(cohort, StepName("tables.groups"), groups, k, grant, noise)


def groups_by_outcome(cohort: Cohort, groups: Sequence[int], grant: Grant, noise: NoiseSource) -> GroupCounts:
    """Groups of each attribute by `Cell`, for propensities. `groups`: how many each attribute has. One round, bound √attributes."""
    return _by_group(cohort, StepName("tables.outcomes"), groups, len(Cell), grant, noise)


def quality(cohort: Cohort, grant: Grant, noise: NoiseSource) -> Counts:
    """Subjects that each of the `FLAGS` rules touched. One round, bound √FLAGS."""
    query = Query(StepName("tables.quality"), {}, (1, 1, FLAGS), math.sqrt(FLAGS))
    return Counts(cohort.noisy_sum(query, grant, noise).ravel(), grant.sigma(query.bound))


def _by_group(cohort: Cohort, step: StepName, groups: Sequence[int], cells: int, grant: Grant, noise: NoiseSource) -> GroupCounts:
    rows = max(groups) + 1
    parameters = {"groups": np.asarray(groups, dtype=np.float64), "cells": np.array([float(cells)])}
    query = Query(step, parameters, (len(groups), rows * cells, 1), math.sqrt(len(groups)))
    counts = cohort.noisy_sum(query, grant, noise).reshape(len(groups), rows, cells)
    known = (np.vstack([table[:size], table[-1:]]) for table, size in zip(counts, groups, strict=True))
    return GroupCounts(tuple(known), grant.sigma(query.bound))


def _inverse(cumulative: Array, ends: Array, shares: Array) -> Array:
    """Positions at which a cumulative distribution (bins + 1,) reaches `shares`."""
    place = np.clip(np.searchsorted(cumulative, shares, side="left"), 1, len(ends) - 1)
    low, high = cumulative[place - 1], cumulative[place]
    within = np.clip((shares - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    return np.asarray(ends[place - 1] + within * (ends[place] - ends[place - 1]))


def _slots(batch: Batch, cell: Array, parameters: Mapping[str, Array]) -> NDArray[np.int64]:
    """(n, attributes) slot of each subject's group and cell; a group that is not known counts in the last row, a cell below 0 nowhere."""
    sizes, cells = parameters["groups"], parameters["cells"][0]
    group = batch["groups"]
    row = np.where((group >= 0) & (group < sizes), group, sizes.max())
    inside = (cell >= 0) & (cell < cells)
    return np.where(inside[:, None], row * cells + cell[:, None], -1).astype(np.int64)


def _ones(slots: NDArray[np.int64]) -> Contribution:
    return Contribution(np.ones((*slots.shape, 1)), slots)


@register("tables.sizes")
def sizes(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in its segment."""
    return _ones(batch["segment"].astype(np.int64))


@register("tables.profiles")
def bins_of_features(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted once for each feature, in its segment and the feature's bin."""
    bins = int(parameters["bins"][0])
    x = batch["features"].astype(np.int64)
    bin_ = np.clip((x + UNIT) * bins // (2 * UNIT), 0, bins - 1)
    return _ones(batch["segment"].astype(np.int64)[:, None] * bins + bin_)


@register("tables.groups")
def segment_of_groups(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted once for each attribute, in its group and segment."""
    return _ones(_slots(batch, batch["segment"], parameters))


@register("tables.outcomes")
def outcome_of_groups(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted once for each attribute, in its group and `Cell`."""
    selected, label = batch["segment"], batch["label"]
    held_out = Cell.TRUE_NEGATIVE + 2 * label + selected
    known = np.isin(selected, (0, 1)) & np.isin(label, (0, 1))
    cell = np.where(batch["part"] == float(Part.HOLDOUT), held_out, selected)
    return _ones(_slots(batch, np.where(known, cell, -1), parameters))


@register("tables.quality")
def flags(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, FLAGS): the flags, 0 or 1."""
    return Contribution(np.clip(batch["flags"], 0, 1))
