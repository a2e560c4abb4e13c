"""The contract's rules on one column, as SQL: its public domain and bounds, and what stands in for a missing value.

Bounds of a column that a policy makes coarser become coarser in the same way, and what is left lies within them as
before: a band that begins below the lower bound counts as the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal

from governance.coarsening import coarse_bound
from governance.columns import NO_NUMBERS, exact_digits, literal, sql_type
from governance.reads import MinimisationError
from governance.sources import string
from policies.contract import Column, Outliers
from policies.generalisation import Generalisation


def ruled(name: str, column: Column, value: str, steps: Sequence[Generalisation] = ()) -> str:
    """A typed value under its rules, after the generalisations `steps`. Raises MinimisationError, which calls it `name`."""
    found = value
    if column.domain is not None:
        found = f"CASE WHEN {_among(column, value)} THEN {value} END"
    if column.bounds is not None:
        low, high = _bounds(name, column)
        if column.outliers is Outliers.CLIP:
            found = f"CASE WHEN {value} < {low} THEN {low} WHEN {value} > {high} THEN {high} ELSE {found} END"
        elif steps:
            least, most = _bounds(name, column, steps)
            clipped = f"WHEN {value} < {low} THEN {low} WHEN {value} > {high} THEN {high} ELSE {found}"
            found = f"CASE WHEN {value} < {least} OR {value} > {most} THEN NULL {clipped} END"
        else:
            found = f"CASE WHEN {value} >= {low} AND {value} <= {high} THEN {found} END"
    if column.missing is not None:
        if column.type == "double" and not math.isfinite(float(column.missing)):
            raise MinimisationError(f"column `{name}`: expected `missing` to be finite, got `{column.missing}`")
        found = f"COALESCE({found}, TRY_CAST({string(str(column.missing))} AS {sql_type(column)}))"
    return found


def outside(name: str, column: Column, value: str, steps: Sequence[Generalisation] = ()) -> Iterator[str]:
    """Conditions under which a typed value breaks its domain or bounds."""
    if column.domain is not None:
        yield f"NOT ({_among(column, value)})"
    if column.bounds is not None:
        low, high = _bounds(name, column, steps)
        yield f"{value} < {low} OR {value} > {high}"


def _among(column: Column, value: str) -> str:
    text = value if column.type == "text" else f"CAST({value} AS VARCHAR)"
    return f"{text} IN ({', '.join(string(each) for each in column.domain or ())})"


def _bounds(name: str, column: Column, steps: Sequence[Generalisation] = ()) -> tuple[str, str]:
    """Public bounds, as generalisations leave them, as literals of the column's type, rounded inward to what the type can hold."""
    if column.bounds is None or column.type in NO_NUMBERS:
        raise MinimisationError(f"column `{name}`: expected a number because of its bounds, got type `{column.type}`")
    low, high = (coarse_bound(bound, column, steps) for bound in column.bounds)
    if column.type == "double":
        return literal(column, low), literal(column, high)
    digits, scale = exact_digits(column)
    most = 10**digits - 1

    def within(limit: int) -> str:
        return literal(column, Decimal(max(-most, min(most, limit))).scaleb(-scale))

    return within(math.ceil(low * 10**scale)), within(math.floor(high * 10**scale))
