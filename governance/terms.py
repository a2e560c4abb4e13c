"""Typed terms of the feature language: what each SQL tree evaluates to, and casts between types that cannot fail.

Numbers are *exact* (decimals whose width is tracked, so that no operation can overflow) or *double* (IEEE, where a
term that may be NaN or infinite is marked and settled to NULL before anything looks at it). Everything is a plain
sqlglot tree that DuckDB and Spark read alike. Not here: what may be written (`governance.expressions`).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from sqlglot import exp

from policies.contract import Column

MAX_DIGITS = 38
"""Digits of the widest decimal."""

NARROW_DIGITS = 18
"""Two decimals up to this width give one of this width in DuckDB, even where the result needs more: one must be wider."""

SUM_DIGITS = 28
"""Digits of a summand: ten are left, for 10^10 rows a subject."""

SUM_SCALE = 9
"""Decimal places that a double keeps in a sum; sums of doubles themselves differ from run to run (FINDINGS)."""

INTEGER_DIGITS = 19
"""Digits of a 64-bit integer."""

YEARS = ("0001-01-01", "9999-12-31")
"""First and last day that a text may name, as a column may: a day further off would not fit into the digits of a difference."""

MAX_SIZE = 4000
"""Nodes of a term; settling repeats its operand, and must not grow without end."""


class TermError(Exception):
    """The types do not fit; the message says what was expected and got."""


class Kind(StrEnum):
    """What a term evaluates to."""

    EXACT = "whole or decimal number"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Type:
    """A kind; for exact numbers the digits before and after the point. `whole` of a double: digits of its public bounds, if any."""

    kind: Kind
    whole: int = 0
    scale: int = 0

    @property
    def number(self) -> bool:
        """True for exact and double."""
        return self.kind in (Kind.EXACT, Kind.DOUBLE)

    @property
    def digits(self) -> int:
        """Digits in all."""
        return self.whole + self.scale

    def sql(self) -> str:
        """The SQL type."""
        match self.kind:
            case Kind.EXACT:
                return f"DECIMAL({max(self.digits, 1)}, {self.scale})"
            case Kind.TEXT:
                return "VARCHAR"
            case Kind.NULL:
                return "BOOLEAN"
            case _:
                return self.kind.name


INTEGER = Type(Kind.EXACT, INTEGER_DIGITS)
DOUBLE = Type(Kind.DOUBLE)
BOOLEAN = Type(Kind.BOOLEAN)
TEXT = Type(Kind.TEXT)
DATE = Type(Kind.DATE)
TIMESTAMP = Type(Kind.TIMESTAMP)
NULL = Type(Kind.NULL)


@dataclass(frozen=True, slots=True)
class Term:
    """A tree and its type. `finite`: never NaN or infinite. `risky`: may raise, so that it needs TRY. `text`: a literal's value."""

    tree: exp.Expr
    type: Type
    finite: bool = True
    risky: bool = False
    text: str | None = None
    size: int = 1


def made(tree: exp.Expr, kind: Type, *parts: Term, finite: bool = True, risky: bool = False) -> Term:
    """A term made of `parts`. Raises TermError where it grows too large."""
    size = 1 + sum(part.size for part in parts)
    if size > MAX_SIZE:
        raise TermError("expected a simpler expression")
    return Term(tree, kind, finite, risky or any(part.risky for part in parts), size=size)


def column_type(column: Column) -> Type:
    """The type of a contract's column, narrowed by its public bounds, which minimisation enforces."""
    match column.type:
        case "text":
            return TEXT
        case "boolean":
            return BOOLEAN
        case "date":
            return DATE
        case "timestamp":
            return TIMESTAMP
        case "double":
            return Type(Kind.DOUBLE, _bounded_digits(column) or 0)
        case "integer":
            return Type(Kind.EXACT, min(_bounded_digits(column) or INTEGER_DIGITS, INTEGER_DIGITS))
        case decimal:
            digits, scale = (int(part) for part in decimal[8:-1].split(","))
            return Type(Kind.EXACT, min(_bounded_digits(column) or digits, digits - scale), scale)


def _bounded_digits(column: Column) -> int | None:
    """Digits before the point of any value within the bounds, or of the value that stands in for a missing one."""
    if column.bounds is None or isinstance(column.missing, str) or not math.isfinite(column.missing or 0):
        return None
    return max(len(str(int(abs(value)))) for value in (*column.bounds, Decimal(column.missing or 0)))


def cast(term: Term, to: Type) -> Term:
    """`term` as `to`; what does not fit becomes NULL."""
    if term.type == to and to.kind is not Kind.EXACT:
        return term
    tree: exp.Expr = exp.TryCast(this=term.tree, to=exp.DataType.build(to.sql(), dialect="duckdb"))
    if term.type.kind is Kind.TEXT and to in (DATE, TIMESTAMP):
        first, last = (exp.cast(exp.Literal.string(moment), to.sql(), dialect="duckdb") for moment in YEARS)
        common = exp.Between(this=tree.copy(), low=first, high=last)
        return made(exp.Case(ifs=[exp.If(this=common, true=tree)]), to, term, term)
    finite = to.kind is not Kind.DOUBLE or (term.finite and term.type.kind is not Kind.TEXT)
    return made(tree, to, term, finite=finite)


def settled(term: Term) -> Term:
    """`term` with NaN and infinities as NULL."""
    if term.finite:
        return term
    condition = exp.func("ISFINITE", term.tree.copy(), dialect="duckdb")
    return made(exp.Case(ifs=[exp.If(this=condition, true=term.tree)]), term.type, term, term)


def safe(term: Term) -> exp.Expr:
    """The tree of a settled term, in TRY where some part of it may raise."""
    tree = settled(term).tree
    return exp.Try(this=tree) if term.risky else tree


def double(term: Term) -> Term:
    """A number as double."""
    _expect(term, term.type.number, "a number")
    return term if term.type.kind is Kind.DOUBLE else cast(term, DOUBLE)


def boolean(term: Term) -> Term:
    """A condition, unchanged."""
    _expect(term, term.type.kind in (Kind.BOOLEAN, Kind.NULL), "a condition")
    return term


def text(term: Term) -> Term:
    """Text, unchanged."""
    _expect(term, term.type.kind is Kind.TEXT, "text")
    return term


def moment(term: Term, to: Type) -> Term:
    """A date, a timestamp or a literal of one, as `to`: dates are cast before anything is computed with them."""
    if term.text is not None:
        return Term(exp.cast(exp.Literal.string(_iso(term.text, to)), to.sql(), dialect="duckdb"), to)
    _expect(term, term.type.kind in (Kind.DATE, Kind.TIMESTAMP), "a date or a timestamp")
    return cast(term, to)


def _iso(value: str, to: Type) -> str:
    try:
        found = dt.datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None:
        raise TermError(f"expected a date such as `2024-01-31`, got `{value}`")
    return found.date().isoformat() if to is DATE else found.isoformat(sep=" ")


def unify(terms: Sequence[Term]) -> list[Term]:
    """All terms in one type, settled. Raises TermError where there is none."""
    common = _common(terms)
    if all(term.type.kind is Kind.EXACT and term.type.scale == 0 for term in terms) and common.kind is Kind.EXACT:
        return [replace(term, type=common) for term in terms]
    dated = common in (DATE, TIMESTAMP)
    return [settled(moment(term, common) if dated and term.type is not NULL else cast(term, common)) for term in terms]


def _common(terms: Sequence[Term]) -> Type:
    kinds = {term.type.kind for term in terms} - {Kind.NULL}
    if kinds <= {Kind.EXACT, Kind.DOUBLE} and kinds:
        exact = [term.type for term in terms if term.type.kind is Kind.EXACT]
        whole, scale = (max((getattr(t, part) for t in exact), default=0) for part in ("whole", "scale"))
        return DOUBLE if Kind.DOUBLE in kinds or whole + scale > MAX_DIGITS else Type(Kind.EXACT, whole, scale)
    if kinds & {Kind.DATE, Kind.TIMESTAMP}:
        literals = [term for term in terms if term.type.kind is Kind.TEXT and term.text is not None]
        others = {term.type.kind for term in terms if term not in literals} - {Kind.NULL}
        if others <= {Kind.DATE, Kind.TIMESTAMP}:
            midnight = others == {Kind.DATE} and all(len(literal.text or "") <= len("2024-01-31") for literal in literals)
            return DATE if midnight else TIMESTAMP
    if len(kinds) == 1:
        return Type(kinds.pop())
    raise TermError(f"expected values of one type, got {', '.join(sorted(kinds)) or 'only NULL'}")


def arithmetic(node: type[exp.Expr], left: Term, right: Term) -> Term:
    """`left` + - * `right`: exact as long as no value can overflow, double beyond; date - date: whole days."""
    if node is exp.Sub and {left.type.kind, right.type.kind} & {Kind.DATE, Kind.TIMESTAMP}:
        return days(left, right)
    for term in (left, right):
        _expect(term, term.type.number, "a number")
    if left.type.kind is right.type.kind is Kind.EXACT:
        a, b = left.type, right.type
        scale = a.scale + b.scale if node is exp.Mul else max(a.scale, b.scale)
        whole = a.whole + b.whole if node is exp.Mul else max(a.whole, b.whole) + 1
        if whole + scale <= MAX_DIGITS:
            narrow = max(a.digits, b.digits) <= NARROW_DIGITS < whole + scale
            wide = Type(Kind.EXACT, NARROW_DIGITS + 1 - a.scale, a.scale) if narrow else a
            return made(_binary(node, cast(left, wide), cast(right, b)), Type(Kind.EXACT, whole, scale), left, right)
    return made(_binary(node, double(left), double(right)), DOUBLE, left, right, finite=False)


def quotient(left: Term, right: Term) -> Term:
    """`left` / `right` in doubles, never whole-number division; by zero: NULL, once settled."""
    divisor = settled(double(right))
    return made(_binary(exp.Div, double(left), divisor), DOUBLE, left, divisor, finite=False)


def days(later: Term, earlier: Term) -> Term:
    """Whole days from `earlier` to `later`, both cast to dates first."""
    to, start = moment(later, DATE), moment(earlier, DATE)
    return made(_binary(exp.Sub, to, start), Type(Kind.EXACT, 8), to, start)


def _binary(node: type[exp.Expr], left: Term, right: Term) -> exp.Expr:
    return exp.Paren(this=node(this=left.tree, expression=right.tree))


def summand(term: Term) -> Term:
    """A number as what is summed: whole numbers as they are, decimals no wider than `SUM_DIGITS`, doubles as decimals."""
    _expect(term, term.type.number, "a number")
    kind = term.type
    if kind.kind is Kind.EXACT and kind.digits <= SUM_DIGITS:
        return term
    if kind.kind is Kind.DOUBLE and 0 < kind.whole <= SUM_SCALE:
        return cast(term, Type(Kind.EXACT, 18 - SUM_SCALE, SUM_SCALE))
    scale = SUM_SCALE if kind.kind is Kind.DOUBLE else min(kind.scale, SUM_SCALE)
    return cast(term, Type(Kind.EXACT, SUM_DIGITS - scale, scale))


def squarable(term: Term) -> Term:
    """A number with half the digits of a summand, so that its square is a summand too."""
    _expect(term, term.type.number, "a number")
    half = SUM_DIGITS // 2
    known = min(term.type.whole or half - 4, half)
    scale = min(half - known, SUM_SCALE if term.type.kind is Kind.DOUBLE else term.type.scale)
    return cast(term, Type(Kind.EXACT, half - scale, scale))


def _expect(term: Term, holds: bool, expected: str) -> None:
    if not holds:
        raise TermError(f"expected {expected}, got {term.type.kind.value}")
