"""Collaborations that this workspace joined: which contract, which segment takes part in it, and which build did.

A contract is joined once, and takes part with one build: budget that was drawn from is not reserved a second time for it. Not here: what a
contract says (`federated.contract`), rounds (`engine.partners`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlmodel import Session, col, select

from governance.builds import BuildId
from governance.store import Transaction, moment
from governance.tables import PartnershipRow
from policies.documents import Digest

JOINED = "collaboration.joined"
"""Action of the log."""


@dataclass(frozen=True, slots=True)
class Partnership:
    """One. `envelope`: the signed contract; `spec`: digest of the segment's spec when it joined; `build`: None until rounds began."""

    contract: Digest
    name: str
    segment: str
    spec: Digest
    envelope: bytes
    created: dt.datetime
    build: BuildId | None


def join(transaction: Transaction, contract: Digest, name: str, segment: str, spec: Digest, envelope: bytes) -> Partnership:
    """Write it down; the name must be free."""
    row = PartnershipRow(contract=contract, name=name, segment=segment, spec=spec, envelope=envelope.decode(), created=transaction.micros)
    transaction.session.add(row)
    transaction.record(JOINED, contract=contract, collaboration=name, segment=segment, spec=spec)
    return _partnership(row)


def begin(transaction: Transaction, contract: Digest, build: BuildId) -> None:
    """This build takes part from now on."""
    row = transaction.session.get(PartnershipRow, contract)
    assert row is not None  # only what was joined is begun
    row.build = build
    transaction.session.add(row)
    transaction.record("collaboration.begun", contract=contract, collaboration=row.name, build=build)


def find(session: Session, name: str) -> Partnership | None:
    """By the contract's name."""
    row = session.exec(select(PartnershipRow).where(PartnershipRow.name == name)).first()
    return _partnership(row) if row else None


def partnerships(session: Session) -> tuple[Partnership, ...]:
    """All, by name."""
    return tuple(_partnership(row) for row in session.exec(select(PartnershipRow).order_by(col(PartnershipRow.name))))


def _partnership(row: PartnershipRow) -> Partnership:
    return Partnership(
        Digest(row.contract),
        row.name,
        row.segment,
        Digest(row.spec),
        row.envelope.encode(),
        moment(row.created),
        None if row.build is None else BuildId(row.build),
    )
