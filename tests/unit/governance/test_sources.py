from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from governance.minimise import Resources, governed, prepare
from governance.population import population
from governance.reads import MinimisationError
from governance.sources import SourceError, open_sources
from policies.contract import Contract
from policies.segment import Segment

AS_OF = dt.date(2026, 6, 1)
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
HEAD = "id,at,x"
PEOPLE = [f"s{i:04d}" for i in range(2000)]
LINES = [f"{person},2026-05-01 00:00:00,5.00" for person in PEOPLE]


def contract(file: str, value: str = "text", event_time: str = "at", **more: Any) -> Contract:
    columns = {
        "id": {"category": "user.unique_id"},
        "at": {"category": "user", "type": "timestamp"},
        "x": {"category": "user", "type": value},
    }
    table = {"source": file, "event_time": event_time, "columns": columns} | more
    subject = {"key": "id", "namespace": "n", "registered_in": "t"}
    return Contract.model_validate({"name": "c", "controller": "C", "subject": subject, "tables": {"t": table}})


def registered(folder: Path, shop: Contract) -> list[str]:
    granted = {"t": frozenset({"id", "at"})}
    found = population(shop, granted, AS_OF, lambda source: folder / source, NOW, Resources(folder))
    return sorted(found["subject"].to_pylist())


def counted(folder: Path, shop: Contract, people: list[str], agg: str = "count(x)", strict: bool = False) -> dict[str, float]:
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "model": {"type": "clusters"}, "privacy": {"epsilon": 1}}
    features = {"n": {"table": "t", "agg": agg, "bounds": [0, 10**6]}}
    spec = Segment.model_validate({**fixed, "as_of": AS_OF, "features": features})
    granted = {"t": frozenset(shop.tables["t"].columns)}
    ready = prepare(shop, spec, granted, lambda source: folder / source, NOW)
    with governed(ready, pa.table({"subject": people}), Resources(folder), strict) as room:
        return {row["subject"]: row["n"] for batch in room.batches() for row in batch.to_pylist()}


ODD = {
    "semicolons": b"s9999;2026-05-01;1;1;1",
    "quotes inside": b's9999,2026-05-01 00:00:00,a"b"c',
    "text after a quote": b's9999,2026-05-01 00:00:00,"a"b',
    "a backslash": b's9999,2026-05-01 00:00:00,"a\\"b,c"',
    "an apostrophe": b"s9999,2026-05-01 00:00:00,'a,b'",
    "too many fields": b"s9999,2026-05-01 00:00:00,1,2,3,4",
    "too few fields": b"s9999",
    "no field": b"",
    "bytes that are not UTF-8": b"s9999,2026-05-01 00:00:00,\xff\xfe",
    "a key that is not UTF-8": b"s\xff,2026-05-01 00:00:00,1",
    "NUL": b"s9999,2026-05-01 00:00:00,a\0b",
    "a comment": b"#,2026-05-01 00:00:00,1",
    "a carriage return": b"s9999,2026-05-01 00:00:00,a\rb",
    "a carriage return in quotes": b's9999,2026-05-01 00:00:00,"a\rb"',
    "another end of line": b"s9999,2026-05-01 00:00:00,a\r",
    "a line break in quotes": b's9999,2026-05-01 00:00:00,"a\nb"',
    "a huge field": b"s9999,2026-05-01 00:00:00," + b"a" * 9_000_000,
    "a huge field in quotes": b's9999,2026-05-01 00:00:00,"' + b"a" * 9_000_000 + b'"',
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_line_of_a_csv_takes_nobody_else_along(tmp_path: Path, name: str) -> None:
    lines = [line.encode() for line in LINES]
    (tmp_path / "t.csv").write_bytes(b"\n".join([HEAD.encode(), ODD[name], *lines[:1000], ODD[name], *lines[1000:], ODD[name]]) + b"\n")
    shop = contract("t.csv")
    assert set(PEOPLE) <= set(registered(tmp_path, shop)) <= {*PEOPLE, "s9999", "#", "b"}
    assert counted(tmp_path, shop, PEOPLE) == dict.fromkeys(PEOPLE, 1.0)


def test_a_quote_that_nobody_closes_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join([HEAD, *LINES[:1000], 's9999,2026-05-01 00:00:00,"abc', *LINES[1000:]]))
    assert set(PEOPLE[:999]) <= set(registered(tmp_path, contract("t.csv"))) <= {*PEOPLE, "s9999"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_three_ways(tmp_path: Path, end: str) -> None:
    (tmp_path / "t.csv").write_bytes(end.join([HEAD, *LINES, ""]).encode())
    assert registered(tmp_path, contract("t.csv")) == PEOPLE


@pytest.mark.slow
def test_what_somebody_wrote_is_never_somebody_elses_row(tmp_path: Path) -> None:
    """A text full of line breaks, longer than what one thread reads at a time."""
    text = b"\nintruder,2026-05-01 00:00:00,1" * 1000
    with (tmp_path / "t.csv").open("wb") as file:
        file.write(b"id,at,x\n")
        for number in range(5000):
            file.write(b's%04d,2026-05-01 00:00:00,"%s"\n' % (number, text))
    assert registered(tmp_path, contract("t.csv")) == [f"s{number:04d}" for number in range(5000)]


@pytest.mark.parametrize(
    "content", [b"", b"\n1,2,3\n", b"id,at,\xff\n", b"id,ID,x\n", b"id,at,at\n", b",column0,id\n", b'"' + b"a" * 300_000]
)
def test_a_csv_without_names_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(SourceError, match="names of columns"):
        registered(tmp_path, contract("t.csv"))


def test_a_csv_whose_first_line_is_a_row_shows_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("secret,2026-05-01 00:00:00,5\n")
    with pytest.raises(SourceError, match="the names in its first line") as refused:
        registered(tmp_path, contract("t.csv"))
    assert "secret" not in str(refused.value)


def test_names_may_be_odd_or_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeff,"it\'s, an ""id""",at,x\n0,a,2026-05-01,1\n'.encode())
    source = open_sources(contract("t.csv"), ["t"], lambda source: tmp_path / source)["t"]
    assert list(source.types) == ["column0", 'it\'s, an "id"', "at", "x"]
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT * FROM {source.sql()}").fetchall() == [("0", "a", "2026-05-01", "1")]


def with_bytes(values: list[bytes]) -> pa.Array:
    """A text column that may hold what is not UTF-8."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dictionary", [False, True])
def test_text_of_parquet_that_is_not_utf8_takes_nobody_along(tmp_path: Path, dictionary: bool, strict: bool) -> None:
    keys = [person.encode() for person in PEOPLE]
    texts = [b"w"] * len(keys)
    keys[7], texts[8] = b"\xff\xfe", b"w\xff"
    at = pa.array([dt.datetime(2026, 5, 1)] * len(keys))
    table = pa.table({"id": with_bytes(keys), "at": at, "x": with_bytes(texts)})
    pq.write_table(table, tmp_path / "t.parquet", use_dictionary=dictionary)
    others = PEOPLE[:7] + PEOPLE[8:]
    shop = contract("t.parquet")
    assert registered(tmp_path, shop) == ["??", *others]
    assert counted(tmp_path, shop, PEOPLE, strict=strict) == {**dict.fromkeys(others, 1.0), PEOPLE[7]: 0.0}


EXTREMES = {
    "DATE": ["'infinity'", "'-infinity'", "'5881580-07-10'", "'5877642-06-25 (BC)'"],
    "TIMESTAMP": ["'infinity'", "'-infinity'", "make_timestamp(9223372036854775806)", "make_timestamp(-9223372036854775800)"],
    "TIMESTAMP_NS": ["'infinity'", "'-infinity'", "make_timestamp_ns(9223372036854775806)", "make_timestamp_ns(-9223372036854775800)"],
    "TIMESTAMPTZ": ["'infinity'", "'-infinity'", "make_timestamptz(9223372036854775806)", "make_timestamptz(-9223372036854775800)"],
    "TIME": ["'24:00:00'"],
    "UUID": ["'00000000-0000-0000-0000-000000000000'"],
    "DOUBLE": ["'nan'", "'inf'", "'-inf'", "1.7e308", "5e-324", "'-0.0'"],
    "DECIMAL(38,0)": ["99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"],
    "UBIGINT": ["18446744073709551615"],
    "BLOB": ["'\\xFF\\x00'::BLOB"],
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("declared", ["text", "integer", "double", "boolean", "date", "timestamp", "decimal(10,2)"])
def test_no_value_of_a_parquet_column_fails_a_read(tmp_path: Path, declared: str, strict: bool) -> None:
    names = {f"x{i}": kind for i, kind in enumerate(EXTREMES)}
    with duckdb.connect() as connection:
        connection.execute(f'CREATE TABLE t (id VARCHAR, "at" TIMESTAMP, {", ".join(f"{name} {kind}" for name, kind in names.items())})')
        for name, kind in names.items():
            for value in [*EXTREMES[kind], "NULL"]:
                row = f"'a', TIMESTAMP '2026-05-01', CAST({value} AS {kind})"
                connection.execute(f'INSERT INTO t (id, "at", {name}) VALUES ({row})')
        connection.execute(f"COPY t TO '{tmp_path}/t.parquet'")
    columns = {name: {"category": "user", "type": declared} for name in names}
    columns |= {"id": {"category": "user.unique_id"}, "at": {"category": "user", "type": "timestamp"}}
    shop = contract("t.parquet", columns=columns)
    agg = " + ".join(f"count(distinct {name})" for name in names)
    assert 0 < counted(tmp_path, shop, ["a"], agg, strict)["a"] <= sum(map(len, EXTREMES.values()))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ"])
@pytest.mark.parametrize("declared", ["date", "timestamp"])
def test_no_moment_fails_a_read_under_consent(tmp_path: Path, declared: str, kind: str, strict: bool) -> None:
    with duckdb.connect() as connection:
        connection.execute(f'CREATE TABLE t (id VARCHAR, "at" TIMESTAMP, x {kind})')
        for value in [*EXTREMES[kind], "'2026-05-01'", "NULL"]:
            connection.execute(f"INSERT INTO t VALUES ('a', TIMESTAMP '2026-05-01', CAST({value} AS {kind}))")
        connection.execute(f"COPY t TO '{tmp_path}/t.parquet'")
    shop = contract("t.parquet", declared, event_time="x", collected_under_consent=True, retention="3y")
    moments = pa.array([dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1)], pa.timestamp("us"))
    intervals = pa.table({"subject": ["a"], "start": moments[:1], "end": moments[1:]})
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "model": {"type": "clusters"}, "privacy": {"epsilon": 1}}
    spec = Segment.model_validate({**fixed, "as_of": AS_OF, "features": {"n": {"table": "t", "agg": "count(*)", "bounds": [0, 9]}}})
    ready = prepare(shop, spec, {"t": frozenset({"id", "x"})}, lambda source: tmp_path / source, NOW)
    with governed(ready, pa.table({"subject": ["a"]}), Resources(tmp_path), strict, intervals) as room:
        assert [batch.to_pylist() for batch in room.batches()] == [[{"subject": "a", "n": 1.0}]]


@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT", "TIMESTAMP", "TIME", "BLOB", "TIMESTAMPTZ", "TIMESTAMP_NS"])
def test_keys_that_can_be_spelled_in_two_ways_are_refused(tmp_path: Path, kind: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT NULL::{kind} AS id, TIMESTAMP '2026-05-01' AS \"at\", '1' AS x) TO '{tmp_path}/t.parquet'")
    shop = contract("t.parquet")
    for read in (lambda: registered(tmp_path, shop), lambda: counted(tmp_path, shop, ["0.0", "-0.0"])):
        with pytest.raises(SourceError, match="expected text or integers in a key") as refused:
            read()
        assert refused.value.column == "id"


@pytest.mark.parametrize(
    ("declared", "kind"), [("double", "DOUBLE"), ("double", "VARCHAR"), ("text", "DOUBLE"), ("timestamp", "TIMESTAMP")]
)
def test_look_ups_by_what_is_no_key_are_refused(tmp_path: Path, declared: str, kind: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 'a' AS id, TIMESTAMP '2026-05-01' AS \"at\", NULL::{kind} AS x) TO '{tmp_path}/t.parquet'")
        connection.execute(f"COPY (SELECT NULL::{kind} AS x, 1 AS price) TO '{tmp_path}/r.parquet'")
    shop = contract("t.parquet", declared).model_dump(by_alias=True)
    columns = {"x": {"category": "user", "type": declared}, "price": {"category": "user", "type": "integer"}}
    shop["tables"]["r"] = {"source": "r.parquet", "reference": True, "columns": columns}
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "model": {"type": "clusters"}, "privacy": {"epsilon": 1}}
    features = {"n": {"table": "t", "agg": "sum(price)", "bounds": [0, 9]}}
    spec = Segment.model_validate({**fixed, "as_of": AS_OF, "features": features, "lookup": {"table": "r", "on": "x"}})
    granted = {"t": frozenset({"id", "at", "x"}), "r": frozenset({"x", "price"})}
    with pytest.raises((SourceError, MinimisationError), match="expected text or integers in a key"):
        prepare(Contract.model_validate(shop), spec, granted, lambda source: tmp_path / source, NOW)
