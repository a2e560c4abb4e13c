"""Sources of a dataset: what columns they hold, known from metadata before a row is read.

A source is one Parquet or CSV file, or a table of a PostgreSQL database (`governance.remote_tables`), and nothing in a row
decides how the others are read. A CSV is UTF-8 in the one dialect of RFC 4180 (commas, double quotes) with names in its first
line; every field is text until the contract types it, and lines that cannot be read are left out. Bytes of a Parquet text that
are not UTF-8 read as `?`. Not here: which columns may be read, or how they are typed (`governance.relations`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from governance.columns import quoted
from governance.remote_tables import UNREAD, RemoteError, RemoteTable, arriving, describe
from policies.contract import Contract

Location = Path | RemoteTable

Resolve = Callable[[str], Location]
"""A contract's `source` to an absolute path or a table."""

FETCHED = "fetched"
"""Schema of remote tables while a room is furnished."""

_GLOB = frozenset("*?[]{}")
_PARQUET = "read_parquet({path}, hive_partitioning = false, union_by_name = false, utf8_validation = 'replace')"
_CSV = (
    "read_csv({path}, columns = {{{columns}}}, header = true, auto_detect = false, all_varchar = true, delim = ',', quote = '\"', "
    "escape = '\"', strict_mode = false, ignore_errors = true, parallel = false, max_line_size = 4194304, hive_partitioning = false)"
)
"""Sniffing and strict mode fail where one row is odd. A parallel scan (DuckDB 2.0.0) starts inside quotes, where it takes the text
after a line break for a row of its own: what one subject wrote could become a row of another."""

_HEADER = 1 << 20
"""Characters that names of columns may take."""

INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"})
_KEYS = INTEGERS | {"VARCHAR", "BOOLEAN", "DATE", "UUID"}
"""Types whose equal values are spelled alike. Not floating numbers: 0.0 and -0.0 are equal, and two subjects."""


class SourceError(Exception):
    """A source that cannot serve the contract; known from metadata, says nothing of a row."""

    def __init__(self, table: str, file: Location, expected: str, column: str | None = None) -> None:
        about = f"table `{table}`" + (f", column `{column}`" if column else "")
        super().__init__(f"{about}: {'file' if isinstance(file, Path) else 'source'} `{file}`, {expected}")
        self.table = table
        self.file = file
        self.column = column
        self.expected = expected


class SourceNameError(SourceError):
    """The contract names what is no source: a mistake in a document, and no fault of the machine."""


@dataclass(frozen=True, slots=True)
class Source:
    """A readable file or table: the DuckDB type of each of its columns.

    Of a remote table, `native` are PostgreSQL's types, and `wanted` the columns that may be fetched.
    """

    table: str
    file: Location
    types: Mapping[str, str]
    native: Mapping[str, str] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()

    def sql(self) -> str:
        """The FROM that reads it; of a remote table, what `room.locked_room` fetched of it."""
        if isinstance(self.file, RemoteTable):
            return f"{FETCHED}.{quoted(self.table)}"
        path = string(str(self.file))
        if self.file.suffix.lower() == ".parquet":
            return _PARQUET.format(path=path)
        return _CSV.format(path=path, columns=", ".join(f"{string(name)}: 'VARCHAR'" for name in self.types))

    def fetched(self, file: Path) -> str:
        """SQL that selects the wanted columns of a remote table from the file that they were fetched into."""
        return arriving(self.types, sorted(self.wanted), _PARQUET.format(path=string(str(file))))

    def type_of(self, column: str) -> str:
        """DuckDB type of a column, by its name in the source. Raises SourceError where it is missing or not a scalar."""
        if column not in self.types:  # names of a CSV are not told: without a header they would be somebody's row
            is_csv = isinstance(self.file, Path) and self.file.suffix.lower() == ".csv"
            names = "the names in its first line" if is_csv else f"the {self._kind}'s columns {sorted(self.types)}"
            raise SourceError(self.table, self.file, f"expected it among {names}", column)
        if self.types[column].endswith("]") or self.types[column].startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
            kind = self.native.get(column, self.types[column])
            raise SourceError(self.table, self.file, f"expected a scalar, got type `{kind}`", column)
        return self.types[column]

    @property
    def _kind(self) -> str:
        return "file" if isinstance(self.file, Path) else "table"

    def key_type(self, column: str) -> str:
        """The same of a column that rows are joined by. Raises SourceError too where equal keys can be spelled in two ways."""
        kind = self.type_of(column)
        loose = kind == "VARCHAR" and self.native.get(column) == "numeric"  # without declared digits, 5 and 5.0 are equal
        if loose or (kind not in _KEYS and not kind.startswith("DECIMAL")):
            got = self.native.get(column, kind)
            raise SourceError(self.table, self.file, f"expected text or integers in a key, got type `{got}`", column)
        return kind


def open_sources(
    contract: Contract, tables: Iterable[str], resolve: Resolve, reads: Iterable[tuple[str, str]] | None = None
) -> dict[str, Source]:
    """The sources of `tables`, from their metadata alone. Raises SourceError: missing, truncated or unreadable.

    `reads`: table and column, in the contract's names, that may be fetched from remote tables; None: all that the contract has.
    """
    found = {}
    with duckdb.connect() as connection:
        for table in tables:
            location = resolve(contract.tables[table].source)
            if isinstance(location, RemoteTable):
                columns = contract.tables[table].columns
                names = columns if reads is None else {name for owner, name in reads if owner == table}
                found[table] = _remote(table, location, frozenset(columns[name].source_name or name for name in names))
            else:
                found[table] = _open(connection, table, location)
    return found


def _remote(table: str, location: RemoteTable, wanted: frozenset[str]) -> Source:
    try:
        columns = describe(location)
    except RemoteError as error:
        raise SourceError(table, location, str(error)) from None
    if not columns:
        raise SourceError(table, location, "expected a table that exists and that the connection may read")
    native = {name: kind for name, (kind, _) in columns.items()}
    types = {name: kind for name, (_, kind) in columns.items()}
    return Source(table, location, types, native, frozenset(name for name in wanted if types.get(name, UNREAD) != UNREAD))


def _open(connection: duckdb.DuckDBPyConnection, table: str, file: Path) -> Source:
    if not file.is_absolute() or _GLOB & set(str(file)):
        raise SourceNameError(table, file, f"expected an absolute path without any of `{''.join(sorted(_GLOB))}`")
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise SourceNameError(table, file, "expected a name that ends in .csv or .parquet")
    if not file.is_file():
        raise SourceNameError(table, file, "expected a file that exists")
    source = Source(table, file, _header(table, file) if file.suffix.lower() == ".csv" else {})
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source.sql()}").fetchall()
    except (duckdb.Error, UnicodeError):
        described = None
    if described is None:
        raise SourceError(table, file, "expected a readable file, it is truncated or has another format")
    return Source(table, file, {name: kind for name, kind, *_ in described})


def _header(table: str, file: Path) -> dict[str, str]:
    """Names in the first line of a CSV, a place for a name where there is none. Raises SourceError, which repeats none of them."""
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:  # rows may be anything, names may not
            names = next(csv.reader(io.StringIO(text.read(_HEADER), newline="")), [])
        "".join(names).encode()
    except (OSError, UnicodeError, csv.Error):
        names = []
    if not names:
        raise SourceError(table, file, "expected UTF-8 text with names of columns in its first line")
    named = {name or f"column{place}": "VARCHAR" for place, name in enumerate(names)}
    if len({name.lower() for name in named}) < len(names):
        raise SourceError(table, file, "expected names of columns that differ in more than case")
    return named


def string(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"
