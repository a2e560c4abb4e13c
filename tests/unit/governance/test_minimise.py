from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from governance.grammar import ExpressionError
from governance.minimise import ExtractionError, Prepared, Resources, governed, prepare
from governance.population import attributes, population
from governance.reads import ColumnRead, MinimisationError, requested
from governance.sources import SourceError, open_sources
from policies.contract import Contract
from policies.segment import Attribute, Segment

AS_OF = dt.date(2024, 3, 1)
NOW = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)
PURCHASES: dict[str, Any] = {
    "source": "tx.parquet",
    "event_time": "at",
    "columns": {
        "uid": {"category": "user.unique_id", "from": "customer id"},
        "at": {"category": "user.behavior", "type": "timestamp"},
        "amount": {"category": "user.behavior.purchase_history", "type": "decimal(10,2)"},
        "email": {"category": "user.contact.email"},
        "order": {"category": "user.behavior"},
    },
}


def write(folder: Path, rows: list[tuple[Any, ...]], name: str = "tx.parquet", columns: str | None = None) -> Path:
    file = folder / name
    columns = columns or '"customer id" BIGINT, "at" TIMESTAMP, amount DECIMAL(10, 2), email VARCHAR, "order" VARCHAR'
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({columns})")
        for row in rows:
            connection.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(row))})", list(row))
        connection.execute(f"COPY t TO '{file}'")
    return file


def contract(tables: dict[str, Any] | None = None, **changes: Any) -> Contract:
    subject = {"key": "uid", "namespace": "shop", "registered_in": "tx"}
    every = {"tx": PURCHASES | changes} | (tables or {})
    return Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": every})


def segment(features: dict[str, Any], label: dict[str, Any] | None = None, **more: Any) -> Segment:
    model: dict[str, Any] = {"type": "propensity", "threshold": 0.5} if label else {"type": "clusters"}
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "as_of": AS_OF, "model": model, "privacy": {"epsilon": 1}}
    whole = {name: {"table": "tx", "bounds": [0, 1000]} | (f if isinstance(f, dict) else {"agg": f}) for name, f in features.items()}
    return Segment.model_validate({**fixed, **more, "features": whole, "label": label})


def grants(shop: Contract, spec: Segment) -> dict[str, frozenset[str]]:
    reads = requested(shop, spec)
    return {read.table: frozenset(other.column for other in reads if other.table == read.table) for read in reads}


def ready(folder: Path, shop: Contract, spec: Segment, now: dt.datetime = NOW) -> Prepared:
    return prepare(shop, spec, grants(shop, spec), lambda source: folder / source, now)


def extract(
    folder: Path,
    shop: Contract,
    spec: Segment,
    people: list[str],
    strict: bool = False,
    intervals: pa.Table | None = None,
    resources: Resources | None = None,
) -> dict[str, tuple[Any, ...]]:
    with governed(ready(folder, shop, spec), pa.table({"subject": people}), resources or Resources(folder), strict, intervals) as room:
        rows = [tuple(row.values()) for batch in room.batches() for row in batch.to_pylist()]
    assert len(rows) == len(people)
    return {str(subject): tuple(values) for subject, *values in rows}


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def test_requested_names_each_column_with_its_readers_and_reasons() -> None:
    spec = segment({"spend": {"agg": "sum(amount)", "why": "budget"}, "orders": {"agg": 'n_distinct("order")'}})
    assert requested(contract(), spec) == (
        ColumnRead("tx", "amount", ("spend",), ("budget",)),
        ColumnRead("tx", "at", ("row selection",), ()),
        ColumnRead("tx", "order", ("orders",), ()),
        ColumnRead("tx", "uid", ("row selection",), ()),
    )


def test_sql_and_read_sets_are_known_without_a_row(tmp_path: Path) -> None:
    write(tmp_path, [])
    found = ready(tmp_path, contract(), segment({"orders": 'n_distinct("order")', "n": "count(*)"}))
    read = {("tx", "uid"), ("tx", "at"), ("tx", "order")}
    assert found.read_sets.expression == found.read_sets.binder == found.read_sets.granted == read
    assert 'COUNT(DISTINCT "order")' in found.sql
    assert "email" not in found.sql
    assert "amount" not in found.sql


def test_the_binder_sees_columns_that_rules_read(tmp_path: Path) -> None:
    write(tmp_path, [])
    shop = contract(returns={"column": "amount", "rule": "drop"}, duplicates="drop")
    found = ready(tmp_path, shop, segment({"n": "count(*)"}))
    assert found.read_sets.expression == found.read_sets.binder == {("tx", "uid"), ("tx", "at"), ("tx", "amount")}


def test_a_grant_that_lacks_a_row_selection_column_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [])
    with pytest.raises(MinimisationError, match=r"`tx\.at`"):
        prepare(contract(), segment({"n": "count(*)"}), {"tx": frozenset({"uid"})}, lambda source: tmp_path / source, NOW)


@pytest.mark.parametrize("strict", [False, True])
def test_everyone_admitted_comes_out_once_and_nobody_else(tmp_path: Path, strict: bool) -> None:
    write(tmp_path, [(1, at("2024-02-01"), 5, "a", "x"), (2, at("2024-02-02"), 7, "b", "y"), (None, at("2024-02-02"), 9, "c", "z")])
    found = extract(tmp_path, contract(), segment({"spend": "sum(amount)", "n": "count(*)"}), ["1", "3", "01", " 1", "nobody"], strict)
    assert found == {"1": (5.0, 1.0), "3": (0.0, 0.0), "01": (0.0, 0.0), " 1": (0.0, 0.0), "nobody": (0.0, 0.0)}


def test_point_in_time(tmp_path: Path) -> None:
    moments = [
        "2024-02-29 23:59:59.999999",
        "2024-03-01",
        "2024-03-30 23:59:59.999999",
        "2024-03-31",
        "2024-01-31",
        "2024-01-30 23:59:59.999999",
    ]
    write(tmp_path, [(1, at(moment), 10**i, "a", "x") for i, moment in enumerate(moments)])
    features = {"before": {"agg": "sum(amount)", "bounds": [0, 10**6]}, "window": {"agg": "sum(amount)", "window": "30d"}}
    spec = segment(features, {"table": "tx", "agg": "sum(amount) = 110", "after": "30d"})
    assert extract(tmp_path, contract(), spec, ["1"]) == {"1": (110001.0, 10001.0, True)}


def test_dates_happen_at_midnight(tmp_path: Path) -> None:
    columns = {**PURCHASES["columns"], "at": {"category": "user", "type": "date"}}
    write(tmp_path, [(1, f"2024-02-{day} 12:00:00", 1, "a", "x") for day in (27, 28, 29)] + [(1, "2024-03-01 00:00:00", 1, "a", "x")])
    spec = segment({"n": "count(*)", "half": {"agg": "count(*)", "window": "36h"}}, {"table": "tx", "agg": "count(*) = 1", "after": "1d"})
    assert extract(tmp_path, contract(columns=columns), spec, ["1"]) == {"1": (3.0, 1.0, True)}


def test_a_label_over_no_rows_counts_zero_and_a_feature_is_missing(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-02-01"), 5, "a", "x"), (2, at("2024-03-02"), 5, "a", "x")])
    label = {"table": "tx", "agg": "count(*) = 0", "after": "30d"}
    spec = segment({"n": {"agg": "count(*)", "missing": 9}, "w": {"agg": "coalesce(sum(amount), 3)", "window": "7d"}}, label)
    assert extract(tmp_path, contract(), spec, ["1", "2"]) == {"1": (1.0, 0.0, True), "2": (9.0, 0.0, False)}


def test_bad_values_are_missing_and_never_an_error(tmp_path: Path) -> None:
    columns = '"customer id" VARCHAR, "at" VARCHAR, amount DOUBLE, email VARCHAR, "order" VARCHAR'
    good = ("1", "2024-02-01 10:00:00", 2.5, "a", "7")
    bad = [
        (None, *good[1:]),
        ("1", None, 1.0, "a", "7"),
        ("1", "yesterday", 1.0, "a", "7"),
        ("1", "infinity", 1.0, "a", "7"),
        ("1", "-infinity", 1.0, "a", "7"),
        ("1", "9999-12-31", 1.0, "a", "7"),
        ("1", "0001-01-01", math.nan, "a", str(2**63 - 1)),
        ("1", "2024-02-01", math.inf, "a", str(-(2**63))),
        ("1", "2024-02-01", -math.inf, "a", "9" * 40),
        ("1", "2024-02-01", 1e300, "a", "seven"),
    ]
    write(tmp_path, [good, *bad], columns=columns)
    typed = {**PURCHASES["columns"], "amount": {"category": "user", "type": "double"}, "order": {"category": "user", "type": "integer"}}
    features = {
        "sum": "sum(amount)",
        "product": 'sum(amount * "order")',
        "cube": 'sum("order" * "order" * "order")',
        "spread": 'stddev("order")',
        "recency": "days_since(max(at))",
        "age": "days_since(min(at))",
        "n": "count(*)",
    }
    found = extract(tmp_path, contract(columns=typed), segment(features), ["1"])["1"]
    assert all(math.isfinite(value) for value in found)
    assert found[0] == 2.5
    assert found[4:] == (29.0, float((AS_OF - dt.date.min).days), 5.0)


def test_rules_of_the_contract(tmp_path: Path) -> None:
    rows = [
        (1, at("2024-02-01"), 5, "a", "x"),
        (1, at("2024-02-01"), 5, "a", "x"),
        (1, at("2024-02-02"), -2, "a", "x"),
        (1, at("2024-02-03"), 900, "a", "weird"),
        (2, at("2024-02-03"), None, "a", None),
        (3, at("2024-02-03"), 1, "a", "y"),
    ]
    write(tmp_path, rows)
    ruled = {
        **PURCHASES["columns"],
        "amount": {"category": "user", "type": "decimal(10,2)", "bounds": [-100, 100], "missing": 4},
        "order": {"category": "user", "domain": ["x", "y"]},
    }
    spec = segment({"n": "count(*)", "spend": "sum(amount)", "known": 'count("order")'})
    shop = contract(columns=ruled, duplicates="drop", returns={"column": "amount", "rule": "drop"})
    assert extract(tmp_path, shop, spec, ["1", "2", "3"]) == {"1": (2.0, 105.0, 1.0), "2": (1.0, 4.0, 0.0), "3": (1.0, 1.0, 1.0)}
    net = contract(columns=ruled, returns={"column": "amount", "rule": "net"})
    assert extract(tmp_path, net, spec, ["1"]) == {"1": (4.0, 108.0, 3.0)}
    discarded = {**ruled, "amount": ruled["amount"] | {"outliers": "null", "missing": None}}
    assert extract(tmp_path, contract(columns=discarded), spec, ["1"]) == {"1": (4.0, 8.0, 3.0)}
    with governed(ready(tmp_path, shop, spec), pa.table({"subject": ["1", "2", "3", "4"]}), Resources(tmp_path)) as room:
        flags = {row.pop("subject"): tuple(row.values()) for row in room.quality().to_pylist()}
    assert flags == {"1": (1, 1, 0, 1), "2": (0, 0, 1, 0), "3": (0, 0, 0, 0), "4": (0, 0, 0, 0)}


def test_rules_for_numbers_need_numbers(tmp_path: Path) -> None:
    write(tmp_path, [])
    for changes in (
        {"returns": {"column": "email"}},
        {"columns": {**PURCHASES["columns"], "email": {"category": "user", "bounds": [0, 1]}}},
    ):
        with pytest.raises(MinimisationError, match=r"`tx\.email`: expected a number"):
            ready(tmp_path, contract(**changes), segment({"mails": "count(distinct email)"}))


def test_quality_without_rules_reads_no_source(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-02-01"), 5, "a", "x")])
    found = ready(tmp_path, contract(), segment({"n": "count(*)"}))
    assert 'inside."tx"' not in found.selection.flags
    with governed(found, pa.table({"subject": ["1"]}), Resources(tmp_path)) as room:
        assert room.quality().to_pylist() == [{"subject": "1", "duplicates": 0, "returns": 0, "missing": 0, "outliers": 0}]


def test_retention_counts_from_processing_time(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-01-31 23:59:59"), 5, "a", "x"), (1, at("2024-02-01"), 7, "a", "x"), (2, at("2024-01-01"), 5, "a", "x")])
    shop = contract(retention="60d")
    assert extract(tmp_path, shop, segment({"spend": "sum(amount)"}), ["1", "2"]) == {"1": (7.0,), "2": (0.0,)}
    granted = {"tx": frozenset({"uid", "at"})}
    people = population(shop, granted, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path))
    assert people["subject"].to_pylist() == ["1"]


def test_rows_collected_under_consent(tmp_path: Path) -> None:
    write(tmp_path, [(1, at(f"2024-02-{day:02}"), 10**i, "a", "x") for i, day in enumerate((1, 5, 10, 20))])
    spec, shop = segment({"spend": "sum(amount)"}), contract(collected_under_consent=True)
    spans = [
        ("1", at("2024-02-01 00:00:01"), at("2024-02-10")),
        ("1", at("2024-02-04"), at("2024-02-09")),
        ("1", at("2024-02-20"), None),
        ("2", at("2020-01-01"), None),
    ]
    subject, start, end = zip(*spans, strict=True)
    intervals = pa.table({"subject": subject, "start": pa.array(start, pa.timestamp("us")), "end": pa.array(end, pa.timestamp("us"))})
    assert extract(tmp_path, shop, spec, ["1"], intervals=intervals) == {"1": (1010.0,)}
    with pytest.raises(MinimisationError, match="intervals of consent"):
        extract(tmp_path, shop, spec, ["1"])


def test_a_date_needs_the_whole_day_under_consent(tmp_path: Path) -> None:
    columns = {**PURCHASES["columns"], "at": {"category": "user", "type": "date"}}
    write(tmp_path, [(1, at(f"2024-02-{day:02}"), 10**i, "a", "x") for i, day in enumerate((1, 2, 3))])
    spans = {"subject": ["1"], "start": pa.array([at("2024-02-01 10:00:00")]), "end": pa.array([at("2024-02-03 10:00:00")])}
    found = extract(
        tmp_path,
        contract(columns=columns, collected_under_consent=True),
        segment({"spend": "sum(amount)"}),
        ["1"],
        intervals=pa.table(spans),
    )
    assert found == {"1": (10.0,)}


def test_the_most_recent_rows_with_ties_decided_by_values(tmp_path: Path) -> None:
    days = [("2024-02-01", 1), ("2024-02-20", 4), ("2024-02-20", 2), ("2024-02-25", 8)]
    write(tmp_path, [(1, at(day), amount, "a", "x") for day, amount in days])
    features = {
        "two": {"agg": "sum(amount)", "max_rows": 2},
        "all": "sum(amount)",
        "recent": {"agg": "sum(amount)", "max_rows": 3, "window": "7d"},
    }
    assert extract(tmp_path, contract(), segment(features), ["1"]) == {"1": (10.0, 15.0, 8.0)}


def test_look_ups_join_once_whatever_the_reference_holds(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-02-01"), 5, "a", "x"), (1, at("2024-02-02"), 5, "a", "y"), (1, at("2024-02-03"), 5, "a", "z")])
    (tmp_path / "p.csv").write_text("order,price,secret\nx,2.5,s\nx,9.5,s\ny,bad,s\n,7,s\nbroken\n")
    products = {
        "source": "p.csv",
        "reference": True,
        "columns": {"order": {"category": "user"}, "price": {"category": "user", "type": "double"}},
    }
    spec = segment({"value": "sum(price)", "n": "count(*)"}, lookup={"table": "products", "on": "order"})
    shop = contract({"products": products})
    assert extract(tmp_path, shop, spec, ["1"]) == {"1": (2.5, 3.0)}
    assert ("products", "order") in ready(tmp_path, shop, spec).read_sets.binder


def test_features_of_several_tables_and_kinds_of_keys(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-02-01"), 5, "a", "x"), (12, at("2024-02-02"), 5, "a", "x")])
    write(tmp_path, [("1", 30), ("12", 40), ("x", 50)], "people.parquet", "person VARCHAR, age INTEGER")
    people = {
        "source": "people.parquet",
        "key": "person",
        "columns": {"person": {"category": "user"}, "age": {"category": "user", "type": "integer"}},
    }
    spec = segment({"spend": "sum(amount)", "age": {"table": "people", "agg": "max(age)"}})
    found = extract(tmp_path, contract({"people": people}), spec, ["1", "12", "x"])
    assert found == {"1": (5.0, 30.0), "12": (5.0, 40.0), "x": (0.0, 50.0)}


def test_bits_do_not_change_from_run_to_run(tmp_path: Path) -> None:
    columns = {**PURCHASES["columns"], "amount": {"category": "user", "type": "double"}}
    row = "CAST(i % 50 AS BIGINT), TIMESTAMP '2024-01-01', sin(i) * 1e6, 'a', 'x'"
    names = '"customer id", "at", amount, email, "order"'
    with duckdb.connect() as connection:
        rows = f"SELECT * FROM (SELECT {row} FROM range(300000) AS t(i)) AS x({names})"
        connection.execute(f"COPY ({rows}) TO '{tmp_path}/tx.parquet' (ROW_GROUP_SIZE 5000)")
    spec = segment({"s": "sum(amount)", "a": "avg(amount)", "d": "stddev(amount)", "q": "sum(amount / 3)"})
    runs = [
        extract(tmp_path, contract(columns=columns), spec, [str(i) for i in range(50)], strict) for strict in (False, False, False, True)
    ]
    assert all(run == runs[0] for run in runs)
    assert len({values for values in runs[0].values()}) == 50


def test_empty_tables_and_nobody_admitted(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert extract(tmp_path, contract(), segment({"n": "count(*)"}), ["1"]) == {"1": (0.0,)}
    assert extract(tmp_path, contract(), segment({"n": "count(*)"}), []) == {}
    people = population(contract(), {"tx": frozenset({"uid", "at"})}, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path))
    assert people.num_rows == 0


def test_population_is_distinct_registered_before_as_of(tmp_path: Path) -> None:
    write(
        tmp_path,
        [
            (k, at(t), 1, "a", "x")
            for k, t in [(1, "2024-02-01"), (1, "2024-02-02"), (2, "2024-03-01"), (None, "2024-01-01"), (3, "2024-02-29 23:59:59")]
        ],
    )
    people = population(contract(), {"tx": frozenset({"uid", "at"})}, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path))
    assert sorted(people.column("subject").to_pylist()) == ["1", "3"]
    with pytest.raises(MinimisationError):
        population(contract(), {"tx": frozenset({"uid"})}, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path))


def test_keys_are_spelled_as_the_contract_types_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        [("17850.0", at("2024-02-01"), 5, "a", "x")],
        columns='"customer id" DECIMAL(8, 1), "at" TIMESTAMP, amount DECIMAL(10, 2), email VARCHAR, "order" VARCHAR',
    )
    whole = {**PURCHASES["columns"], "uid": PURCHASES["columns"]["uid"] | {"type": "integer"}}
    people = population(
        contract(columns=whole), {"tx": frozenset({"uid", "at"})}, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path)
    )
    assert people.to_pylist() == [{"subject": "17850", "key": 17850}]
    assert extract(tmp_path, contract(columns=whole), segment({"spend": "sum(amount)"}), ["17850", "17850.0"]) == {
        "17850": (5.0,),
        "17850.0": (0.0,),
    }


def test_fairness_attributes_are_indices_into_the_public_domain(tmp_path: Path) -> None:
    write(tmp_path, [])
    write(
        tmp_path, [(1, "b"), (2, "odd"), (3, None), (4, "a"), (4, "b"), (5, "a"), (5, "odd")], "people.parquet", "uid BIGINT, band VARCHAR"
    )
    columns = {"uid": {"category": "user"}, "band": {"category": "user", "domain": ["a", "b"]}}
    shop = contract({"people": {"source": "people.parquet", "columns": columns}})
    wanted, admitted = [Attribute(table="people", column="band")], pa.table({"subject": ["1", "2", "3", "4", "5", "6"]})

    def read(granted: set[str]) -> pa.Table:
        return attributes(
            shop, wanted, {"people": frozenset(granted)}, admitted, AS_OF, lambda source: tmp_path / source, NOW, Resources(tmp_path)
        )

    found = {row["subject"]: row["people.band"] for row in read({"uid", "band"}).to_pylist()}
    assert found == {"1": 1, "2": -1, "3": -1, "4": -1, "5": 0, "6": -1}
    with pytest.raises(MinimisationError, match=r"`people\.band`"):
        read({"uid"})


def test_sources_that_cannot_serve(tmp_path: Path) -> None:
    shop, spec = contract(), segment({"spend": "sum(amount)"})
    with pytest.raises(SourceError, match="expected a file that exists"):
        ready(tmp_path, shop, spec)
    file = write(tmp_path, [(1, at("2024-02-01"), 5, "secret", "x")])
    whole = file.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"PAR1 secret PAR1"):
        file.write_bytes(broken)
        with pytest.raises(SourceError, match="expected a readable file") as refused:
            ready(tmp_path, shop, spec)
        assert "secret" not in str(refused.value)
        assert refused.value.__context__ is None
    write(tmp_path, [], columns='"at" TIMESTAMP, amount DECIMAL(10, 2)')
    with pytest.raises(SourceError, match="column `customer id`"):
        ready(tmp_path, shop, spec)
    write(tmp_path, [], columns='"customer id" BIGINT, "at" TIMESTAMP, amount INTEGER[]')
    with pytest.raises(SourceError, match="expected a scalar"):
        ready(tmp_path, shop, spec)
    for folder, name in ((tmp_path, "tx.txt"), (Path(), "tx.parquet")):
        with pytest.raises(SourceError):
            open_sources(shop, ["tx"], {"tx.parquet": folder / name}.__getitem__)


def test_a_failure_while_reading_says_nothing_of_a_row(tmp_path: Path) -> None:
    file = write(tmp_path, [(i, at("2024-02-01"), i, f"secret{i}", "x") for i in range(200)])
    found = ready(tmp_path, contract(), segment({"mails": "count(distinct email)"}))
    whole = bytearray(file.read_bytes())
    whole[20 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - 20)
    file.write_bytes(whole)
    people, message = pa.table({"subject": ["1"]}), r"^feature extraction failed(, expected more memory or disk space)?$"
    with pytest.raises(ExtractionError, match=message) as failed, governed(found, people, Resources(tmp_path)) as room:
        list(room.batches())
    assert failed.value.__context__ is None
    assert failed.value.__cause__ is None


def test_csv_fields_are_typed_by_the_contract(tmp_path: Path) -> None:
    (tmp_path / "tx.csv").write_text(
        "customer id,at,amount,email,order\n1,2024-02-01,2.50,e,x\n1,2024-02-02,oops,e,x\n007,2024-02-02,1,e,x\n"
    )
    shop = contract(source="tx.csv")
    assert extract(tmp_path, shop, segment({"spend": "sum(amount)", "n": "count(*)"}), ["1", "007", "7"]) == {
        "1": (2.5, 2.0),
        "007": (1.0, 1.0),
        "7": (0.0, 0.0),
    }


def test_a_treatment_is_true_false_or_nothing_at_all(tmp_path: Path) -> None:
    """Rows after `as_of` and before the window do not count; who has none is not in the trial, and neither is who is told nothing of."""
    rows = [
        (1, at("2024-02-20"), 1, "a", "letter"),
        (2, at("2024-02-20"), 1, "a", "control"),
        (3, at("2024-03-01"), 1, "a", "letter"),
        (4, at("2024-01-01"), 1, "a", "letter"),
        (5, at("2024-02-20"), 1, "a", None),
        (2, at("2024-03-02"), 1, "a", "letter"),
    ]
    write(tmp_path, rows)
    treatment = {"table": "tx", "agg": "bool_or(\"order\" = 'letter')", "window": "15d"}
    label = {"table": "tx", "agg": "count(*) > 0", "after": "30d"}
    spec = segment({"n": "count(*)"}, label, model={"type": "uplift", "top": 0.5}, treatment=treatment)
    found = extract(tmp_path, contract(), spec, ["1", "2", "3", "4", "5", "6"])
    assert {subject: values[1:] for subject, values in found.items()} == {
        "1": (True, False),
        "2": (False, True),
        "3": (None, True),
        "4": (None, False),
        "5": (None, False),
        "6": (None, False),
    }


TRIAL = {"table": "tx", "agg": "count(*) > 1", "window": "30d"}


def test_features_end_where_the_campaign_begins(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-01-20"), 1, "a", "x"), (1, at("2024-01-31"), 1, "a", "y"), (1, at("2024-02-20"), 1, "a", "x")])
    label = {"table": "tx", "agg": "count(*) > 0", "after": "30d"}
    features = {"all": "count(*)", "recent": {"agg": "count(*)", "window": "12d"}, "since": "days_since(max(at))"}
    found = []
    for window in ("30d", "20d"):
        spec = segment(features, label, model={"type": "uplift", "top": 0.5}, treatment=TRIAL | {"window": window})
        found.append(extract(tmp_path, contract(), spec, ["1"])["1"])
    assert found == [(1.0, 1.0, 11.0, True, False), (2.0, 1.0, 10.0, False, False)]


def test_counting_treatments_leaves_out_who_has_no_row(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-02-20"), 1, "a", "x"), (2, at("2024-02-20"), 1, "a", "y")])
    treatment = {"table": "tx", "agg": "count_if(\"order\" = 'x') > 0", "window": "30d"}
    label = {"table": "tx", "agg": "count(*) > 0", "after": "30d"}
    spec = segment({"n": "count(*)"}, label, model={"type": "uplift", "top": 0.5}, treatment=treatment)
    assert [extract(tmp_path, contract(), spec, ["1", "2", "3"])[who][1] for who in "123"] == [True, False, None]


def test_columns_of_treatment_and_label_are_asked_for_with_their_reasons() -> None:
    treatment = {"table": "tx", "agg": "bool_or(\"order\" = 'x')", "window": "30d", "why": "the trial"}
    label = {"table": "tx", "agg": "sum(amount) > 3", "after": "30d", "why": "they bought"}
    spec = segment({"n": "count(*)"}, label, model={"type": "uplift", "top": 0.5}, treatment=treatment)
    reads = {read.column: (read.readers, read.why) for read in requested(contract(), spec)}
    assert reads["order"] == (("treatment",), ("the trial",))
    assert reads["amount"] == (("label",), ("they bought",))


def test_a_label_that_is_a_number_has_its_lower_bound_over_no_rows(tmp_path: Path) -> None:
    write(tmp_path, [(1, at("2024-03-02"), 5, "a", "x"), (1, at("2024-03-09"), 7, "a", "x"), (2, at("2024-02-02"), 5, "a", "x")])
    label = {"table": "tx", "agg": "sum(amount)", "after": "30d", "bounds": [1, 10]}
    spec = segment({"n": "count(*)"}, label, model={"type": "value", "above": 2})
    assert extract(tmp_path, contract(), spec, ["1", "2"]) == {"1": (0.0, 12.0), "2": (1.0, 1.0)}


def test_a_feature_may_not_be_called_as_the_treatment_is() -> None:
    label = {"table": "tx", "agg": "count(*) > 0", "after": "30d"}
    spec = segment({"treatment": "count(*)"}, label, model={"type": "uplift", "top": 0.5}, treatment=TRIAL)
    with pytest.raises(ExpressionError, match="another name"):
        requested(contract(), spec)


def test_a_treatment_needs_to_have_happened_at_some_time() -> None:
    timeless = {key: value for key, value in PURCHASES.items() if key != "event_time"}
    label = {"table": "tx", "agg": "count(*) > 0", "after": "30d"}
    spec = segment({"n": "count(*)"}, label, model={"type": "uplift", "top": 0.5}, treatment=TRIAL | {"table": "states"})
    with pytest.raises(ExpressionError, match="event_time"):
        requested(contract({"states": timeless}), spec)
