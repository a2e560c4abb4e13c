"""Minimisation: features of admitted subjects, computed where nothing but granted columns of admitted rows exists.

1. *Prepare* writes the SQL from documents and file metadata, binds it to empty tables that have every column of the
   files, and compares what DuckDB says it scans with what was granted. No row is read; `Prepared` is what a plan shows.
2. *Open* makes a locked room (`governance.room`) that holds granted columns of admitted rows; a strict policy has them
   materialised, so that no file is in reach.
3. *Extract* runs the one generated query, in Arrow batches. Nothing in a row can make it fail, and if the machine does,
   the error says nothing of a row.

Not here: who is registered, and fairness attributes (`governance.population`), what leaves (`governance.door`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import pyarrow as pa

from governance.binding import bound_reads, stand_in
from governance.coarsening import AS_IT_IS, Generalisations
from governance.columns import quoted
from governance.expressions import Compiled, compile_segment
from governance.reads import Granted, MinimisationError, Read, ReadSets, as_reads, require, row_selection
from governance.relations import Relations
from governance.room import ExtractionError, Held, People, Resources, columns_inside, locked_room, quietly
from governance.selection import Selection, select_features
from governance.sources import Resolve, open_sources
from policies.contract import Contract
from policies.segment import Segment

__all__ = ["ExtractionError", "Governed", "Prepared", "Resources", "governed", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would run: held relations, the rows that features see, the query; and the evidence of what it reads.

    `keys` are the types that subject keys have in the sources; `consented`: some rows need intervals of consent.
    """

    held: tuple[Held, ...]
    selection: Selection
    keys: tuple[str, ...]
    consented: bool
    read_sets: ReadSets

    @property
    def sql(self) -> str:
        """The SQL of every relation and of the query, to be shown."""
        named = [*((f"inside.{quoted(each.name)}", each.sql) for each in self.held), *self.selection.rows]
        return "".join(f"CREATE VIEW {name} AS {sql};\n" for name, sql in named) + f"{self.selection.query};\n"


def prepare(
    contract: Contract,
    spec: Segment,
    granted: Granted,
    resolve: Resolve,
    now: dt.datetime,
    generalisations: Generalisations = AS_IT_IS,
) -> Prepared:
    """What a build of `spec` would run, from metadata alone; `now` (aware) bounds retention.

    Raises ExpressionError, MinimisationError where less was granted than is read or a generalisation does not fit, SourceError.
    """
    compiled = compile_segment(contract, spec)
    reads = frozenset[Read]().union(*(each.reads for each in compiled)) | row_selection(contract, spec, compiled)
    require(reads, granted)
    tables = sorted({table for table, _ in reads})
    sources = open_sources(contract, tables, resolve, as_reads(granted))
    visible, moment = _visible(contract, granted, compiled), now.astimezone(dt.UTC).replace(tzinfo=None)
    relations = Relations(contract, visible, sources, moment, generalisations)
    selection = select_features(relations, spec, compiled)

    def held(source_of: Callable[[str], str]) -> list[tuple[str, str]]:
        """SQL of each held relation; `source_of` gives the FROM of a table."""
        lookup = spec.lookup
        return [
            (
                table,
                relations.reference(lookup, source_of(table))
                if lookup and table == lookup.table
                else relations.held(table, source_of(table)),
            )
            for table in tables
        ]

    keys = tuple(sorted({relations.key(table)[1] for table in tables if not contract.tables[table].reference}))
    binder = bound_reads(contract, sources, keys, held(lambda table: stand_in(sources, table)), selection)
    read_sets = ReadSets(reads, binder, as_reads(granted))
    read_sets.check()
    return Prepared(
        held=tuple(Held(table, sources[table], sql) for table, sql in held(lambda table: sources[table].sql())),
        selection=selection,
        keys=keys,
        consented=any(contract.tables[table].collected_under_consent for table in tables),
        read_sets=read_sets,
    )


def _visible(contract: Contract, granted: Granted, compiled: Sequence[Compiled]) -> Granted:
    """Granted columns that relations show: subject keys select rows, and are shown only where an expression reads them."""
    read = {pair for each in compiled for pair in each.reads}
    hidden = {(table, contract.key_of(table)) for table, each in contract.tables.items() if not each.reference} - read
    return {table: frozenset(name for name in columns if (table, name) not in hidden) for table, columns in granted.items()}


class Governed:
    """What a locked room answers; made by `governed`. `read_sets` tell what was found in it, too."""

    def __init__(self, selection: Selection, connection: duckdb.DuckDBPyConnection, read_sets: ReadSets) -> None:
        self.read_sets = read_sets
        self._selection = selection
        self._connection = connection

    def batches(self, rows: int = 1 << 16) -> Iterator[pa.RecordBatch]:
        """Every admitted subject once, in no order: `subject` (text), one double a feature in the spec's order (never
        NULL or infinite; NaN where there is no value, and bounds are to be estimated), `label` (boolean, or a double
        that is a number) and `treatment` (boolean, NULL for whoever is in no trial) where there are any. Raises ExtractionError."""
        reader = quietly(lambda: self._connection.sql(self._selection.query).to_arrow_reader(rows))
        while (batch := quietly(lambda: next(reader, None))) is not None:
            yield batch

    def quality(self) -> pa.Table:
        """Every admitted subject once, in no order: `subject`, and 0/1 for rows that the rules on `duplicates`, `returns`,
        `missing` values and `outliers` touched. Reads nothing where none is declared. Raises ExtractionError."""
        return quietly(lambda: self._connection.sql(self._selection.flags).to_arrow_table())


@contextmanager
def governed(
    prepared: Prepared, admitted: pa.Table, resources: Resources, strict: bool = False, intervals: pa.Table | None = None
) -> Iterator[Governed]:
    """A locked room over the rows of `admitted` (column `subject`), until the context ends.

    `intervals`: see `People`. Raises MinimisationError where they are needed and lacking, or where the room holds a column
    that was not granted; ExtractionError.
    """
    if prepared.consented and intervals is None:
        raise MinimisationError("got no intervals of consent, expected them because of `collected_under_consent`")
    with locked_room(resources, prepared.held, People(admitted, prepared.keys, intervals), strict) as connection:
        read_sets = replace(prepared.read_sets, physical=columns_inside(connection))
        read_sets.check()
        for name, sql in prepared.selection.rows:
            quietly(partial(connection.execute, f"CREATE VIEW {name} AS {sql}"))
        yield Governed(prepared.selection, connection, read_sets)
