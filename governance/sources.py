"""Source files of a dataset: what columns they hold, known from metadata before a row is read.

A source is one Parquet or CSV file, and nothing in a row decides how the others are read. A CSV is UTF-8 in the one dialect
of RFC 4180 (commas, double quotes) with names in its first line; every field is text until the contract types it, and
lines that cannot be read are left out. Bytes of a Parquet text that are not UTF-8 read as `?`. Not here: which columns may
be read, or how they are typed (`governance.relations`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from policies.contract import Contract

Resolve = Callable[[str], Path]
"""A contract's `source` to an absolute path."""

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

    def __init__(self, table: str, file: Path, expected: str, column: str | None = None) -> None:
        about = f"table `{table}`" + (f", column `{column}`" if column else "")
        super().__init__(f"{about}: file `{file}`, {expected}")
        self.table = table
        self.file = file
        self.column = column
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Source:
    """A readable file: the DuckDB type of each of its columns."""

    table: str
    file: Path
    types: Mapping[str, str]

    def sql(self) -> str:
        """The FROM that reads it."""
        path = string(str(self.file))
        if self.file.suffix.lower() == ".parquet":
            return _PARQUET.format(path=path)
        return _CSV.format(path=path, columns=", ".join(f"{string(name)}: 'VARCHAR'" for name in self.types))

    def type_of(self, column: str) -> str:
        """DuckDB type of a column, by its name in the file. Raises SourceError where it is missing or not a scalar."""
        if column not in self.types:  # names of a CSV are not told: without a header they would be somebody's row
            names = f"the file's columns {sorted(self.types)}" if self.file.suffix.lower() == ".parquet" else "the names in its first line"
            raise SourceError(self.table, self.file, f"expected it among {names}", column)
        if self.types[column].endswith("]") or self.types[column].startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
            raise SourceError(self.table, self.file, f"expected a scalar, got type `{self.types[column]}`", column)
        return self.types[column]

    def key_type(self, column: str) -> str:
        """The same of a column that rows are joined by. Raises SourceError too where equal keys can be spelled in two ways."""
        kind = self.type_of(column)
        if kind not in _KEYS and not kind.startswith("DECIMAL"):
            raise SourceError(self.table, self.file, f"expected text or integers in a key, got type `{kind}`", column)
        return kind


def open_sources(contract: Contract, tables: Iterable[str], resolve: Resolve) -> dict[str, Source]:
    """The sources of `tables`, from their metadata alone. Raises SourceError: missing, truncated or unreadable."""
    with duckdb.connect() as connection:
        return {table: _open(connection, table, resolve(contract.tables[table].source)) for table in tables}


def _open(connection: duckdb.DuckDBPyConnection, table: str, file: Path) -> Source:
    if not file.is_absolute() or _GLOB & set(str(file)):
        raise SourceError(table, file, f"expected an absolute path without any of `{''.join(sorted(_GLOB))}`")
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise SourceError(table, file, "expected a name that ends in .csv or .parquet")
    if not file.is_file():
        raise SourceError(table, file, "expected a file that exists")
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
