"""One group's rate in a noisy table: its two counts, whether they are enough to judge by, and what could be seen with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audit.intervals import Interval, rate

LEAST_SUBJECTS = 30
"""Subjects that must be certain to be counted before a rate is judged (DESIGN section 8)."""

SIGMAS = 3.0
"""Standard deviations of noise taken off a count before it is called certain."""


def certain(subjects: float, sigma: float) -> bool:
    """Whether at least `LEAST_SUBJECTS` were counted, noise or no noise."""
    return subjects - SIGMAS * sigma >= LEAST_SUBJECTS


@dataclass(frozen=True, slots=True)
class Cell:
    """A group's rate as two noisy counts of disjoint sets, each with the standard deviation of its noise, in subjects."""

    group: str
    successes: float
    failures: float
    sigma_successes: float
    sigma_failures: float

    @property
    def subjects(self) -> float:
        """Noisy count of whom the rate is a share of."""
        return self.successes + self.failures

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise of `subjects`."""
        return math.hypot(self.sigma_successes, self.sigma_failures)

    @property
    def certain(self) -> bool:
        """Whether there are enough to judge by."""
        return certain(self.subjects, self.sigma)

    def rate(self, z: float) -> Interval:
        """The rate, with its interval for sampling and noise."""
        return rate(self.successes, self.failures, self.sigma_successes, self.sigma_failures, z)

    def rate_if(self, share: float, z: float) -> Interval:
        """The interval that a group of this size and noise would have around `share`."""
        n = max(self.subjects, 0.0)
        return rate(share * n, (1 - share) * n, self.sigma_successes, self.sigma_failures, z)


def too_few(subjects: float) -> str:
    """Why a group is not judged, and what could have been seen of it."""
    counted = f"too few to judge: about {max(0, round(subjects)):,} counted with noise, fewer than {LEAST_SUBJECTS} of them certain"
    return f"{counted}; no gap, however large, could have been seen"
