"""A rule: what it does with a column, and the conditions under which it does. Deciding is the business of `policies.deciding`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from policies.bases import Basis, Ground
from policies.documents import Document, Jurisdiction, one_of, refuse
from policies.generalisation import Generalisation
from policies.jurisdictions import region


class Effect(StrEnum):
    """What a rule does with a column of its categories."""

    PERMIT = "permit"
    FORBID = "forbid"
    FAIRNESS_ONLY = "fairness_only"
    GENERALISE = "generalise"

    @property
    def permits(self) -> bool:
        """True for what lets a column be read."""
        return self in (Effect.PERMIT, Effect.FAIRNESS_ONLY)


class Reading(StrEnum):
    """What a column is read for: features and label, the fairness audit, or to know who is a child."""

    SEGMENT = "segment"
    FAIRNESS = "fairness"
    ADMISSION = "admission"


class Recipient(StrEnum):
    """Who somebody is that a release is handed to."""

    INTERNAL = "internal"
    PROCESSOR = "processor"
    THIRD_PARTY = "third_party"


class Transfer(StrEnum):
    """What lets data leave the jurisdiction that protects it (GDPR chapter V); `within`: it does not leave."""

    WITHIN = "within"
    ADEQUACY = "adequacy"  # art. 45
    CLAUSES = "clauses"  # art. 46(2)(c)
    BINDING_RULES = "binding_rules"  # art. 47
    EXPLICIT_CONSENT = "explicit_consent"  # art. 49(1)(a)
    NONE = "none"


Sensitivity = Literal["plain", "pseudonymous", "sensitive"]

SENSITIVE: Sensitivity = "sensitive"
"""The sensitivity that a rule must name to permit it, with its ground."""


class _Destination(Document):
    """Where a release may go. What is not said counts as what it is at worst: a third party, abroad, without safeguard."""

    description: str = Field(min_length=1, description="what it is")
    kind: Recipient = Field(Recipient.THIRD_PARTY, description="who receives: the controller itself, its processor, or somebody else")
    jurisdiction: Jurisdiction | None = Field(None, description="where the recipient is; none: unknown, except for `internal`")
    safeguard: Literal[Transfer.ADEQUACY, Transfer.CLAUSES, Transfer.BINDING_RULES, Transfer.EXPLICIT_CONSENT] | None = Field(
        None, description="what lets data go there from another jurisdiction"
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.safeguard is Transfer.ADEQUACY and self.jurisdiction is None:
            raise ValueError(
                "`safeguard` is a decision about a place (GDPR art. 45), got none, expected the `jurisdiction` of the recipient"
            )
        return self

    def transfer(self, home: str) -> Transfer:
        """What handing data of `home` over would be."""
        if self.jurisdiction is None and self.kind is Recipient.INTERNAL:
            return Transfer.WITHIN
        if self.jurisdiction is not None and region(self.jurisdiction) == region(home):
            return Transfer.WITHIN
        return self.safeguard or Transfer.NONE


def _described(value: object) -> object:
    """A text alone is the description."""
    return {"description": value} if isinstance(value, str) else value


Destination = Annotated[_Destination, BeforeValidator(_described, json_schema_input_type=str | _Destination)]
"""A destination, or a text that describes it."""


class Rule(Document):
    """One rule. Categories and purposes are fideslang keys; a trailing `.*` covers the key and all below it.

    What takes away (`forbid`, `generalise`, and `fairness_only` for every other use) covers all below its keys with or
    without `.*`, unless it is `exact`; `fairness_only` permits the fairness audit and forbids its categories to every other
    use. All conditions must hold at once.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9\-]{0,62}$")
    effect: Effect
    categories: tuple[str, ...] = Field(min_length=1)
    purposes: tuple[str, ...] = Field(("*",), min_length=1)
    exact: bool = Field(False, description="forbid, generalise: categories and purposes are read as a permit's are, not all below them")
    sensitivity: tuple[Sensitivity, ...] | None = Field(None, description="only columns of these; none: all", min_length=1)
    uses: tuple[Reading, ...] | None = Field(None, description="only columns read for these; none: all", min_length=1)
    jurisdictions: tuple[Jurisdiction, ...] | None = Field(
        None, description="only there, and in what is part of it; none: everywhere", min_length=1
    )
    bases: tuple[Basis, ...] | None = Field(None, description="only where the purpose rests on one of these; none: on any", min_length=1)
    recipients: tuple[Recipient, ...] | None = Field(None, description="only for destinations of these kinds; none: all", min_length=1)
    transfers: tuple[Transfer, ...] | None = Field(None, description="only where data would leave like this; none: always", min_length=1)
    grounds: tuple[Ground, ...] | None = Field(
        None, description="forbid: only what a permit rests on one of these grounds for; none: all", min_length=1
    )
    ground: Ground | None = Field(None, description="permit of `sensitive`: its ground under GDPR art. 9(2)")
    to: Generalisation | None = Field(None, description="generalise: what a value becomes before anything is computed from it")
    reason: str = Field(min_length=3, description="in plain words, shown to whoever is refused")
    legal: str | None = Field(None, description="legal reference")
    remedy: str | None = Field(None, description="the way out")

    @model_validator(mode="after")
    def _fields_of_the_effect(self) -> Self:
        refuse(self._misplaced())
        return self

    def _misplaced(self) -> Iterator[str]:
        if (self.to is not None) != (self.effect is Effect.GENERALISE):
            got, expected = ("nothing", "such as `{band: 10}`") if self.to is None else ("it", f"the effect `{Effect.GENERALISE}`")
            yield f"`to` and the effect `{Effect.GENERALISE}` go together, got {got}, expected {expected}"
        if self.exact and self.effect not in (Effect.FORBID, Effect.GENERALISE):
            yield f"`exact` belongs to what takes away, got `{self.effect}`, expected `{Effect.FORBID}` or `{Effect.GENERALISE}`"
        if self.grounds is not None and self.effect is not Effect.FORBID:
            yield f"`grounds` is a condition of the effect `{Effect.FORBID}`, got `{self.effect}`"
        if self.ground is not None and not self.effect.permits:
            yield f"`ground` belongs to what permits, got `{self.effect}`, expected `{Effect.PERMIT}` or `{Effect.FAIRNESS_ONLY}`"
        if self.ground is None and self.effect.permits and SENSITIVE in (self.sensitivity or ()):
            yield f"`ground` is needed to permit `{SENSITIVE}` columns, got nothing, expected {one_of(Ground)}"
