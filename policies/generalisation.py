"""Generalisation: how coarse a column must become before anything is computed from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, model_validator

from policies.documents import Document

_NUMBERS, _MOMENTS, _TEXT = ("integer", "double", "decimal"), ("date", "timestamp"), ("text",)
_SERVES = {"bottom": _NUMBERS, "top": _NUMBERS, "band": _NUMBERS, "truncate": _MOMENTS, "prefix": _TEXT, "regions": _TEXT}
"""Which types of columns a step can be done to."""


class Generalisation(Document):
    """What becomes of a value; at least one step, applied in the order of the fields. NULL stays NULL."""

    bottom: Decimal | None = Field(None, description="numbers: lower values count as this one (bottom-coding)")
    top: Decimal | None = Field(None, description="numbers: higher values count as this one (top-coding)")
    band: Decimal | None = Field(None, gt=0, description="numbers: the lower end of a band of this width, from 0")
    truncate: Literal["day", "week", "month", "quarter", "year"] | None = Field(None, description="dates and timestamps: the start of its")
    prefix: int | None = Field(None, ge=1, le=64, description="text: so many leading characters, as of a postcode")
    regions: dict[str, str] | None = Field(None, description="text: the region of a value (after `prefix`); any other is NULL")

    @model_validator(mode="after")
    def _some_step(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("expected at least one of `bottom`, `top`, `band`, `truncate`, `prefix`, `regions`")
        return self

    def for_type(self, declared: str) -> Generalisation | None:
        """The steps that a column of this type of the contract can take; None: there is none, so it cannot be generalised."""
        kind = declared.partition("(")[0]
        steps = {name: value for name, value in self if value is not None and kind in _SERVES[name]}
        return Generalisation.model_validate(steps) if steps else None

    def words(self) -> str:
        """What becomes of a value, in words."""
        steps = {
            "bottom": f"values below {self.bottom} count as {self.bottom}",
            "top": f"values above {self.top} count as {self.top}",
            "band": f"bands of {self.band}",
            "truncate": f"the start of the {self.truncate}",
            "prefix": f"the first {self.prefix} characters",
            "regions": f"{len(self.regions or ())} regions",
        }
        return ", ".join(steps[name] for name, value in self if value is not None)
