"""Who may do what: the actions that a role may be given. Every command names the one it needs before it opens anything."""

from __future__ import annotations

from enum import StrEnum


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
    RECORD_CONSENT = "record_consent"  # grants, withdrawals, objections, merges and splits of identities
    READ_SUBJECT = "read_subject"  # one subject's record: consent, access
    READ_EXACT = "read_exact"  # exact counts
    ERASE = "erase"
    READ_LOG = "read_log"
    VERIFY_LOG = "verify_log"
    SWEEP = "sweep"
    MANAGE_KEYS = "manage_keys"
    MAINTAIN = "maintain"  # doctor, migrations, restoring a backup
