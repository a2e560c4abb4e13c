"""Erasures that were begun: the intent, what a crash cut short, and the end.

Apart from `governance.rights`, which does the work, so that each command can ask what is unfinished without importing it.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

from sqlmodel import Session, col, select

from governance.store import Transaction, moment
from governance.tables import ErasureRow


@dataclass(frozen=True, slots=True)
class Erasure:
    """One that was begun; `subject` is empty once nothing else of it was left to do than to overwrite what is free."""

    id: str
    subject: str
    begun: dt.datetime


def begin(transaction: Transaction, subject: str) -> Erasure:
    """The intent, before anything is erased; one that was begun before goes on."""
    row = transaction.session.exec(select(ErasureRow).where(ErasureRow.subject == subject)).first()
    if row is None:
        row = ErasureRow(id=secrets.token_hex(8), subject=subject, begun=transaction.micros)
        transaction.session.add(row)
    transaction.record("erasure.intended", erasure=row.id)
    transaction.keep_outside()
    return _erasure(row)


def unfinished(session: Session) -> tuple[Erasure, ...]:
    """What a crash cut short."""
    rows = session.exec(select(ErasureRow).where(col(ErasureRow.finished).is_(None)).order_by(col(ErasureRow.begun)))
    return tuple(map(_erasure, rows))


def forget_name(transaction: Transaction, erasure: Erasure) -> None:
    """Nothing is left to be rewritten; from here on the database does not know who it was."""
    row = transaction.session.get_one(ErasureRow, erasure.id)
    row.subject = ""
    transaction.session.add(row)
    transaction.record("erasure.rewritten", erasure=erasure.id)


def finish(transaction: Transaction, erasure: Erasure, clean: bool | None) -> None:
    """What was free is overwritten; `clean`: whether a look at every file and row found nothing, None where nobody could look."""
    row = transaction.session.get_one(ErasureRow, erasure.id)
    row.finished = transaction.micros
    transaction.session.add(row)
    transaction.record("erasure.finished", erasure=erasure.id, clean=clean)
    transaction.keep_outside()


def _erasure(row: ErasureRow) -> Erasure:
    return Erasure(row.id, row.subject, moment(row.begun))
