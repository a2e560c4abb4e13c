"""Decisions are values: `Allow | Deny`, each with the findings that led there. A denial is a result, not an error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what a terminal shows needs no model
    from policies.bases import Ground


class Cause(StrEnum):
    """Why a finding speaks against a request; PERMIT speaks for it, and GENERALISE says how coarse it becomes."""

    PERMIT = "permit"
    GENERALISE = "generalise"
    FORBID = "forbid"
    NO_PERMIT = "no permit"
    GAP = "gap"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, complete enough to mend what it refuses.

    `subject` names the column (`table.column`), purpose or row rule that was judged; `rule` the rule's id (or
    `-` where none applied); `policy` the digest of the policy that was read; `condition` what failed; `ground` what the permit
    of a sensitive column rests on.
    """

    cause: Cause
    subject: str
    rule: str
    policy: str
    reason: str
    condition: str
    legal: str | None = None
    remedy: str | None = None
    ground: Ground | None = None

    @property
    def blocks(self) -> bool:
        """Whether it speaks against the request."""
        return self.cause not in (Cause.PERMIT, Cause.GENERALISE)


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes, because of these permits, and as coarse as the others say."""

    because: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """No; every reason is given, so that one reading mends them all."""

    because: tuple[Finding, ...]
