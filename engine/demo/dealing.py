"""A demo's data dealt to three partners: every subject is with one of them, with all of its rows and its consents.

CDNOW's customers go by their number. A grocery household goes to the partner of its home store, where it filled most baskets: 87 % use
more than one, and each has one home. What says nothing about anybody (the catalogue) everyone has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.demo import data

PARTNERS = ("north", "east", "west")

Homes = Mapping[str, int]
"""With which partner each subject is."""

_HOMES = """
    WITH used AS (SELECT household_id, store_id, count(DISTINCT basket_id) AS baskets FROM read_parquet(?) GROUP BY ALL)
    SELECT household_id, arg_max(store_id, (baskets, -store_id)) AS home FROM used GROUP BY household_id ORDER BY household_id
"""
"""Of two stores with as many baskets, the one with the lower number."""


def by_number(folder: Path) -> Homes:
    """Customers of CDNOW, one after the other to each partner."""
    customers = pq.read_table(folder / "purchases.parquet", columns=["customer_id"])["customer_id"].unique().to_pylist()
    return {customer: int(customer) % len(PARTNERS) for customer in customers}


def by_store(folder: Path) -> Homes:
    """Households, by the number of their home store."""
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute(_HOMES, [str(folder / "transactions.parquet")]).fetchall()
    return {str(household): int(store) % len(PARTNERS) for household, store in rows}


def deal(whole: Path, key: str, homes: Callable[[Path], Homes], parts: Sequence[Path]) -> None:
    """Each file of `whole` into the folder of each partner: rows of its subjects, by the column `key`; all rows where there is none."""
    found = homes(whole)
    theirs = [pa.array([subject for subject, home in found.items() if home == place]) for place in range(len(parts))]
    for file in sorted(whole.glob("*.parquet")):
        table = pq.read_table(file)
        column = "subject" if file.name == Path(data.CONSENTS).name else key
        for subjects, folder in zip(theirs, parts, strict=True):
            there = table if column not in table.column_names else table.filter(pc.is_in(table[column].cast(pa.string()), subjects))
            pq.write_table(there, folder / file.name)
