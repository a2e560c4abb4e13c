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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, TextClause, UpdateBase, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from audit import log as audit_log
from audit.failpoint import reach
from governance import tables
from governance.principals import Principal

Clock = Callable[[], dt.datetime]
"""Gives an aware datetime."""


LAG = dt.timedelta(minutes=5)
"""How far the clock may be behind the log. A clock that was put back would otherwise undo what happened since."""


class StoreError(Exception):
    """The database cannot be read or written: a fault of the machine."""


class UnrecordedError(Exception):
    """Rows would have changed without an entry in the log: a fault of the program, nothing was committed."""


class Seal(Protocol):
    """What makes the newest tree head durable outside the database (`audit.checkpoint.CheckpointFile`)."""

    def publish(self, size: int, root: bytes) -> None:
        """Durable on return; a size below the newest published is left alone."""
        ...


@dataclass
class Transaction:
    """An open write. `session` for rows, `record` for the entry that goes with them. `now` never goes back from one to the next."""

    session: Session
    connection: Connection
    principal: Principal
    now: dt.datetime
    recorded: int = 0
    last: int | None = None

    @property
    def micros(self) -> int:
        """The transaction's time in microseconds."""
        return micros(self.now)

    def record(self, action: str, **facts: Any) -> int:
        """Append an entry in this transaction; returns its index. `facts` hold no personal data, only commitments to it."""
        body = {"action": action, "at": stamp(self.now), "facts": facts, "principal": self.principal.name, "v": 1}
        if self.principal.unsafe:
            body["unsafe_principal"] = True
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        self.last = audit_log.append(self.connection, text.encode())
        self.recorded += 1
        return self.last


class Store:
    """One workspace's metadata database."""

    def __init__(self, url: str, seal: Seal, principal: Principal, clock: Clock) -> None:
        self._engine = _engine(url)
        self._seal = seal
        self.principal = principal
        self.clock = clock

    def create(self) -> None:
        """Make the tables of an empty database."""
        with _faults(), self._engine.execution_options(write=True).begin() as connection:
            tables.metadata.create_all(connection)
            audit_log.metadata.create_all(connection)

    @contextmanager
    def transaction(self, name: str = "write") -> Iterator[Transaction]:
        """A write that is durable and sealed on return; `name` is that of its failpoints.

        Raises StoreError, where the clock is `LAG` behind the log too, and UnrecordedError.
        """
        with _faults():
            with self._engine.execution_options(write=True).begin() as connection, Session(bind=connection) as session:
                changes: list[str] = []
                _watch(connection, changes.append)
                open_write = Transaction(session, connection, self.principal, self._now(connection))
                yield open_write
                session.flush()
                if changes and not open_write.recorded:
                    raise UnrecordedError(f"transaction `{name}` changes `{'`, `'.join(changes)}` without an entry in the log")
                reach(f"{name}:before-commit")
            reach(f"{name}:after-commit")
            self.seal()
            reach(f"{name}:after-seal")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent read. Raises StoreError, and UnrecordedError where it would write."""
        with _faults(), self._engine.connect() as connection, Session(bind=connection) as session:
            _watch(connection, _refuse)
            yield session

    def seal(self) -> None:
        """Publish the newest tree head; also what catches up after a crash between commit and checkpoint."""
        with _faults(), self._engine.connect() as connection:
            size = audit_log.size(connection)
            self._seal.publish(size, audit_log.root(connection, size))

    def _now(self, connection: Connection) -> dt.datetime:
        """The clock, or the time of the newest entry where that is later. Raises StoreError."""
        now = self.clock()
        newest = newest_time(connection) or now
        if now < newest - LAG:
            raise StoreError(f"the clock is behind the log: got `{stamp(now)}`, expected `{stamp(newest)}` or later; set it right")
        return max(now, newest)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def newest_time(connection: Connection) -> dt.datetime | None:
    """When the newest entry of the log was written, and so no earlier than anything here; None in an empty log. Raises StoreError."""
    for entry in audit_log.entries(connection, audit_log.size(connection) - 1):
        try:
            return dt.datetime.fromisoformat(entry.parsed["at"])
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"entry {entry.index} of the log has no time; run `consentric audit verify`") from None
    return None


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


def _watch(connection: Connection, changed: Callable[[str], None]) -> None:
    """Calls `changed` with the table of each write beside the log, before it happens; SQL as text is taken for a write."""

    def note(_connection: Connection, statement: object, *_rest: object) -> None:
        if isinstance(statement, TextClause):
            changed("text")
        elif isinstance(statement, UpdateBase) and statement.table not in audit_log.metadata.tables.values():
            changed(str(statement.table))

    event.listen(connection, "before_execute", note)


def _refuse(table: str) -> None:
    raise UnrecordedError(f"`{table}` is written outside a transaction")


def _engine(url: str) -> Engine:
    """SQLite only, so far: elsewhere nothing here would make writers wait for each other, and two builds could overspend."""
    if not url.startswith("sqlite:"):
        raise StoreError(f"expected a metadata database on SQLite, got `{url.partition(':')[0]}`")
    engine = create_engine(url, connect_args={"timeout": 60}, hide_parameters=True)  # parameters are people

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, see below
        # 64 MiB of cache: with SQLite's 2 MiB the index makes an import of a million events take twice as long
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=60000", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def _faults() -> Iterator[None]:
    """Faults of the database as StoreError; SQLite's messages name tables and columns, never values."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise StoreError(f"the metadata database cannot be used: {getattr(error, 'orig', error)}") from error
