"""Generalisation: how coarse a column must become before anything is computed from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, model_validator

from policies.documents import Document


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
