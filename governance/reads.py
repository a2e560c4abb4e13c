"""What is read: the columns that a segment asks for, with who needs each, and the evidence that no more was read.

Reads are pairs of table and column in the contract's names. Besides features, label and treatment, the selection of rows reads:
the subject key, the event time, the columns that tell repeated rows and returns, and the key of the look-up. Who is a
child is read apart, for admission. What an expression reads, `governance.expressions` tells; whoever asks for nothing of the kind
needs no parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.contract import Contract, Repeats
from policies.segment import Attribute, Segment

if TYPE_CHECKING:
    from governance.expressions import Compiled

Read = tuple[str, str]
"""Table and column, in the contract's names."""

LABEL, TREATMENT = "label", "treatment"
"""Names of a compiled label, and of who was treated in a trial."""

ROW_SELECTION = "row selection"
"""Who needs a column that no expression names."""

Granted = Mapping[str, frozenset[str]]
"""Columns that were granted, by table."""


class ExpressionError(Exception):
    """An expression that is refused: which `feature`, what in it (`snippet`), what was `expected`, and where (`position`, from 0)."""

    def __init__(self, feature: str, snippet: str, expected: str, position: int | None = None) -> None:
        snippet, expected = " ".join(snippet.split()), " ".join(expected.split())  # one line, whatever was written
        where = "" if position is None else f" at position {position}"
        super().__init__(f"`{feature}`: got `{snippet}`{where}, {expected}")
        self.feature = feature
        self.snippet = snippet
        self.expected = expected
        self.position = position


class MinimisationError(Exception):
    """More would be read than was granted, or less was granted than rows need; nothing was read."""


@dataclass(frozen=True, slots=True)
class ColumnRead:
    """One column that is asked for: the features (or `row selection`) that need it, and why, where they say so."""

    table: str
    column: str
    readers: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadSets:
    """Three read sets, and what was granted: of the expressions as parsed, of the query as DuckDB bound it, and *physical*,
    the columns that exist in the locked room (None before there is one; keys that only join rows do not exist there)."""

    expression: frozenset[Read]
    binder: frozenset[Read]
    granted: frozenset[Read]
    physical: frozenset[Read] | None = None

    def check(self) -> None:
        """Raises MinimisationError unless each is a subset of what was granted."""
        for reads, name in ((self.expression, "expressions"), (self.binder, "query"), (self.physical, "room")):
            if excess := sorted((reads or frozenset()) - self.granted):
                raise MinimisationError(f"the {name} would read {_names(excess)}, expected granted columns only")


def requested(contract: Contract, spec: Segment) -> tuple[ColumnRead, ...]:
    """Every column that a build of `spec` reads, fairness attributes aside. Raises ExpressionError."""
    from governance.expressions import compile_segment  # with its parser, which takes as long to load as a question may take to answer

    compiled = compile_segment(contract, spec)
    readers: dict[Read, list[str]] = {}
    for each in compiled:
        for read in sorted(each.reads):
            readers.setdefault(read, []).append(each.name)
    for read in sorted(row_selection(contract, spec, compiled) | population_reads(contract)):
        readers.setdefault(read, []).append(ROW_SELECTION)
    whys = {name: feature.why for name, feature in spec.features.items()}
    whys |= {name: each.why for name, each in ((LABEL, spec.label), (TREATMENT, spec.treatment)) if each}
    return tuple(
        ColumnRead(table, column, tuple(names), tuple(why for name in names if (why := whys.get(name))))
        for (table, column), names in sorted(readers.items())
    )


def row_selection(contract: Contract, spec: Segment, compiled: Iterable[Compiled]) -> frozenset[Read]:
    """Columns that say which rows take part, for the tables that `compiled` read."""
    reads: set[Read] = set()
    for each in compiled:
        reads |= _selecting(contract, each.table)
        if spec.lookup and any(owner == spec.lookup.table for owner, _ in each.reads):
            reads |= {(each.table, spec.lookup.on), (spec.lookup.table, spec.lookup.on)}
    return frozenset(reads)


def population_reads(contract: Contract) -> frozenset[Read]:
    """Columns that say who is registered."""
    table = contract.subject.registered_in
    event_time = contract.tables[table].event_time
    return frozenset({(table, contract.key_of(table))} | ({(table, event_time)} if event_time else set()))


def attribute_reads(contract: Contract, wanted: Iterable[Attribute]) -> frozenset[Read]:
    """Columns that fairness attributes are read from, and those that select their rows. Raises MinimisationError."""
    reads: set[Read] = set()
    for attribute in wanted:
        table = contract.tables.get(attribute.table)
        if table is None or table.reference or attribute.column not in table.columns:
            raise MinimisationError(
                f"got fairness attribute `{attribute.table}.{attribute.column}`, expected a column of a table with a subject key"
            )
        reads |= {(attribute.table, attribute.column)} | _selecting(contract, attribute.table)
    return frozenset(reads)


def child_reads(contract: Contract) -> frozenset[Read]:
    """Columns that tell who is a child; none where the contract does not say."""
    if contract.subject.told_by is None:
        return frozenset()
    table, column = contract.subject.told_by
    event_time = contract.tables[table].event_time
    return frozenset({(table, column), (table, contract.key_of(table))} | ({(table, event_time)} if event_time else set()))


def _selecting(contract: Contract, table: str) -> frozenset[Read]:
    """Columns that say whose a row is, and whether it takes part."""
    declared = contract.tables[table]
    columns = {contract.key_of(table)}
    if declared.event_time:
        columns.add(declared.event_time)
    if declared.returns:
        columns.add(declared.returns.column)
    if isinstance(declared.duplicates, Repeats):
        columns |= {*declared.duplicates.by}
    return frozenset((table, column) for column in columns)


def as_reads(granted: Granted) -> frozenset[Read]:
    """The same as pairs."""
    return frozenset((table, column) for table, columns in granted.items() for column in columns)


def require(needed: Iterable[Read], granted: Granted) -> None:
    """Raises MinimisationError unless every read of `needed` was granted."""
    if lacking := sorted(set(needed) - as_reads(granted)):
        raise MinimisationError(f"expected a grant for {_names(lacking)}, which rows are selected by")


def _names(reads: Iterable[Read]) -> str:
    return ", ".join(f"`{table}.{column}`" for table, column in reads)
