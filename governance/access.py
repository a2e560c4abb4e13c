"""What decides who may do what, as the log last recorded it: a change is an entry before anybody acts on it.

Roles, trusted issuers and the house's policies stand in files that their owner may edit at any time. The row here only says
which entry to look at; the digest that counts is the log's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from audit import log as audit_log
from governance.store import Transaction
from governance.tables import AccessRow

ACTION = "roles.changed"


def recorded(session: Session) -> str | None:
    """The digest that the log holds; None where it holds none."""
    row = session.exec(select(AccessRow).order_by(col(AccessRow.id).desc()).limit(1)).first()
    if row is None:
        return None
    entry = next(iter(audit_log.entries(session.connection(), row.entry, row.entry + 1)), None)
    return str(entry.parsed["facts"]["digest"]) if entry and entry.parsed["action"] == ACTION else None


def record(transaction: Transaction, access: Mapping[str, Any], digest: str) -> None:
    """Write down who is what from now on, unless somebody else just did."""
    if recorded(transaction.session) != digest:
        transaction.session.add(AccessRow(entry=transaction.record(ACTION, digest=digest, **access)))
        transaction.session.flush()
