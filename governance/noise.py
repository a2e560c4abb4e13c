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

WORTH_A_THREAD = 1_000
"""Draws that take longer than to begin a thread."""


class NoiseSource(Protocol):
    """Where noise comes from."""

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """`size` independent draws of the discrete Gaussian with mean 0 and parameter `sigma`, in grid units."""
        ...


class SystemNoise:
    """OpenDP's discrete Gaussian."""

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `NoiseSource.draw`; about 50,000 draws a second and core, on all of them."""
        import opendp.prelude as dp  # 1.7 s to import, so only where noise is drawn

        dp.enable_features("contrib")
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
        sampler = dp.m.make_gaussian(*space, scale=sigma)
        workers = min(os.cpu_count() or 1, size // WORTH_A_THREAD + 1)
        with ThreadPoolExecutor(workers) as pool:
            drawn = pool.map(lambda worker: sampler([0] * (size // workers + (worker < size % workers))), range(workers))
            return np.concatenate([np.asarray(each, dtype=np.int64) for each in drawn])
