"""What came of a collaboration, as the coordinator tells every partner at the end: all of it was released.

A partner takes it strictly and believes nothing else of it: the model is applied at home by registered code, and what it says of parts is
shown as what partners learned together. One spelling, so that its digest is one of what it says; that of passports, because models have
whole numbers for which RFC 8785 has none.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from audit import verify
from audit.fairness import FairnessFinding, Verdict, worst
from policies.documents import Digest, digest_of

_Words = Annotated[str, Field(max_length=4000)]


class OutcomeError(Exception):
    """What came is no outcome of this release."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class JointPart(_Told):
    """One segment over all partners (`engine.parts.Part`)."""

    id: Annotated[str, Field(max_length=64)]
    name: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f=+@-][^\x00-\x1f\x7f]*$", description="no formula of a sheet")]
    description: _Words
    size: float
    sigma: float
    share: float
    withheld: bool


class Outcome(_Told):
    """`model`: facts of a released model, of a score with its threshold; `parts`: in the order of its numbers; `utility`: by name;
    `fairness`: what partners found of groups together, none where their contract names none."""

    model: dict[str, JsonValue]
    parts: Annotated[list[JointPart], Field(min_length=1, max_length=64)]
    headline: _Words
    utility: dict[Annotated[str, Field(max_length=200)], float]
    fairness: tuple[FairnessFinding, ...] = ()

    def canonical(self) -> bytes:
        """As it is told; nothing is said of groups where there are none."""
        return verify.canonical(self.model_dump(mode="json", exclude=set() if self.fairness else {"fairness"}))

    def digest(self) -> Digest:
        """Of `canonical()`."""
        return digest_of(self.canonical())

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({part.name for part in self.parts}) != len(self.parts):
            raise ValueError("names of parts must differ")
        return self

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict about groups; None where there are none."""
        return worst(self.fairness) if self.fairness else None

    @property
    def facts(self) -> dict[str, Any]:
        """As a build keeps it, without the model."""
        return self.model_dump(mode="json", exclude={"model"})


def read(told: bytes) -> Outcome:
    """The inverse of `canonical`. Raises OutcomeError."""
    try:
        outcome = Outcome.model_validate_json(told)
        same = outcome.canonical() == told
    except (ValidationError, ValueError, RecursionError):
        same = False
    if not same:
        raise OutcomeError("what came is no outcome of this release")
    return outcome
