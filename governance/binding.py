"""The binder's read set: what DuckDB says a query scans, found without a row.

The relations are bound to empty tables that have *every* column of the source files, in a database without files, with
every optimiser off except the one that drops unused columns; the scans of the plan then name what the query reads.
(With all optimisers on, columns whose condition statistics decide are left out; with none, every column is scanned.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from governance.columns import quoted
from governance.reads import MinimisationError, Read
from governance.relations import ADMITTED, CONSENT, ID, key_column
from governance.selection import SCHEMAS, Selection
from governance.sources import Source
from policies.contract import Contract

_KEPT = "unused_columns"
_SCANNED = "memory.files."


def stand_in(sources: Mapping[str, Source], table: str) -> str:
    """The empty table in place of a source file; its name needs no quotes in a plan."""
    return f"files.f{list(sources).index(table)}"


def bound_reads(
    contract: Contract, sources: Mapping[str, Source], keys: Sequence[str], held: Sequence[tuple[str, str]], selection: Selection
) -> frozenset[Read]:
    """Columns of `sources` that the queries scan, in the contract's names; `held` select from `stand_in` of each table.

    Raises MinimisationError where SQL does not bind, or scans a column that the contract does not know.
    """
    tables = {stand_in(sources, table).removeprefix("files."): table for table in sources}
    scans: set[Read] = set()
    with duckdb.connect(config={"enable_external_access": False, "python_enable_replacements": False}) as connection:
        _empty(connection, sources, keys)
        try:
            for name, sql in [*((f"inside.{quoted(table)}", sql) for table, sql in held), *selection.rows]:
                connection.execute(f"CREATE VIEW {name} AS {sql}")
            connection.execute(f"SET disabled_optimizers = '{_optimizers(connection)}'")
            for query in (selection.query, selection.flags):
                [(_, plan)] = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
                scans |= set(_scans(json.loads(plan)))
        except duckdb.Error:
            raise MinimisationError("the generated SQL does not bind, expected it to") from None
    if lacking := sorted(set(tables) - {name for name, _ in scans}):
        raise MinimisationError(f"the plan scans no column of {[tables[name] for name in lacking]}, expected some")
    return frozenset((tables[name], _contract_name(contract, tables[name], column)) for name, column in scans)


def _empty(connection: duckdb.DuckDBPyConnection, sources: Mapping[str, Source], keys: Sequence[str]) -> None:
    for schema in ("files", "inside", *SCHEMAS):
        connection.execute(f"CREATE SCHEMA {schema}")
    for table, source in sources.items():
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in source.types.items())
        connection.execute(f"CREATE TABLE {stand_in(sources, table)} ({columns})")
    others = "".join(f", {quoted(kind)} {kind}" for kind in keys if key_column(kind) == kind)
    connection.execute(f"CREATE TABLE {ADMITTED} ({ID} INTEGER, subject VARCHAR{others})")
    connection.execute(f'CREATE TABLE {CONSENT} ({ID} INTEGER, "start" TIMESTAMP, "end" TIMESTAMP)')


def _optimizers(connection: duckdb.DuckDBPyConnection) -> str:
    names = [name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
    return ",".join(name for name in names if name != _KEPT)


def _scans(plan: Any) -> Iterator[Read]:
    """Stand-in and column of every scan in the plan."""
    for node in plan if isinstance(plan, list) else [plan]:
        info = node.get("extra_info", {})
        table = str(info.get("Table", ""))
        if table.startswith(_SCANNED):
            projections = info.get("Projections", [])
            for column in [projections] if isinstance(projections, str) else projections:
                yield table.removeprefix(_SCANNED), column
        yield from _scans(node.get("children", []))


def _contract_name(contract: Contract, table: str, column: str) -> str:
    for name, declared in contract.tables[table].columns.items():
        if (declared.source_name or name) == column:
            return name
    raise MinimisationError(f"the query would read `{column}` of `{table}`, expected columns of the contract only")
