"""SQLite and PostgreSQL: how a transaction begins in each, how writers wait for each other, and what may be told of a fault.

A transaction whose connection has the execution option `write` is the only one of its kind from its first statement to its
end, whatever it reads on the way; any other sees one state of the database and cannot write. A write is durable on commit.
Not here: what a transaction must record (`governance.store`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

WAIT = 60.0
"""Seconds that a writer waits for another."""

_WRITERS = 0x636F6E73656E7472
"""The advisory lock that writers of one PostgreSQL database hold in turn: `consentr` in ASCII."""

_MACHINE = ("08", "28", "3D", "53", "55", "57", "58")
"""Classes of SQLSTATE about connections, logins, resources and operators: their texts hold no row (PostgreSQL, appendix A)."""


class DatabaseError(Exception):
    """A database that cannot be used as it was named; says nothing of a password."""


def open_engine(url: str) -> Engine:
    """The engine of `sqlite:///…` or `postgresql://…`; nothing is connected yet. Raises DatabaseError."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise DatabaseError("the database's URL cannot be read, expected `sqlite:///FILE` or `postgresql://HOST/NAME`") from None
    match parsed.drivername:
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql" | "postgresql+psycopg":
            return _postgresql(parsed)
        case other:  # nothing here would make its writers wait for each other, and two builds could overspend
            raise DatabaseError(f"expected a metadata database on SQLite or PostgreSQL, got `{other}`")


def file_of(url: str) -> Path | None:
    """The file of a database on SQLite; None for any other."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None


def told(error: BaseException) -> str:
    """What may be told of a fault of the database: no parameter, no value of a row."""
    cause: Any = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY or state == "55P03":
        return f"another command has been writing for {WAIT:g} s; try again when it has ended"
    if isinstance(cause, sqlite3.Error):
        return str(cause)  # of SQLite: names tables and columns, never values
    if state is None and type(cause).__name__ == "OperationalError":  # of the connection
        return str(cause).partition("\n")[0]
    if state and state.startswith(_MACHINE):
        return str(cause.diag.message_primary)
    return type(cause).__name__ + (f" ({state})" if state else "")  # texts of the others repeat what was given


def _sqlite(url: URL) -> Engine:
    """WAL, so that readers go on beside a writer; FULL, so that a commit is durable before its seal is."""
    engine = create_engine(url, connect_args={"timeout": WAIT}, hide_parameters=True)  # parameters are people

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, see below
        # 64 MiB of cache: with SQLite's 2 MiB the index makes an import of a million events take twice as long
        durable = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
        for pragma in (*durable, "foreign_keys=ON", f"busy_timeout={WAIT * 1000:.0f}", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.connection.cursor().execute("BEGIN IMMEDIATE" if writes(connection) else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    """Writers are READ COMMITTED under one lock: in a stricter level they would see the state from before they waited for it."""
    settings = {"connect_timeout": 10, "client_encoding": "utf8", "application_name": "consentric"}
    try:
        engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args=settings, hide_parameters=True, pool_pre_ping=True)
    except ImportError:
        raise DatabaseError("PostgreSQL needs a driver: pip install 'consentric[postgres]'") from None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if writes(connection):
            connection.exec_driver_sql(
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL synchronous_commit = on; "
                f"SET LOCAL lock_timeout = {WAIT * 1000:.0f}; SELECT pg_advisory_xact_lock({_WRITERS})"
            )
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    return engine


def doubts(connection: Connection) -> tuple[tuple[str, str], ...]:
    """Settings of a server under which what it acknowledges may not last or not be text, each with a remedy."""
    if connection.dialect.name == "sqlite":
        return ()
    found = []
    for setting, needed in (("fsync", "on"), ("full_page_writes", "on"), ("server_encoding", "UTF8")):
        if (got := connection.exec_driver_sql(f"SHOW {setting}").scalar_one()) != needed:
            remedy = "make the database anew with it" if setting == "server_encoding" else "set it in postgresql.conf"
            found.append((f"the server's `{setting}` is `{got}`, expected `{needed}`", remedy))
    return tuple(found)


def shred(engine: Engine, tables: Iterable[str]) -> None:
    """Rewrite the database, so that nothing of deleted rows is left in its files: SQLite's pages and journal; on PostgreSQL these
    tables, and not the write-ahead log. Raises DatabaseError, where somebody else reads meanwhile too."""
    pooled = engine.raw_connection()
    try:
        cursor = pooled.cursor()
        if engine.dialect.name == "sqlite":
            cursor.execute("VACUUM")
            if cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise DatabaseError("another command reads the database, whose journal cannot be emptied; try again when it has ended")
        else:
            pooled.driver_connection.autocommit = True  # type: ignore[union-attr]
            for table in tables:
                cursor.execute(f'VACUUM (FULL) "{table}"')
    except DatabaseError:
        raise
    except Exception as error:  # noqa: BLE001 (each driver has its own)
        raise DatabaseError(told(error)) from None
    finally:
        pooled.invalidate()


def writes(connection: Connection) -> bool:
    """Whether its transactions are writes."""
    return bool(connection.get_execution_options().get("write", False))
