"""Generalisation as SQL: what a policy leaves of a column, before a rule of the contract or an expression sees it.

Numbers keep their type: decimals and whole numbers are exact, and a band's end that the type cannot hold is NULL. Text
is cut by characters (code points). A moment becomes the first of its period, so that two moments of one period are one.
All is total: NULL stays NULL, and no value makes a step fail. Not here: which columns (`policies.deciding`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

from governance.columns import exact_digits, literal, sql_type
from governance.reads import MinimisationError
from governance.sources import string
from policies.contract import Column
from policies.generalisation import Generalisation

Generalisations = Mapping[tuple[str, str], Sequence[Generalisation]]
"""What columns become, by table and column; several are applied in order."""

AS_IT_IS: Generalisations = MappingProxyType({})
"""No policy makes anything coarser."""

_NUMBERS = frozenset({"bottom", "top", "band"})

_FAR = 308
"""Power of ten that no type reaches."""


def check(name: str, column: Column, steps: Sequence[Generalisation]) -> None:
    """Raises MinimisationError where a step does not fit the type of `column`; `name` is what it is called."""
    for step in steps:
        fitting = step.for_type(column.type)
        if unfit := sorted(_given(step) - (_given(fitting) if fitting else frozenset())):
            raise MinimisationError(f"column `{name}` of type `{column.type}`: got generalisation `{unfit[0]}`, expected one that fits")
        for field in sorted(_given(step) & _NUMBERS):
            if not _holds(column, value := getattr(step, field)):
                raise MinimisationError(f"column `{name}`: got `{field}: {value}`, expected a number that type `{column.type}` can hold")


def coarser(value: str, column: Column, step: Generalisation) -> str:
    """SQL of the typed `value` after one generalisation, of the same type; it must have passed `check`."""
    kind = sql_type(column)
    if step.bottom is not None or step.top is not None:
        tests = [(step.bottom, "<"), (step.top, ">")]
        cases = [
            f"WHEN {value} {sign} {literal(column, limit)} THEN {literal(column, limit)}" for limit, sign in tests if limit is not None
        ]
        value = f"CASE {' '.join(cases)} ELSE {value} END"
    if step.band is not None:
        value = _banded(value, column, step.band)
    if step.truncate is not None:
        value = f"CAST(DATE_TRUNC('{step.truncate}', {value}) AS {kind})"
    if step.prefix is not None:
        value = f"SUBSTRING({value}, 1, {step.prefix})"
    if step.regions is not None:
        cases = [f"WHEN {string(found)} THEN {string(region)}" for found, region in step.regions.items()]
        value = f"CASE {value} {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"
    return value


def coarse_bound(bound: Decimal, column: Column, steps: Sequence[Generalisation]) -> Decimal:
    """What a public bound becomes. Steps never swap two numbers, so that values between two bounds stay between what these become."""
    for step in steps:
        bound = bound if step.bottom is None else max(bound, step.bottom)
        bound = bound if step.top is None else min(bound, step.top)
        if step.band is not None and column.type == "double":
            ends = math.floor(float(bound) / float(step.band)) * float(step.band)  # as the data engine computes it
            bound = Decimal(ends)
        elif step.band is not None:
            bound = math.floor(Fraction(bound) / Fraction(step.band)) * step.band
    return bound


def _banded(value: str, column: Column, band: Decimal) -> str:
    """floor(value / band) × band."""
    kind = sql_type(column)
    if column.type == "double":
        width = literal(column, band)
        ends = f"FLOOR({value} / {width}) * {width}"
        return f"CASE WHEN ISFINITE({ends}) THEN {ends} END"
    wide = f"DECIMAL(38, {exact_digits(column)[1]})"
    width = f"CAST({literal(column, band)} AS {wide})"
    number = f"CAST({value} AS {wide})"
    return f"TRY_CAST({number} - (({number} % {width} + {width}) % {width}) AS {kind})"


def _given(step: Generalisation) -> frozenset[str]:
    return frozenset(name for name, value in step if value is not None)


def _holds(column: Column, value: Decimal) -> bool:
    """Whether the column's type has this number."""
    if not value.is_finite() or abs(value.adjusted()) > _FAR:
        return False
    if column.type == "double":
        return math.isfinite(float(value)) and (float(value) != 0 or value == 0)
    digits, scale = exact_digits(column)
    scaled: Fraction = Fraction(value) * 10**scale
    most: int = 10**digits - 1
    return scaled.denominator == 1 and abs(scaled) <= most
