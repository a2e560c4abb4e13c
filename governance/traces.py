"""The look for what is left of a subject: every byte of a workspace's files, every value of Parquet files, every row of the database.

What is looked for: the subject's key as UTF-8, UTF-16 and JSON text, in hexadecimal and base64, and what this workspace ever
makes of a subject under a key: HMAC-SHA256 (pseudonyms of each purpose) and keyed BLAKE2b (the split), and SHA-256 without any,
each raw, in hexadecimal of either case, and in base64.

A key shorter than `LONG` characters stands everywhere by chance: as bytes it would be found in any file and would mean
nothing. Such a key is looked for as a whole value, of a cell of a Parquet or CSV file or of a row of the database; its digests are
looked for as bytes like anybody's. From `LONG` characters on, everything is looked for as bytes and within values.

A key that is a part of another (`customer-1` of `customer-10`) is not taken for it: wherever the bytes belong to the longer key
of somebody else who is known here, they are not a trace. A place is told by file, or table and column, never by a row.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, func, inspect, literal, or_, select
from sqlalchemy.sql import ColumnElement

from governance.rights import LONG

SUBJECT, SUBJECTS = "subject", frozenset({"subject", "survivor"})
"""Columns of these names hold nothing but keys of subjects."""

_SPILLS = 1000
"""Bytes of a row from which on SQLite may split a value between two pages, so that bytes of the file alone don't show it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Where something of a subject is: a file or `table.column`, and what was found there."""

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Needles:
    """What to look for. `texts`: spellings of the key, by name; `digests`: raw digests of it, by name; `short`: see the module."""

    subject: str
    texts: Mapping[str, bytes]
    digests: Mapping[str, bytes]

    @property
    def short(self) -> bool:
        """Whether the key itself is looked for as a whole value alone."""
        return len(self.subject) < LONG

    def raw(self) -> dict[bytes, str]:
        """Bytes that mean something wherever they stand, and what they are."""
        found = {spelling: name for name, digest in self.digests.items() for spelling in (digest, *_spelled(digest))}
        return found if self.short else {spelling: name for name, spelling in reversed(list(self.texts.items()))} | found


def needles(subject: str, keys: Mapping[str, bytes]) -> Needles:
    """What to look for of `subject`; `keys`: every secret that the workspace has, by name."""
    key = subject.encode()
    texts = {
        "the key": key,
        "the key in UTF-16": subject.encode("utf-16-le"),
        "the key in UTF-16, big end first": subject.encode("utf-16-be"),
        "the key as JSON": json.dumps(subject)[1:-1].encode(),
        "the key in hexadecimal": key.hex().encode(),
        "the key in base64": base64.b64encode(key).rstrip(b"="),
    }
    digests = {"SHA-256 of the key": hashlib.sha256(key).digest()}
    for name, secret in keys.items():
        digests[f"HMAC under {name}"] = hmac.digest(secret, key, "sha256")
        digests[f"keyed hash under {name}"] = hashlib.blake2b(key, key=secret[:64], digest_size=8).digest()
    return Needles(subject, texts, digests)


def in_files(root: Path, look_for: Needles, others: Collection[str], skip: Collection[Path]) -> Iterator[Trace]:
    """Every regular file below `root` but for `skip`: whole bytes, and cells of Parquet and CSV files.

    `others`: keys of other subjects that hold the subject's (`resembling`).
    """
    left_out, raw = {path.resolve() for path in skip}, look_for.raw()
    longer = _Longer(look_for.subject, others)
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.resolve() in left_out:
            continue
        found = set(_in_bytes(path, raw, longer))
        if path.suffix == ".parquet":
            found |= set(_in_parquet(path, look_for, raw, longer))
        elif path.suffix == ".csv" and look_for.short:
            found |= set(_in_csv(path, look_for))
        yield from (Trace(str(path.relative_to(root)), what) for what in sorted(found))


def in_rows(connection: Connection, look_for: Needles) -> Iterator[Trace]:
    """Every column of texts or bytes of every table of the database, whoever made it.

    On SQLite whole values, and rows that may lie on several pages; the others are told by the bytes of its file.
    """
    raw = look_for.raw()
    for table in _tables(connection):
        columns = [column for column in table.columns if isinstance(column.type, String | LargeBinary)]
        if not columns:
            continue
        query = select(*columns)
        if connection.dialect.name == "sqlite":
            size = sum((func.coalesce(func.length(column), 0) for column in columns), literal(0))
            whole = [column == _as(column, look_for.texts["the key"]) for column in columns]
            query = query.where(or_(size > _SPILLS, *whole))
        places = [column.name for column in columns]
        found: set[str] = set()
        for row in connection.execute(query, execution_options={"yield_per": 10_000}):
            cells = [cell.encode(errors="surrogatepass") if isinstance(cell, str) else bytes(cell or b"") for cell in row]
            joined = b"\0".join(cells)  # most rows hold nothing, which one look at all cells together tells
            if any(spelling in joined for spelling in raw) or look_for.texts["the key"] in cells:
                found |= {place for place, cell in zip(places, cells, strict=True) if _in_cell(place, cell, look_for, raw)}
        yield from (Trace(f"table {table.name}, column {place}", "the key, or a digest of it") for place in sorted(found))


def resembling(connection: Connection, root: Path, subject: str) -> frozenset[str]:
    """Other keys known here, in the database or in a Parquet file, that hold `subject` as a part of them."""
    found = set()
    for table in _tables(connection):
        if (column := table.columns.get(SUBJECT)) is not None:
            inside = _part(connection, column, subject)
            found |= set(connection.execute(select(column).where(inside > 0).distinct()).scalars())
    for path in root.rglob("*.parquet"):
        if SUBJECT in pq.read_schema(path).names:
            cells = pq.read_table(path, columns=[SUBJECT])[SUBJECT].cast(pa.string())
            found |= set(pc.unique(cells.filter(pc.match_substring(cells, subject))).to_pylist())
    return frozenset(found - {subject, None})


class _Longer:
    """Whether bytes that look like the key belong to a longer one of somebody else."""

    def __init__(self, subject: str, others: Iterable[str]) -> None:
        key = subject.encode()
        self._keys = {other.encode() for other in others}
        self._shapes = {(other.find(key), len(other)) for other in self._keys}

    def explains(self, content: bytes | mmap.mmap, place: int) -> bool:
        """Whether one stands around `place`."""
        return any(place >= before and content[place - before : place - before + size] in self._keys for before, size in self._shapes)


def _spelled(digest: bytes) -> Iterator[bytes]:
    plain = base64.b64encode(digest).rstrip(b"=")
    yield from (digest.hex().encode(), digest.hex().upper().encode(), plain, plain.translate(bytes.maketrans(b"+/", b"-_")))


def _in_bytes(path: Path, raw: Mapping[bytes, str], longer: _Longer) -> Iterator[str]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for spelling, name in raw.items():
            place = content.find(spelling)
            while place >= 0 and longer.explains(content, place):
                place = content.find(spelling, place + 1)
            if place >= 0:
                yield name


def _in_parquet(path: Path, look_for: Needles, raw: Mapping[bytes, str], longer: _Longer) -> Iterator[str]:
    """Cells of texts and bytes: pages are compressed, so that bytes of the file say little. Each distinct cell is looked at once."""
    file = pq.ParquetFile(path)
    key = look_for.texts["the key"]
    for group in range(file.num_row_groups):
        for column in file.read_row_group(group).columns:
            if not pa.types.is_nested(column.type) and _texts(column.type):
                cells = pc.unique(column).cast(pa.large_binary())
                if pc.any(pc.equal(cells, pa.scalar(key, pa.large_binary()))).as_py():
                    yield "the key"
                for spelling, name in raw.items():
                    held = cells.filter(pc.match_substring(cells, spelling)).to_pylist()
                    if any(not longer.explains(cell, cell.find(spelling)) for cell in held):
                        yield name


def _texts(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary
    return any(is_one(kind) for is_one in texts)


def _in_csv(path: Path, look_for: Needles) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        if any(look_for.subject in row for row in csv.reader(file)):
            yield "the key"


def _tables(connection: Connection) -> list[Table]:
    """As they are in the database, their indexes aside."""
    found, metadata = inspect(connection), MetaData()
    return [
        Table(name, metadata, *(Column(each["name"], each["type"]) for each in found.get_columns(name)))
        for name in sorted(found.get_table_names())
    ]


def _in_cell(place: str, cell: bytes, look_for: Needles, raw: Mapping[bytes, str]) -> bool:
    """Whether a cell is the key, or holds a spelling of it or of a digest; a column of keys holds this key or another, and no part."""
    parts = raw.keys() - set(look_for.texts.values()) if place in SUBJECTS else raw.keys()
    return cell == look_for.texts["the key"] or any(spelling in cell for spelling in parts)


def _as(column: Column[Any], spelling: bytes) -> str | bytes:
    return spelling if isinstance(column.type, LargeBinary) else spelling.decode()


def _part(connection: Connection, column: Column[Any], part: str | bytes) -> ColumnElement[int]:
    """Where `part` begins in a cell, 0: nowhere."""
    if connection.dialect.name == "sqlite":
        return func.instr(column, part)
    return func.pg_catalog.position(column, part) if isinstance(part, bytes) else func.strpos(column, part)
