"""Documents that something was decided by, kept by their digest: policies, contracts, specs, as canonical JSON.

A file changes, and whoever asks later by which policy a segment was built must not be told of another. So the transaction of what
first pins a document keeps it, with an entry. Nothing here is personal; erasure leaves it alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sqlmodel import Session, col, select

from audit.merkle import IntegrityError
from governance.store import Transaction, moment
from governance.tables import DocumentRow, PolicyApprovalRow
from policies.documents import Digest
from policies.policy import Policy

KEPT, APPROVED = "document.kept", "policy.approved"
"""Actions of the log."""


class Kind(StrEnum):
    """Of a document."""

    POLICY = "policy"
    CONTRACT = "contract"
    SPEC = "spec"


class Pinned(Protocol):
    """A document of `policies`."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def canonical(self) -> bytes:
        """What its digest is over."""
        ...

    def digest(self) -> Digest:
        """Of `canonical()`."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A document as it was. `created`: when it was first pinned."""

    digest: Digest
    kind: Kind
    name: str
    text: str
    created: dt.datetime


@dataclass(frozen=True, slots=True)
class Approved:
    """Somebody's yes to a version of a policy; `before`: the version that was approved last until then."""

    name: str
    policy: Digest
    before: Digest | None
    principal: str
    created: dt.datetime


def keep(transaction: Transaction, kind: Kind, document: Pinned) -> None:
    """Keep a document, with an entry, unless it is kept."""
    digest = document.digest()
    if transaction.session.get(DocumentRow, digest) is None:
        text = document.canonical().decode()
        transaction.session.add(DocumentRow(digest=digest, kind=kind, name=document.name, text=text, created=transaction.micros))
        transaction.record(KEPT, kind=kind.value, name=document.name, digest=digest)


def find(session: Session, digest: Digest) -> Kept | None:
    """The document of a digest; None where nobody kept it. Raises IntegrityError where its text is another's."""
    row = session.get(DocumentRow, digest)
    return None if row is None else _kept(row)


def versions(session: Session, kind: Kind, name: str) -> tuple[Kept, ...]:
    """Every document of a name that was kept, the oldest first. Raises IntegrityError."""
    rows = session.exec(select(DocumentRow).where(DocumentRow.kind == kind, DocumentRow.name == name).order_by(*_ORDER))
    return tuple(_kept(row) for row in rows)


def approve(transaction: Transaction, policy: Policy, before: Digest | None, changes: Iterable[str] | None) -> Approved:
    """Write down that the principal approves a version of a policy, and what it changes against the one before, in words."""
    keep(transaction, Kind.POLICY, policy)
    who = transaction.principal.name
    row = PolicyApprovalRow(name=policy.name, policy=policy.digest(), before=before, principal=who, created=transaction.micros)
    transaction.session.add(row)
    told = None if changes is None else [*changes]
    transaction.record(APPROVED, name=policy.name, policy=policy.digest(), before=before, changes=told)
    return _approved(row)


def approvals(session: Session, name: str) -> tuple[Approved, ...]:
    """Of every version of a policy, the oldest first."""
    rows = session.exec(select(PolicyApprovalRow).where(PolicyApprovalRow.name == name).order_by(col(PolicyApprovalRow.id)))
    return tuple(map(_approved, rows))


_ORDER = col(DocumentRow.created), col(DocumentRow.digest)


def _kept(row: DocumentRow) -> Kept:
    if "sha256:" + hashlib.sha256(row.text.encode()).hexdigest() != row.digest:
        raise IntegrityError(f"the {row.kind} `{row.name}` that was kept is not the one of its digest, `{row.digest}`")
    return Kept(Digest(row.digest), Kind(row.kind), row.name, row.text, moment(row.created))


def _approved(row: PolicyApprovalRow) -> Approved:
    before = None if row.before is None else Digest(row.before)
    return Approved(row.name, Digest(row.policy), before, row.principal, moment(row.created))
