"""Roles, and the actions that a role may be given. Every command names the one it needs before it opens anything.

What each role may do stands in `roles.cedar`; `authorisation` asks it. Here are only names, because the command line needs
them before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Role(StrEnum):
    """What somebody is here; one person may be several."""

    ANALYST = "analyst"
    OFFICER = "compliance_officer"
    PARTNER = "partner"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


SECTION: Mapping[str, Role] = {
    "analysts": Role.ANALYST,
    "officers": Role.OFFICER,
    "partners": Role.PARTNER,
    "auditors": Role.AUDITOR,
    "administrators": Role.ADMINISTRATOR,
}
"""The lists of `[roles]` in consentric.toml."""

Holders = Mapping[Role, tuple[str, ...]]
"""Who is named for each role."""


class Action(StrEnum):
    """What a principal may be allowed to do."""

    PLAN = "plan"
    BUILD = "build"
    APPROVE = "approve"  # and reject
    RECALL = "recall"
    EXPORT = "export"  # and hand recall notices out, and record acknowledgements
    READ_MEMBERS = "read_members"
    SCORE = "score"
    READ_SEGMENTS = "read_segments"  # builds, reports, fairness: noisy figures alone
    READ_POLICY = "read_policy"  # documents and what they decide
    READ_BUDGET = "read_budget"
    ACCEPT_CAP = "accept_cap"
    IMPORT_CONSENT = "import_consent"
    RECORD_CONSENT = "record_consent"  # grants, withdrawals, objections
    IDENTIFY = "identify"  # merges and splits of keys: what leaves a list then shows how somebody decided
    READ_SUBJECT = "read_subject"  # one subject's record: consent, access
    READ_EXACT = "read_exact"  # exact counts
    ERASE = "erase"
    READ_LOG = "read_log"
    VERIFY_LOG = "verify_log"
    READ_ROLES = "read_roles"  # who may do what
    SWEEP = "sweep"
    MANAGE_KEYS = "manage_keys"
    MAINTAIN = "maintain"  # repairs, migrations, restoring a backup
    EXAMINE = "examine"  # doctor, without repair


READABLE_BEHIND = frozenset(
    {Action.READ_POLICY, Action.READ_LOG, Action.VERIFY_LOG, Action.READ_ROLES, Action.MANAGE_KEYS, Action.MAINTAIN, Action.EXAMINE}
)
"""What goes on in a workspace whose database is older than what was promised last: nothing that spends, reads people or releases."""

MENDING = frozenset({Action.RECALL, Action.SWEEP, Action.ERASE})
"""What goes on where an erasure that was begun cannot be finished: it takes away, and may take away what is in its way."""


def held(name: str, holders: Holders, claimed: Iterable[Role] = ()) -> frozenset[Role]:
    """The roles of a principal: where it is named, and what a trusted token claims."""
    return frozenset(claimed) | {role for role, names in holders.items() if name in names}
