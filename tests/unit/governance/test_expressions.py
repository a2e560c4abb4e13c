from __future__ import annotations

import datetime as dt
import math
from typing import Any

import duckdb
import pytest

from governance.expressions import Compiled, ExpressionError, Scope, compile_expression, compile_segment, scope
from policies.contract import Column, Contract
from policies.segment import Lookup, Segment

TYPES = {
    "amount": "decimal(10,2)",
    "quantity": "integer",
    "price": "double",
    "channel": "text",
    "bought_on": "date",
    "seen": "timestamp",
    "flag": "boolean",
}
SQL = {"text": "VARCHAR", "integer": "BIGINT"}
REACH = Scope("tx", {name: ("tx", Column(category="user", type=kind)) for name, kind in TYPES.items()})
AS_OF = dt.date(2024, 3, 1)


def compiled(text: str, condition: bool = False) -> Compiled:
    return compile_expression("f", text, REACH, AS_OF, condition)


def evaluate(text: str, *rows: dict[str, Any], condition: bool = False) -> Any:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE tx ({', '.join(f'{name} {SQL.get(kind, kind)}' for name, kind in TYPES.items())})")
        for row in rows:
            connection.execute(f"INSERT INTO tx VALUES ({', '.join('?' * len(TYPES))})", [row.get(name) for name in TYPES])
        found = compiled(text, condition)
        names = [f"a{i}" for i in range(len(found.aggregates))]
        aggregates = ", ".join(f"{aggregate.sql()} AS {name}" for aggregate, name in zip(found.aggregates, names, strict=True))
        finite = "SELECT * REPLACE (CASE WHEN ISFINITE(price) THEN price END AS price) FROM tx"
        [(value,)] = connection.execute(f"SELECT {found.value(names)} FROM (SELECT {aggregates} FROM ({finite}))").fetchall()
        return value


SHOP = (
    {
        "amount": "10.50",
        "quantity": 2,
        "price": 1.5,
        "channel": "Web",
        "bought_on": "2024-02-28",
        "seen": "2024-02-28 23:59:59",
        "flag": True,
    },
    {
        "amount": "-0.50",
        "quantity": 3,
        "price": 2.5,
        "channel": "shop",
        "bought_on": "2024-01-31",
        "seen": "2024-01-31 08:30:00",
        "flag": False,
    },
    {"amount": "5.00", "quantity": None, "price": 4.0, "channel": None, "bought_on": "2023-12-31", "seen": None, "flag": None},
)

VALUES = {
    "sum(amount)": 15.0,
    "SUM(amount) + count(*) * 2": 21.0,
    "avg(amount)": 5.0,
    "avg(quantity)": 2.5,
    "sum(price)": 8.0,
    "stddev(amount)": math.sqrt(30.25),
    "stddev_pop(quantity)": 0.5,
    "variance(price)": 19 / 12,
    "count(quantity)": 2.0,
    "count(distinct channel)": 2.0,
    "n_distinct(date_trunc('year', bought_on))": 2.0,
    "days_since(max(bought_on))": 2.0,
    "max(days_since(seen))": 30.0,
    "date_diff('month', min(bought_on), max(bought_on))": 2.0,
    "share_of(channel = 'shop')": 0.5,
    "avg(flag)": 0.5,
    "count_if(channel ilike 'w%')": 1.0,
    "sum(amount) filter (where amount > 0 and flag is not false)": 15.5,
    "share_of(quantity > 2) filter (where quantity is not null)": 0.5,
    "sum(amount * quantity)": 19.5,
    "sum(amount) / nullif(count(quantity) - 2, 0)": None,
    "sum(quantity) / 2": 2.5,
    "sum(quantity / 2)": 2.5,
    "max(case when channel = 'shop' then quantity when channel is null then 7 else 0 end)": 7.0,
    "sum(case channel when 'shop' then 10 when 'Web' then 1 end)": 11.0,
    "sum(coalesce(quantity, 1))": 6.0,
    "greatest(sum(amount), 20)": 20.0,
    "sum(amount between 0 and 6)": 1.0,
    "sum(lower(channel) in ('web', 'x'))": 1.0,
    "max(length(channel || '!'))": 5.0,
    "max(substring(channel, 1, 1)) = 's'": 1.0,
    "avg(extract(month from bought_on))": 5.0,
    "max(hour(seen))": 23.0,
    "max(date_part('dow', bought_on))": 3.0,
    "round(ln(sum(quantity)), 3)": 1.609,
    "log10(sum(quantity) * 20)": 2.0,
    "sqrt(sum(quantity) - 1)": 2.0,
    "abs(min(amount))": 0.5,
    "sign(min(amount))": -1.0,
    "floor(max(price) * 0.7)": 2.0,
    "bool_or(flag)": 1.0,
    "bool_and(flag)": 0.0,
    "max(seen) > '2024-02-01'": 1.0,
    "count_if(bought_on >= date '2024-01-31')": 2.0,
    "count_if(seen < '2024-01-31 08:30:01')": 1.0,
    "sum(cast(channel as integer))": None,
    "sum(0.1 + 0.2)": 0.9,
    "min(quantity) is null": 0.0,
}


@pytest.mark.parametrize("text", VALUES)
def test_value(text: str) -> None:
    assert evaluate(text, *SHOP) == (VALUES[text] if VALUES[text] is None else pytest.approx(VALUES[text], abs=1e-12))


BAD: tuple[dict[str, Any], ...] = (
    {
        "amount": "99999999.99",
        "quantity": 2**63 - 1,
        "price": math.nan,
        "channel": "x" * 300,
        "bought_on": "9999-12-31",
        "seen": "9999-12-31 23:59:59",
    },
    {
        "amount": "-99999999.99",
        "quantity": -(2**63),
        "price": math.inf,
        "channel": "",
        "bought_on": "0001-01-01",
        "seen": "0001-01-01 00:00:00",
    },
    {"price": -math.inf, "channel": "\\", "bought_on": "infinity", "seen": "-infinity"},
    {"price": 1e308, "quantity": 0, "channel": "1e999"},
    {},
)

TOTAL = [
    *VALUES,
    "sum(quantity * quantity * quantity * quantity)",
    "sum(amount * amount * amount * amount)",
    "max(-quantity) - max(abs(quantity))",
    "sum(price * price * price)",
    "sum(1 / price)",
    "sum(quantity / quantity)",
    "sum(exp(price)) + max(exp(quantity))",
    "max(power(quantity, price))",
    "max(sqrt(quantity)) + max(ln(quantity)) + max(log2(price))",
    "sum(cast(channel as double)) + sum(cast(price as integer)) + sum(cast(quantity as decimal(5, 2)))",
    "max(days_since(bought_on)) - min(days_since(seen))",
    "max(date_diff('second', bought_on, seen))",
    "sum(999999999999999999 * quantity) + sum(999999999999999999 + 999999999999999999)",
    "count_if(channel like '%\\')",
    "stddev(quantity) + stddev(price) + stddev(amount * quantity)",
    "max(greatest(quantity, price, amount))",
    "sum(cast(cast(bought_on as timestamp) as text) = 'x')",
]


@pytest.mark.parametrize("text", TOTAL)
def test_no_row_makes_it_fail_or_gives_something_that_is_no_number(text: str) -> None:
    for rows in (BAD, BAD[:1], ()):
        value = evaluate(text, *rows)
        assert value is None or math.isfinite(value)


def test_values_that_are_no_numbers_are_left_out_and_not_the_others() -> None:
    rows = ({"price": math.nan}, {"price": math.inf}, {"price": 2.0})
    assert evaluate("sum(price)", *rows) == 2.0
    assert evaluate("max(price * 1)", *rows) == 2.0
    assert evaluate("count_if(price / 0 > 5)", *rows) == 0.0


def test_overflow_is_exact_where_decimals_hold_it() -> None:
    most = 2**63 - 1
    assert evaluate("sum(quantity) - 1", *[{"quantity": most}] * 3) == float(3 * most) - 1
    assert evaluate("sum(amount * quantity)", {"amount": "1.00", "quantity": most}) == float(most)


def test_conditions() -> None:
    assert evaluate("count(*) > 2 and sum(amount) < 100", *SHOP, condition=True) is True
    with pytest.raises(ExpressionError, match="expected a condition, got double"):
        compiled("count(*)", condition=True)


def test_reads_and_shared_aggregates() -> None:
    found = compiled("sum(amount) / count(*) + avg(amount) filter (where channel = 'x')")
    assert found.reads == {("tx", "amount"), ("tx", "channel")}
    assert [aggregate.sql() for aggregate in compiled("sum(amount) + sum(amount)").aggregates] == ['SUM("amount")']
    assert compiled("sum(amount)").aggregates[0].sql("x > 1") == 'SUM("amount") FILTER (WHERE x > 1)'


@pytest.mark.parametrize(
    ("text", "empty"), [("sum(amount) / count(*)", True), ("stddev(price)", True), ("count(*)", False), ("coalesce(sum(amount), 1)", False)]
)
def test_knows_what_is_null_over_nothing(text: str, empty: bool) -> None:
    assert compiled(text).null_over_nothing is empty
    assert not empty or evaluate(text) is None


def test_sums_never_add_doubles() -> None:
    for text in ("sum(price)", "avg(price)", "stddev(price)", "sum(quantity / 3)"):
        for aggregate in compiled(text).aggregates:
            assert not aggregate.function.startswith("SUM") or "DECIMAL" in aggregate.function


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(channel)", "expected a number, got text"),
        ("max(bought_on)", "expected a number, got date"),
        ("sum(amount + channel)", "expected a number, got text"),
        ("count_if(channel > 5)", "expected values of one type"),
        ("count_if(bought_on > 'soon')", "expected a date such as `2024-01-31`, got `soon`"),
        ("count_if(amount)", "expected a condition"),
        ("max(cast(price as text))", "expected a cast between scalar types"),
        ("sum(amout)", "expected a column of `tx`, exactly one of"),
        ("sum(1e40)", "expected a number of at most 18 digits"),
        ("sum(0E)", "expected a number as in `12.5`"),
        ("log(3, sum(amount))", "expected a logarithm to base 2 or 10"),
        ("max(extract(epoch from seen))", "expected a date part"),
        ("median(amount)", "not `Median`"),
    ],
)
def test_refusals_say_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compiled(text)
    assert expected in str(refused.value)
    assert refused.value.feature == "f"


def test_a_refusal_points_at_the_column() -> None:
    with pytest.raises(ExpressionError) as refused:
        compiled("sum(amount) + sum(wrong)")
    assert (refused.value.snippet, refused.value.position) == ("wrong", 18)


def shop(**changes: Any) -> Contract:
    column = {"category": "user"}
    tables = {
        "tx": {
            "source": "tx.parquet",
            "event_time": "bought_on",
            "columns": {"uid": column, "bought_on": column | {"type": "date"}, "product": column, "name": column},
        },
        "state": {"source": "state.parquet", "columns": {"uid": column, "age": column | {"type": "integer"}}},
        "products": {
            "source": "p.csv",
            "reference": True,
            "columns": {"product": column, "price": column | {"type": "double"}, "name": column},
        },
    }
    subject = {"key": "uid", "namespace": "shop", "registered_in": "tx"}
    return Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": tables} | changes)


def test_look_up_columns_are_in_reach_and_names_must_not_clash() -> None:
    reach = scope(shop(), "tx", Lookup(table="products", on="product"))
    assert compile_expression("f", "sum(price)", reach, AS_OF).reads == {("products", "price")}
    with pytest.raises(ExpressionError, match="do not share"):
        compile_expression("f", "count(distinct name)", reach, AS_OF)
    assert compile_expression("f", "count(distinct product)", reach, AS_OF).reads == {("tx", "product")}


@pytest.mark.parametrize(
    "lookup", [Lookup(table="state", on="product"), Lookup(table="products", on="bought_on"), Lookup(table="none", on="product")]
)
def test_a_look_up_must_be_a_reference_with_its_key(lookup: Lookup) -> None:
    with pytest.raises(ExpressionError):
        scope(shop(), "tx", lookup)


@pytest.mark.parametrize(
    "features",
    [
        {"f": {"table": "state", "agg": "max(age)", "bounds": [0, 1], "window": "1d"}},
        {"f": {"table": "state", "agg": "max(age)", "bounds": [0, 1], "max_rows": 1}},
        {"f": {"table": "products", "agg": "max(price)", "bounds": [0, 1]}},
        {"f": {"table": "nowhere", "agg": "count(*)", "bounds": [0, 1]}},
        {"Subject": {"table": "tx", "agg": "count(*)", "bounds": [0, 1]}},
        {"label": {"table": "tx", "agg": "count(*)", "bounds": [0, 1]}},
    ],
)
def test_a_segment_that_does_not_fit_its_tables(features: dict[str, Any]) -> None:
    fixed = {
        "name": "s",
        "purpose": "p",
        "dataset": "c",
        "policy": "p",
        "as_of": AS_OF,
        "model": {"type": "clusters"},
        "privacy": {"epsilon": 1},
    }
    with pytest.raises(ExpressionError):
        compile_segment(shop(), Segment.model_validate({**fixed, "features": features}))
