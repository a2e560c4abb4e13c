"""The metadata database: consent events, budget, plans, builds, approvals, and the audit log beside them.

A write happens in `Store.transaction`, takes the writer's lock at once, and must record what it does: a transaction
that changes rows without an entry is refused (no record, no action). After the commit the checkpoint outside the
database is made durable, and only then does the call return. Rows stay here and in the modules of this folder that
turn them into frozen values. Times are microseconds since 1970 in UTC.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from sqlalchemy import Connection, TextClause, UpdateBase, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from audit import log as audit_log
from audit.failpoint import reach
from governance import migrations, tables
from governance.databases import DatabaseError, doubts, open_engine, shred, told, writes
from governance.principals import Principal

Clock = Callable[[], dt.datetime]
"""Gives an aware datetime."""


LAG = dt.timedelta(minutes=5)
"""How far the clock may be behind the log. A clock that was put back would otherwise undo what happened since."""


class StoreError(Exception):
    """The database cannot be read or written: a fault of the machine."""


class SchemaError(StoreError):
    """The database has another schema than this version of the program: `consentric migrate`, or another version."""


class UnrecordedError(Exception):
    """Rows would have changed without an entry in the log: a fault of the program, nothing was committed."""


class Seal(Protocol):
    """What makes the newest tree head durable outside the database (`audit.checkpoint.CheckpointFile`)."""

    def publish(self, size: int, root: bytes) -> None:
        """Durable on return; a size below the newest published is left alone."""
        ...

    def cover(self, size: int, root: bytes, newest: Callable[[], tuple[int, bytes]]) -> None:
        """Durable on return: this head or a newer one. `newest` gives what else was committed meanwhile, for one write in place of many."""
        ...


class Outside(Protocol):
    """What keeps the newest promise about budget and erasures outside workspace and backups (`governance.outside.Outside`)."""

    def keep(self, session: Session, accounts: Iterable[str]) -> None:
        """Durable on return: where the log stands, and these cap accounts."""
        ...


@dataclass
class Transaction:
    """An open write. `session` for rows, `record` for the entry that goes with them. `now` never goes back from one to the next."""

    connection: Connection
    principal: Principal
    now: dt.datetime
    tail: audit_log.Tail
    last: int | None = None
    outside: set[str] | None = None

    @cached_property
    def session(self) -> Session:
        """Rows of `governance.tables`, on the same connection."""
        return Session(bind=self.connection)

    @property
    def micros(self) -> int:
        """The transaction's time in microseconds."""
        return micros(self.now)

    def record(self, action: str, **facts: Any) -> int:
        """Append an entry in this transaction; returns its index. `facts` hold no personal data, only commitments to it."""
        body = {"action": action, "at": stamp(self.now), "facts": facts, "v": 1}
        body |= {"principal": self.principal.name, "established": self.principal.established.value}
        if self.principal.unsafe:
            body["unsafe_principal"] = True
        if self.principal.roles:  # no list of the workspace says that somebody has them
            body["claimed_roles"] = sorted(self.principal.roles)
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        self.last = self.tail.append([text.encode()])
        return self.last

    def keep_outside(self, *accounts: str) -> None:
        """Have it written down outside, after the commit and before `Store.transaction` returns, that these cap accounts changed."""
        self.outside = (self.outside or set()) | {*accounts}


class Store:
    """One workspace's metadata database."""

    def __init__(self, url: str, seal: Seal, principal: Principal, clock: Clock, outside: Outside | None = None) -> None:
        try:
            self._engine = open_engine(url)
        except DatabaseError as error:
            raise StoreError(str(error)) from None
        self._writing = self._engine.execution_options(write=True)
        weakref.finalize(self, self._engine.dispose)
        event.listen(self._engine, "before_execute", _watch)
        self._tail: audit_log.Tail | None = None
        self._seal = seal
        self._outside = outside
        self.principal = principal
        self.clock = clock

    def create(self) -> None:
        """Make the tables of an empty database. Raises StoreError where a log is in it already."""
        with _faults(), self._writing.begin() as connection:
            migrations.create(connection)
            if audit_log.size(connection):
                raise StoreError("the database holds the log of a workspace already, expected an empty one")

    @property
    def revision(self) -> str | None:
        """The schema that the database has; None where it is empty. Raises StoreError."""
        with _faults(), self._engine.connect() as connection:
            return migrations.revision(connection)

    @property
    def current(self) -> bool:
        """Whether that is the schema of this version. Raises StoreError."""
        return self.revision == migrations.HEAD

    def require_schema(self) -> None:
        """Raises SchemaError unless the database has the schema of this version, StoreError if it cannot be read."""
        match self.revision:
            case migrations.HEAD:
                return
            case None:
                raise SchemaError("the metadata database is empty; restore it from a backup, or make another workspace")
            case older if older < migrations.HEAD:
                raise SchemaError(f"the metadata database has schema `{older}`, expected `{migrations.HEAD}`; run `consentric migrate`")
            case newer:
                remedy = "use the version of consentric that wrote it"
                raise SchemaError(f"the metadata database has schema `{newer}`, expected at most `{migrations.HEAD}`; {remedy}")

    def doubts(self) -> tuple[tuple[str, str], ...]:
        """Why what the database acknowledges might not last, each with a remedy. Raises StoreError."""
        with _faults(), self._engine.connect() as connection:
            return doubts(connection)

    def migrate(self) -> str:
        """Bring an older schema to today's, with an entry; gives the one that it was. Raises SchemaError for a newer one, StoreError."""
        with self.transaction("migrate") as write:
            before = migrations.revision(write.connection) or migrations.HEAD
            if before > migrations.HEAD:
                raise SchemaError(f"the metadata database has schema `{before}`, expected at most `{migrations.HEAD}`")
            if before < migrations.HEAD:
                migrations.upgrade(write.connection)
                write.record("database.migrated", before=before, after=migrations.HEAD)
        return before

    @contextmanager
    def transaction(self, name: str = "write") -> Iterator[Transaction]:
        """A write that is durable and sealed on return; `name` is that of its failpoints.

        Raises StoreError, where the clock is `LAG` behind the log too, and UnrecordedError.
        """
        with _faults():
            with self._writing.begin() as connection:
                changes = connection.info[_CHANGED] = list[str]()
                newest, known, self._tail = audit_log.newest(connection), self._tail, None
                tail = known.on(connection) if known and known.last == newest else audit_log.Tail(connection, newest)
                open_write = Transaction(connection, self.principal, self._now(newest), tail)
                try:
                    yield open_write
                    if "session" in vars(open_write):
                        open_write.session.flush()
                    if changes and open_write.last is None:
                        raise UnrecordedError(f"transaction `{name}` changes `{'`, `'.join(changes)}` without an entry in the log")
                    reach(f"{name}:before-commit")
                finally:
                    if "session" in vars(open_write):
                        open_write.session.close()
            self._tail = tail  # only what was committed is known the next time, if nobody else has written by then
            reach(f"{name}:after-commit")
            if open_write.last is not None:
                self._seal.cover(*tail.head, self._head)  # another writer's newer one will do
            reach(f"{name}:after-seal")
        if open_write.outside is not None and self._outside is not None:
            with self.read() as reading:
                self._outside.keep(reading, sorted(open_write.outside))
            reach(f"{name}:after-outside")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent read of one moment. Raises StoreError, and UnrecordedError where it would write."""
        with _faults(), self._engine.connect() as connection, Session(bind=connection) as session:
            yield session

    def seal(self) -> None:
        """Publish the newest tree head; also what catches up after a crash between commit and checkpoint."""
        with _faults():
            self._seal.publish(*self._head())

    def _head(self) -> tuple[int, bytes]:
        """Size and root of the log, as committed."""
        with self._engine.connect() as connection:
            size = audit_log.size(connection)
            return size, audit_log.root(connection, size)

    def _now(self, last: audit_log.Entry | None) -> dt.datetime:
        """The clock, or the time of the newest entry where that is later. Raises StoreError."""
        now = self.clock()
        newest = now if last is None else _time(last)
        if now < newest - LAG:
            raise StoreError(f"the clock is behind the log: got `{stamp(now)}`, expected `{stamp(newest)}` or later; set it right")
        return max(now, newest)

    def shred(self) -> None:
        """Overwrite what deleted rows left behind, as far as the database can: SQLite's free pages and its journal; on PostgreSQL dead
        rows, but not its write-ahead log. Raises StoreError, where another command reads meanwhile too."""
        try:
            shred(self._engine, tables.metadata.tables)
        except DatabaseError as error:
            raise StoreError(str(error)) from None

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def newest_time(connection: Connection) -> dt.datetime | None:
    """When the newest entry of the log was written, and so no earlier than anything here; None in an empty log. Raises StoreError."""
    entry = audit_log.newest(connection)
    return None if entry is None else _time(entry)


def _time(entry: audit_log.Entry) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(entry.parsed["at"])
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"entry {entry.index} of the log has no time; run `consentric audit verify`") from None


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def micros(moment: dt.datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> dt.datetime:
    """The inverse of `micros`."""
    return _EPOCH + dt.timedelta(microseconds=value)


def stamp(value: dt.datetime) -> str:
    """RFC 3339 in UTC."""
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _watch(connection: Connection, statement: object, *_rest: object) -> None:
    """Notes the table of each write beside the log, before it happens, or refuses it where it is in no transaction; SQL as text is
    taken for a write."""
    if isinstance(statement, TextClause):
        table = "text"
    elif isinstance(statement, UpdateBase) and statement.table not in audit_log.metadata.tables.values():
        table = str(statement.table)
    else:
        return
    if not writes(connection):
        raise UnrecordedError(f"`{table}` is written outside a transaction")
    connection.info.setdefault(_CHANGED, []).append(table)


_CHANGED = "consentric.changed"
"""Under which a connection's tables are noted that a transaction changed."""


@contextmanager
def _faults() -> Iterator[None]:
    """Faults of the database as StoreError, without the cause, whose text may repeat values of rows."""
    try:
        yield
    except (DatabaseError, DBAPIError, sqlite3.Error) as error:
        raise StoreError(f"the metadata database cannot be used: {told(error)}") from None
