"""Who is registered, and which group each subject belongs to: two reads apart from features, in rooms of their own.

Fairness attributes have a purpose and a ground of their own, so they are never in one room with features. No
expression of an analyst runs here. Not here: who is admitted (`governance.admission`), how groups are counted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pyarrow as pa

from governance.reads import Granted, MinimisationError, attribute_reads, population_reads, require
from governance.relations import ADMITTED, ID, Relations, Span, midnight, quoted
from governance.room import Held, People, Resources, locked_room, quietly
from governance.sources import Resolve, open_sources, string
from policies.contract import Contract
from policies.segment import Attribute

UNKNOWN = -1
"""Group of a subject without a value of the domain, or with more than one."""


def population(contract: Contract, granted: Granted, as_of: dt.date, resolve: Resolve, now: dt.datetime, resources: Resources) -> pa.Table:
    """Distinct subjects (column `subject`, text, in no order) registered before `as_of`, in rows that retention leaves.

    Raises MinimisationError where less was granted than is read, SourceError, ExtractionError.
    """
    require(population_reads(contract), granted)
    table = contract.subject.registered_in
    relations = Relations(contract, granted, open_sources(contract, [table], resolve), now.astimezone(dt.UTC).replace(tzinfo=None))
    source = relations.sources[table]
    held = Held(table, source, relations.registered(table, source.sql(), Span(None, midnight(as_of))))
    with locked_room(resources, [held]) as connection:
        return quietly(lambda: connection.sql(f"SELECT DISTINCT subject FROM inside.{quoted(table)}").to_arrow_table())


def attributes(
    contract: Contract,
    wanted: Sequence[Attribute],
    granted: Granted,
    admitted: pa.Table,
    as_of: dt.date,
    resolve: Resolve,
    now: dt.datetime,
    resources: Resources,
    intervals: pa.Table | None = None,
) -> pa.Table:
    """Every subject of `admitted` once, in no order: `subject`, and for each attribute `table.column`, the index of its
    value in the column's public domain, or `UNKNOWN`. `granted` is what the fairness purpose grants.

    Raises MinimisationError, SourceError, ExtractionError.
    """
    reads = attribute_reads(contract, wanted)
    require(reads, granted)
    tables = sorted({attribute.table for attribute in wanted})
    if intervals is None and any(contract.tables[table].collected_under_consent for table in tables):
        raise MinimisationError("got no intervals of consent, expected them because of `collected_under_consent`")
    sources = open_sources(contract, tables, resolve)
    shown = {table: frozenset(name for owner, name in reads if owner == table) - {contract.key_of(table)} for table in tables}
    relations = Relations(contract, shown, sources, now.astimezone(dt.UTC).replace(tzinfo=None))
    held = [Held(table, sources[table], relations.held(table, sources[table].sql())) for table in tables]
    people = People(admitted, sorted({relations.key(table)[1] for table in tables}), intervals)
    query = _groups(relations, wanted, tables, Span(None, midnight(as_of)))
    with locked_room(resources, held, people) as connection:
        return quietly(lambda: connection.sql(query).to_arrow_table())


def _groups(relations: Relations, wanted: Sequence[Attribute], tables: Sequence[str], span: Span) -> str:
    joins = []
    chosen = ["a.subject"]
    for i, table in enumerate(tables):
        mine = [attribute.column for attribute in wanted if attribute.table == table]
        found = ", ".join(f"{_one(relations, table, name)} AS {quoted(name)}" for name in mine)
        groups = f"SELECT {ID}, {found} FROM ({relations.rows(table, span)}) GROUP BY {ID}"
        joins.append(f"LEFT JOIN ({groups}) AS t{i} ON t{i}.{ID} = a.{relations.number(table)}")
        chosen += [f"CAST(COALESCE(t{i}.{quoted(name)}, {UNKNOWN}) AS INTEGER) AS {quoted(f'{table}.{name}')}" for name in mine]
    return f"SELECT {', '.join(chosen)} FROM {ADMITTED} AS a {' '.join(joins)}"


def _one(relations: Relations, table: str, name: str) -> str:
    """Index of a subject's one value in the domain; NULL where there is none, or more than one."""
    domain = relations.contract.tables[table].columns[name].domain
    if domain is None:
        raise MinimisationError(f"column `{table}.{name}`: expected a public `domain`, which a fairness attribute needs")
    cases = " ".join(f"WHEN {string(value)} THEN {index}" for index, value in enumerate(domain))
    index = f"CASE CAST({quoted(name)} AS VARCHAR) {cases} END"
    return f"CASE WHEN MIN({index}) = MAX({index}) THEN MIN({index}) END"
