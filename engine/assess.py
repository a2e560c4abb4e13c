"""What a build asks the door about its own result: sizes, profiles, data rules (curves: `engine.curves`; groups: `engine.group_tables`).

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

PROFILE_BINS = 8
"""Bins of a feature in a profile, even on the feature's scale."""

OUTSIDE = -1.0
"""Slot of whoever adds nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Noisy:
    """Released `values`, each with Gaussian noise of standard deviation `sigma`, in subjects."""

    values: Array
    sigma: float


def subjects(cohort: Cohort, grant: Grant, noise: NoiseSource) -> Noisy:
    """How many there are, (1,)."""
    table = counted(cohort, "assess.subjects", {}, (1, 1), grant, noise, Part.ALL)
    return Noisy(table.values[0], table.sigma)


def sizes(cohort: Cohort, parts: int, grant: Grant, noise: NoiseSource) -> Noisy:
    """Subjects in each part, (parts,). Reads `segment`."""
    table = counted(cohort, "assess.sizes", {}, (1, parts), grant, noise, Part.ALL)
    return Noisy(table.values[0], table.sigma)


def profiles(cohort: Cohort, parts: int, grant: Grant, noise: NoiseSource, rest: bool = False) -> Noisy:
    """Subjects by part and bin of each feature, (parts, d, PROFILE_BINS). Reads `segment`, `features`.

    With `rest`, the last of `parts` is whoever is in none; else they are left out.
    """
    nobody = {"nobody": np.array([parts - 1.0 if rest else OUTSIDE])}
    table = counted(cohort, "assess.profiles", nobody, (cohort.width, parts * PROFILE_BINS), grant, noise, Part.ALL)
    return Noisy(table.values.reshape(cohort.width, parts, PROFILE_BINS).swapaxes(0, 1), table.sigma)


def flags(cohort: Cohort, count: int, grant: Grant, noise: NoiseSource) -> Noisy:
    """Subjects whose rows each of `count` data rules touched, (count,). Reads `flags` (n, count); L2 sensitivity √count."""
    query = Query(StepName("assess.flags"), {}, (1, 1, count), math.sqrt(count))
    return Noisy(cohort.noisy_sum(query, grant, noise).ravel(), grant.sigma(query.bound))


def counted(
    cohort: Cohort, step: str, parameters: Mapping[str, Array], shape: tuple[int, int], grant: Grant, noise: NoiseSource, part: Part
) -> Noisy:
    """One query of counts: (blocks, slots), each subject in at most one slot a block."""
    blocks, slots = shape
    query = Query(StepName(step), parameters, (blocks, slots, 1), math.sqrt(blocks), part)
    return Noisy(cohort.noisy_sum(query, grant, noise)[:, :, 0], grant.sigma(query.bound))


def ones(slots: NDArray[np.float64]) -> Contribution:
    """One in the slot of each block; a slot below zero adds nothing."""
    blocks = slots.reshape(len(slots), -1)
    return Contribution(np.ones((*blocks.shape, 1)), blocks.astype(np.int64))


@register("assess.subjects")
def _subjects(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return ones(np.zeros(len(batch["features"])))


@register("assess.sizes")
def _sizes(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return ones(batch["segment"])


@register("assess.profiles")
def _profiles(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Bin of each feature, within the subject's part."""
    bins = np.clip(np.floor((batch["features"] + UNIT) * (PROFILE_BINS / (2 * UNIT))), 0, PROFILE_BINS - 1)
    segment = np.where(batch["segment"] >= 0, batch["segment"], parameters["nobody"])[:, None]
    return ones(np.where(segment >= 0, segment * PROFILE_BINS + bins, OUTSIDE))


@register("assess.flags")
def _flags(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    return Contribution(np.minimum(np.maximum(batch["flags"], 0.0), 1.0))
