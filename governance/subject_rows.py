"""The rows of one subject in the sources, for an answer under art. 15 GDPR: a locked room of its own, with nobody else in it.

No purpose, consent or retention limits what a subject may see of its own, so all columns of the contract are read that the source
has. Its other columns stay unread. For whoever may see a subject's record; the caller writes the look down first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from functools import partial

import duckdb
import pyarrow as pa

from governance.coarsening import AS_IT_IS
from governance.columns import quoted
from governance.relations import Relations
from governance.room import Held, Resources, locked_room, quietly
from governance.sources import Resolve, open_sources, string
from policies.contract import Contract


def subject_rows(contract: Contract, subject: str, resolve: Resolve, resources: Resources) -> Mapping[str, pa.Table]:
    """Rows with this key, by table, as the source has them; tables that have no subject are left out.

    Raises SourceError, ExtractionError.
    """
    relations = _relations(contract, resolve)
    held = []
    for name, source in relations.sources.items():
        named = {column: declared.source_name or column for column, declared in contract.tables[name].columns.items()}
        columns = ", ".join(f"s.{quoted(place)} AS {quoted(column)}" for column, place in named.items() if place in source.types)
        key = relations.key(name)[0]
        held.append(Held(name, source, f"SELECT {columns} FROM {source.sql()} AS s WHERE CAST({key} AS VARCHAR) = {string(subject)}"))
    return _read(held, resources)


def subject_keys(contract: Contract, resolve: Resolve, resources: Resources) -> Iterator[str]:
    """Every key in the sources, once a table, as text; to be held against the list of who objected, and shown to nobody.

    Raises SourceError, ExtractionError.
    """
    relations = _relations(contract, resolve)
    held = [
        Held(name, source, f"SELECT DISTINCT CAST({relations.key(name)[0]} AS VARCHAR) AS subject FROM {source.sql()} AS s")
        for name, source in relations.sources.items()
    ]
    for table in _read(held, resources).values():
        yield from table["subject"].drop_null().to_pylist()


def _relations(contract: Contract, resolve: Resolve) -> Relations:
    """Of tables with subjects. The time would bound retention, which nothing here asks for."""
    own = [name for name, table in contract.tables.items() if not table.reference]
    return Relations(contract, {}, open_sources(contract, own, resolve), dt.datetime.max, AS_IT_IS)


def _read(held: list[Held], resources: Resources) -> dict[str, pa.Table]:
    with locked_room(resources, held) as room:
        return {each.name: quietly(partial(_all, room, each.name)) for each in held}


def _all(room: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    return room.sql(f"SELECT * FROM inside.{quoted(name)}").to_arrow_table()
