"""A locked room: an in-memory database with a few relations, no file in reach but their sources, no setting to change.

The order is DESIGN section 5's: spill folder, relations, allowed paths, no external access, lock. With `strict` the
relations are tables, made before the lock, and no file is in reach at all. Nothing here knows what the relations are.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from governance.columns import quoted
from governance.relations import ADMITTED, CONSENT, ID, key_column
from governance.remote_tables import RemoteError, RemoteTable, fetch
from governance.selection import SCHEMAS
from governance.sources import FETCHED, INTEGERS, Source, string

T = TypeVar("T")


class ExtractionError(Exception):
    """Reading failed. The message is fixed, because the cause could show a row."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What reading may use: a folder to spill into, memory such as `4GB`, threads."""

    spill: Path
    memory: str = "2GB"
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Held:
    """A relation `inside.name` over one source, and the SQL that selects it."""

    name: str
    source: Source
    sql: str


@dataclass(frozen=True, slots=True)
class People:
    """Who is admitted: a table with `subject` (text or whole numbers); `keys`: the types that subject keys have in the sources.

    `intervals` (`subject`, `start`, `end`, in UTC, `end` NULL where open): when a subject's consent was valid.
    """

    admitted: pa.Table
    keys: Sequence[str]
    intervals: pa.Table | None = None


@contextmanager
def locked_room(
    resources: Resources, held: Sequence[Held], people: People | None = None, strict: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which `held` exists and nothing else; it spills into a folder that is removed at the end.

    Raises ExtractionError.
    """
    spill = Path(tempfile.mkdtemp(prefix="spill-", dir=resources.spill))
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": resources.threads,
        "memory_limit": resources.memory,
        "temp_directory": str(spill),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
        "preserve_insertion_order": False,
        "ieee_floating_point_ops": True,
    }
    try:
        with duckdb.connect(config=config) as connection:
            quietly(lambda: _furnish(connection, held, people, strict, spill))
            yield connection
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def columns_inside(connection: duckdb.DuckDBPyConnection) -> frozenset[tuple[str, str]]:
    """Table and column of whatever exists in a locked room, less what it keeps for itself: names that no contract can have."""
    every = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
    found = quietly(lambda: connection.execute(every).fetchall())
    return frozenset((table, column) for table, column in found if not table.startswith("#") and not column.startswith("#"))


def quietly(call: Callable[[], T]) -> T:
    """What `call` gives; an error of DuckDB becomes ExtractionError, which keeps nothing of it, not even as context."""
    try:
        return call()
    except (duckdb.Error, pa.ArrowException, RemoteError) as error:
        lacking = isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException)
    raise ExtractionError("feature extraction failed" + (", expected more memory or disk space" if lacking else ""))


def _furnish(connection: duckdb.DuckDBPyConnection, held: Sequence[Held], people: People | None, strict: bool, spill: Path) -> None:
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    for schema in ("inside", *SCHEMAS):
        connection.execute(f"CREATE SCHEMA {schema}")
    if people is not None:
        _admit(connection, people)
    files = []
    for each in held:
        if isinstance(each.source.file, RemoteTable):
            _fetch(connection, each, each.source.file, spill)
            continue
        connection.execute(f"CREATE {'TABLE' if strict else 'VIEW'} inside.{quoted(each.name)} AS {each.sql}")
        if not strict:
            files.append(each.source.file)
    connection.execute(f"SET allowed_paths = [{', '.join(string(str(file)) for file in files)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _fetch(connection: duckdb.DuckDBPyConnection, held: Held, table: RemoteTable, spill: Path) -> None:
    """A relation over a remote table, which is always materialised: the file that it was fetched into is gone before the lock."""
    file = spill / "fetched.parquet"
    fetch(table, {name: held.source.native[name] for name in sorted(held.source.wanted)}, file)
    connection.execute(f"CREATE SCHEMA {FETCHED}")
    connection.execute(f"CREATE VIEW {held.source.sql()} AS {held.source.fetched(file)}")
    connection.execute(f"CREATE TABLE inside.{quoted(held.name)} AS {held.sql}")
    connection.execute(f"DROP SCHEMA {FETCHED} CASCADE")
    file.unlink()


def _admit(connection: duckdb.DuckDBPyConnection, people: People) -> None:
    """Makes `ADMITTED`: each subject once, with a number, and as a key of each type; and `CONSENT`.

    A subject is a key only where it is spelled as the key's type prints it, so that no two subjects share one. Whole numbers
    are spelled in one way, so that subjects that come as such need no look at their text.
    """
    subjects = people.admitted.column("subject")
    whole = pa.types.is_integer(subjects.type)
    subjects = pc.drop_null(pc.unique(subjects if whole else subjects.cast(pa.string())))
    keys = "".join(f", {_key(kind, whole)} AS {quoted(kind)}" for kind in people.keys if key_column(kind) == kind)
    connection.register("given", pa.table({"id": np.arange(len(subjects), dtype=np.int32), "given": subjects}))
    connection.execute(f"CREATE TABLE {ADMITTED} AS SELECT id AS {ID}, CAST(given AS VARCHAR) AS subject{keys} FROM given")
    connection.unregister("given")
    if people.intervals is not None:
        connection.register("given", people.intervals)
        times = 'CAST(g."start" AS TIMESTAMP) AS "start", CAST(g."end" AS TIMESTAMP) AS "end"'
        connection.execute(f"CREATE TABLE {CONSENT} AS SELECT a.{ID}, {times} FROM given AS g JOIN {ADMITTED} AS a USING (subject)")
        connection.unregister("given")


def _key(kind: str, whole: bool) -> str:
    """SQL of a subject as a key of this type, or NULL."""
    if whole and kind in INTEGERS:
        return f"TRY_CAST(given AS {kind})"
    spelled = "CAST(given AS VARCHAR)" if whole else "given"
    return f"CASE WHEN CAST(TRY_CAST({spelled} AS {kind}) AS VARCHAR) = {spelled} THEN TRY_CAST({spelled} AS {kind}) END"
