"""Import of consent events from CSV, Parquet or JSONL files: all or nothing, one entry of the log for a file.

Columns: `subject`, `purpose`, `status` and `event_time` are required; `valid_until`, `basis`, `notice_version`, `notice_hash`,
`controller`, `jurisdiction`, `method` and `raw_signal` may be there, anything else may not. CSV is UTF-8, separated by commas,
with a header; JSONL has one object a line. An empty text is missing. Times are ISO 8601, in UTC where they name no zone.
The received time is the clock's, never the file's.

DuckDB parses, in a connection that can open this file alone; what the fields mean is checked by `governance.consent`. A bad
row is told by number, field, got and expected, because the file is the operator's own; subjects are never repeated.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from sqlmodel import Session, select

from governance.consent import ConsentError, ConsentEvent, EventError, Receipt, Status, append, check_time, quoted
from governance.store import Store, micros, moment, stamp
from governance.tables import ImportRow
from policies.policy import Basis

REQUIRED = ("subject", "purpose", "status", "event_time")
OPTIONAL = ("valid_until", "basis", "notice_version", "notice_hash", "controller", "jurisdiction", "method", "raw_signal")

SHOWN = 10
"""Bad rows that an error names."""

_TIMES = ("event_time", "valid_until")
_ROWS = 10_000
_FIRST = micros(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
_LAST = micros(dt.datetime.max.replace(tzinfo=dt.UTC))


class ConsentFileError(ConsentError):
    """A file of events that cannot be imported; nothing was written."""


@dataclass(frozen=True, slots=True)
class Imported:
    """How many events a file holds, and what was done with them; a dry run has no receipt."""

    events: int
    receipt: Receipt | None


def import_file(store: Store, path: Path, *, again: bool = False, dry_run: bool = False) -> Imported:
    """Append the events of a file. `again` takes a file that is identical to one imported before; `dry_run` checks alone.

    Raises ConsentFileError.
    """
    digest = _digest(path)
    if dry_run:
        with store.read() as session:
            _refuse_known(session, path, digest, again)
        count = sum(1 for _ in _events(path, store.clock()))
        if not count:
            raise ConsentFileError(f"`{path}` holds no event")
        return Imported(count, None)
    with store.transaction("consent-import") as transaction:
        _refuse_known(transaction.session, path, digest, again)
        try:
            receipt = append(transaction, _events(path, transaction.now))
        except ConsentFileError:
            raise
        except ConsentError:  # the events themselves are fine, so there is none
            raise ConsentFileError(f"`{path}` holds no event") from None
        salt = os.urandom(32)
        transaction.session.add(ImportRow(batch=receipt.batch, salt=salt, digest=_salted(salt, digest), received=transaction.micros))
    return Imported(receipt.events, receipt)


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ConsentFileError(f"`{path}` cannot be read: {(error.strerror or 'unknown fault').lower()}") from error


def _salted(salt: bytes, digest: bytes) -> bytes:
    """What is kept of a file's digest, so that it can be recognised by whoever holds the file and the database only."""
    return hmac.digest(salt, digest, "sha256")


def _refuse_known(session: Session, path: Path, digest: bytes, again: bool) -> None:
    for row in session.exec(select(ImportRow)):
        if not again and hmac.compare_digest(row.digest, _salted(row.salt, digest)):
            when = stamp(moment(row.received))
            raise ConsentFileError(f"`{path}` was imported before, at {when}; to record the same events once more, say so with `--again`")


def _events(path: Path, now: dt.datetime) -> Iterator[ConsentEvent]:
    """The events of a file, in its order. Raises ConsentFileError, at the end or at the tenth bad row."""
    faults: list[str] = []
    for number, fields in enumerate(_rows(path), 1):
        try:
            event = _event(fields)
            check_time(event, now)
        except EventError as fault:
            faults.append(f"row {number}: {fault}")
            if len(faults) == SHOWN:
                break
        else:
            if not faults:
                yield event
    if faults:
        first = f"the first {SHOWN} bad rows are" if len(faults) == SHOWN else "bad rows are"
        raise ConsentFileError("\n  ".join([f"`{path}` was not imported; {first}", *faults]))


def _event(fields: dict[str, Any]) -> ConsentEvent:
    for name in REQUIRED:
        if fields[name] is None:
            raise EventError(name, "nothing", "a value")
    return ConsentEvent(
        fields["subject"],
        fields["purpose"],
        _member(Status, "status", fields["status"]),
        _time(fields, "event_time"),
        None if fields["valid_until"] is None else _time(fields, "valid_until"),
        None if fields["basis"] is None else _member(Basis, "basis", fields["basis"]),
        *(fields[name] for name in OPTIONAL[2:]),
    )


_Member = TypeVar("_Member", bound=StrEnum)


def _member(kind: type[_Member], field: str, value: str) -> _Member:
    try:
        return kind(value)
    except ValueError:
        raise EventError(field, quoted(value), f"one of {', '.join(kind)}") from None


def _time(fields: dict[str, Any], name: str) -> dt.datetime:
    parsed = fields[f"{name} parsed"]
    if parsed is None or not _FIRST <= parsed <= _LAST:
        raise EventError(name, quoted(fields[name]), "a time in ISO 8601 such as `2026-11-22T09:30:00Z`")
    return moment(parsed)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows as texts by column, missing ones None, and what the times parse to in microseconds."""
    try:
        with _locked(path) as engine:
            source, columns = _source(engine, path)
            texts = [f"nullif({columns.get(name, 'CAST(NULL AS VARCHAR)')}, '') AS {name}" for name in (*REQUIRED, *OPTIONAL)]
            times = [f'epoch_us(TRY_CAST({name} AS TIMESTAMPTZ)) AS "{name} parsed"' for name in _TIMES]
            query = f"SELECT *, {', '.join(times)} FROM (SELECT {', '.join(texts)} FROM {source})"
            result = engine.execute(query, {"path": str(path.resolve())})
            names = [column[0] for column in result.description]
            while chunk := result.fetchmany(_ROWS):
                yield from (dict(zip(names, row, strict=True)) for row in chunk)
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


def _source(engine: duckdb.DuckDBPyConnection, path: Path) -> tuple[str, dict[str, str]]:
    """What to select from (it takes `$path`), and for each column there the expression of its text."""
    given = {"path": str(path.resolve())}
    match path.suffix.lower():
        case ".csv":
            names = _header(path)
            _check_columns(path, names)
            types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
            reader = f"read_csv($path, columns = {{{types}}}, header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"')"
            return reader, {name: name for name in names}
        case ".parquet":
            kinds = {row[0]: row[1] for row in engine.execute("DESCRIBE SELECT * FROM read_parquet($path)", given).fetchall()}
            _check_columns(path, list(kinds))
            if kinds["subject"] in ("FLOAT", "DOUBLE"):
                raise ConsentFileError(
                    f"`{path}`: column `subject` holds {kinds['subject'].lower()} numbers, expected text or whole numbers"
                )
            return "read_parquet($path)", {name: f"CAST({name} AS VARCHAR)" for name in kinds}
        case ".jsonl" | ".ndjson":
            reader = "read_ndjson_objects($path)"
            found = engine.execute(f"SELECT DISTINCT unnest(json_keys(json)) FROM {reader} ORDER BY 1", given).fetchall()
            names = [row[0] for row in found]
            _check_columns(path, names)
            texts = {name: f"json->>'$.{name}'" for name in names}
            texts["subject"] = f"CASE WHEN json_type(json, '$.subject') IN ('VARCHAR', 'UBIGINT', 'BIGINT') THEN {texts['subject']} END"
            return reader, texts
        case other:
            raise ConsentFileError(f"`{path}`: got a file that ends in `{other}`, expected .csv, .parquet, .jsonl or .ndjson")


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        first = file.readline()
    try:
        return next(csv.reader([first.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        raise ConsentFileError(f"`{path}` has no header of column names in UTF-8") from None


def _check_columns(path: Path, names: list[str]) -> None:
    expected = f"expected {', '.join(REQUIRED)}, and perhaps {', '.join(OPTIONAL)}"
    if missing := [name for name in REQUIRED if name not in names]:
        raise ConsentFileError(f"`{path}` lacks the column `{missing[0]}`: {expected}")
    for name in names:
        if name not in REQUIRED + OPTIONAL or names.count(name) > 1:
            raise ConsentFileError(f"`{path}` has a column {quoted(name)} that is not known, or twice there: {expected}")
