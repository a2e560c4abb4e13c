"""Who is registered, who is a child, and which group each subject belongs to: reads apart from features, in rooms of their own.

Fairness attributes have a purpose and a ground of their own, so they are never in one room with features. No
expression of an analyst runs here. Not here: who is admitted (`governance.admission`), how groups are counted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pyarrow as pa

from governance.coarsening import AS_IT_IS, Generalisations
from governance.columns import quoted
from governance.reads import Granted, MinimisationError, attribute_reads, child_reads, population_reads, require
from governance.relations import ADMITTED, ID, Relations
from governance.room import Held, People, Resources, locked_room, quietly
from governance.sources import INTEGERS, Resolve, open_sources, string
from governance.spans import Span, midnight
from policies.contract import Contract
from policies.segment import Attribute

WHOLE = INTEGERS - {"HUGEINT", "UHUGEINT", "UBIGINT"}
"""Types of keys that fit 64 bits with a sign."""

UNKNOWN = -1
"""Group of a subject without a value of the domain, or with more than one."""


def population(contract: Contract, granted: Granted, as_of: dt.date, resolve: Resolve, now: dt.datetime, resources: Resources) -> pa.Table:
    """Distinct subjects (column `subject`, text, in no order) registered before `as_of`, in rows that retention leaves; where the
    key is a number of at most 64 bits, `key` (int64) is the same as one, so that nobody has to read texts to tell people apart.

    Raises MinimisationError where less was granted than is read, SourceError, ExtractionError.
    """
    reads, table = population_reads(contract), contract.subject.registered_in
    relations = _relations(contract, granted, reads, table, resolve, now)
    source = relations.sources[table]
    held = Held("registered", source, relations.registered(table, source.sql(), Span(None, midnight(as_of))))
    query = f"SELECT subject{_as_number(relations, table)} FROM (SELECT DISTINCT subject FROM inside.registered)"
    with locked_room(resources, [held]) as connection:
        return quietly(lambda: connection.sql(query).to_arrow_table())


def children(contract: Contract, granted: Granted, age: int, resolve: Resolve, now: dt.datetime, resources: Resources) -> pa.Table | None:
    """Everybody of whom the contract tells whether they are a child, registered or not; None where it tells of nobody.

    Columns as in `population`, each subject once, and a boolean `child`: whether somebody is younger than `age` (years) at `now`
    (by the date in UTC; born on 29 February: until 1 March), or marked as a child, in any row. It is NULL where no row says
    either, which is not a no: admission decides what the law makes of the unknown (GDPR art. 8).

    Raises MinimisationError where less was granted than is read, SourceError, ExtractionError: nobody is a grown-up by a fault.
    """
    if contract.subject.told_by is None:
        return None
    table, column = contract.subject.told_by
    relations = _relations(contract, granted, child_reads(contract), table, resolve, now)
    source = relations.sources[table]
    told = relations.told(table, column, source.sql(), _years_before(relations.now.date(), age))
    rows = "SELECT subject, BOOL_OR(child) AS child FROM inside.told GROUP BY subject"
    query = f"SELECT subject{_as_number(relations, table)}, child FROM ({rows})"
    with locked_room(resources, [Held("told", source, told)]) as connection:
        return quietly(lambda: connection.sql(query).to_arrow_table())


def _relations(
    contract: Contract, granted: Granted, reads: frozenset[tuple[str, str]], table: str, resolve: Resolve, now: dt.datetime
) -> Relations:
    require(reads, granted)
    moment = now.astimezone(dt.UTC).replace(tzinfo=None)
    return Relations(contract, granted, open_sources(contract, {table}, resolve, reads), moment, AS_IT_IS)


def _as_number(relations: Relations, table: str) -> str:
    return ", CAST(subject AS BIGINT) AS key" if relations.key(table)[1] in WHOLE else ""


def _years_before(day: dt.date, years: int) -> dt.date:
    """The same day so many years ago; the day before where that year had no 29 February."""
    year = max(day.year - years, 1)
    try:
        return day.replace(year=year)
    except ValueError:
        return day.replace(year=year, day=28)


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
    generalisations: Generalisations = AS_IT_IS,
) -> pa.Table:
    """Every subject of `admitted` once, in no order: `subject`, and for each attribute `table.column`, the index of its
    value in the column's public domain, or `UNKNOWN`. `granted` is what the fairness purpose grants, and `generalisations`
    what it leaves: a domain is of values that went through them.

    Raises MinimisationError, SourceError, ExtractionError.
    """
    reads = attribute_reads(contract, wanted)
    require(reads, granted)
    tables = sorted({attribute.table for attribute in wanted})
    if intervals is None and any(contract.tables[table].collected_under_consent for table in tables):
        raise MinimisationError("got no intervals of consent, expected them because of `collected_under_consent`")
    sources = open_sources(contract, tables, resolve, reads)
    shown = {table: frozenset(name for owner, name in reads if owner == table) - {contract.key_of(table)} for table in tables}
    relations = Relations(contract, shown, sources, now.astimezone(dt.UTC).replace(tzinfo=None), generalisations)
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
