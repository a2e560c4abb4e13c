"""Features and labels, compiled: text in, SQL out that Consentric generated and that no row can make fail.

Text is parsed by sqlglot in DuckDB's dialect, within limits, and never passed on: `governance.grammar` builds a new
tree from what it understood. A feature becomes *aggregates* over rows and a *value* over their results, so that
features of a table share one pass and one FROM, which Consentric writes. Not here: which rows (`governance.relations`),
whether the columns may be read (`policies`).
"""

from __future__ import annotations

import datetime as dt
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp, parse
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from governance import terms
from governance.grammar import DIALECT, Aggregate, Reader, Scope
from governance.reads import LABEL, TREATMENT, ExpressionError, Read
from governance.terms import BOOLEAN, DOUBLE, TermError
from policies.contract import Column, Contract
from policies.segment import Lookup, Segment

__all__ = ["Aggregate", "Compiled", "ExpressionError", "Read", "Scope", "compile_expression", "compile_segment", "scope"]

MAX_LENGTH = 2000
MAX_TOKENS = 400

_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Controls, marks that turn the direction of writing, what has no width or no meaning: who approves an expression must see what it says."""

_JOINING = frozenset("\n\t\u200c\u200d")
"""Breaks of lines, and what words of some languages need."""

_STRICT = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Var, exp.Paren, exp.Neg, exp.Abs, exp.Sqrt, exp.Add, exp.Sub, exp.Mul, exp.Div),
    *(exp.TryCast, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Case, exp.If, exp.Anonymous),
)
"""Nodes that give NULL where an operand is NULL."""

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot parse is refused here, with a reason; its warnings would repeat it


@dataclass(frozen=True, slots=True)
class Compiled:
    """A feature, label or treatment: `aggregates` over rows of `table`, the value made of them, and every column read."""

    name: str
    table: str
    aggregates: tuple[Aggregate, ...]
    tree: exp.Expr
    reads: frozenset[Read]

    def value(self, results: Sequence[str]) -> str:
        """SQL of the value, where `results` are the SQL of the aggregates' results, in order."""
        names = {f"a{i}": exp.Var(this=result) for i, result in enumerate(results)}
        tree = self.tree.transform(lambda node: names[node.name].copy() if isinstance(node, exp.Column) else node)
        return tree.sql(DIALECT, identify=True)

    @property
    def null_over_nothing(self) -> bool:
        """Whether the value is surely NULL over no rows: made by `_STRICT` nodes alone from a result that is NULL then.
        (A CASE without ELSE is ours, and settles NaN.)"""
        found = any(not aggregate.counts for aggregate in self.aggregates)
        return found and all(isinstance(node, _STRICT) and not node.args.get("default") for node in self.tree.walk())

    @property
    def sql(self) -> str:
        """The whole as one expression, to be shown."""
        return self.value([aggregate.sql() for aggregate in self.aggregates])


def scope(contract: Contract, table: str, lookup: Lookup | None = None) -> Scope:
    """The columns in reach of `table`, those of the look-up too where `table` has its `on`. Raises ExpressionError."""
    if table not in contract.tables or contract.tables[table].reference:
        known = sorted(name for name, each in contract.tables.items() if not each.reference)
        raise ExpressionError(table, table, f"expected a table with a subject key, one of {known}")
    own = contract.tables[table].columns
    columns = {name: (table, column) for name, column in own.items()}
    if lookup is None or lookup.on not in own:
        return Scope(table, columns)
    other = _reference_columns(contract, lookup)
    if other[lookup.on].type != own[lookup.on].type:
        raise ExpressionError("lookup", lookup.on, f"expected one type in `{table}` and `{lookup.table}`")
    clashes = frozenset(other) & frozenset(own) - {lookup.on}
    return Scope(table, {name: (lookup.table, column) for name, column in other.items()} | columns, clashes)


def _reference_columns(contract: Contract, lookup: Lookup) -> dict[str, Column]:
    table = contract.tables.get(lookup.table)
    if table is None or not table.reference:
        known = sorted(name for name, each in contract.tables.items() if each.reference)
        raise ExpressionError("lookup", lookup.table, f"expected a reference table, one of {known}")
    if lookup.on not in table.columns:
        raise ExpressionError("lookup", lookup.on, f"expected a column of `{lookup.table}`, one of {sorted(table.columns)}")
    return table.columns


def compile_segment(contract: Contract, spec: Segment) -> tuple[Compiled, ...]:
    """Every feature in order, then treatment and label where there are any. Raises ExpressionError."""
    compiled = []
    own = ("subject", LABEL, *([TREATMENT] if spec.treatment else []))
    for name, feature in spec.features.items():
        if name.lower() in own:
            raise ExpressionError(name, name, f"expected another name, `{'`, `'.join(own)}` are columns of their own")
        reach = scope(contract, feature.table, spec.lookup)
        if contract.tables[feature.table].event_time is None and (feature.window or feature.max_rows):
            raise ExpressionError(name, feature.table, "expected a table with `event_time`, which `window` and `max_rows` need")
        compiled.append(compile_expression(name, feature.agg, reach, spec.known))
    if spec.treatment:
        reach = scope(contract, spec.treatment.table, spec.lookup)
        if contract.tables[spec.treatment.table].event_time is None:
            raise ExpressionError(TREATMENT, spec.treatment.table, "expected a table with `event_time`, which a treatment needs")
        compiled.append(compile_expression(TREATMENT, spec.treatment.agg, reach, spec.as_of, condition=True))
    if spec.label:
        reach = scope(contract, spec.label.table, spec.lookup)
        if contract.tables[spec.label.table].event_time is None:
            raise ExpressionError(LABEL, spec.label.table, "expected a table with `event_time`, which a label needs")
        compiled.append(compile_expression(LABEL, spec.label.agg, reach, spec.as_of, condition=spec.label.bounds is None))
    return tuple(compiled)


def compile_expression(name: str, text: str, reach: Scope, as_of: dt.date, condition: bool = False) -> Compiled:
    """One expression: a number (a condition counts as 1 or 0), or a condition where `condition` is set.

    Raises ExpressionError for whatever is not on the positive list, has no fitting type, or is no aggregate.
    """
    reader = Reader(name, reach, as_of)
    term = reader.read(_parse(name, text))
    if not reader.aggregates:
        raise ExpressionError(name, text, "expected an aggregate, such as `sum(…)` or `count(*)`")
    try:
        number = terms.cast(term, DOUBLE) if term.type is BOOLEAN else term
        tree = terms.safe(terms.boolean(term) if condition else terms.double(number))
    except TermError as error:
        raise ExpressionError(name, text, str(error)) from None
    return Compiled(name, reach.table, tuple(reader.aggregates), tree, frozenset(reader.reads))


def _parse(name: str, text: str) -> exp.Expr:
    """The one expression in `text`, within the limits of length and depth."""
    for position, character in enumerate(text[:MAX_LENGTH]):
        if unicodedata.category(character) in _UNSEEN and character not in _JOINING:
            raise ExpressionError(name, f"U+{ord(character):04X}", "expected characters that can be seen", position)
    if len(text) > MAX_LENGTH:
        raise ExpressionError(name, text[:40], f"expected at most {MAX_LENGTH} characters, got {len(text)}")
    try:
        tokens = Dialect.get_or_raise(DIALECT).tokenize(text)
        if len(tokens) > MAX_TOKENS:
            raise ExpressionError(name, text[:40], f"expected at most {MAX_TOKENS} words and signs, got {len(tokens)}")
        for token in tokens:
            if token.comments or token.text == ";":
                raise ExpressionError(name, token.text, "expected one expression without comments or `;`", token.start)
        statements = parse(text, dialect=DIALECT)
    except (SqlglotError, RecursionError, ValueError):
        raise ExpressionError(name, text[:80], "expected one SQL expression") from None
    if len(statements) != 1 or statements[0] is None:
        raise ExpressionError(name, text[:80], "expected one SQL expression")
    return statements[0]
