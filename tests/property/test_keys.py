"""No row belongs to two subjects, whatever the type of the key in the file and in the contract, and however subjects are spelled."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from governance.minimise import Resources, governed, prepare
from governance.population import population
from governance.sources import SourceError
from policies.contract import KEY_TYPES, Contract
from policies.segment import Segment

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
AS_OF = dt.date(2026, 6, 1)
KINDS = (
    "VARCHAR", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "DECIMAL(4,1)", "DECIMAL(9,0)", "DECIMAL(18,3)", "DECIMAL(38,2)", "DATE", "BOOLEAN", "UUID", "DOUBLE",
)  # fmt: skip
"""Types of keys that a file may have."""

SPELLINGS = (
    "0", "-0", "+0", "00", "0.0", "-0.0", "0.4", "0.5", "1", "01", "1.0", "1.00", "1.5", "1e0", " 1", "1 ", "2", "12", "12.0", "1_2",
    "true", "TRUE", "t", "false", "f", "a", "A", "", "ß", "SS", "é", "e\u0301", "x\0y", "?", "2026-01-31", "2026-1-31", "infinity",
    "-infinity", "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000A",
    "{00000000-0000-0000-0000-00000000000a}",
)  # fmt: skip
"""Keys that are easily taken for each other."""

spelled = st.lists(st.sampled_from(SPELLINGS) | st.text(max_size=3).filter(lambda text: text.isascii()), max_size=12)


def contract(declared: str) -> Contract:
    columns = {"id": {"category": "user.unique_id", "type": declared}, "bit": {"category": "user", "type": "integer"}}
    table = {"source": "t.parquet", "columns": columns}
    people = {"source": "p.parquet", "key": "id", "columns": columns}
    subject = {"key": "id", "namespace": "n", "registered_in": "t"}
    return Contract.model_validate({"name": "c", "controller": "C", "subject": subject, "tables": {"t": table, "p": people}})


SPEC = Segment.model_validate(
    {
        "name": "s",
        "purpose": "p",
        "dataset": "c",
        "policy": "p",
        "as_of": AS_OF,
        "features": {name: {"table": name, "agg": "sum(bit)", "bounds": [0, 1 << 13]} for name in ("t", "p")},
        "model": {"type": "clusters"},
        "privacy": {"epsilon": 1},
    }
)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    declared=st.sampled_from((*KEY_TYPES, "double")),
    keys=spelled,
    more=spelled,
    strict=st.booleans(),
)
def test_no_row_belongs_to_two_subjects(kinds: tuple[str, str], declared: str, keys: list[str], more: list[str], strict: bool) -> None:
    """Row i counts 2^i: no two subjects' sums of one table share a bit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with duckdb.connect() as connection:
            connection.register("given", pa.table({"id": pa.array(keys, pa.string()), "bit": [1 << i for i in range(len(keys))]}))
            for table, kind in zip("tp", kinds, strict=True):
                connection.execute(f"COPY (SELECT TRY_CAST(id AS {kind}) AS id, bit FROM given) TO '{folder}/{table}.parquet'")
        if declared == "double" or "DOUBLE" in kinds:
            with pytest.raises((ValidationError, SourceError)):
                read(folder, declared, [*keys, *more], strict)
            return
        rows = read(folder, declared, [*keys, *more], strict)
    for table in "tp":
        taken = 0
        for row in rows:
            bits = int(row[table])
            assert not taken & bits, (kinds, declared, table)
            taken |= bits


def read(folder: Path, declared: str, spellings: list[str], strict: bool) -> list[dict[str, Any]]:
    """Features of everybody who is registered, and of whoever is spelled like one, all of them admitted."""
    shop, granted = contract(declared), {"t": frozenset({"id", "bit"}), "p": frozenset({"id", "bit"})}
    prepared = prepare(shop, SPEC, granted, lambda source: folder / source, NOW)
    registered = population(shop, granted, AS_OF, lambda source: folder / source, NOW, Resources(folder))["subject"].to_pylist()
    assert len(set(registered)) == len(registered)
    everybody = pa.table({"subject": pa.array(dict.fromkeys([*registered, *spellings]), pa.string())})
    with governed(prepared, everybody, Resources(folder), strict) as room:
        rows = [row for batch in room.batches() for row in batch.to_pylist()]
    assert len(rows) == everybody.num_rows
    return rows
