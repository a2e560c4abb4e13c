"""Lists that were handed to destinations, and the notices that recall people from them.

    intended ──> finished        an export; whoever leaves it later is named by a notice
    open ──> handed ──> acknowledged     a notice

The intent is written before the file exists, so that no list is out that nobody knows of. A row says to whom, by whom and when;
who was in an export, and whom a notice names, stands in files that are rewritten or deleted when they have served
(`engine.copies`). How many people that is, is in no row and in no entry.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from sqlmodel import Session, col, select

from governance.builds import BuildId
from governance.store import Transaction, moment
from governance.tables import ExportRow, NoticeRow

ExportId = NewType("ExportId", str)
NoticeId = NewType("NoticeId", str)


class State(StrEnum):
    """Of a notice."""

    OPEN = "open"
    HANDED = "handed over"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Export:
    """One list for one destination. `file`: where it was written; `finished`: None if a crash came between intent and end."""

    id: ExportId
    build: BuildId
    destination: str
    file: str
    principal: str
    created: dt.datetime
    finished: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Notice:
    """Who must be deleted from an export; `whole`: everybody."""

    id: NoticeId
    export: ExportId
    whole: bool
    created: dt.datetime
    handed: dt.datetime | None
    acknowledged: dt.datetime | None
    acknowledged_by: str | None

    @property
    def state(self) -> State:
        """How far it is."""
        return State.ACKNOWLEDGED if self.acknowledged else State.HANDED if self.handed else State.OPEN


def intend(transaction: Transaction, build: BuildId, segment: str, destination: str, file: str) -> Export:
    """The intent to hand a list over, before it is written. Where to, on this machine, stays out of the log."""
    row = ExportRow(
        id=secrets.token_hex(8),
        build=build,
        destination=destination,
        file=file,
        principal=transaction.principal.name,
        created=transaction.micros,
    )
    transaction.session.add(row)
    transaction.record("export.intended", export=row.id, build=build, segment=segment, destination=destination)
    return _export(row)


def finish(transaction: Transaction, export: Export, segment: str) -> None:
    """The list takes its place."""
    row = transaction.session.get_one(ExportRow, export.id)
    row.finished = transaction.micros
    transaction.session.add(row)
    transaction.record("export.finished", export=export.id, build=export.build, segment=segment, destination=export.destination)


def exports(session: Session, build: BuildId | None = None) -> tuple[Export, ...]:
    """Of one build, or all; the newest first."""
    query = select(ExportRow).order_by(col(ExportRow.created).desc(), col(ExportRow.id).desc())
    return tuple(_export(row) for row in session.exec(query if build is None else query.where(ExportRow.build == build)))


def new_notice() -> NoticeId:
    """A name for a notice whose file is written before its row."""
    return NoticeId(secrets.token_hex(8))


def open_notice(transaction: Transaction, notice: NoticeId, export: Export, whole: bool) -> None:
    """Somebody must be deleted from an export; whom, its file says."""
    transaction.session.add(NoticeRow(id=notice, export=export.id, whole=whole, created=transaction.micros))
    transaction.record("notice.opened", notice=notice, export=export.id, destination=export.destination, whole=whole)


def hand_over(transaction: Transaction, notice: NoticeId) -> None:
    """Its file was written for the recipient; the first time counts."""
    row = transaction.session.get_one(NoticeRow, notice)
    row.handed = row.handed or transaction.micros
    transaction.session.add(row)
    transaction.record("notice.handed", notice=notice)


def acknowledge(transaction: Transaction, notice: NoticeId) -> None:
    """The recipient says that it was done; the principal vouches for that."""
    row = transaction.session.get_one(NoticeRow, notice)
    row.handed = row.handed or transaction.micros
    row.acknowledged, row.acknowledged_by = transaction.micros, transaction.principal.name
    transaction.session.add(row)
    transaction.record("notice.acknowledged", notice=notice)


def find_notice(session: Session, notice: NoticeId) -> Notice | None:
    """A notice by its id."""
    row = session.get(NoticeRow, notice)
    return _notice(row) if row else None


def notices(session: Session, waiting: bool = False) -> tuple[Notice, ...]:
    """All, or those that nobody acknowledged yet; the oldest first."""
    query = select(NoticeRow).order_by(col(NoticeRow.created), col(NoticeRow.id))
    return tuple(_notice(row) for row in session.exec(query.where(col(NoticeRow.acknowledged).is_(None)) if waiting else query))


def _export(row: ExportRow) -> Export:
    return Export(
        ExportId(row.id),
        BuildId(row.build),
        row.destination,
        row.file,
        row.principal,
        moment(row.created),
        moment(row.finished) if row.finished is not None else None,
    )


def _notice(row: NoticeRow) -> Notice:
    return Notice(
        NoticeId(row.id),
        ExportId(row.export),
        row.whole,
        moment(row.created),
        moment(row.handed) if row.handed is not None else None,
        moment(row.acknowledged) if row.acknowledged is not None else None,
        row.acknowledged_by,
    )
