"""Tables of a PostgreSQL database as sources: their columns from the catalogue, and granted columns alone as a file.

A contract names a connection and a table, `postgresql:shop/public.purchases`; the connection's address, which may hold a password,
stands in consentric.toml or in the environment. What is fetched is one generated SELECT of the columns that were granted, in a
transaction that cannot write, through ADBC as Arrow batches into a Parquet file, so that memory does not grow with the table. No
row can make it fail: numbers that Arrow has no type for come as text, and moments outside the years 1 to 9999 as NULL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from governance.columns import quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

SCHEME = "postgresql:"
_LOCATION = re.compile(r"postgresql:(?P<connection>[A-Za-z][A-Za-z0-9_]*)/(?P<schema>[^./\s][^./]*)\.(?P<table>[^./\s][^./]*)")

_TEXT = "CAST({0} AS text)"
_READ: Mapping[str, tuple[str, str]] = {
    "smallint": ("{0}", "SMALLINT"),
    "integer": ("{0}", "INTEGER"),
    "bigint": ("{0}", "BIGINT"),
    "real": ("{0}", "FLOAT"),
    "double precision": ("{0}", "DOUBLE"),
    "numeric": (_TEXT, "DECIMAL"),
    "boolean": ("{0}", "BOOLEAN"),
    "text": (_TEXT, "VARCHAR"),
    "character varying": (_TEXT, "VARCHAR"),
    "character": (_TEXT, "VARCHAR"),
    "uuid": (_TEXT, "VARCHAR"),
    "USER-DEFINED": (_TEXT, "VARCHAR"),
    "date": ("CASE WHEN {0} BETWEEN '0001-01-01' AND '9999-12-31' THEN {0} END", "DATE"),
    "timestamp without time zone": (
        "CASE WHEN {0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999' THEN {0} END",
        "TIMESTAMP",
    ),
    "timestamp with time zone": (
        "CASE WHEN {0} BETWEEN '0001-01-02Z' AND '9999-12-30Z' THEN {0} AT TIME ZONE 'UTC' END",
        "TIMESTAMP",
    ),
}
"""How a type of information_schema is selected, and DuckDB's type of what arrives (a DECIMAL as text). No other type is read."""

UNREAD = "VARIANT"

_CATALOGUE = """\
SELECT column_name, data_type, numeric_precision, numeric_scale FROM information_schema.columns
WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position"""


class RemoteError(Exception):
    """The database did not answer, or not as expected. The message is fixed, because the cause could show a row."""


@dataclass(frozen=True, slots=True)
class RemoteTable:
    """One table. `url` may hold a password, and is never shown."""

    connection: str
    schema: str
    table: str
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"{SCHEME}{self.connection}/{self.schema}.{self.table}"


def locate(location: str, connections: Mapping[str, str]) -> RemoteTable:
    """The table that a contract's source names. Raises ValueError, which doesn't repeat a source that could hold a password."""
    named = _LOCATION.fullmatch(location)
    if named is None:
        raise ValueError(f"expected `{SCHEME}CONNECTION/SCHEMA.TABLE`; the connection's address stands in consentric.toml")
    if named["connection"].lower() not in connections:
        variable = f"CONSENTRIC_CONNECTIONS_{named['connection'].upper()}"
        raise ValueError(f"no connection `{named['connection']}`, expected one under [connections] in consentric.toml, or {variable}")
    return RemoteTable(named["connection"], named["schema"], named["table"], connections[named["connection"].lower()])


def describe(table: RemoteTable) -> dict[str, tuple[str, str]]:
    """PostgreSQL's and DuckDB's type of each column that the connection may read; no row is looked at. Raises RemoteError.

    The latter is `UNREAD` for a column of a type that is not read.
    """
    with _cursor(table) as cursor:
        cursor.execute(_CATALOGUE, (table.schema, table.table))
        return {name: (kind, _arrives(kind, precision, scale)) for name, kind, precision, scale in cursor.fetchall()}


def fetch(table: RemoteTable, columns: Mapping[str, str], file: Path) -> None:
    """Write `columns` (and PostgreSQL's type of each) to a Parquet file, batch by batch. Raises RemoteError."""
    import pyarrow.parquet as pq

    chosen = ", ".join(f"{_READ[kind][0].format(quoted(name))} AS {quoted(name)}" for name, kind in columns.items())
    with _cursor(table) as cursor:
        cursor.execute(f"SELECT {chosen} FROM {quoted(table.schema)}.{quoted(table.table)}")
        reader = cursor.fetch_record_batch()
        with pq.ParquetWriter(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def reach(connection: str, url: str) -> str | None:
    """Why a connection's database cannot be used, for `doctor`; None if it can."""
    try:
        with _cursor(RemoteTable(connection, "", "", url)) as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
    except RemoteError as error:
        return str(error)
    return None


def arriving(types: Mapping[str, str], columns: Sequence[str], read: str) -> str:
    """SQL that selects `columns` from `read` (the FROM of a fetched file) as their DuckDB types."""
    chosen = [
        f"TRY_CAST({quoted(name)} AS {types[name]}) AS {quoted(name)}" if types[name].startswith("DECIMAL") else quoted(name)
        for name in columns
    ]
    return f"SELECT {', '.join(chosen)} FROM {read}"


def _arrives(kind: str, precision: int | None, scale: int | None) -> str:
    if kind not in _READ:
        return UNREAD
    arrives = _READ[kind][1]
    if arrives != "DECIMAL":
        return arrives
    fits = precision is not None and scale is not None and 0 <= scale <= precision <= 38
    return f"DECIMAL({precision},{scale})" if fits else "VARCHAR"


@contextmanager
def _cursor(table: RemoteTable) -> Iterator[Cursor]:
    """In a transaction that cannot write."""
    try:
        import pyarrow as pa
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi  # type: ignore[import-untyped]  # has none
    except ImportError:
        raise RemoteError("PostgreSQL needs a driver: pip install 'consentric[postgres]'") from None
    faults: tuple[type[Exception], ...] = (Error, pa.ArrowException, OSError)
    try:
        with dbapi.connect(table.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            yield cursor
            connection.rollback()
        return
    except faults:
        pass
    raise RemoteError(f"the database of connection `{table.connection}` did not answer as expected")
