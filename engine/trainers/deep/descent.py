"""Descent by noisy gradients: Adam at the coordinator, on sums that the door gives.

Adam (Kingma and Ba 2015) divides a step by the size of past gradients, so that what the sums are divided by cancels: no figure
stands here that depends on how many there are. Weights are averaged over the later steps (Polyak and Juditsky 1992), which takes out
noise at no cost. Abadi et al. 2016 for learning by clipped, noisy gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from engine.scale import UNIT
from engine.trainers.deep.dense import Shape
from governance.door import Array, Part, Query, StepName
from governance.noise import NoiseSource
from governance.sampling import Sampler

CLIP = 0.2
"""L2 bound of one subject's gradient: so short that most are clipped, and a subject counts by where it pulls and not how hard."""

PACE = 0.015
"""Learning rate at the start; it falls to a tenth of it along a cosine."""

MEMORY, SQUARES = 0.9, 0.99
"""How much of past gradients, and of their squares, a step remembers."""

AVERAGED = 0.5
"""Share of the steps, the last ones, whose weights are averaged."""

TOLD = 10
"""How often progress is told, evenly over the steps."""


def standardised(mean: Array, spread: Array) -> dict[str, Array]:
    """What takes rows to mean 0 and variance 1 in each feature, for `gradients`, by released means and deviations (d,) on the grid."""
    return {"mean": mean / UNIT, "matrix": np.diag(UNIT / spread)}


def descend(
    sampler: Sampler,
    step: str,
    shape: Shape,
    start: Array,
    parameters: Mapping[str, Array],
    part: Part,
    noise: NoiseSource,
    progress: Callable[[str], None],
) -> Array:
    """(size,) weights after all steps that `sampler` grants, from `start`. Raises DoorError and BudgetError as the door does."""
    steps = sampler.terms.steps
    weights, mean, square, total, counted = start, np.zeros(shape.size), np.zeros(shape.size), np.zeros(shape.size), 0
    widths = np.array(shape.widths, dtype=np.float64)
    for turn in range(steps):
        if turn * TOLD // steps != (turn - 1) * TOLD // steps:
            progress(f"{step} {turn * TOLD // steps + 1} of {TOLD}")
        query = Query(StepName(step), {"weights": weights, "widths": widths, **parameters}, (1, 1, shape.size), CLIP, part)
        gradient = sampler.noisy_sum(query, noise)[0, 0]
        mean = MEMORY * mean + (1 - MEMORY) * gradient
        square = SQUARES * square + (1 - SQUARES) * gradient**2
        pace = PACE * (0.55 + 0.45 * np.cos(np.pi * turn / steps))
        corrected = mean / (1 - MEMORY ** (turn + 1)), np.sqrt(square / (1 - SQUARES ** (turn + 1)))
        weights = weights - pace * corrected[0] / np.maximum(corrected[1], 1e-12)
        if turn >= (1 - AVERAGED) * steps:
            total, counted = total + weights, counted + 1
    return total / counted
