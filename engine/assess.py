"""What a build asks the door about its own result: sizes, profiles, curves, thresholds, fairness tables, data rules.

Each function is one query, so one round of the door, and gives noisy values with the standard deviation of their noise.
Steps are registered and row-wise: a subject adds 1 to at most one slot of each block, so that a query of b blocks has L2
sensitivity √b under add/remove neighbours, whatever the columns hold. Not here: what the values mean
(`engine.assessment`), who is told (`engine.reports`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, Query, StepName, register
from governance.noise import NoiseSource

CERTAIN = 1 << 16
"""Scores are whole numbers: this is probability one."""

PROFILE_BINS = 8
"""Bins of a feature in a profile, even on the feature's scale."""

LOGIT_RANGE = 5.0
"""Score bins are even in log-odds between -5 and 5, so that rare labels have bins too; the two ends are open."""

CURVE_BINS = 16
"""Score bins of curves and calibration."""

THRESHOLD_BINS = 32
"""Score bins for the threshold of a top share."""

OUTSIDE = -1.0
"""Slot of whoever adds nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Noisy:
    """Released `values`, each with Gaussian noise of standard deviation `sigma`, in subjects."""

    values: Array
    sigma: float


def sizes(cohort: Cohort, parts: int, grant: Grant, noise: NoiseSource) -> Noisy:
    """Subjects in each part, (parts,). Reads `segment`."""
    counted = _counted(cohort, "assess.sizes", {}, (1, parts), grant, noise, Part.ALL)
    return Noisy(counted.values[0], counted.sigma)


def profiles(cohort: Cohort, parts: int, grant: Grant, noise: NoiseSource) -> Noisy:
    """Subjects by part and bin of each feature, (parts, d, PROFILE_BINS). Reads `segment`, `features`."""
    counted = _counted(cohort, "assess.profiles", {}, (cohort.width, parts * PROFILE_BINS), grant, noise, Part.ALL)
    return Noisy(counted.values.reshape(cohort.width, parts, PROFILE_BINS).swapaxes(0, 1), counted.sigma)


def curve(cohort: Cohort, grant: Grant, noise: NoiseSource) -> Noisy:
    """Hold-out subjects by label and score bin, (2, CURVE_BINS): row 0 negatives, row 1 positives. Reads `score`, `label`."""
    counted = _counted(cohort, "assess.curve", {"edges": score_edges(CURVE_BINS)}, (1, 2 * CURVE_BINS), grant, noise, Part.HOLDOUT)
    return Noisy(counted.values.reshape(2, CURVE_BINS), counted.sigma)


def quantile_threshold(cohort: Cohort, top: float, grant: Grant, noise: NoiseSource) -> int:
    """The score from which on a subject is among the `top` share, on the grid of scores, by a noisy histogram. Reads `score`."""
    edges = score_edges(THRESHOLD_BINS)
    counts = _counted(cohort, "assess.scores", {"edges": edges}, (1, THRESHOLD_BINS), grant, noise, Part.ALL).values.ravel()
    above = _rising(np.concatenate([[0.0], np.cumsum(counts[::-1])]))
    wanted = top * above[-1]
    place = int(np.clip(np.searchsorted(above, wanted), 1, THRESHOLD_BINS))  # bins from the top that hold the wanted share
    low, high = _ends(edges, THRESHOLD_BINS - place)
    inside = above[place] - above[place - 1]
    return round(high - (high - low) * (float((wanted - above[place - 1]) / inside) if inside > 0 else 0.0))


def fairness(cohort: Cohort, groups: tuple[int, ...], outcomes: int, confusion: bool, grant: Grant, noise: NoiseSource) -> FairnessCounts:
    """Subjects by group and outcome for each attribute, and for propensities by group and cell of the hold-out's confusion.

    `groups`: number of groups of each attribute. Reads `groups` (n, attributes), `segment`, and for confusion `label`, `part`.
    """
    slots = max(max(groups) * outcomes + 1, max(groups) * 4)
    blocks = len(groups) * (2 if confusion else 1)
    parameters = {"groups": np.array(groups, dtype=np.float64), "outcomes": np.array([float(outcomes)])}
    counted = _counted(cohort, "assess.confusion" if confusion else "assess.groups", parameters, (blocks, slots), grant, noise, Part.ALL)
    tables = tuple(counted.values[a, : g * outcomes].reshape(g, outcomes) for a, g in enumerate(groups))
    unknown = tuple(float(counted.values[a, g * outcomes]) for a, g in enumerate(groups))
    cells = tuple(counted.values[len(groups) + a, : g * 4].reshape(g, 4) for a, g in enumerate(groups)) if confusion else ()
    return FairnessCounts(tables, unknown, cells, counted.sigma)


@dataclass(frozen=True, slots=True, eq=False)
class FairnessCounts:
    """One table (groups, outcomes) an attribute, the noisy count of subjects whose group is `unknown`, and hold-out `cells`
    (groups, 4): true positives, false positives, false negatives, true negatives."""

    tables: tuple[Array, ...]
    unknown: tuple[float, ...]
    cells: tuple[Array, ...]
    sigma: float


def flags(cohort: Cohort, count: int, grant: Grant, noise: NoiseSource) -> Noisy:
    """Subjects whose rows each of `count` data rules touched, (count,). Reads `flags` (n, count); L2 sensitivity √count."""
    query = Query(StepName("assess.flags"), {}, (1, 1, count), math.sqrt(count))
    return Noisy(cohort.noisy_sum(query, grant, noise).ravel(), grant.sigma(query.bound))


def score_edges(bins: int) -> Array:
    """(bins - 1,) whole thresholds between score bins, on the grid of scores."""
    logits = np.linspace(-LOGIT_RANGE, LOGIT_RANGE, bins - 1)
    return np.rint(CERTAIN / (1 + np.exp(-logits)))


def score_middles(bins: int) -> Array:
    """(bins,) probability in the middle of each bin, in log-odds."""
    step = 2 * LOGIT_RANGE / (bins - 2)
    logits = -LOGIT_RANGE - step / 2 + step * np.arange(bins)
    return np.asarray(1 / (1 + np.exp(-logits)))


def _counted(
    cohort: Cohort, step: str, parameters: Mapping[str, Array], shape: tuple[int, int], grant: Grant, noise: NoiseSource, part: Part
) -> Noisy:
    """One query of counts: (blocks, slots), each subject in at most one slot a block."""
    blocks, slots = shape
    query = Query(StepName(step), parameters, (blocks, slots, 1), math.sqrt(blocks), part)
    return Noisy(cohort.noisy_sum(query, grant, noise)[:, :, 0], grant.sigma(query.bound))


def _ends(edges: Array, place: int) -> tuple[float, float]:
    ends = np.concatenate([[0.0], edges, [float(CERTAIN)]])
    return float(ends[place]), float(ends[place + 1])


def _rising(cumulative: Array) -> Array:
    """Cumulative counts made monotone, halfway between the least curve above and the greatest below. To set negative counts
    to zero would be simpler, and let the noise of empty bins pass for subjects."""
    above = np.maximum.accumulate(cumulative)
    below = np.minimum.accumulate(cumulative[::-1])[::-1]
    return np.maximum((above + below) / 2, 0.0)


def _ones(slots: NDArray[np.float64]) -> Contribution:
    """One in the slot of each block; a slot below zero adds nothing."""
    blocks = slots.reshape(len(slots), -1)
    return Contribution(np.ones((*blocks.shape, 1)), blocks.astype(np.int64))


@register("assess.sizes")
def _sizes(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return _ones(batch["segment"])


@register("assess.profiles")
def _profiles(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    """Bin of each feature, within the subject's part."""
    bins = np.clip(np.floor((batch["features"] + UNIT) * (PROFILE_BINS / (2 * UNIT))), 0, PROFILE_BINS - 1)
    segment = batch["segment"][:, None]
    return _ones(np.where(segment >= 0, segment * PROFILE_BINS + bins, OUTSIDE))


@register("assess.scores")
def _scores(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    return _ones(np.searchsorted(parameters["edges"], batch["score"], side="right").astype(np.float64))


@register("assess.curve")
def _curve(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    bins = np.searchsorted(parameters["edges"], batch["score"], side="right")
    return _ones(batch["label"] * (len(parameters["edges"]) + 1) + bins)


@register("assess.groups")
def _groups(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    return _ones(_group_slots(batch, parameters))


@register("assess.confusion")
def _confusion(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Group and outcome; then group and confusion cell, for the hold-out alone."""
    selected, label = batch["segment"][:, None] == 0, batch["label"][:, None] > 0
    cell = np.where(selected, np.where(label, 0.0, 1.0), np.where(label, 2.0, 3.0))
    held = (batch["part"][:, None] == float(Part.HOLDOUT)) & (batch["groups"] >= 0)
    return _ones(np.hstack([_group_slots(batch, parameters), np.where(held, batch["groups"] * 4 + cell, OUTSIDE)]))


def _group_slots(batch: Batch, parameters: Mapping[str, Array]) -> NDArray[np.float64]:
    """group · outcomes + outcome; the slot after all groups for whose group is unknown. In no part: the last outcome."""
    outcomes = parameters["outcomes"][0]
    outcome = np.where(batch["segment"] >= 0, batch["segment"], outcomes - 1)[:, None]
    known = batch["groups"] >= 0
    return np.asarray(np.where(known, batch["groups"] * outcomes + outcome, parameters["groups"] * outcomes))


@register("assess.flags")
def _flags(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return Contribution(np.minimum(np.maximum(batch["flags"], 0.0), 1.0))
