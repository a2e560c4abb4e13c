"""What may be written in a feature: aggregates over columns of one table, and the reader that builds the new tree.

Every node class is on a positive list, here or in `governance.scalars`, with the arguments it may have; the reader
matches classes exactly and never passes a parsed node on. Own functions (`days_since`, `share_of`, `n_distinct`) are
read as combinations of listed nodes. Sums are of decimals and whole numbers alone, because sums of doubles differ
from run to run; means and variances are made of such sums.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from sqlglot import exp

from governance import scalars, terms
from governance.reads import ExpressionError, Read
from governance.terms import BOOLEAN, DATE, DOUBLE, TEXT, Kind, Term, TermError, Type, made
from policies.contract import Column

DIALECT = "duckdb"
MAX_DEPTH = 40
"""Levels of nodes."""

_SET_BY_PARSER = frozenset({"big_int", "ignore_nulls", "safe", "date_part_boundary", "is_string"})
"""Arguments that the parser sets by itself; the new tree does not take them over."""

_BIT = Type(Kind.EXACT, 1)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate over rows that satisfy `condition`. `counts`: 0, not NULL, over no rows."""

    function: str
    condition: str | None = None
    counts: bool = False

    def sql(self, *conditions: str) -> str:
        """The aggregate over rows that satisfy `conditions` as well."""
        every = [*conditions, *([self.condition] if self.condition else [])]
        return f"{self.function} FILTER (WHERE {' AND '.join(every)})" if every else self.function


@dataclass(frozen=True, slots=True)
class Scope:
    """Columns that an expression over `table` may name, with the table that owns each; `clashes` are in table and look-up."""

    table: str
    columns: Mapping[str, tuple[str, Column]]
    clashes: frozenset[str] = frozenset()


class Reader:
    """Reads one parsed expression; collects its aggregates and every column that it reads."""

    def __init__(self, feature: str, reach: Scope, as_of: dt.date) -> None:
        self.aggregates: list[Aggregate] = []
        self.reads: set[Read] = set()
        self._feature = feature
        self._reach = reach
        self._as_of = as_of
        self._in_row = False
        self._conditions: list[Term] = []
        self._depth = 0

    def read(self, node: exp.Expr | None) -> Term:
        """The term of a listed node; numbers outside aggregates are doubles. Raises ExpressionError."""
        if node is None:  # sqlglot reads `@` as the absolute value of nothing
            raise TermError("expected a value here")
        self._check_listed(node)
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise TermError(f"expected at most {MAX_DEPTH} levels")
            term = _FORMS[type(node)][1](self, node) if type(node) in _FORMS else scalars.FORMS[type(node)][1](self.read, node)
            return terms.double(term) if term.type.kind is Kind.EXACT and not self._in_row else term
        except TermError as error:
            raise self._refusal(node, str(error)) from None
        finally:
            self._depth -= 1

    def _check_listed(self, node: exp.Expr) -> None:
        form = _FORMS.get(type(node)) or scalars.FORMS.get(type(node))
        if form is None:
            raise self._refusal(node, f"expected nodes of the feature language, not `{type(node).__name__}`")
        for name, value in node.args.items():
            if name not in form[0] and name not in _SET_BY_PARSER and value not in (None, False, []):
                raise self._refusal(node, f"expected no `{name}` here")

    def _refusal(self, node: exp.Expr, expected: str) -> ExpressionError:
        starts = [found.meta["start"] for found in node.walk() if "start" in found.meta]
        return ExpressionError(self._feature, node.sql(DIALECT, comments=False)[:80], expected, min(starts, default=None))

    @contextmanager
    def _rows(self) -> Iterator[None]:
        """Inside an aggregate."""
        if self._in_row:
            raise TermError("expected no aggregate inside an aggregate")
        self._in_row = True
        try:
            yield
        finally:
            self._in_row = False

    @contextmanager
    def _only(self, node: exp.Expr) -> Iterator[None]:
        """Aggregates inside are over rows that satisfy the condition `node`."""
        with self._rows():
            condition = terms.boolean(self.read(node))
        self._conditions.append(condition)
        try:
            yield
        finally:
            self._conditions.pop()

    def _result(self, function: type[exp.Expr], argument: exp.Expr, counts: bool = False) -> exp.Expr:
        """The column `a0`, `a1`, … that stands for the aggregate's result."""
        every = [terms.safe(each) for each in self._conditions]
        condition = exp.and_(*every).sql(DIALECT, identify=True) if every else None
        added = Aggregate(function(this=argument.copy()).sql(DIALECT, identify=True), condition, counts)
        if added not in self.aggregates:
            self.aggregates.append(added)
        return exp.column(f"a{self.aggregates.index(added)}")

    def _number(self, function: type[exp.Expr], argument: exp.Expr) -> Term:
        """A numeric result, as a double."""
        result = self._result(function, argument, counts=function is exp.Count)
        return Term(exp.TryCast(this=result, to=exp.DataType.build("DOUBLE")), DOUBLE)

    def _argument(self, node: exp.Expr) -> Term:
        """The argument of a sum or mean; conditions count as 1 and 0."""
        with self._rows():
            term = terms.settled(self.read(node))
        return terms.cast(term, _BIT) if term.type is BOOLEAN else term

    def column(self, node: exp.Expr) -> Term:
        """A column, by its exact name, inside an aggregate."""
        name = node.this.name if isinstance(node.this, exp.Identifier) else ""
        if name not in self._reach.columns:
            raise TermError(f"expected a column of `{self._reach.table}`, exactly one of {sorted(self._reach.columns)}")
        if name in self._reach.clashes:
            raise TermError("expected a name that table and look-up do not share")
        if not self._in_row:
            raise TermError("expected every column inside an aggregate, such as `max(…)`")
        owner, column = self._reach.columns[name]
        self.reads.add((owner, name))
        return Term(exp.Column(this=exp.to_identifier(name, quoted=True)), terms.column_type(column))

    def literal(self, node: exp.Expr) -> Term:
        """Text in quotes, or a number of at most 18 digits."""
        value = str(node.this)
        if node.args["is_string"]:
            return Term(exp.Literal.string(value), TEXT, text=value)
        try:
            number = Decimal(value)
        except InvalidOperation:  # `0E`
            raise TermError("expected a number as in `12.5`") from None
        digits, power = number.as_tuple()[1:]
        if not isinstance(power, int) or abs(power) > 18 or len(digits) + max(power, 0) > 18:
            raise TermError("expected a number of at most 18 digits")
        kind = Type(Kind.EXACT, max(len(digits) + power, 1), max(-power, 0))
        return Term(exp.Literal.number(f"{number:f}"), kind)

    def filtered(self, node: exp.Expr) -> Term:
        """`… FILTER (WHERE condition)`."""
        if type(node.expression) is not exp.Where:
            raise TermError("expected `filter (where …)`")
        with self._only(node.expression.this):
            return self.read(node.this)

    def count(self, node: exp.Expr) -> Term:
        """`count(*)`, `count(x)`, `count(distinct x)`."""
        match node.this:
            case exp.Star() as star if not any(star.args.values()) and not self._in_row:
                return self._number(exp.Count, exp.Star())
            case exp.Distinct(expressions=[only]) as distinct if not distinct.args.get("on"):
                return self.distinct(only)
            case exp.Expr() as inner:
                with self._rows():
                    return self._number(exp.Count, terms.safe(self.read(inner)))
            case _:
                raise TermError("expected `count(*)`, `count(x)` or `count(distinct x)`")

    def distinct(self, inner: exp.Expr) -> Term:
        """Number of distinct values."""
        with self._rows():
            return self._number(exp.Count, exp.Distinct(expressions=[terms.safe(self.read(inner))]))

    def count_if(self, condition: exp.Expr) -> Term:
        """Number of rows that satisfy a condition."""
        with self._only(condition):
            return self._number(exp.Count, exp.Star())

    def share_of(self, condition: exp.Expr) -> Term:
        """Share of rows that satisfy a condition, among those where it is known."""
        with self._rows():
            known = terms.safe(terms.boolean(self.read(condition)))
        return terms.quotient(self.count_if(condition), self._number(exp.Count, known))

    def summed(self, node: exp.Expr) -> Term:
        """Sum of decimals or whole numbers."""
        return self._number(exp.Sum, terms.safe(terms.summand(self._argument(node.this))))

    def average(self, node: exp.Expr) -> Term:
        """Sum by count, both over what could be summed."""
        argument = terms.safe(terms.summand(self._argument(node.this)))
        return terms.quotient(self._number(exp.Sum, argument), self._number(exp.Count, argument))

    def spread(self, node: exp.Expr) -> Term:
        """Variance or standard deviation from exact sums, (Σx² - (Σx)²/n) / (n - 1), or n for the population's."""
        term = terms.squarable(self._argument(node.this))
        square = terms.arithmetic(exp.Mul, term, replace(term, tree=term.tree.copy()))
        total, squares = (self._number(exp.Sum, terms.safe(each)) for each in (term, square))
        n = self._number(exp.Count, terms.safe(term))
        one = Term(exp.cast(exp.Literal.number(1), "DOUBLE"), DOUBLE)
        divisor = n if type(node) in (exp.StddevPop, exp.VariancePop) else terms.arithmetic(exp.Sub, n, one)
        around = terms.arithmetic(exp.Sub, squares, terms.quotient(terms.arithmetic(exp.Mul, total, total), n))
        variance = terms.quotient(around, divisor)
        if type(node) in (exp.Variance, exp.VariancePop):
            return variance
        rounded = made(exp.Abs(this=variance.tree), DOUBLE, variance, finite=False)
        return made(exp.Sqrt(this=rounded.tree), DOUBLE, rounded, finite=False)

    def extreme(self, node: exp.Expr) -> Term:
        """Smallest or largest value, of any type."""
        with self._rows():
            term = terms.settled(self.read(node.this))
        if term.type.number:
            return self._number(type(node), terms.safe(term))
        return Term(self._result(type(node), terms.safe(term)), term.type)

    def quantified(self, node: exp.Expr) -> Term:
        """Whether a condition holds in some row, or in all."""
        with self._rows():
            condition = terms.safe(terms.boolean(self.read(node.this)))
        return Term(self._result(type(node), condition), BOOLEAN)

    def own(self, node: exp.Expr) -> Term:
        """Own functions, and spellings that the parser does not know."""
        match str(node.this).lower(), node.expressions:
            case "days_since", [moment]:
                today = Term(exp.cast(exp.Literal.string(self._as_of.isoformat()), "DATE"), DATE)
                return terms.days(today, self.read(moment))
            case "share_of", [condition]:
                return self.share_of(condition)
            case "n_distinct", [value]:
                return self.distinct(value)
            case "date_part", [exp.Literal(this=part), moment]:
                return scalars.part(self.read, moment, str(part))
            case _:
                raise TermError("expected a function of the feature language, with its arguments")


def _forms() -> Mapping[type[exp.Expr], tuple[frozenset[str], Callable[[Reader, exp.Expr], Term]]]:
    one = frozenset({"this"})
    spreads = (exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.Variance, exp.VariancePop)
    return {
        exp.Column: (one, Reader.column),
        exp.Literal: (one, Reader.literal),
        exp.Anonymous: (frozenset({"this", "expressions"}), Reader.own),
        exp.Filter: (frozenset({"this", "expression"}), Reader.filtered),
        exp.Count: (one, Reader.count),
        exp.CountIf: (one, lambda reader, node: reader.count_if(node.this)),
        exp.Sum: (one, Reader.summed),
        exp.Avg: (one, Reader.average),
        exp.Min: (one, Reader.extreme),
        exp.Max: (one, Reader.extreme),
        exp.LogicalOr: (one, Reader.quantified),
        exp.LogicalAnd: (one, Reader.quantified),
        **{each: (one, Reader.spread) for each in spreads},
    }


_FORMS = _forms()
