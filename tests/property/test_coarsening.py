"""Generalisations in SQL against a reference in Python, over the values that are easiest to get wrong, and through the whole of reading."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.coarsening import check, coarse_bound, coarser
from governance.columns import sql_type
from governance.reads import MinimisationError
from governance.rules import ruled
from policies.contract import Column
from policies.generalisation import Generalisation

DIGITS = 10**18


def reference(value: Any, column: Column, step: Generalisation) -> Any:
    """What a generalisation makes of one value."""
    if value is None:
        return None
    number = float if column.type == "double" else Decimal
    if step.bottom is not None:
        value = max(value, number(step.bottom))
    if step.top is not None:
        value = min(value, number(step.top))
    if step.band is not None and column.type == "double":
        ratio = value / float(step.band)
        value = math.floor(ratio) * float(step.band) if math.isfinite(ratio) else math.nan
        value = value if math.isfinite(value) else None
    elif step.band is not None:
        value = (value // step.band - (value % step.band < 0)) * step.band
        value = value if fits(value, column) else None
    if step.truncate is not None:
        value = truncated(value, step.truncate)
    if step.prefix is not None:
        value = value[: step.prefix]
    return value if step.regions is None else step.regions.get(value)


def fits(value: Decimal, column: Column) -> bool:
    if column.type == "integer":
        return -(2**63) <= value < 2**63
    digits, scale = (int(part) for part in column.type[8:-1].split(","))
    return abs(value) < Decimal(10) ** (digits - scale)


def truncated(moment: Any, unit: str) -> Any:
    day = moment.date() if isinstance(moment, dt.datetime) else moment
    match unit:
        case "week":
            day -= dt.timedelta(days=day.weekday())
        case "month":
            day = day.replace(day=1)
        case "quarter":
            day = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            day = day.replace(month=1, day=1)
    return dt.datetime.combine(day, dt.time()) if isinstance(moment, dt.datetime) else day


def decimals(scale: int, most: int = DIGITS - 1) -> st.SearchStrategy[Decimal]:
    wide = st.integers(-most, most) | st.sampled_from([-most, most, 0, 1, -1])
    return st.builds(lambda whole: Decimal(whole).scaleb(-scale), wide)


INTEGERS = st.builds(Decimal, st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, -10, -1, 0, 9, 10]))
DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 0.3, -0.1, 1e300, -1e308, 5e-324])
TEXTS = st.text(max_size=6).filter(lambda text: "\0" not in text) | st.sampled_from(["1010", "", "e\u0301a", "\U0001f600b", "' OR 1=1"])
UNITS = st.sampled_from(["day", "week", "month", "quarter", "year"])


@st.composite
def numeric(draw: st.DrawFn) -> tuple[Column, list[Any], list[Generalisation]]:
    kind = draw(st.sampled_from(["integer", "decimal(18,2)", "decimal(18,18)", "decimal(5,0)", "double"]))
    values: st.SearchStrategy[Any]
    steps: st.SearchStrategy[Decimal]
    if kind == "double":
        values, steps = DOUBLES, st.builds(Decimal, st.sampled_from(["-7.5", "0", "0.1", "3", "1e200"]))
    elif kind == "integer":
        values, steps = INTEGERS, st.builds(Decimal, st.integers(-(DIGITS - 1), DIGITS - 1))
    else:
        digits, scale = (int(part) for part in kind[8:-1].split(","))
        values = steps = decimals(scale, 10**digits - 1)
    chosen = draw(st.lists(st.tuples(st.sampled_from(["bottom", "top", "band"]), steps), min_size=1, max_size=4))
    given_steps = [Generalisation.model_validate({name: abs(n) or Decimal(1) if name == "band" else n}) for name, n in chosen]
    column = Column(category="user", type=kind)
    return column, draw(st.lists(values | st.none(), min_size=1, max_size=20)), [g for g in given_steps if acceptable(column, g)]


def acceptable(column: Column, step: Generalisation) -> bool:
    try:
        check("t.x", column, [step])
    except MinimisationError:
        return False
    return True


@st.composite
def other(draw: st.DrawFn) -> tuple[Column, list[Any], list[Generalisation]]:
    kind = draw(st.sampled_from(["date", "timestamp", "text"]))
    values: st.SearchStrategy[Any] = {"date": st.dates(), "timestamp": st.datetimes(), "text": TEXTS}[kind]
    if kind == "text":
        regions = st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=4)
        steps = st.one_of(
            st.builds(lambda n: {"prefix": n}, st.integers(1, 4)),
            st.builds(lambda r: {"regions": r}, regions),
            st.builds(lambda n, r: {"prefix": n, "regions": r}, st.integers(1, 3), regions),
        )
    else:
        steps = st.builds(lambda unit: {"truncate": unit}, UNITS)
    chosen = draw(st.lists(steps, min_size=1, max_size=3))
    column = Column(category="user", type=kind)
    return column, draw(st.lists(values | st.none(), min_size=1, max_size=20)), [Generalisation.model_validate(each) for each in chosen]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1, "ieee_floating_point_ops": True})


@pytest.mark.slow
@settings(max_examples=300)
@given(case=numeric() | other())
def test_sql_and_reference_agree(connection: duckdb.DuckDBPyConnection, case: tuple[Column, list[Any], list[Generalisation]]) -> None:
    column, values, steps = case
    expected = values
    sql = "x"
    for step in steps:
        check("t.x", column, [step])
        sql = coarser(sql, column, step)
        expected = [reference(value, column, step) for value in expected]
    kind = sql_type(column)
    rows = ", ".join(f"({i}, CAST(? AS {kind}))" for i in range(len(values)))
    bound = [value if column.type in ("double", "date", "timestamp", "text") or value is None else f"{value:f}" for value in values]
    found = connection.execute(f"SELECT {sql}, TYPEOF({sql}) FROM (VALUES {rows}) AS t(i, x) ORDER BY i", bound).fetchall()
    assert [value for value, _ in found] == expected
    assert {said for _, said in found} == {kind}


@settings(max_examples=150)
@given(
    value=st.integers(-2000, 2000),
    bounds=st.tuples(st.integers(-999, 999), st.integers(-999, 999)).filter(lambda pair: pair[0] < pair[1]),
    step=st.builds(lambda band, top: {"band": band, "top": top}, st.integers(1, 300), st.none() | st.integers(-999, 999)),
    outliers=st.sampled_from(["clip", "null"]),
)
def test_public_bounds_hold_of_what_is_left(
    connection: duckdb.DuckDBPyConnection, value: int, bounds: tuple[int, int], step: dict[str, Any], outliers: str
) -> None:
    """A value within the bounds stays (moved into them), and whatever comes out is within them."""
    column = Column.model_validate({"category": "user", "type": "integer", "bounds": bounds, "outliers": outliers})
    steps = [Generalisation.model_validate({name: each for name, each in step.items() if each is not None})]
    sql = ruled("t.x", column, "y", steps)
    query = f"SELECT {sql} FROM (SELECT {coarser('x', column, steps[0])} AS y FROM (SELECT CAST({value} AS BIGINT) AS x))"
    [(found,)] = connection.execute(query).fetchall()
    assert found is None or bounds[0] <= found <= bounds[1]
    if bounds[0] <= value <= bounds[1]:
        assert found is not None
    else:
        low, high = (coarse_bound(Decimal(bound), column, steps) for bound in bounds)
        assert (found is None) == (outliers == "null" and not low <= reference(Decimal(value), column, steps[0]) <= high)
