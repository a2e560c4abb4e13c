"""In-memory implementations of the protocols that the project consumes: fast or absent noise, for tests only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SeededNoise:
    """Rounded floating-point Gaussian noise that a seed repeats; `factor` makes it wrong on purpose. Never safe outside a test."""

    def __init__(self, seed: int, factor: float = 1.0) -> None:
        self._generator = np.random.default_rng(seed)
        self._factor = factor

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `governance.noise.NoiseSource.draw`."""
        return np.rint(self._generator.normal(0.0, sigma * self._factor, size)).astype(np.int64)


class ZeroNoise:
    """No noise; remembers the sigmas that were asked for."""

    def __init__(self) -> None:
        self.sigmas: list[float] = []

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `governance.noise.NoiseSource.draw`."""
        self.sigmas.append(sigma)
        return np.zeros(size, dtype=np.int64)
