"""The public grid of features: whole numbers in [-UNIT, UNIT], found by comparing with a table, never by a float formula.

`linear` spaces the table evenly between the public bounds, `log` evenly in log(1 + value − lower). Encoding is a
binary search, so that engines and processors that disagree on the last bit of a logarithm still agree on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT = 1 << 15
"""Grid units from the middle of a feature's range to either end."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How one feature meets the grid. `low` and `high` are public bounds in units of the feature."""

    low: float
    high: float
    log: bool = False

    def edges(self) -> NDArray[np.float64]:
        """(2·UNIT,) ascending thresholds between neighbouring grid points, on a grid of float32 to be the same everywhere."""
        return self._curve((np.arange(2 * UNIT) + 0.5) / (2 * UNIT)).astype(np.float32).astype(np.float64)

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.int32]:
        """Values to grid points; below `low` (and NaN) to -UNIT, above `high` to UNIT."""
        clean = np.where(np.isnan(values), self.low, values)
        return (np.searchsorted(self.edges(), clean, side="right") - UNIT).astype(np.int32)

    def decode(self, grid: NDArray[np.float64]) -> NDArray[np.float64]:
        """Grid points (any real position between them) back to units of the feature."""
        return self._curve((np.clip(np.asarray(grid, dtype=np.float64), -UNIT, UNIT) + UNIT) / (2 * UNIT))

    def _curve(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.log:
            return np.asarray(self.low + np.expm1(share * np.log1p(self.high - self.low)))
        return self.low + share * (self.high - self.low)
