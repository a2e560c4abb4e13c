"""Parts that may be smaller than a floor are merged with the nearest, until none is left; all by released values.

A part counts as too small where its noisy size less three standard deviations is below the floor, so that a part which is kept
holds as many in 999 of 1,000 builds.
"""

from __future__ import annotations

import math

import numpy as np

from governance.door import Array
from governance.snapshots import FLOOR_DEVIATIONS


def above_floor(centres: Array, sizes: Array, sigma: float, floor: int, loose: bool) -> list[tuple[int, ...]]:
    """Groups of parts, each below k: (k, d) `centres` and (k,) noisy `sizes` with noise `sigma`.

    The last part stays alone where it is `loose`, because it is near to nothing. Where all together are too few, all stay alone.
    """
    free = len(sizes) - 1 if loose else len(sizes)
    if _too_few(range(free), sizes, sigma, floor):
        return [(part,) for part in range(len(sizes))]
    groups: list[tuple[int, ...]] = [(part,) for part in range(free)]
    while small := [group for group in groups if _too_few(group, sizes, sigma, floor)]:
        least = min(small, key=lambda group: float(sizes[list(group)].sum()))
        others = [group for group in groups if group is not least]
        near = min(others, key=lambda group: math.dist(_centre(centres, sizes, least), _centre(centres, sizes, group)))
        groups = [group for group in others if group is not near] + [tuple(sorted(near + least))]
    return sorted(groups) + ([(free,)] if loose else [])


def _too_few(group: range | tuple[int, ...], sizes: Array, sigma: float, floor: int) -> bool:
    return bool(floor) and bool(sizes[list(group)].sum() - FLOOR_DEVIATIONS * sigma * math.sqrt(len(group)) < floor)


def _centre(centres: Array, sizes: Array, group: tuple[int, ...]) -> Array:
    members = list(group)
    return np.asarray(np.average(centres[members], axis=0, weights=np.maximum(sizes[members], 1.0)))
