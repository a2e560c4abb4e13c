"""Who is registered, who is a child, and which rows count once: what selects people and rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from governance.minimise import Resources, governed, prepare
from governance.population import children
from governance.reads import MinimisationError, attribute_reads, child_reads, population_reads, requested
from governance.sources import SourceError
from policies.contract import Contract
from policies.segment import Attribute, Segment

AS_OF = dt.date(2024, 3, 1)
ORDERS: dict[str, Any] = {
    "source": "orders.parquet",
    "event_time": "bought",
    "columns": {
        "uid": {"category": "user.unique_id", "type": "integer"},
        "bought": {"category": "user.behavior", "type": "date"},
        "order": {"category": "user.behavior"},
        "item": {"category": "user.behavior"},
        "amount": {"category": "user.behavior", "type": "decimal(10,2)"},
    },
}
PEOPLE: dict[str, Any] = {
    "source": "people.parquet",
    "key": "person",
    "columns": {
        "person": {"category": "user.unique_id"},
        "born": {"category": "user.demographic", "type": "date"},
        "minor": {"category": "user.demographic", "type": "boolean"},
    },
}


def contract(told: dict[str, str] | None = None, people: dict[str, Any] | None = None, **changes: Any) -> Contract:
    subject = {"key": "uid", "namespace": "shop", "registered_in": "orders", **(told or {})}
    tables = {"orders": ORDERS | changes, "people": PEOPLE | (people or {})}
    return Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": tables})


def write(folder: Path, orders: list[tuple[Any, ...]], people: list[tuple[Any, ...]] = ()) -> None:  # type: ignore[assignment]
    with duckdb.connect() as connection:
        for name, columns, rows in (
            ("orders", 'uid BIGINT, bought DATE, "order" VARCHAR, item VARCHAR, amount DECIMAL(10, 2)', orders),
            ("people", "person VARCHAR, born VARCHAR, minor BOOLEAN", people),
        ):
            connection.execute(f"CREATE TABLE {name} ({columns})")
            for row in rows:
                connection.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)
            connection.execute(f"COPY {name} TO '{folder}/{name}.parquet'")


def told(folder: Path, shop: Contract, today: str, age: int = 16) -> dict[str, bool | None] | None:
    granted = {"orders": frozenset({"uid", "bought"}), "people": frozenset({"person", "born", "minor"})}
    now = dt.datetime.fromisoformat(today).replace(tzinfo=dt.UTC)
    found = children(shop, granted, age, lambda source: folder / source, now, Resources(folder))
    if found is None:
        return None
    rows = found.to_pylist()
    assert len({row["subject"] for row in rows}) == len(rows)
    assert all(str(row.get("key", row["subject"])) == row["subject"] for row in rows)
    return {row["subject"]: row["child"] for row in rows}


BOUGHT = [(uid, "2024-02-01", "o", "i", 1) for uid in (1, 1, 2, 3, 4, 5, 6)] + [(7, "2024-03-01", "o", "i", 1)]


def test_a_child_is_younger_than_the_age_on_that_day(tmp_path: Path) -> None:
    write(
        tmp_path,
        BOUGHT,
        [("1", "2008-03-15", None), ("2", "2008-03-16", None), ("3", "soon", None), ("4", None, None), ("99", "2020-01-01", None)],
    )
    shop = contract({"born": "people.born"})
    assert told(tmp_path, shop, "2024-03-15 23:59") == {"1": False, "2": True, "3": None, "4": None, "99": True}  # registered or not
    assert told(tmp_path, shop, "2024-03-16 00:00") == {"1": False, "2": False, "3": None, "4": None, "99": True}
    assert (told(tmp_path, shop, "2024-03-15", 17) or {})["1"] is True
    assert told(tmp_path, contract(), "2024-03-15") is None


def test_who_was_born_on_a_leap_day_grows_up_on_the_first_of_march(tmp_path: Path) -> None:
    write(tmp_path, BOUGHT, [("1", "2008-02-29", None), ("2", "2009-02-28", None), ("3", "2009-03-01", None)])
    shop = contract({"born": "people.born"})
    assert [(told(tmp_path, shop, day, 17) or {})["1"] for day in ("2025-02-28", "2025-03-01")] == [True, False]
    assert [(told(tmp_path, shop, "2024-02-29", 15) or {})[uid] for uid in "23"] == [False, True]


def test_rows_that_contradict_each_other_make_a_child(tmp_path: Path) -> None:
    write(
        tmp_path,
        BOUGHT,
        [("1", "1980-01-01", False), ("1", "2020-01-01", True), ("1", None, None), ("2", "1980-01-01", False), ("2", None, None)],
    )
    for by in ({"born": "people.born"}, {"child": "people.minor"}):
        assert told(tmp_path, contract(by), "2024-03-15") == {"1": True, "2": False}


def test_who_is_a_child_may_be_told_by_the_table_of_the_population(tmp_path: Path) -> None:
    write(tmp_path, BOUGHT)
    shop = contract({"born": "orders.bought"})
    assert told(tmp_path, shop, "2030-01-01") == dict.fromkeys("1234567", True)


def test_the_column_that_tells_is_read_with_a_grant_alone(tmp_path: Path) -> None:
    write(tmp_path, BOUGHT)
    shop = contract({"born": "people.born"})
    assert child_reads(shop) == {("people", "born"), ("people", "person")}
    assert not child_reads(shop) & population_reads(shop)
    granted = {"orders": frozenset({"uid", "bought"}), "people": frozenset({"person"})}
    with pytest.raises(MinimisationError, match=r"`people\.born`"):
        children(shop, granted, 16, lambda source: tmp_path / source, dt.datetime.now(dt.UTC), Resources(tmp_path))


def test_a_source_that_cannot_be_read_is_a_fault_and_nobody_is_a_grown_up_by_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        told(tmp_path, contract({"born": "people.born"}), "2024-03-15")


def read(
    folder: Path, shop: Contract, features: dict[str, Any], people: pa.Array, strict: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Features, and which rules touched a subject."""
    whole = {name: {"table": "orders", "agg": "count(*)", "bounds": [-9, 10000]} | each for name, each in features.items()}
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "as_of": AS_OF, "privacy": {"epsilon": 1}}
    spec = Segment.model_validate({**fixed, "model": {"type": "clusters"}, "features": whole})
    granted = {"orders": frozenset(each.column for each in requested(shop, spec))}
    prepared = prepare(shop, spec, granted, lambda source: folder / source, dt.datetime(2024, 4, 1, tzinfo=dt.UTC))
    with governed(prepared, pa.table({"subject": people}), Resources(folder), strict) as room:
        assert room.read_sets.physical is not None and room.read_sets.physical <= room.read_sets.granted
        return [row for batch in room.batches() for row in batch.to_pylist()], room.quality().to_pylist()


@pytest.mark.parametrize("strict", [False, True])
def test_rows_with_the_same_keys_count_once_and_the_first_of_them_wins(tmp_path: Path, strict: bool) -> None:
    rows = [
        (1, "2024-01-10", "a", "x", 5), (1, "2024-01-20", "a", "x", 7), (1, "2024-01-10", "a", "y", 11), (1, "2024-01-10", "a", "x", 3),
        (2, "2024-01-20", "a", "x", 13), (1, "2024-02-20", None, "x", 17), (1, "2024-02-20", None, "x", 17),
        (3, "2024-01-05", "b", "x", 1), (3, "2024-02-25", "b", "x", 1), (3, "2024-03-25", "b", "x", 1),
    ]  # fmt: skip
    write(tmp_path, rows)
    features = {"n": {}, "spend": {"agg": "sum(amount)"}, "recent": {"agg": "count(*)", "window": "30d", "missing": 0}}
    shop = contract(duplicates={"by": ["order", "item"]})
    found, flags = read(tmp_path, shop, features, pa.array(["1", "2", "3"]), strict)
    # of subject 1: the earliest (a, x), of those on one day the one with the least amount; what is unknown repeats nothing
    expected = [("1", 4.0, 48.0, 2.0), ("2", 1.0, 13.0, 0.0), ("3", 1.0, 1.0, 0.0)]
    assert sorted(tuple(row.values()) for row in found) == expected
    assert sorted((row["subject"], row["duplicates"]) for row in flags) == [("1", 1), ("2", 0), ("3", 1)]
    assert sorted(tuple(row.values()) for row in read(tmp_path, contract(), features, pa.array(["1"]), strict)[0]) == [
        ("1", 6.0, 60.0, 2.0)
    ]


def test_key_columns_of_duplicates_select_rows_and_need_a_grant(tmp_path: Path) -> None:
    write(tmp_path, [])
    shop = contract(duplicates={"by": ["uid", "order"]})
    fixed = {
        "name": "s",
        "purpose": "p",
        "dataset": "c",
        "policy": "p",
        "as_of": AS_OF,
        "privacy": {"epsilon": 1},
        "model": {"type": "clusters"},
    }
    spec = Segment.model_validate({**fixed, "features": {"n": {"table": "orders", "agg": "count(*)", "bounds": [0, 9]}}})
    assert {read.column: read.readers for read in requested(shop, spec)}["order"] == ("row selection",)
    assert ("orders", "order") in attribute_reads(shop, [Attribute(table="orders", column="item")])
    with pytest.raises(MinimisationError, match=r"`orders\.order`"):
        prepare(shop, spec, {"orders": frozenset({"uid", "bought"})}, lambda source: tmp_path / source, dt.datetime.now(dt.UTC))
    read(tmp_path, shop, {"n": {}}, pa.array([], pa.string()))


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.uint64()])
def test_subjects_may_come_as_whole_numbers(tmp_path: Path, kind: pa.DataType) -> None:
    write(tmp_path, BOUGHT)
    found, _ = read(tmp_path, contract(), {"n": {}}, pa.array([1, 2, 2, 12, None], kind))
    assert sorted(tuple(row.values()) for row in found) == [("1", 2.0), ("12", -9.0), ("2", 1.0)]
    huge, _ = read(tmp_path, contract(), {"n": {}}, pa.array([1 << 40, 1], pa.int64()))
    assert sorted(tuple(row.values()) for row in huge) == [("1", 2.0), (str(1 << 40), -9.0)]
