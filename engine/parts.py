"""The parts that a build divides people into, as they may be shown: a name, words, and a noisy size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from policies.contract import Table

_DAYS, _COUNT, _WORD = re.compile(r"\s*days_since\b", re.IGNORECASE), re.compile(r"\s*count\b", re.IGNORECASE), re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Part:
    """One segment: its noisy `size` with the noise's `sigma`, and its noisy `share` of the admitted. `withheld`: below the floor;
    `id`: what it keeps from build to build (`engine.lineage`)."""

    name: str
    description: str
    size: float
    sigma: float
    share: float
    withheld: bool
    id: str = ""

    def as_facts(self) -> dict[str, Any]:
        """As JSON."""
        return {f: getattr(self, f) for f in ("id", "name", "description", "size", "sigma", "share", "withheld")}


def unit_of(table: Table, expression: str) -> str | None:
    """Days of what counts days, none of what counts rows, else the unit of the only column with one that the expression names."""
    if _DAYS.match(expression):
        return "days"
    if _COUNT.match(expression):
        return None
    named = frozenset(_WORD.findall(expression))
    units = {column.unit for name, column in table.columns.items() if column.unit and name in named}
    return units.pop() if len(units) == 1 else None
