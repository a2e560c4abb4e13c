"""What a contract says of groups whose members must fare alike: the same attributes at every partner, public, and what passes.

An attribute is a column of that name at every partner, in whichever table, with the same public groups in the same order, so that a place
in a table of sums means the same group to all. Not here: what is asked of groups (`engine.group_tables`), and who may be read for it, which
each partner's own policy and consent say.
"""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from policies.contract import MAX_DOMAIN, Name
from policies.documents import Document, refuse

MAX_ATTRIBUTES = 8


class Attribute(Document):
    """One column of every partner, and its groups."""

    meaning: str = Field(min_length=1, max_length=2000, description="what it is, in words that every partner can hold its own data against")
    groups: tuple[str, ...] = Field(
        min_length=2, max_length=MAX_DOMAIN, description="as the `domain` of the column says at every partner, in this order"
    )

    @model_validator(mode="after")
    def _differ(self) -> Self:
        groups = self.groups
        refuse(f"`groups` must differ, got `{each}` more than once" for each in dict.fromkeys(groups) if groups.count(each) > 1)
        return self


class Fairness(Document):
    """Attributes that are read for `purpose` alone. The ratio is the four-fifths screen, not law."""

    purpose: str = Field(description="fideslang data use under which every partner reads attributes, with a basis of its own")
    attributes: dict[Name, Attribute] = Field(min_length=1, max_length=MAX_ATTRIBUTES, description="by the name of their column")
    min_ratio: float = Field(0.8, gt=0, le=1, description="of selection rates; no partner's own policy may ask for more")
    max_gap: float = Field(0.1, gt=0, le=1, description="of error rates and of calibration; no partner's own policy may ask for less")

    def bound(self, features: int) -> float:
        """Largest L2 bound of a question about groups: of counts and means of so many features by group, or of tables with crossings, each
        of which weighs a quarter (`engine.group_tables`)."""
        n = len(self.attributes)
        return math.sqrt(max(n * (1 + features), 5 / 4 * (n + n * (n - 1) / 8)))

    def numbers(self, cells: int) -> int:
        """Most that an answer about groups holds: how often each is named for each, or tables of so many numbers a group, all crossings
        among them, and of whose group is unknown."""
        n, sizes = len(self.attributes), sorted((len(each.groups) for each in self.attributes.values()), reverse=True)
        return max(n * sizes[0] ** 2, n * (n + 1) // 2 * (math.prod(sizes[:2]) * cells + 2))
