"""Source files of a dataset: what columns they hold, known from metadata before a row is read.

A source is one Parquet or CSV file. Of a CSV every field is text until the contract types it, and lines that cannot be
split are left out. Not here: which columns may be read, or how they are typed (`governance.relations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from policies.contract import Contract

Resolve = Callable[[str], Path]
"""A contract's `source` to an absolute path."""

_GLOB = frozenset("*?[]{}")
_READERS = {
    ".parquet": "read_parquet({path}, hive_partitioning = false, union_by_name = false)",
    ".csv": "read_csv({path}, header = true, all_varchar = true, ignore_errors = true, hive_partitioning = false)",
}


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
        return _reader(self.table, self.file)

    def type_of(self, column: str) -> str:
        """DuckDB type of a column, by its name in the file. Raises SourceError where it is missing or not a scalar."""
        if column not in self.types:
            raise SourceError(self.table, self.file, f"expected it among the file's columns {sorted(self.types)}", column)
        if self.types[column].endswith("]") or self.types[column].startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
            raise SourceError(self.table, self.file, f"expected a scalar, got type `{self.types[column]}`", column)
        return self.types[column]


def open_sources(contract: Contract, tables: Iterable[str], resolve: Resolve) -> dict[str, Source]:
    """The sources of `tables`, from their metadata alone. Raises SourceError: missing, truncated or unreadable."""
    with duckdb.connect() as connection:
        return {table: _describe(connection, table, resolve(contract.tables[table].source)) for table in tables}


def _describe(connection: duckdb.DuckDBPyConnection, table: str, file: Path) -> Source:
    reader = _reader(table, file)
    if not file.is_file():
        raise SourceError(table, file, "expected a file that exists")
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    except (duckdb.Error, UnicodeError):
        described = None
    if described is None:
        raise SourceError(table, file, "expected a readable file, it is truncated or has another format")
    return Source(table, file, {name: kind for name, kind, *_ in described})


def _reader(table: str, file: Path) -> str:
    if not file.is_absolute() or _GLOB & set(str(file)):
        raise SourceError(table, file, f"expected an absolute path without any of `{''.join(sorted(_GLOB))}`")
    if file.suffix.lower() not in _READERS:
        raise SourceError(table, file, f"expected one of {sorted(_READERS)}")
    quoted = str(file).replace("'", "''")
    return _READERS[file.suffix.lower()].format(path=f"'{quoted}'")
