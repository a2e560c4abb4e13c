"""Why the law lets anybody process: legal bases (art. 6(1)), grounds for special categories (art. 9(2)), compatibility (art. 6(4)).

How silence is read follows from the basis: consent needs a yes, every other one needs proof of notice and no objection.
That is stricter than the GDPR asks for contract, legal obligation and vital interests, against which art. 21 gives
no right to object: whoever objects is left out all the same, because no segment is worth arguing about it.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from policies.documents import Document


class Basis(StrEnum):
    """Legal bases: the six of GDPR art. 6(1), and the notice with a right to opt out of the laws of the United States."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTEREST = "legitimate_interest"
    OPT_OUT = "opt_out"

    @property
    def opt_in(self) -> bool:
        """True where unknown means no."""
        return self is Basis.CONSENT


class Ground(StrEnum):
    """What lifts the ban on special categories of personal data: GDPR art. 9(2), points (a) to (j)."""

    EXPLICIT_CONSENT = "explicit_consent"
    EMPLOYMENT = "employment"
    VITAL_INTERESTS = "vital_interests"
    NOT_FOR_PROFIT = "not_for_profit"
    MADE_PUBLIC = "made_public"
    LEGAL_CLAIMS = "legal_claims"
    SUBSTANTIAL_PUBLIC_INTEREST = "substantial_public_interest"
    HEALTH_CARE = "health_care"
    PUBLIC_HEALTH = "public_health"
    RESEARCH = "research"

    @property
    def article(self) -> str:
        """The point that it stands for."""
        return f"GDPR art. 9(2)({'abcdefghij'[list(Ground).index(self)]})"


class Assessment(Document):
    """Who looked, and what they found: why consent given to one purpose may serve another (the link, the context, the data, the
    consequences, the safeguards: art. 6(4)), or why segments for one may do without differential privacy."""

    by: str = Field(min_length=2, description="who assessed it, such as the data protection officer")
    reason: str = Field(min_length=3, description="in plain words")
    legal: str | None = Field(None, description="legal reference")
