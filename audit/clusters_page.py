"""What a report shows of how clusters came about: prototypes on two axes, a tree, a map; released values alone, as pictures need them.

Parts are numbered from 1, in the order in which the report lists segments.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scatter:
    """Prototypes on the two features that tell the parts apart best. `dots`: (across, up, share of the largest weight, part), places as
    shares of the axes; `across` and `up`: names, with ticks (place, text)."""

    across: str
    up: str
    across_ticks: tuple[tuple[float, str], ...]
    up_ticks: tuple[tuple[float, str], ...]
    dots: tuple[tuple[float, float, float, int], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """A hierarchy. `brackets`: four corners each, (share of the width, share of the height); `ends`: from where to where each group
    is across, and its part; `cut`: the height at which the tree was cut."""

    brackets: tuple[tuple[tuple[float, float], ...], ...]
    ends: tuple[tuple[float, float, int], ...]
    cut: float


@dataclass(frozen=True, slots=True)
class Map:
    """Units of a self-organising map, by rows: (part, share of the largest weight, distance to the units beside it as a share of the
    largest)."""

    units: tuple[tuple[tuple[int, float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Clusters:
    """`how`: the method, and how many, in words."""

    how: str
    scatter: Scatter | None = None
    tree: Tree | None = None
    map: Map | None = None
