"""Noise is an argument: the door takes a `NoiseSource`. The one that the product uses is OpenDP's exact sampler.

Canonne, Kamath, Steinke 2020, "The discrete Gaussian for differential privacy". No floating point, randomness of the
operating system. OpenDP saturates at the ends of int64, so noise is drawn on zeros here and added modulo 2^64 by the door.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PORTION = 2_000
"""Draws at once: longer than it takes to begin a thread, and few, because OpenDP takes and gives lists of Python's numbers."""


class NoiseSource(Protocol):
    """Where noise comes from."""

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """`size` independent draws of the discrete Gaussian with mean 0 and parameter `sigma`, in grid units."""
        ...


class SystemNoise:
    """OpenDP's discrete Gaussian."""

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `NoiseSource.draw`; about 50,000 draws a second and core, on all of them."""
        from opendp.domains import atom_domain, vector_domain  # not its prelude, which takes 1.7 s and 150 MB for what is not used here
        from opendp.measurements import make_gaussian
        from opendp.metrics import l2_distance
        from opendp.mod import enable_features

        enable_features("contrib")
        sampler = make_gaussian(vector_domain(atom_domain(T="i64")), l2_distance(T="f64"), scale=sigma)
        portions = [PORTION] * (size // PORTION) + [size % PORTION]
        with ThreadPoolExecutor(min(os.cpu_count() or 1, len(portions))) as pool:
            return np.concatenate(list(pool.map(lambda portion: np.asarray(sampler([0] * portion), dtype=np.int64), portions)))
