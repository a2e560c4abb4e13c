"""Generalisations where they count: no rule, no expression, no group and no strict table sees more than they leave."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from governance.coarsening import Generalisations
from governance.minimise import Resources, governed, prepare
from governance.population import attributes
from governance.reads import MinimisationError, attribute_reads, requested
from policies.contract import Contract
from policies.generalisation import Generalisation
from policies.segment import Attribute, Segment

AS_OF = dt.date(2024, 3, 10)
NOW = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)

COLUMNS: dict[str, Any] = {
    "uid": {"category": "user.unique_id"},
    "at": {"category": "user.behavior", "type": "timestamp"},
    "amount": {"category": "user.behavior.purchase_history", "type": "decimal(10,2)", "bounds": [-5, 100]},
    "age": {"category": "user.demographic", "type": "integer"},
    "postcode": {"category": "user.location"},
    "sent": {"category": "user.behavior", "type": "date"},
}
ROWS = [
    ("a", "2024-02-20 08:00:00", "17.99", 33, "1010", "2024-02-20"),
    ("a", "2024-03-01 09:00:00", "-3.00", 33, "1090", "2024-02-28"),
    ("a", "2024-03-09 23:59:59", "250", 33, "8010", "2024-03-01"),
    ("a", "2024-03-12 00:00:00", "1", 33, "1010", "2024-03-02"),
    ("b", "2024-01-31 12:00:00", "9.99", 91, "9999", None),
]


def contract(**changes: Any) -> Contract:
    table = {"source": "t.parquet", "event_time": "at", "columns": COLUMNS} | changes
    subject = {"key": "uid", "namespace": "shop", "registered_in": "t"}
    return Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": {"t": table}})


def segment(features: dict[str, Any], **more: Any) -> Segment:
    whole = {name: {"table": "t", "bounds": [-1000, 100000]} | (f if isinstance(f, dict) else {"agg": f}) for name, f in features.items()}
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "as_of": AS_OF, "privacy": {"epsilon": 1}}
    return Segment.model_validate({**fixed, "model": {"type": "clusters"}, **more, "features": whole})


def write(folder: Path, rows: list[tuple[Any, ...]] = ROWS) -> None:
    names = 'uid VARCHAR, "at" TIMESTAMP, amount DECIMAL(10, 2), age BIGINT, postcode VARCHAR, sent DATE'
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({names})")
        for row in rows:
            connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute(f"COPY t TO '{folder}/t.parquet'")


def steps(**columns: dict[str, Any] | list[dict[str, Any]]) -> Generalisations:
    listed = {name: given if isinstance(given, list) else [given] for name, given in columns.items()}
    return {("t", name): tuple(Generalisation.model_validate(each) for each in given) for name, given in listed.items()}


def extract(
    folder: Path, shop: Contract, spec: Segment, coarse: Generalisations, strict: bool = False, held: bool = False
) -> dict[str, tuple[Any, ...]]:
    reads = requested(shop, spec)
    granted = {table: frozenset(read.column for read in reads if read.table == table) for table in {read.table for read in reads}}
    prepared = prepare(shop, spec, granted, lambda source: folder / source, NOW, coarse)
    with governed(prepared, pa.table({"subject": ["a", "b"]}), Resources(folder), strict) as room:
        if held:
            return {str(i): row for i, row in enumerate(room._connection.execute('SELECT * FROM inside."t" ORDER BY ALL').fetchall())}
        rows = [tuple(row.values()) for batch in room.batches() for row in batch.to_pylist()]
    return {str(subject): tuple(values) for subject, *values in rows}


@pytest.mark.parametrize("strict", [False, True])
def test_expressions_see_what_is_left(tmp_path: Path, strict: bool) -> None:
    write(tmp_path)
    spec = segment(
        {
            "age": "max(age)",
            "spend": "sum(amount)",
            "vienna": "count_if(postcode = '10')",
            "exact": "count_if(postcode = '1010')",
            "sent": "days_since(max(sent))",
        }
    )
    coarse = steps(age={"top": 90, "band": 10}, amount={"band": 10}, postcode={"prefix": 2}, sent={"truncate": "month"})
    # amounts: 17.99 → 10, -3 → -10 → the bound -5, 250 → its bound 100; 2024-03-12 is after `as_of`
    assert extract(tmp_path, contract(), spec, coarse, strict) == {"a": (30.0, 105.0, 2.0, 0.0, 9.0), "b": (90.0, 0.0, 0.0, 0.0, -1000.0)}
    fine = extract(tmp_path, contract(), spec, {}, strict)
    assert fine["b"][0] == 91.0 and fine["a"][3] == 1.0


def test_a_strict_room_holds_nothing_finer(tmp_path: Path) -> None:
    write(tmp_path)
    spec = segment({"age": "max(age)", "places": "n_distinct(postcode)"})
    coarse = steps(age=[{"band": 5}, {"band": 20}], postcode=[{"prefix": 1}, {"regions": {"1": "east"}}], at={"truncate": "month"})
    held = extract(tmp_path, contract(), spec, coarse, strict=True, held=True)
    assert {row[1:] for row in held.values()} == {
        (dt.datetime(2024, 2, 1), 20, "east"),
        (dt.datetime(2024, 3, 1), 20, "east"),
        (dt.datetime(2024, 3, 1), 20, None),
        (dt.datetime(2024, 1, 1), 80, None),
    }


def test_rules_of_the_contract_see_what_is_left(tmp_path: Path) -> None:
    """A domain is of regions, and rows that the policy makes alike are duplicates of each other."""
    write(tmp_path)
    columns = COLUMNS | {"postcode": COLUMNS["postcode"] | {"domain": ["east", "south"], "missing": "south"}}
    spec = segment({"east": "count_if(postcode = 'east')", "south": "count_if(postcode = 'south')", "n": "count(*)"})
    regions = {"prefix": 1, "regions": {"1": "east", "8": "nowhere"}}
    found = extract(tmp_path, contract(columns=columns), spec, steps(postcode=regions))
    assert found == {"a": (2.0, 1.0, 3.0), "b": (0.0, 1.0, 1.0)}
    found = extract(tmp_path, contract(duplicates="drop", columns=columns), spec, steps(postcode=regions, at={"truncate": "year"}))
    assert found["a"][2] == -1000.0  # 2024 ends after `as_of`: no row of it is surely before


def test_a_truncated_event_time_never_looks_past_as_of(tmp_path: Path) -> None:
    """A row is of a span if all of its period is: what happened after `as_of` must not look as if it were before."""
    write(tmp_path)
    features = {"all": "count(*)", "month": {"agg": "count(*)", "window": "40d"}, "recency": "days_since(max(at))"}
    label = {"table": "t", "agg": "count(*) > 0", "after": "20d"}
    spec = segment(features, label=label, model={"type": "propensity", "threshold": 0.5})
    assert extract(tmp_path, contract(), spec, {})["a"] == (3.0, 3.0, 1.0, True)
    assert extract(tmp_path, contract(), spec, steps(at={"truncate": "day"}))["a"] == (3.0, 3.0, 1.0, True)
    # weeks begin on 26 February and 4 March; the week of `as_of`, a Sunday, has not ended
    assert extract(tmp_path, contract(), spec, steps(at={"truncate": "week"}))["a"] == (2.0, 2.0, 13.0, True)
    monthly = steps(at={"truncate": "month"})
    assert extract(tmp_path, contract(), spec, monthly) == {"a": (1.0, 1.0, 38.0, False), "b": (1.0, -1000.0, 69.0, False)}


def test_the_law_looks_at_the_exact_time(tmp_path: Path) -> None:
    write(tmp_path)
    spec = segment({"n": "count(*)"})
    shop = contract(retention="30d")  # from 2 March; a month that began on the 1st would have gone with it
    assert extract(tmp_path, shop, spec, {})["a"] == (1.0,)
    assert extract(tmp_path, shop, spec, steps(at={"truncate": "week"}))["a"] == (-1000.0,)
    with_more = extract(tmp_path, contract(retention="33d"), spec, steps(at={"truncate": "week"}))
    assert with_more["a"] == (1.0,)


@pytest.mark.parametrize(
    ("coarse", "words"),
    [
        (steps(uid={"prefix": 1}), "subject key"),
        (steps(amount={"prefix": 1}), "`prefix`"),
        (steps(postcode={"band": 1}), "`band`"),
        (steps(sent={"top": 3}), "`top`"),
        (steps(age={"truncate": "day"}), "`truncate`"),
        (steps(age={"band": "2.5"}), "`band: 2.5`"),
        (steps(amount={"bottom": "0.001"}), "`bottom: 0.001`"),
        (steps(amount={"top": "1e30"}), "can hold"),
        (steps(amount={"top": "1e999999"}), "can hold"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_row_is_read(tmp_path: Path, coarse: Generalisations, words: str) -> None:
    write(tmp_path, [])
    spec = segment({"n": "count(distinct uid)", "a": "max(age)", "s": "sum(amount)", "p": "count(postcode)", "t": "count(sent)"})
    with pytest.raises(MinimisationError, match=words):
        extract(tmp_path, contract(), spec, coarse)


def test_both_sides_of_a_look_up_are_as_coarse(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "places.csv").write_text("postcode,rent\n1010,20\n1090,18\n80,9\n")
    table = {"source": "t.parquet", "event_time": "at", "columns": COLUMNS}
    places = {"source": "places.csv", "reference": True, "columns": {"postcode": {"category": "system"}, "rent": {"category": "system"}}}
    places["columns"]["rent"]["type"] = "integer"  # type: ignore[index]
    subject = {"key": "uid", "namespace": "shop", "registered_in": "t"}
    tables = {"t": table, "places": places}
    shop = Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": tables})
    spec = segment({"rent": "sum(rent)"}, lookup={"table": "places", "on": "postcode"})
    one = steps(postcode={"prefix": 2})
    with pytest.raises(MinimisationError, match=r"`t\.postcode` and `places\.postcode`"):
        extract(tmp_path, shop, spec, one)
    found = extract(tmp_path, shop, spec, {**one, ("places", "postcode"): one["t", "postcode"]})
    assert found["a"] == (18.0 + 18.0 + 9.0,)  # 1010 and 1090 became one place, whose first row counts


def test_fairness_attributes_are_groups_of_what_is_left(tmp_path: Path) -> None:
    write(tmp_path)
    columns = COLUMNS | {"postcode": COLUMNS["postcode"] | {"domain": ["east", "south"]}}
    shop, wanted = contract(columns=columns, event_time=None), [Attribute(table="t", column="postcode")]
    granted = {"t": frozenset(column for _, column in attribute_reads(shop, wanted))}
    regions = {"1": "east", "8": "east", "9": "south"}
    people = pa.table({"subject": ["a", "b"]})
    found = attributes(
        *(shop, wanted, granted, people, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path)),
        generalisations=steps(postcode={"prefix": 1, "regions": regions}),
    )
    assert {tuple(row.values()) for row in found.to_pylist()} == {("a", 0), ("b", 1)}
