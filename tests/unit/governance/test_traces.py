"""The look for what is left finds every spelling in every kind of place, and nothing that means somebody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, create_engine, insert

from governance import traces
from governance.traces import Trace

KEY = os.urandom(32)
SUBJECT = "customer-1"
LOOK_FOR = traces.needles(SUBJECT, {"split": KEY})
MAC = hmac.digest(KEY, SUBJECT.encode(), "sha256")

SPELLINGS = {
    "utf-8": SUBJECT.encode(),
    "utf-16": SUBJECT.encode("utf-16-le"),
    "utf-16-be": SUBJECT.encode("utf-16-be"),
    "hexadecimal": SUBJECT.encode().hex().encode(),
    "HMAC": MAC,
    "HMAC hex": MAC.hex().encode(),
    "HMAC HEX": MAC.hex().upper().encode(),
    "HMAC base64": base64.b64encode(MAC),
    "HMAC base64 for URLs": base64.urlsafe_b64encode(MAC).rstrip(b"="),
    "keyed BLAKE2b": hashlib.blake2b(SUBJECT.encode(), key=KEY, digest_size=8).digest(),
    "SHA-256": hashlib.sha256(SUBJECT.encode()).hexdigest().encode(),
}


def found(root: Path, look_for: traces.Needles = LOOK_FOR, others: tuple[str, ...] = (), skip: tuple[Path, ...] = ()) -> list[Trace]:
    return list(traces.in_files(root, look_for, others, skip))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", ["a.bin", "deep/.hidden/b.log"])
def test_every_spelling_is_found_in_bytes(tmp_path: Path, spelling: str, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(1000))
    assert found(tmp_path) == []
    path.write_bytes(os.urandom(5000) + SPELLINGS[spelling] + os.urandom(5000))
    assert {trace.place for trace in found(tmp_path)} == {place}
    assert found(tmp_path, skip=(path,)) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_every_spelling_is_found_in_compressed_parquet(tmp_path: Path, spelling: str, kind: pa.DataType) -> None:
    cells = [os.urandom(8) for _ in range(100)]
    pq.write_table(pa.table({"n": range(100), "x": pa.array(cells, kind)}), tmp_path / "x.parquet", compression="zstd")
    assert found(tmp_path) == []
    cells[50] = b"before " + SPELLINGS[spelling]
    pq.write_table(pa.table({"n": range(100), "x": pa.array(cells, kind)}), tmp_path / "x.parquet", compression="zstd")
    assert len(found(tmp_path)) >= 1


def test_the_key_is_found_in_texts_and_dictionaries(tmp_path: Path) -> None:
    for name, column in (("text", pa.array(["a", SUBJECT])), ("coded", pa.array(["a", SUBJECT]).dictionary_encode())):
        pq.write_table(pa.table({name: column}), tmp_path / f"{name}.parquet", compression="zstd")
    assert {trace.place for trace in found(tmp_path) if trace.what == "the key"} == {"text.parquet", "coded.parquet"}


def test_a_longer_key_of_somebody_else_is_not_a_trace(tmp_path: Path) -> None:
    pq.write_table(pa.table({"subject": ["customer-10", "xcustomer-1"]}), tmp_path / "x.parquet")
    (tmp_path / "y.log").write_text("customer-10marketing customer-10")
    with create_engine("sqlite://").connect() as connection:
        others = traces.resembling(connection, tmp_path, SUBJECT)
    assert others == {"customer-10", "xcustomer-1"} and found(tmp_path, others=tuple(others)) == []
    assert {trace.place for trace in found(tmp_path)} == {"x.parquet", "y.log"}  # of nobody known it would be one
    (tmp_path / "y.log").write_text("customer-10 customer-1 customer-10")
    assert found(tmp_path, others=tuple(others)) == [Trace("y.log", "the key")]


def test_a_short_key_is_looked_for_as_a_whole_value(tmp_path: Path) -> None:
    look_for = traces.needles("17", {"split": KEY})
    (tmp_path / "a.log").write_text("17 17 17")
    (tmp_path / "a.csv").write_text('id,name\n170,"17 x"\n')
    pq.write_table(pa.table({"x": ["170", "x17"]}), tmp_path / "a.parquet")
    assert found(tmp_path, look_for) == []
    (tmp_path / "a.log").write_bytes(hmac.digest(KEY, b"17", "sha256"))
    (tmp_path / "a.csv").write_text('id,name\n1,"17"\n')
    pq.write_table(pa.table({"x": ["17", "x17"]}), tmp_path / "a.parquet")
    assert {trace.place for trace in found(tmp_path, look_for)} == {"a.log", "a.csv", "a.parquet"}


@pytest.fixture
def connection(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    url = f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue("postgres").create()
    url = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.mark.parametrize("connection", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("length", [0, 2000])
def test_rows_of_any_table_are_looked_at(connection, length: int) -> None:  # type: ignore[no-untyped-def]
    """On SQLite short rows lie on one page, so that bytes of the file tell; whole values are found there too."""
    metadata = MetaData()
    table = Table("own", metadata, Column("n", Integer), Column("a", String), Column("b", LargeBinary), Column("subject", String))
    metadata.create_all(connection)
    clean = {"n": 1, "a": "customer-10", "b": os.urandom(length), "subject": "customer-10"}
    connection.execute(insert(table).values(clean | {"a": "x" * length}))
    assert list(traces.in_rows(connection, LOOK_FOR)) == []
    for column, value in (
        ("a", SUBJECT),
        ("b", SUBJECT.encode()),
        ("subject", SUBJECT),
        ("a", "y" * length + MAC.hex()),
        ("b", os.urandom(length) + MAC),
    ):
        connection.rollback()
        metadata.create_all(connection)
        connection.execute(insert(table).values(clean | {column: value, "n": 2} | ({"a": "x" * length} if column != "a" else {})))
        places = {trace.place for trace in traces.in_rows(connection, LOOK_FOR)}
        if length or value in (SUBJECT, SUBJECT.encode()) or connection.dialect.name == "postgresql":
            assert places == {f"table own, column {column}"}
