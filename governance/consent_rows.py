"""Rows of a CSV, Parquet or JSONL file as texts, whatever they hold; `governance.consent_files` says what they mean.

CSV is UTF-8, separated by commas, with a header; JSONL has one object a line, with each name once. An empty text is missing. Times
are ISO 8601, in UTC where they name no zone. DuckDB parses, in a connection that can open this file alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from governance.consent import ConsentError

Row = tuple[Any, ...]

_ROWS = 10_000


class ConsentFileError(ConsentError):
    """A file of events that cannot be imported; nothing was written."""


Check = Callable[[Path, Sequence[str]], None]
"""Refuses names of columns by ConsentFileError. It comes before a name goes into any SQL."""


@dataclass(frozen=True, slots=True)
class Rows:
    """An open file. `names`: its columns."""

    path: Path
    names: tuple[str, ...]
    _engine: duckdb.DuckDBPyConnection
    _source: str
    _texts: Mapping[str, str]

    def read(self, columns: Sequence[str], times: Sequence[str]) -> Iterator[list[Row]]:
        """For each row, in chunks, the texts of `columns`, missing ones None, then what `times` parse to in microseconds.

        Raises ConsentFileError.
        """
        missing = "CAST(NULL AS VARCHAR)"
        texts = [f"nullif({self._texts.get(name, missing)}, '') AS {_name(name)}" for name in columns]
        parsed = [f"epoch_us(TRY_CAST({_name(name)} AS TIMESTAMPTZ))" for name in times]
        query = f"SELECT {', '.join(['*', *parsed])} FROM (SELECT {', '.join(texts)} FROM {self._source})"
        with _broken(self.path):
            result = self._engine.execute(query, {"path": str(self.path.resolve())})
            while chunk := result.fetchmany(_ROWS):
                yield chunk


@contextmanager
def rows(path: Path, check: Check) -> Iterator[Rows]:
    """Open a file whose columns pass `check`. Raises ConsentFileError."""
    with _locked(path) as engine:
        with _broken(path):
            source, texts = _source(engine, path, check)
        yield Rows(path, tuple(texts), engine, source, texts)


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        # DuckDB's own message quotes the row, so only the line's number is taken from it
        line = re.search(r"(?:on Line: |in line )(\d+)", str(error))
        where = f"is broken at line {line[1]}" if line else "is truncated or broken"
        raise ConsentFileError(f"`{path}` {where}, expected a well-formed {path.suffix.lower()} file in UTF-8") from None


def _locked(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection that may open `path` and nothing else."""
    engine = duckdb.connect()
    allowed = str(path.resolve()).replace("'", "''")
    for setting in (
        "temp_directory = ''",
        "TimeZone = 'UTC'",
        f"allowed_paths = ['{allowed}']",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        engine.execute(f"SET {setting}")
    return engine


def _source(engine: duckdb.DuckDBPyConnection, path: Path, check: Check) -> tuple[str, dict[str, str]]:
    """What to select from (it takes `$path`), and for each column there the expression of its text."""
    given = {"path": str(path.resolve())}
    match path.suffix.lower():
        case ".csv":
            names = _header(path)
            check(path, names)
            types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
            reader = f"read_csv($path, columns = {{{types}}}, header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"')"
            return reader, {name: _name(name) for name in names}
        case ".parquet":
            kinds = {row[0]: row[1] for row in engine.execute("DESCRIBE SELECT * FROM read_parquet($path)", given).fetchall()}
            check(path, [*kinds])
            if kinds["subject"] in ("FLOAT", "DOUBLE"):
                raise ConsentFileError(
                    f"`{path}`: column `subject` holds {kinds['subject'].lower()} numbers, expected text or whole numbers"
                )
            return "read_parquet($path)", {name: f"CAST({_name(name)} AS VARCHAR)" for name in kinds}
        case ".jsonl" | ".ndjson":
            reader = "read_ndjson_objects($path)"
            found = engine.execute(
                "SELECT unnest(keys) AS name, bool_or(len(keys) > len(list_distinct(keys))) "
                f"FROM (SELECT json_keys(json) AS keys FROM {reader}) GROUP BY name ORDER BY name",
                given,
            ).fetchall()
            names = [name for name, _ in found]
            check(path, names)
            if any(twice for _, twice in found):  # of two values DuckDB would take the first, other readers the last
                raise ConsentFileError(f"`{path}` has an object with a name that is there twice, expected each name once")
            texts = {name: f"json->>'$.{name}'" for name in names}
            texts["subject"] = f"CASE WHEN json_type(json, '$.subject') IN ('VARCHAR', 'UBIGINT', 'BIGINT') THEN {texts['subject']} END"
            return reader, texts
        case other:
            raise ConsentFileError(f"`{path}`: got a file that ends in `{other}`, expected .csv, .parquet, .jsonl or .ndjson")


def _name(name: str) -> str:
    """A column in SQL; `at` is a word of its own there."""
    return f'"{name}"'


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        first = file.readline()
    try:
        return next(csv.reader([first.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        raise ConsentFileError(f"`{path}` has no header of column names in UTF-8") from None
