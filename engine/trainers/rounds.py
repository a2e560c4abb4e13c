"""A trainer's rounds of the door: named shares of one grant, each spent by one question to subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from governance.door import Array, Cohort, Grant, Part, Query, StepName
from governance.noise import NoiseSource


@dataclass(frozen=True, slots=True)
class Rounds:
    """A cohort's subjects, those who train unless `part` says otherwise, and the `grants` to ask about them, by the name of the round."""

    cohort: Cohort
    grants: Mapping[str, Grant]
    noise: NoiseSource
    progress: Callable[[str], None]
    part: Part = Part.TRAIN

    def ask(self, name: str, step: str, parameters: Mapping[str, Array], shape: tuple[int, int], bound: float) -> Array:
        """One round: the noisy sum, (slots, values); its noise has deviation `sigma(name, bound)`."""
        self.progress(name)
        query = Query(StepName(step), parameters, (1, *shape), bound, self.part)
        return np.asarray(self.cohort.noisy_sum(query, self.grants[name], self.noise)[0])

    def blocks(self, name: str, step: str, parameters: Mapping[str, Array], shape: tuple[int, int, int], bound: float) -> Array:
        """One round of several blocks: the noisy sum, (blocks, slots, values)."""
        self.progress(name)
        return self.cohort.noisy_sum(Query(StepName(step), parameters, shape, bound, self.part), self.grants[name], self.noise)

    def sigma(self, name: str, bound: float) -> float:
        """Standard deviation of the noise that a round adds to each value, in units of `bound`."""
        return self.grants[name].sigma(bound)
