"""Whether scores keep their word for a group: how many did what was predicted of them, less how many the scores predicted.

With r = label − score, the gap is the mean of r over a group. Its sum is ½(P − N) − Σ(score − ½) for P subjects with the label
and N without, known from noisy counts of four cells (selected or not, with the label or not) and noisy sums of (score − ½) over
each. Its noise has variance σ² + 4τ² and none in common with that of the count P + N. The mean of r² is not asked for but
bounded: of scores in [a, b] with mean m, the mean square is at most (a + b)m − ab (Bhatia and Davis 2000). Not here: what passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audit.intervals import Interval, mean, rate


@dataclass(frozen=True, slots=True)
class Scored:
    """One group. `counts` and `excess` of cells with the label or without: selected with, selected without, others with, others
    without; noisy, with deviations `sigma` and `tau`. Scores are between 0 and 1; whoever reaches `threshold` is selected."""

    counts: Sequence[float]
    excess: Sequence[float]
    threshold: float
    sigma: float
    tau: float

    @property
    def positives(self) -> float:
        """Noisy count of whoever has the label."""
        return self.counts[0] + self.counts[2]

    @property
    def subjects(self) -> float:
        """Noisy count of all, with noise of deviation 2σ."""
        return sum(self.counts)

    @property
    def sums(self) -> tuple[float, ...]:
        """Noisy sums of scores, of each cell."""
        return tuple(excess + count / 2 for excess, count in zip(self.excess, self.counts, strict=True))

    @property
    def predicted(self) -> float:
        """Mean score."""
        return min(1.0, max(0.0, sum(self.sums) / self.subjects)) if self.subjects > 0 else 0.5

    def gap(self, z: float) -> Interval:
        """Observed less predicted."""
        return self._mean(self.positives - sum(self.sums), z)

    def flat(self, z: float) -> float:
        """The gap at which the interval of a group of this size and noise would leave zero."""
        return self._mean(0.0, z).high

    def _mean(self, total: float, z: float) -> Interval:
        square = max(self._square(), self._largest_variance(z))
        return mean(total, self.subjects, square, math.sqrt(self.sigma**2 + 4 * self.tau**2), 2 * self.sigma, z)

    def _square(self) -> float:
        """The most that the mean of r² can be."""
        total = 0.0
        for place, (count, sum_) in enumerate(zip(self.counts, self.sums, strict=True)):
            low, high = (self.threshold, 1.0) if place < 2 else (0.0, self.threshold)
            held = min(high, max(low, sum_ / count)) if count > 0 else low
            squares = (low + high) * held - low * high
            total += max(count, 0.0) * (1 - 2 * held + squares if place in (0, 2) else squares)
        return min(1.0, total / max(sum(max(count, 0.0) for count in self.counts), 1e-9))

    def _largest_variance(self, z: float) -> float:
        """Of a yes or no whose rate lies where that of the label may: what noise has made of small cells counts for no less."""
        noise = self.sigma * math.sqrt(2)
        held = rate(self.positives, self.subjects - self.positives, noise, noise, z)
        nearest = min(max(0.5, held.low), held.high)
        return nearest * (1 - nearest)
