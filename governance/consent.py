"""The consent ledger: append-only, bitemporal events with the fields of ISO/IEC TS 27560.

Event time is when somebody decided, received time when this workspace learnt of it: the clock's, never a file's. Nothing is
updated or deleted here. What events mean for a purpose is told by `governance.admission`; files of events are read by
`governance.consent_files`. A batch is one entry of the log, whatever its size: the number of events, which the table's
growth shows anyway, and the root of salted commitments to them. No subject id and no digest of personal data enters the log.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import pyarrow as pa
from pydantic_core import to_json
from sqlalchemy import Connection, Select, bindparam, func, insert, select
from sqlmodel import Session, SQLModel, col
from sqlmodel import select as select_rows

from audit.commitments import SALT, collect, commit
from governance.store import Transaction, micros, moment, newest_time
from governance.tables import ConsentRow
from policies.policy import Basis
from policies.taxonomy import Vocabulary, ancestors, known

EVERY_PURPOSE = "*"
"""The purpose of an event that speaks of all purposes; consent cannot be given to it."""

SKEW = dt.timedelta(minutes=5)
"""How far ahead of ours another clock may be; an event within it counts as happening when it is received."""

ERASED = ""
"""The subject of what is left of an event after an erasure: it says nothing any more, and counts nowhere."""

_CHUNK = 10_000
_LOOKED_UP = 500
_FETCHED = 1 << 16


class ConsentError(Exception):
    """Events that cannot be taken; nothing was written."""


class EventError(ConsentError):
    """One field of an event that cannot be taken. `got` never holds the subject."""

    def __init__(self, field: str, got: str, expected: str) -> None:
        super().__init__(f"`{field}`: got {got}, expected {expected}")
        self.field, self.got, self.expected = field, got, expected


class Status(StrEnum):
    """What an event says."""

    REQUESTED = "requested"
    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    OBJECTED = "objected"

    @property
    def blocks(self) -> bool:
        """True for a no of the subject's own; only these may speak of every purpose."""
        return self in (Status.REFUSED, Status.WITHDRAWN, Status.OBJECTED)


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """What was decided about one subject and purpose. Times are aware. Raises EventError where fields contradict each other.

    `purpose` is a fideslang data use, or `*` for a status that blocks. `valid_until`: consent ends just before it.
    """

    subject: str = field(repr=False)
    purpose: str
    status: Status
    event_time: dt.datetime
    valid_until: dt.datetime | None = None
    basis: Basis | None = None
    notice_version: str | None = None
    notice_hash: str | None = None
    controller: str | None = None
    jurisdiction: str | None = None
    method: str | None = None
    raw_signal: str | None = field(default=None, repr=False)
    decoded: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.subject:
            raise EventError("subject", "nothing", "a subject key")
        if self.purpose == EVERY_PURPOSE:
            if not self.status.blocks:
                raise EventError("purpose", f"`{self.purpose}`", f"one data use, because the status is `{self.status}`")
        elif not known(Vocabulary.USE, self.purpose):
            raise EventError("purpose", quoted(self.purpose), "a fideslang data use such as `marketing.advertising.first_party.targeted`")
        if self.valid_until is not None and self.valid_until <= self.event_time:
            raise EventError("valid_until", f"`{self.valid_until.isoformat()}`", "a time after `event_time`")

    @property
    def consents(self) -> bool:
        """True for a yes that is consent, to whoever asked for it: nothing else lifts a block."""
        return self.status is Status.GIVEN and self.basis in (None, Basis.CONSENT) and not called(self.controller)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as the ledger holds it; `number` grows with the order of writing."""

    event: ConsentEvent
    received_time: dt.datetime
    batch: str
    number: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `append` did: `entry` is the index in the log, `root` that of the salted commitments, in the order given."""

    batch: str
    events: int
    root: bytes
    entry: int


@dataclass(frozen=True, slots=True)
class Count:
    """An exact number of events: for the officer's role alone."""

    purpose: str
    status: str
    events: int


def append(transaction: Transaction, events: Iterable[ConsentEvent], also: Callable[[], Mapping[str, Any]] = dict) -> Receipt:
    """Write events and one entry for all of them, with what `also` says in the end. Streams: memory grows by a hash an event.

    Raises EventError for an event later than the transaction's time and `SKEW`, ConsentError where there is none.
    """
    batch, received, leaves, stream = uuid.uuid4().hex, transaction.micros, list[bytes](), iter(events)
    while chunk := list(islice(stream, _CHUNK)):
        salts, rows = os.urandom(SALT * len(chunk)), []
        for number, event in enumerate(chunk):
            check_time(event, transaction.now)
            row, salt = _row(event, received), salts[SALT * number : SALT * (number + 1)]
            leaves.append(commit(committed(row), salt))
            rows.append((*row, batch, salt))
        _insert(transaction.connection, rows)
    if not leaves:
        raise ConsentError("got no event, expected at least one")
    root = collect(leaves).root
    entry = transaction.record("consent.append", batch=batch, events=len(leaves), root=root.hex(), **also())
    return Receipt(batch, len(leaves), root, entry)


def grant(
    transaction: Transaction,
    subject: str,
    purpose: str,
    *,
    valid_until: dt.datetime | None = None,
    notice_version: str | None = None,
    jurisdiction: str | None = None,
    method: str | None = None,
) -> Receipt:
    """A subject consents now. Raises EventError."""
    event = ConsentEvent(
        subject,
        purpose,
        Status.GIVEN,
        transaction.now,
        valid_until=valid_until,
        notice_version=notice_version,
        jurisdiction=jurisdiction,
        method=method,
    )
    return append(transaction, [event])


def withdraw(transaction: Transaction, subject: str, purpose: str = EVERY_PURPOSE, *, method: str | None = None) -> Receipt:
    """A subject withdraws now, from one purpose and all below it, or from all. Raises EventError."""
    return append(transaction, [ConsentEvent(subject, purpose, Status.WITHDRAWN, transaction.now, method=method)])


def history(session: Session, subject: str) -> list[Recorded]:
    """All that is held about one subject, oldest event first. For whoever may see a subject's record."""
    rows = session.exec(select_rows(ConsentRow).where(col(ConsentRow.subject) == subject))
    return [_recorded(row) for row in sorted(rows, key=lambda r: (r.event_time, r.received_time, r.id))]


def stats(session: Session) -> list[Count]:
    """Exact numbers of events by purpose and status. Not private: for the officer's role, and the look is logged by the caller."""
    by = _TABLE.c.purpose, _TABLE.c.status
    counted = select(*by, func.count()).where(_TABLE.c.subject != ERASED).group_by(*by).order_by(*by)
    return [Count(*row) for row in session.connection().execute(counted)]


def stopped(session: Session, subject: str, purpose: str) -> bool:
    """Whether a withdrawal or objection of the subject's stands: no later consent to the purpose itself lifted it.

    What was given to a controller by name lifts nothing here, where nobody says whose contract it is about.
    """
    stops, covering = (Status.WITHDRAWN, Status.OBJECTED), {EVERY_PURPOSE, purpose, *ancestors(purpose)}
    said = [recorded for recorded in history(session, subject) if recorded.event.purpose in covering]
    counted = [each for each in said if each.event.status in stops or (each.event.consents and each.event.purpose == purpose)]
    latest = max(counted, key=lambda each: (each.event.event_time, each.received_time, each.event.status in stops), default=None)
    return latest is not None and latest.event.status in stops


def judged_at(session: Session, now: dt.datetime) -> dt.datetime:
    """When to judge who may be used: `now`, or the newest entry of the log where the clock is behind it.

    No event was received after that entry, and none happened after it was received: a clock put back revives nobody.
    """
    return max(now, newest_time(session.connection()) or now)


def snapshot_events(session: Session, at: dt.datetime, subject: str | None = None) -> pa.Table:
    """Events that had happened and were known at `at`, of everybody or one subject, in no order; columns as in `SNAPSHOT`."""
    query = _known_at(at) if subject is None else _known_at(at).where(_TABLE.c.subject == subject)
    return pa.Table.from_batches(_batches(session, query), SNAPSHOT)


def events_of(session: Session, at: dt.datetime, subjects: Iterable[str]) -> pa.Table:
    """The same of these subjects alone, each looked up: for few of many."""
    query, several = _known_at(at).where(_TABLE.c.subject.in_(bindparam("subjects", expanding=True))), iter(sorted({*subjects}))
    batches: list[pa.RecordBatch] = []
    while chunk := list(islice(several, _LOOKED_UP)):
        batches += _batches(session, query, {"subjects": chunk})
    return pa.Table.from_batches(batches, SNAPSHOT)


def events_after(session: Session, number: int) -> Iterator[pa.RecordBatch]:
    """Every event with a higher number than this, in their order and in batches; columns as in `SNAPSHOT`."""
    page = select(*_SELECTED).where(_TABLE.c.id > bindparam("number")).order_by(_TABLE.c.id).limit(_FETCHED)
    while batch := next(_batches(session, page, {"number": number}), None):
        yield batch
        number = batch["id"][-1].as_py()


def speakers_after(session: Session, number: int) -> set[str]:
    """Whoever has an event with a higher number than this."""
    query = select(_TABLE.c.subject).where(_TABLE.c.id > number)  # not DISTINCT: SQLite would go through every subject
    return {subject for (subject,) in session.connection().execute(query)} - {ERASED}


def newest_event(session: Session) -> int:
    """The highest number of an event; numbers only grow. 0 where there is none."""
    return int(session.connection().execute(select(func.max(_TABLE.c.id))).scalar() or 0)


def _known_at(at: dt.datetime) -> Select[Any]:
    return select(*_SELECTED).where(_TABLE.c.event_time <= micros(at), _TABLE.c.received_time <= micros(at), _TABLE.c.subject != ERASED)


def _batches(session: Session, query: Select[Any], values: Mapping[str, Any] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows as columns, by the driver's own cursor: a row object for each event doubles the time."""
    cursor: Any = session.connection().execute(query, values or {}).cursor
    while rows := cursor.fetchmany(_FETCHED):
        columns = [pa.array(values, type_) for values, type_ in zip(zip(*rows, strict=True), SNAPSHOT.types, strict=True)]
        yield pa.record_batch(columns, schema=SNAPSHOT)


SNAPSHOT = pa.schema(
    [
        ("id", pa.int64()),
        ("subject", pa.string()),
        ("purpose", pa.string()),
        ("status", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("received_time", pa.timestamp("us", tz="UTC")),
        ("valid_until", pa.timestamp("us", tz="UTC")),
        ("jurisdiction", pa.string()),
        ("notice_version", pa.string()),
        ("method", pa.string()),
        ("basis", pa.string()),
        ("controller", pa.string()),
    ]
)
"""What admission reads of an event; `id` is its number, which grows with the order of writing."""


def check_time(event: ConsentEvent, now: dt.datetime) -> None:
    """Raises EventError for an event that has not happened yet."""
    if event.event_time > now + SKEW:
        raise EventError("event_time", f"`{event.event_time.isoformat()}`", f"a time no later than now, `{now.isoformat()}`")


def called(controller: str | None) -> str:
    """A controller's name as it is compared: case and blanks aside; empty for none."""
    return " ".join((controller or "").split()).casefold()


def quoted(value: str) -> str:
    """User input for a message: in backticks, at most 60 characters."""
    return f"`{value[:60]}…`" if len(value) > 60 else f"`{value}`"


_TABLE = SQLModel.metadata.tables[str(ConsentRow.__tablename__)]
_SELECTED = [_TABLE.c[name] for name in SNAPSHOT.names]
_COLUMNS = [column.name for column in _TABLE.columns if column.name not in ("id", "leaf")]  # as `_row`, then batch and salt


def committed(row: tuple[str | int | None, ...]) -> str:
    """What the salted commitment of a row (as in `_row`) covers; an event without a decoding commits as before there were any."""
    return to_json(row if row[-1] is not None else row[:-1]).decode()


def _row(event: ConsentEvent, received: int) -> tuple[str | int | None, ...]:
    """What is stored, and committed to as a JSON array."""
    return (
        event.subject,
        event.purpose,
        event.status.value,
        min(micros(event.event_time), received),
        received,
        None if event.valid_until is None else micros(event.valid_until),
        None if event.basis is None else event.basis.value,
        event.notice_version,
        event.notice_hash,
        event.controller,
        event.jurisdiction,
        event.method,
        event.raw_signal,
        event.decoded,
    )


def _insert(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Rows as the driver takes them: a third of the time of SQLAlchemy's own handling of a million parameters."""
    compiled = insert(_TABLE).compile(dialect=connection.dialect, column_keys=_COLUMNS)
    values = rows if compiled.positional else [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    connection.exec_driver_sql(str(compiled), values)


def _recorded(row: ConsentRow) -> Recorded:
    event = ConsentEvent(
        row.subject,
        row.purpose,
        Status(row.status),
        moment(row.event_time),
        None if row.valid_until is None else moment(row.valid_until),
        None if row.basis is None else Basis(row.basis),
        row.notice_version,
        row.notice_hash,
        row.controller,
        row.jurisdiction,
        row.method,
        row.raw_signal,
        row.decoded,
    )
    assert row.id is not None  # it was read
    return Recorded(event, moment(row.received_time), row.batch, row.id)
