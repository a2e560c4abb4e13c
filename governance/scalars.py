"""Scalar nodes of the feature language: for each listed node class, which arguments it may have and the term it makes.

Each form is total: comparisons are of one type, logarithms, roots and quotients are IEEE doubles that are settled to
NULL, dates are cast before anything is computed. Not here: columns, literals and aggregates (`governance.grammar`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from governance import terms
from governance.columns import MAX_CHARACTERS
from governance.terms import BOOLEAN, DATE, DOUBLE, INTEGER, NULL, TEXT, TIMESTAMP, Kind, Term, TermError, Type, made

Read = Callable[[exp.Expr], Term]
"""Reads a node below, under the same rules."""

Form = tuple[frozenset[str], Callable[[Read, exp.Expr], Term]]
"""Arguments that a node class may have, and how it is read."""

DATE_PARTS = ("year", "quarter", "month", "week", "day", "dow", "isodow", "doy", "hour")
TRUNCATIONS = ("year", "quarter", "month", "week", "day")
DAY_UNITS = ("day", "week", "month", "quarter", "year")
HOUR_UNITS = ("hour", "minute", "second")
MAX_TEXT = 1000
"""Longest piece of text that `substring` takes."""

_NAMED_PARTS: Mapping[type[exp.Expr], str] = {
    exp.Year: "year",
    exp.Quarter: "quarter",
    exp.Month: "month",
    exp.Week: "week",
    exp.Day: "day",
    exp.DayOfWeek: "dow",
    exp.DayOfWeekIso: "isodow",
    exp.DayOfYear: "doy",
    exp.Hour: "hour",
}

_CASTS: Mapping[exp.DType, Type] = {
    exp.DType.TINYINT: INTEGER,
    exp.DType.SMALLINT: INTEGER,
    exp.DType.INT: INTEGER,
    exp.DType.BIGINT: INTEGER,
    exp.DType.FLOAT: DOUBLE,
    exp.DType.DOUBLE: DOUBLE,
    exp.DType.BOOLEAN: BOOLEAN,
    exp.DType.TEXT: TEXT,
    exp.DType.VARCHAR: TEXT,
    exp.DType.DATE: DATE,
    exp.DType.TIMESTAMP: TIMESTAMP,
    exp.DType.TIMESTAMPNTZ: TIMESTAMP,
}

_CASTABLE: Mapping[Kind, frozenset[Kind]] = {
    Kind.EXACT: frozenset({Kind.EXACT, Kind.DOUBLE, Kind.BOOLEAN, Kind.TEXT}),
    Kind.DOUBLE: frozenset({Kind.EXACT, Kind.DOUBLE}),
    Kind.BOOLEAN: frozenset({Kind.EXACT, Kind.DOUBLE, Kind.BOOLEAN, Kind.TEXT}),
    Kind.TEXT: frozenset(Kind),
    Kind.DATE: frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TEXT}),
    Kind.TIMESTAMP: frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TEXT}),
    Kind.NULL: frozenset(Kind),
}


def part(read: Read, moment: exp.Expr, name: str) -> Term:
    """A part of a date or timestamp. Raises TermError."""
    if name.lower() not in DATE_PARTS:
        raise TermError(f"expected a date part, one of {list(DATE_PARTS)}")
    operand = read(moment)
    operand = terms.moment(operand, TIMESTAMP if operand.type is TIMESTAMP else DATE)
    return made(exp.Extract(this=exp.Var(this=name.upper()), expression=operand.tree), Type(Kind.EXACT, 6), operand, risky=True)


def compared(node: type[exp.Expr], operands: Sequence[Term]) -> Term:
    """A comparison of two terms in one type."""
    left, right = terms.unify(operands)
    return made(exp.Paren(this=node(this=left.tree, expression=right.tree)), BOOLEAN, left, right)


def _null(read: Read, node: exp.Expr) -> Term:
    return Term(exp.Null(), NULL)


def _boolean(read: Read, node: exp.Expr) -> Term:
    return Term(exp.Boolean(this=bool(node.this)), BOOLEAN)


def _paren(read: Read, node: exp.Expr) -> Term:
    return read(node.this)


def _arithmetic(read: Read, node: exp.Expr) -> Term:
    return terms.arithmetic(type(node), read(node.this), read(node.expression))


def _quotient(read: Read, node: exp.Expr) -> Term:
    return terms.quotient(read(node.this), read(node.expression))


def _signed(read: Read, node: exp.Expr) -> Term:
    """`-x` and `abs(x)`, which keep the width of x."""
    term = read(node.this)
    term = terms.cast(term, term.type) if term.type.kind is Kind.EXACT else terms.double(term)
    inner = exp.Paren(this=term.tree) if isinstance(node, exp.Neg) else term.tree
    return made(exp.Paren(this=type(node)(this=inner)), term.type, term, finite=term.finite)


def _real(read: Read, node: exp.Expr) -> Term:
    """Functions of one double."""
    term = terms.double(read(node.this))
    return made(type(node)(this=term.tree), DOUBLE, term, finite=False)


def _sign(read: Read, node: exp.Expr) -> Term:
    """-1, 0 or 1."""
    term = terms.settled(terms.double(read(node.this)))
    return made(exp.TryCast(this=exp.Sign(this=term.tree), to=exp.DataType.build("DOUBLE")), DOUBLE, term)


def _logarithm(read: Read, node: exp.Expr) -> Term:
    """`log(x)` and `log10(x)` to base 10, `log2(x)` to base 2."""
    base = node.this if node.expression else exp.Literal.number(10)
    operand = node.expression or node.this
    if base not in (exp.Literal.number(2), exp.Literal.number(10)):
        raise TermError("expected a logarithm to base 2 or 10, or `ln(x)`")
    term = terms.double(read(operand))
    return made(exp.Anonymous(this=f"log{base.name}", expressions=[term.tree]), DOUBLE, term, finite=False)


def _power(read: Read, node: exp.Expr) -> Term:
    base, exponent = (terms.settled(terms.double(read(each))) for each in (node.this, node.expression))
    return made(exp.Pow(this=base.tree, expression=exponent.tree), DOUBLE, base, exponent, finite=False)


def _round(read: Read, node: exp.Expr) -> Term:
    """`round(x)` or `round(x, places)`, in doubles."""
    term = terms.double(read(node.this))
    places = _whole(node.args.get("decimals"), 0, 9) if node.args.get("decimals") else 0
    return made(exp.Round(this=term.tree, decimals=exp.Literal.number(places)), DOUBLE, term, finite=term.finite)


def _whole(node: exp.Expr | None, least: int, most: int) -> int:
    """A literal whole number."""
    if isinstance(node, exp.Literal) and not node.args["is_string"] and node.name.isdecimal() and least <= int(node.name) <= most:
        return int(node.name)
    raise TermError(f"expected a whole number from {least} to {most}")


def _connected(read: Read, node: exp.Expr) -> Term:
    left, right = (terms.boolean(read(each)) for each in (node.this, node.expression))
    return made(exp.Paren(this=type(node)(this=left.tree, expression=right.tree)), BOOLEAN, left, right)


def _negated(read: Read, node: exp.Expr) -> Term:
    term = terms.boolean(read(node.this))
    return made(exp.Paren(this=exp.Not(this=exp.Paren(this=term.tree))), BOOLEAN, term)


def _comparison(read: Read, node: exp.Expr) -> Term:
    return compared(type(node), [read(node.this), read(node.expression)])


def _between(read: Read, node: exp.Expr) -> Term:
    term, low, high = terms.unify([read(node.this), read(node.args["low"]), read(node.args["high"])])
    return made(exp.Paren(this=exp.Between(this=term.tree, low=low.tree, high=high.tree)), BOOLEAN, term, low, high)


def _in(read: Read, node: exp.Expr) -> Term:
    if not node.expressions:
        raise TermError("expected a list of values after `in`")
    term, *values = terms.unify([read(node.this), *(read(value) for value in node.expressions)])
    return made(exp.Paren(this=exp.In(this=term.tree, expressions=[value.tree for value in values])), BOOLEAN, term, *values)


def _is(read: Read, node: exp.Expr) -> Term:
    term = terms.settled(read(node.this))
    match node.expression:
        case exp.Null():
            against: exp.Expr = exp.Null()
        case exp.Boolean(this=value):
            term, against = terms.boolean(term), exp.Boolean(this=bool(value))
        case _:
            raise TermError("expected `is null`, `is true` or `is false`")
    return made(exp.Paren(this=exp.Is(this=term.tree, expression=against)), BOOLEAN, term)


def _first(read: Read, node: exp.Expr) -> Term:
    """`coalesce`, and `greatest` and `least`, which skip NULLs."""
    first, *others = terms.unify([read(node.this), *(read(each) for each in node.expressions)])
    tree = type(node)(this=first.tree, expressions=[other.tree for other in others])
    if not isinstance(node, exp.Coalesce):
        tree.set("ignore_nulls", True)
    return made(tree, first.type, first, *others)


def _nullif(read: Read, node: exp.Expr) -> Term:
    value, unwanted = terms.unify([read(node.this), read(node.expression)])
    return made(exp.Nullif(this=value.tree, expression=unwanted.tree), value.type, value, unwanted)


def _chosen(read: Read, node: exp.Expr) -> Term:
    """CASE with conditions, CASE with values to compare, and IF."""
    case = isinstance(node, exp.Case)
    branches = node.args["ifs"] if case else [node]
    subject = read(node.this) if case and node.this else None
    tests = [read(branch.this) for branch in branches]
    conditions = [terms.boolean(test) if subject is None else compared(exp.EQ, [subject, test]) for test in tests]
    otherwise = node.args.get("default" if case else "false")
    last = Term(exp.Null(), NULL) if otherwise is None else read(otherwise)
    *results, rest = terms.unify([*(read(branch.args["true"]) for branch in branches), last])
    ifs = [exp.If(this=condition.tree, true=result.tree) for condition, result in zip(conditions, results, strict=True)]
    return made(exp.Case(ifs=ifs, default=rest.tree), rest.type, *conditions, *results, rest)


def _cast(read: Read, node: exp.Expr) -> Term:
    """Every cast gives NULL where it fails."""
    wanted, term = node.args["to"], terms.settled(read(node.this))
    to = _CASTS.get(wanted.this)
    if wanted.this is exp.DType.DECIMAL:
        digits, scale = ([_whole(each.this, 0, 18) for each in wanted.expressions] + [0])[:2]
        to = Type(Kind.EXACT, digits - scale, scale) if digits >= max(scale, 1) else None
    elif wanted.expressions:
        to = None
    if to is None or to.kind not in _CASTABLE[term.type.kind]:
        raise TermError(f"expected a cast between scalar types, got one of {term.type.kind.value} to `{wanted.sql('duckdb')}`")
    if term.text is not None and to in (DATE, TIMESTAMP):
        return terms.moment(term, to)
    if to is INTEGER:
        return made(exp.TryCast(this=term.tree, to=exp.DataType.build("BIGINT")), INTEGER, term)
    return terms.settled(terms.cast(term, to))


def _extract(read: Read, node: exp.Expr) -> Term:
    return part(read, node.expression, node.this.name)


def _named_part(read: Read, node: exp.Expr) -> Term:
    return part(read, node.this, _NAMED_PARTS[type(node)])


def _truncated(read: Read, node: exp.Expr) -> Term:
    """The first day of the year, quarter, month or week."""
    unit = node.args["unit"].name.lower()
    if unit not in TRUNCATIONS:
        raise TermError(f"expected one of {list(TRUNCATIONS)}")
    operand = terms.moment(read(node.this), DATE)
    return terms.cast(made(exp.TimestampTrunc(this=operand.tree, unit=exp.Var(this=unit.upper())), TIMESTAMP, operand, risky=True), DATE)


def _difference(read: Read, node: exp.Expr) -> Term:
    """`date_diff('day', from, to)`: boundaries crossed."""
    unit = node.args["unit"].name.lower() if node.args.get("unit") else ""
    if unit not in DAY_UNITS + HOUR_UNITS:
        raise TermError(f"expected one of {list(DAY_UNITS + HOUR_UNITS)}")
    later, earlier = (terms.moment(read(each), DATE if unit in DAY_UNITS else TIMESTAMP) for each in (node.this, node.expression))
    tree = exp.DateDiff(this=later.tree, expression=earlier.tree, unit=exp.Var(this=unit.upper()), date_part_boundary=True)
    return made(tree, Type(Kind.EXACT, 13), later, earlier, risky=True)


def _worded(read: Read, node: exp.Expr) -> Term:
    term = terms.text(read(node.this))
    return made(type(node)(this=term.tree), TEXT, term)


def _length(read: Read, node: exp.Expr) -> Term:
    term = terms.text(read(node.this))
    return made(exp.Length(this=term.tree), Type(Kind.EXACT, 10), term)


def _substring(read: Read, node: exp.Expr) -> Term:
    term = terms.text(read(node.this))
    start, length = (exp.Literal.number(_whole(node.args.get(name), 1, MAX_TEXT)) for name in ("start", "length"))
    return made(exp.Substring(this=term.tree, start=start, length=length), TEXT, term, risky=True)


def _matched(read: Read, node: exp.Expr) -> Term:
    """`like`, `ilike`, `starts_with`, `contains`, with a pattern that is written out."""
    term, pattern = terms.text(read(node.this)), read(node.expression)
    if pattern.text is None:
        raise TermError("expected a pattern in quotes")
    tree = type(node)(this=term.tree, expression=pattern.tree)
    return made(exp.Paren(this=tree), BOOLEAN, term, pattern, risky=True)


def _joined(read: Read, node: exp.Expr) -> Term:
    """`a || b`, cut like a column, so that no row can take all memory."""
    left, right = (terms.text(read(each)) for each in (node.this, node.expression))
    both = exp.Paren(this=exp.DPipe(this=left.tree, expression=right.tree, safe=True))
    start, length = exp.Literal.number(1), exp.Literal.number(MAX_CHARACTERS)
    return made(exp.Substring(this=both, start=start, length=length), TEXT, left, right)


def _forms() -> Mapping[type[exp.Expr], Form]:
    one, two = frozenset({"this"}), frozenset({"this", "expression"})
    some = frozenset({"this", "expressions"})
    forms: dict[type[exp.Expr], Form] = {
        exp.Null: (frozenset(), _null),
        exp.Boolean: (one, _boolean),
        exp.Paren: (one, _paren),
        exp.Div: (two, _quotient),
        exp.Sign: (one, _sign),
        exp.Log: (two, _logarithm),
        exp.Pow: (two, _power),
        exp.Round: (frozenset({"this", "decimals"}), _round),
        exp.Not: (one, _negated),
        exp.Between: (frozenset({"this", "low", "high"}), _between),
        exp.In: (some, _in),
        exp.Is: (two, _is),
        exp.Nullif: (two, _nullif),
        exp.Case: (frozenset({"this", "ifs", "default"}), _chosen),
        exp.If: (frozenset({"this", "true", "false"}), _chosen),
        exp.Extract: (two, _extract),
        exp.TimestampTrunc: (frozenset({"this", "unit"}), _truncated),
        exp.DateTrunc: (frozenset({"this", "unit"}), _truncated),
        exp.DateDiff: (frozenset({"this", "expression", "unit"}), _difference),
        exp.Length: (one, _length),
        exp.Substring: (frozenset({"this", "start", "length"}), _substring),
        exp.DPipe: (two, _joined),
    }
    forms |= {each: (two, _arithmetic) for each in (exp.Add, exp.Sub, exp.Mul)}
    forms |= {each: (one, _signed) for each in (exp.Neg, exp.Abs)}
    forms |= {each: (one, _real) for each in (exp.Ln, exp.Sqrt, exp.Exp, exp.Floor, exp.Ceil)}
    forms |= {each: (two, _connected) for each in (exp.And, exp.Or)}
    forms |= {each: (two, _comparison) for each in (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)}
    forms |= {each: (some, _first) for each in (exp.Coalesce, exp.Greatest, exp.Least)}
    forms |= {each: (frozenset({"this", "to"}), _cast) for each in (exp.Cast, exp.TryCast)}
    forms |= {each: (one, _named_part) for each in _NAMED_PARTS}
    forms |= {each: (one, _worded) for each in (exp.Lower, exp.Upper, exp.Trim)}
    forms |= {each: (two, _matched) for each in (exp.Like, exp.ILike, exp.StartsWith, exp.Contains)}
    return forms


FORMS = _forms()
"""The positive list of scalar nodes."""
