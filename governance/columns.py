"""One column as SQL: how a contract's type is written, and a value of the source as that type, or NULL."""

from __future__ import annotations

from decimal import Decimal

from policies.contract import Column

NO_NUMBERS = frozenset({"text", "boolean", "date", "timestamp"})
"""Types that are not numbers."""

_INTEGER = (18, 0)
"""Digits of whole numbers that people write; a 64-bit integer holds them all."""

MAX_CHARACTERS = 10_000
"""Of a text. An expression holds many copies of it: without a limit, one row could take all memory, and a failed build would tell."""

_LONG = frozenset({"VARCHAR", "JSON", "BLOB"})
"""Types of the source that may hold long text."""

_FIRST, _LAST = "0001-01-01", "9999-12-31"


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_type(column: Column) -> str:
    """The SQL type of a contract's type."""
    match column.type:
        case "text":
            return "VARCHAR"
        case "integer":
            return "BIGINT"
        case decimal if decimal.startswith("decimal"):
            return decimal.upper()
        case other:
            return other.upper()


def exact_digits(column: Column) -> tuple[int, int]:
    """Digits in all and after the point of a whole or decimal number."""
    if column.type == "integer":
        return _INTEGER
    digits, scale = (int(part) for part in column.type[8:-1].split(","))
    return digits, scale


def literal(column: Column, value: Decimal) -> str:
    """A number that the type holds, as a literal of it."""
    return f"CAST('{value}' AS DOUBLE)" if column.type == "double" else f"CAST('{value:f}' AS {sql_type(column)})"


def typed(column: Column, kind: str, reference: str, selecting: bool = False) -> str:
    """A column of the source, there of type `kind`, as the contract's type; what does not fit is NULL, NaN and infinities too.
    Text is cut after `MAX_CHARACTERS`.

    `selecting`: rows are chosen by it, which bounds a moment already.
    """
    if kind == "TIMESTAMP" and column.type == "text":
        reference = common(reference)  # TRY_CAST of a year beyond what can be printed is a fault (DuckDB 2.0.0)
    if kind != sql_type(column):
        reference = f"TRY_CAST({reference} AS {sql_type(column)})"
    if column.type == "text" and kind in _LONG:
        cut = f"SUBSTRING({reference}, 1, {MAX_CHARACTERS})"
        return f"CASE WHEN STRLEN({reference}) > {MAX_CHARACTERS} THEN {cut} ELSE {reference} END"
    if column.type == "double":
        return f"CASE WHEN ISFINITE({reference}) THEN {reference} END"
    if column.type in ("date", "timestamp") and not selecting:
        return common(reference)
    return reference


def common(moment: str) -> str:
    """A date or time of the years 1 to 9999, else NULL."""
    return f"CASE WHEN {moment} >= '{_FIRST}' AND {moment} <= '{_LAST}' THEN {moment} END"
