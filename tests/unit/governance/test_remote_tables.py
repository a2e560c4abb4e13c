"""Tables of PostgreSQL as sources: only granted columns are asked for, no row makes a read fail, no error shows one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from governance import remote_tables, room
from governance.minimise import governed, prepare
from governance.population import population
from governance.remote_tables import RemoteTable, describe, locate
from governance.room import ExtractionError, Held, Resources, locked_room
from governance.sources import SourceError, open_sources
from policies.contract import Contract
from policies.segment import Segment

if TYPE_CHECKING:
    from tests.postgres import Server

NOW = dt.datetime(2026, 7, 1, tzinfo=dt.UTC)
MADE = """CREATE TABLE "pur.chases" (id bigint, n numeric(10,2), loose numeric, "ti""tle" text, code char(5), at timestamp,
    zoned timestamptz, day date, yes boolean, f double precision, secret bytea, list int[], u uuid)"""
ROWS = """INSERT INTO "pur.chases" VALUES
    (1, 1.50, 2.5, 'é', 'ab', '2026-05-01 10:00', '2026-05-01 10:00+02', '2026-05-01', true, 0.5, '\\x00', '{1}',
     'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'),
    (2, 'NaN', 'NaN', '', 'abcde', 'infinity', '-infinity', 'infinity', false, 'NaN', NULL, NULL, NULL),
    (3, NULL, 1e300, NULL, NULL, '294276-12-31', '4713-01-02 BC', '5874897-12-31', NULL, 'infinity', NULL, NULL, NULL),
    (NULL, 99999999.99, 7, 'x', 'x', '0001-01-01', '294276-12-30Z', '4713-01-01 BC', NULL, NULL, NULL, NULL, NULL)"""


@pytest.fixture(scope="module")
def table(postgres: Server) -> RemoteTable:
    url = postgres.create()
    postgres.run(url.rpartition("/")[2], MADE.replace("pur.chases", "purchases"), ROWS.replace("pur.chases", "purchases"))
    return locate("postgresql:Shop/public.purchases", {"shop": url})


def contract(**columns: Mapping[str, str]) -> Contract:
    return Contract.model_validate(
        {
            "name": "shop",
            "controller": "Shop Ltd",
            "subject": {"key": "id", "namespace": "loyalty", "registered_in": "buys"},
            "tables": {
                "buys": {
                    "source": "postgresql:shop/public.purchases",
                    "event_time": "at",
                    "columns": {
                        "id": {"category": "user.unique_id", "type": "integer"},
                        "at": {"category": "user.behavior", "type": "timestamp"},
                        "n": {"category": "user.behavior", "type": "decimal(10,2)", "bounds": [0, 100]},
                        **{name: {"category": "user.behavior", **column} for name, column in columns.items()},
                    },
                }
            },
        }
    )


SPEND = Segment.model_validate(
    {
        "name": "spenders",
        "purpose": "marketing.advertising",
        "dataset": "shop",
        "policy": "rules",
        "as_of": "2026-06-01",
        "features": {"spend": {"table": "buys", "agg": "sum(n)", "bounds": [0, 100]}},
        "model": {"type": "clusters", "k": 2},
        "privacy": {"epsilon": 1},
        "output": {"destination": "mail"},
    }
)
GRANTED = {"buys": frozenset({"id", "at", "n"})}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The columns of each fetch."""
    found: list[list[str]] = []

    def fetch(table: RemoteTable, columns: Mapping[str, str], file: Path) -> None:
        found.append(list(columns))
        remote_tables.fetch(table, columns, file)

    monkeypatch.setattr(room, "fetch", fetch)
    return found


def features(table: RemoteTable, tmp_path: Path, strict: bool = False) -> dict[str, float]:
    prepared = prepare(contract(), SPEND, GRANTED, lambda _: table, NOW)
    admitted = pa.table({"subject": ["1", "2", "3"]})
    with governed(prepared, admitted, Resources(tmp_path), strict) as inside:
        assert not list(tmp_path.rglob("*.parquet"))  # what was fetched is gone before the room is used
        found = pa.Table.from_batches(inside.batches())
    return dict(zip(found["subject"].to_pylist(), found["spend"].to_pylist(), strict=True))


@pytest.mark.parametrize("strict", [False, True])
def test_features_come_from_granted_columns_of_admitted_rows(
    table: RemoteTable, tmp_path: Path, asked: list[list[str]], strict: bool
) -> None:
    assert features(table, tmp_path, strict) == {"1": 1.5, "2": 0.0, "3": 0.0}
    assert asked == [["at", "id", "n"]]
    assert list(tmp_path.iterdir()) == []


def test_the_population_reads_key_and_event_time_alone(table: RemoteTable, tmp_path: Path, asked: list[list[str]]) -> None:
    found = population(contract(), GRANTED, dt.date(2026, 6, 1), lambda _: table, NOW, Resources(tmp_path))
    assert found["subject"].to_pylist() == ["1"]
    assert asked == [["at", "id"]]


def test_a_role_that_may_read_granted_columns_only_is_enough(postgres: Server, table: RemoteTable, tmp_path: Path) -> None:
    """The statement names no other column: PostgreSQL itself would refuse it."""
    database = table.url.rpartition("/")[2]
    postgres.run(database, "CREATE ROLE reader LOGIN", "GRANT SELECT (id, at, n) ON purchases TO reader")
    narrow = RemoteTable("shop", "public", "purchases", table.url.replace("postgres@", "reader@"))
    assert sorted(describe(narrow)) == ["at", "id", "n"]
    assert features(narrow, tmp_path) == {"1": 1.5, "2": 0.0, "3": 0.0}


def test_every_type_that_is_read_arrives_or_is_null(table: RemoteTable, tmp_path: Path) -> None:
    columns = ("loose", "code", "zoned", "day", "yes", "f", "u", 'ti"tle')
    declared = contract(**{f"c{n}": {"from": name} for n, name in enumerate(columns)})
    source = open_sources(declared, ["buys"], lambda _: table)["buys"]
    with locked_room(Resources(tmp_path), [Held("buys", source, f"SELECT * FROM {source.sql()}")]) as inside:
        rows = {row["id"]: row for row in inside.sql("SELECT * FROM inside.buys").to_arrow_table().to_pylist()}
    ten = dt.datetime(2026, 5, 1, 10)
    expected: dict[str, Any] = {
        "id": 1,
        "n": Decimal("1.50"),
        "at": ten,
        "loose": "2.5",
        "code": "ab",
        "zoned": ten - dt.timedelta(hours=2),
    }
    expected |= {"day": ten.date(), "yes": True, "f": 0.5, "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 'ti"tle': "é"}
    assert rows[1] == expected
    moments = [rows[n][name] for n in (2, 3) for name in ("at", "zoned", "day")]
    assert moments == [None] * 6
    assert (rows[2]["n"], rows[None]["n"], rows[None]["at"], rows[None]["zoned"]) == (
        None,
        Decimal("99999999.99"),
        dt.datetime(1, 1, 1),
        None,
    )


@pytest.mark.parametrize(
    ("column", "use", "says"),
    [
        ("secret", "type", "expected a scalar, got type `bytea`"),
        ("list", "type", "expected a scalar, got type `ARRAY`"),
        ("loose", "key", "expected text or integers in a key, got type `numeric`"),
        ("f", "key", "expected text or integers in a key, got type `double precision`"),
        ("nothing", "type", "expected it among the table's columns"),
    ],
)
def test_a_column_that_cannot_serve_is_named(table: RemoteTable, column: str, use: str, says: str) -> None:
    source = open_sources(contract(), ["buys"], lambda _: table)["buys"]
    with pytest.raises(SourceError, match=f"source `postgresql:Shop/public.purchases`, {says}"):
        source.key_type(column) if use == "key" else source.type_of(column)


def test_what_is_not_there_is_one_clear_error_without_a_password(table: RemoteTable, tmp_path: Path) -> None:
    for wrong in (
        RemoteTable("shop", "public", "nothing", table.url),
        RemoteTable("shop", "public", "purchases", "postgresql://u:password@127.0.0.1:1/db"),
    ):
        with pytest.raises(SourceError, match=r"expected a table that exists|did not answer") as fault:
            open_sources(contract(), ["buys"], lambda _, wrong=wrong: wrong)
        assert "password" not in f"{fault.value} {wrong!r}"


def test_a_fault_on_the_way_shows_no_row(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create()
    postgres.run(
        url.rpartition("/")[2],
        "CREATE TABLE kept (id bigint, at timestamp, name text)",
        "INSERT INTO kept VALUES (1, '2026-01-01', 'jane')",
        "CREATE VIEW purchases AS SELECT id, at, CAST(name AS numeric(10,2)) AS n FROM kept",
    )
    with pytest.raises(ExtractionError) as fault:
        features(RemoteTable("shop", "public", "purchases", url), tmp_path)
    assert "jane" not in str(fault.value) and fault.value.__cause__ is None and fault.value.__context__ is None
    assert list(tmp_path.iterdir()) == []


def test_a_source_cannot_write(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create()
    postgres.run(
        url.rpartition("/")[2],
        "CREATE TABLE seen (id bigint)",
        "CREATE FUNCTION spy() RETURNS numeric LANGUAGE sql AS 'INSERT INTO seen VALUES (1) RETURNING 1.0'",
        "CREATE VIEW purchases AS SELECT 1::bigint AS id, '2026-01-01'::timestamp AS at, spy()::numeric(10,2) AS n",
    )
    with pytest.raises(ExtractionError):
        features(RemoteTable("shop", "public", "purchases", url), tmp_path)


@pytest.mark.parametrize(
    "location",
    ["postgresql://u:password@host/db", "postgresql:shop", "postgresql:shop/purchases", "postgresql:shop/a.b.c", "postgresql:s p/a.b"],
)
def test_a_contract_holds_no_address(location: str) -> None:
    with pytest.raises(ValueError, match=r"expected `postgresql:CONNECTION/SCHEMA\.TABLE`") as fault:
        locate(location, {"shop": "postgresql://host/db"})
    assert "password" not in str(fault.value)


def test_an_unknown_connection_is_named_with_its_variable() -> None:
    with pytest.raises(ValueError, match=r"no connection `web`, .*CONSENTRIC_CONNECTIONS_WEB"):
        locate("postgresql:web/public.purchases", {"shop": "postgresql://host/db"})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create()
    peaks = []
    for rows in (200_000, 3_000_000):
        postgres.run(
            url.rpartition("/")[2],
            "DROP TABLE IF EXISTS big",
            f"CREATE UNLOGGED TABLE big AS SELECT i::bigint AS id, repeat('x', 100) AS t FROM generate_series(1, {rows}) AS i",
        )
        remote_tables.fetch(RemoteTable("shop", "public", "big", url), {"id": "bigint", "t": "text"}, tmp_path / "big.parquet")
        peaks.append(_peak())
    assert peaks[1] - peaks[0] < 150  # of 320 MB that arrive


def _peak() -> float:
    """The most memory that this process had so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
