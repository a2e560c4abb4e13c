"""Generated legal expressions over tables of the nastiest values: no error, no NaN, no infinity, the same bits twice."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import math
import re
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from governance import scalars
from governance.expressions import Compiled, ExpressionError, Scope, compile_expression
from governance.relations import ADMITTED, Relations
from governance.sources import Source
from governance.spans import Span
from policies.contract import Column, Contract

TYPES = {
    "a": "decimal(18,2)",
    "b": "decimal(18,18)",
    "i": "integer",
    "j": "integer",
    "x": "double",
    "t": "text",
    "d": "date",
    "s": "timestamp",
    "f": "boolean",
}
BOUNDS = {"j": (-10, 10)}

# fmt: off
NASTY = {
    "a": ["0", "0.01", "-0.01", "9999999999999999.99", "-9999999999999999.99"],
    "b": ["0", "0.999999999999999999", "-0.000000000000000001"],
    "i": ["0", "1", "-1", "9223372036854775807", "-9223372036854775808"],
    "j": ["0", "10", "-10", "3", "5000000000"],
    "x": ["0", "-0.0", "nan", "inf", "-inf", "1.7976931348623157e308", "-1e308", "5e-324", "0.1", "1e19"],
    "t": ["", " ", "\\", "%", "nan", "1e999", "2024-01-01", "infinity", "9223372036854775808", "ẞ\u0130\U0001f600", "x'y\"z"],
    "d": ["0001-01-01", "9999-12-31", "infinity", "-infinity", "2024-02-29", "290000-01-01"],
    "s": ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "infinity", "-infinity", "2024-02-29 23:59:59", "290000-01-01 00:00:00"],
    "f": ["true", "false"],
}
# fmt: on


def binary(operators: str, left: st.SearchStrategy[str], right: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, left, st.sampled_from(operators.split()), right)


def calls(names: str, argument: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}({})".format, st.sampled_from(names.split()), argument)


LITERALS = st.sampled_from(["0", "1", "-1", "0.5", "999999999999999999", "0.000000000000000001"])
TEXTS = st.sampled_from(
    ["t", "lower(t)", "upper(t || t)", "trim(t)", "substring(t, 1, 3)", "cast(i as text)", "'x'", "cast(d as text)", "coalesce(t, '')"]
)
MOMENTS = st.sampled_from(
    ["d", "s", "cast(t as date)", "cast(t as timestamp)", "cast(s as date)", "date_trunc('month', s)", "coalesce(d, '2024-01-01')"]
)
PARTS = "year quarter month week day dayofweek isodow dayofyear hour days_since"


def numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Numbers made of numbers, of one row or of results of aggregates."""
    return st.one_of(
        binary("+ - * /", inner, inner),
        calls("- abs ln log10 log2 sqrt exp floor ceil round sign", inner),
        st.builds("power({}, {})".format, inner, inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("greatest({}, {})".format, inner, inner),
        st.builds("nullif({}, {})".format, inner, inner),
        st.builds("cast({} as {})".format, inner, st.sampled_from(["bigint", "double", "decimal(5, 2)", "decimal(18, 0)"])),
        st.builds("case when {} then {} else {} end".format, comparisons(inner), inner, inner),
    )


def comparisons(number: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Conditions on numbers alone."""
    return st.one_of(
        binary("< <= > >= = <>", number, number),
        st.builds("({} between {} and {})".format, number, number, number),
        st.builds("({} in ({}, 1, null))".format, number, number),
        st.builds("({} is null)".format, number),
    )


def conditions(number: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Conditions on a row."""
    return st.one_of(
        st.just("f"),
        comparisons(number),
        st.builds("(not {} like '%\\')".format, TEXTS),
        st.builds("contains({}, '%')".format, TEXTS),
        binary("< = >", TEXTS, TEXTS),
        binary("< = >=", MOMENTS, MOMENTS),
    )


LEAVES = st.one_of(
    st.sampled_from(["a", "b", "i", "j", "x"]),
    LITERALS,
    calls(PARTS, MOMENTS),
    calls("length", TEXTS),
    st.builds("date_diff('{}', {}, {})".format, st.sampled_from(["day", "month", "hour", "second"]), MOMENTS, MOMENTS),
    st.builds("cast({} as {})".format, TEXTS, st.sampled_from(["double", "bigint", "decimal(18, 4)"])),
)
ROW = st.recursive(LEAVES, numbers, max_leaves=6)
CONDITIONS = conditions(ROW)
AGGREGATES = st.one_of(
    st.just("count(*)"),
    calls("sum avg min max stddev var_pop count n_distinct", ROW),
    calls("share_of count_if avg", CONDITIONS),
    calls("days_since", calls("min max", MOMENTS)),
    st.builds("count(distinct {})".format, TEXTS),
    st.builds("sum({}) filter (where {})".format, ROW, CONDITIONS),
)
EXPRESSIONS = st.recursive(AGGREGATES, numbers, max_leaves=3)


def columns() -> dict[str, Column]:
    return {name: Column(category="user", type=kind, bounds=BOUNDS.get(name)) for name, kind in TYPES.items()}


def relation() -> str:
    """The rows as minimisation shows them: text in the source, typed and bounded by the contract."""
    key = {"k": Column(category="user")}
    tables = {"tx": {"source": "tx.csv", "columns": {name: column.model_dump(by_alias=True) for name, column in (key | columns()).items()}}}
    subject = {"key": "k", "namespace": "n", "registered_in": "tx"}
    contract = Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": tables})
    source = Source("tx", Path("/tx.csv"), {name: "VARCHAR" for name in ("k", *TYPES)})
    relations = Relations(contract, {"tx": frozenset(TYPES)}, {"tx": source}, dt.datetime(2024, 1, 1), {})
    held, rows = relations.held("tx", "raw"), relations.rows("tx", Span(None, dt.datetime(2024, 1, 1)))
    return rows.replace('inside."tx"', f"({held})")


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """A table with every nasty value in every column, against those of its neighbours, and NULLs."""
    found = duckdb.connect(config={"threads": 2})
    found.execute("CREATE SCHEMA inside")
    found.execute(f"CREATE TABLE {ADMITTED} AS SELECT 0 AS \"#id\", 'k' AS subject")
    found.execute(f"CREATE TABLE raw (k VARCHAR, {', '.join(f'{name} VARCHAR' for name in TYPES)})")
    for shift in range(12):
        for row in range(12):
            values = [NASTY[name][(row + shift * i) % len(NASTY[name])] if (row + i) % 11 else None for i, name in enumerate(TYPES)]
            found.execute(f"INSERT INTO raw VALUES ('k', {', '.join('?' * len(values))})", values)
    found.execute(f"CREATE TABLE tx AS {relation()}")
    found.execute("CREATE TABLE nothing AS SELECT * FROM tx LIMIT 0")
    return found


def run(connection: duckdb.DuckDBPyConnection, found: Compiled, table: str) -> float | None:
    names = [f"a{i}" for i in range(len(found.aggregates))]
    aggregates = ", ".join(f"{aggregate.sql()} AS {name}" for aggregate, name in zip(found.aggregates, names, strict=True))
    [(value,)] = connection.execute(f"SELECT {found.value(names)} FROM (SELECT {aggregates} FROM {table})").fetchall()
    assert value is None or isinstance(value, float)
    return value


@pytest.mark.slow
@settings(max_examples=400)
@given(EXPRESSIONS)
def test_legal_expressions_are_total(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    reach = Scope("tx", {name: ("tx", column) for name, column in columns().items()})
    try:
        found = compile_expression("f", text, reach, dt.date(2024, 3, 1))
    except ExpressionError as refused:
        assert any(reason in str(refused) for reason in ("simpler", "levels", "seen", "words and signs", "only NULL", "one type"))
        return
    value = run(connection, found, "tx")
    assert value is None or math.isfinite(value)
    assert run(connection, found, "tx") == value
    empty = run(connection, found, "nothing")
    assert empty is None or (math.isfinite(empty) and not found.null_over_nothing)


WORST = {
    "number": [
        "a",
        "b",
        "i",
        "j",
        "x",
        "cast(t as double)",
        "cast(t as bigint)",
        "cast(t as decimal(18, 18))",
        "i * i",
        "x * x",
        "-1",
        "0",
    ],
    "text": ["t", "cast(i as text)", "t || t", "''"],
    "moment": ["d", "s", "cast(t as date)", "cast(t as timestamp)", "'9999-12-31'"],
    "truth": ["f", "x > i", "t is null", "null = f"],
}
"""Operands of each kind, with the worst values that a column or an expression can have."""

FUNCTIONS: dict[type[exp.Expr], str] = {
    **{node: f"{{number}} {sign} {{number}}" for node, sign in
       ((exp.Add, "+"), (exp.Sub, "-"), (exp.Mul, "*"), (exp.Div, "/"), (exp.EQ, "="), (exp.NEQ, "<>"), (exp.LT, "<"), (exp.LTE, "<="),
        (exp.GT, ">"), (exp.GTE, ">="), (exp.NullSafeEQ, "is not distinct from"), (exp.NullSafeNEQ, "is distinct from"))},
    **{node: f"{name}({{number}})" for node, name in
       ((exp.Neg, "-"), (exp.Abs, "abs"), (exp.Ln, "ln"), (exp.Sqrt, "sqrt"), (exp.Exp, "exp"), (exp.Floor, "floor"), (exp.Ceil, "ceil"),
        (exp.Sign, "sign"), (exp.Paren, ""))},
    **{node: f"{name}({{number}}, {{number}})" for node, name in
       ((exp.Pow, "power"), (exp.Coalesce, "coalesce"), (exp.Greatest, "greatest"), (exp.Least, "least"), (exp.Nullif, "nullif"))},
    **{node: f"{name}({{moment}})" for node, name in
       ((exp.Year, "year"), (exp.Quarter, "quarter"), (exp.Month, "month"), (exp.Week, "week"), (exp.Day, "day"),
        (exp.DayOfWeek, "dayofweek"),
        (exp.DayOfWeekIso, "isodow"), (exp.DayOfYear, "dayofyear"), (exp.Hour, "hour"))},
    **{node: f"length({name}({{text}}))" for node, name in ((exp.Lower, "lower"), (exp.Upper, "upper"), (exp.Trim, "trim"))},
    **{node: f"{name}({{text}}, '%')" for node, name in ((exp.StartsWith, "starts_with"), (exp.Contains, "contains"))},
    exp.Log: "log({number}) + log2({number})",
    exp.Round: "round({number}, 9)",
    exp.Not: "not {truth}",
    exp.And: "{truth} and {truth}",
    exp.Or: "{truth} or {truth}",
    exp.Between: "{number} between {number} and {number}",
    exp.In: "{number} in ({number}, 1, null)",
    exp.Is: "({truth}) is true",
    exp.Case: "case when {truth} then {number} else {number} end",
    exp.If: "if({truth}, {number}, {number})",
    exp.Cast: "cast({number} as decimal(5, 2)) + cast({number} as bigint)",
    exp.TryCast: "try_cast({text} as double)",
    exp.Extract: "extract(isodow from {moment})",
    exp.TimestampTrunc: "days_since(date_trunc('week', {moment}))",
    exp.DateTrunc: "days_since(date_trunc('year', {moment}))",
    exp.DateDiff: "date_diff('second', {moment}, {moment}) + date_diff('month', {moment}, {moment})",
    exp.Like: "{text} like '%_\\%'",
    exp.ILike: "{text} ilike '_%ß'",
    exp.Length: "length({text})",
    exp.Substring: "length(substring({text}, 1000, 1000))",
    exp.DPipe: "length({text} || {text})",
    exp.Null: "coalesce({number}, null)",
    exp.Boolean: "{truth} = true",
}  # fmt: skip
"""How each scalar node of the positive list is written."""


@pytest.mark.slow
def test_each_function_bears_the_worst_operands(connection: duckdb.DuckDBPyConnection) -> None:
    """Every node of the positive list, with every worst operand in its place, in aggregates of every kind: finite or NULL."""
    assert FUNCTIONS.keys() == scalars.FORMS.keys()
    reach = Scope("tx", {name: ("tx", column) for name, column in columns().items()})
    aggregates = itertools.cycle(["sum", "max", "stddev", "avg", "count"])
    count = 0
    for template in FUNCTIONS.values():
        holes = re.findall(r"{(\w+)}", template)
        for first, step in itertools.product(range(max(len(WORST[kind]) for kind in holes)), (0, 1, 5)):
            text = template
            for place, kind in enumerate(holes):
                text = text.replace(f"{{{kind}}}", WORST[kind][(first + place * step) % len(WORST[kind])], 1)
            with contextlib.suppress(ExpressionError):
                found = compile_expression("f", f"{next(aggregates)}({text})", reach, dt.date(2024, 3, 1))
                value = run(connection, found, "tx")
                assert value is None or math.isfinite(value), text
                count += 1
    assert count > 1000


@given(st.text(max_size=40))
def test_any_text_is_refused_or_compiled_and_never_an_accident(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        compile_expression("f", text, Scope("tx", {"a": ("tx", Column(category="user", type="integer"))}), dt.date(2024, 3, 1))
