"""One noisy Lloyd step: subjects go to their nearest centre, and each centre goes to where their noisy mean lies.

Lloyd, 1982; with noise: Blum, Dwork, McSherry, Nissim, 2005 ("SuLQ"). Here a subject adds where it lies *from its centre*, clipped
to a radius, so that noise shrinks with the clusters; the radius follows from the mean square distance that the round before
measured; and a step is shrunk where noise outweighs it (James, Stein, 1961). The radius holds more of the tails the less the noise
is, because what a clip cuts off does not shrink with more subjects, as noise does.

Neighbours: add or remove one subject, whose offset, count and square distance have together the norm `BOUND` at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.scale import UNIT
from engine.trainers.partitions import nearest
from engine.trainers.rounds import Rounds
from engine.trainers.seeding import on_grid
from governance.door import Array, Batch, Contribution, register

RADIUS = 1 << 20
"""Offsets are whole numbers: this is the length of a clip radius."""

COUNT, SQUARE = round(0.35 * RADIUS), round(0.2 * RADIUS)
"""What a subject adds to the count, and at the clip radius to the square distances."""

BOUND = math.sqrt(RADIUS**2 + COUNT**2 + SQUARE**2)
"""L2 bound of a contribution."""

REACH, LONGER = 1.2, 0.4
"""Clip radius in root mean square distances, where a mean errs by one radius, and for each power of ten that it errs by less."""

TRUSTED = 3.0
"""Counts below so many standard deviations of their noise are taken to be so many."""

NARROWEST = 0.01
"""Least mean square distance, as a share of the square of the clip radius."""


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """After a step: `centres` (k, d) on the grid, noisy `counts` (k,) of the cells that they are means of with standard deviation
    `sigma`, and `variance`: the mean square distance of subjects to their centre, in square grid units."""

    centres: Array
    counts: Array
    sigma: float
    variance: float


def step(rounds: Rounds, name: str, centres: Array, variance: float, subjects: float) -> Moved:
    """One round. `variance`: what is expected about the centres; `subjects`: their noisy number. Both set the radius alone."""
    k, d = centres.shape
    noise = rounds.sigma(name, BOUND)
    radius = _radius(variance, subjects * RADIUS / (noise * k * math.sqrt(d)), d)
    sums = rounds.ask(name, "clusters.lloyd", {"centres": centres, "radius": np.array([radius])}, (k, d + 2), BOUND)
    counts = sums[:, d] / COUNT
    trusted = np.maximum(counts, TRUSTED * noise / COUNT)
    steps = sums[:, :d] / (RADIUS * trusted)[:, None]
    error = noise / (RADIUS * trusted)
    shrink = np.maximum(1 - d * error**2 / np.maximum((steps**2).sum(axis=1), 1 / RADIUS**2), 0.0)
    steps *= shrink[:, None]
    square = float(sums[:, d + 1].sum() / SQUARE - counts @ (steps**2).sum(axis=1)) / max(float(counts.sum()), 1.0)
    measured = min(max(square, NARROWEST), 1.0) * radius**2
    return Moved(on_grid(centres + steps * radius), counts, noise / COUNT, measured)


def _radius(variance: float, signal: float, d: int) -> float:
    """A whole clip radius, never beyond the diameter of the grid. `signal`: one over the radii that a mean of n/k subjects errs by."""
    reach = REACH + LONGER * math.log10(max(signal, 1.0))
    return float(math.ceil(min(reach * math.sqrt(variance), 2 * UNIT * math.sqrt(d))))


@register("clusters.lloyd")
def lloyd(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, d + 2): x − its nearest centre, clipped, the count, and the square of the clipped length; the slot is that centre."""
    x = batch["features"]
    slots = nearest(x, parameters["centres"])
    values = np.empty((x.shape[1] + 2, len(x)))
    offsets = np.take(-parameters["centres"].T, slots, axis=1, out=values[:-2], mode="clip")
    offsets += x.T
    norm, radius = np.sqrt(np.einsum("ij,ij->j", offsets, offsets)), parameters["radius"][0]
    offsets *= RADIUS / np.maximum(norm, radius)
    values[-2] = COUNT
    values[-1] = np.minimum(norm / radius, 1.0) ** 2 * SQUARE
    return Contribution(np.trunc(values, out=values).T, slots)
