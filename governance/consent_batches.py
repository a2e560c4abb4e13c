"""What the root of a batch of consent events in the log is made of: one salted commitment an event, in the order of their numbers.

The rows give it again, tombstones too: of an erased event the commitment alone is kept, so that the root, and what was opened of others,
still verifies. Whoever is handed an opening sees that one event, how many the batch has, and nobody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import select as select_columns
from sqlmodel import Session, SQLModel

from audit.commitments import collect, commit
from governance import consent
from governance.tables import ConsentRow

MOST = 100_000
"""Events of a batch up to which one of them is opened: for that all are hashed, about 10 µs each."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One event and what it is committed to with: `value` as the commitment covers it, `index` and `proof` in the tree of its batch."""

    value: str
    salt: bytes
    index: int
    proof: tuple[bytes, ...]

    def as_data(self) -> dict[str, Any]:
        """As `audit.proof.opening` takes it."""
        return {"value": self.value, "salt": self.salt.hex(), "index": self.index, "proof": [each.hex() for each in self.proof]}


def values_of(row: ConsentRow) -> tuple[str | int | None, ...]:
    """What is committed to of a row."""
    return tuple(getattr(row, column.name) for column in COMMITTED)


def leaf(values: tuple[str | int | None, ...], salt: bytes, kept: bytes | None) -> bytes:
    """What a batch committed to in a row: `kept`, where the row was erased."""
    return commit(consent.committed(values), salt) if kept is None else kept


def batch_root(session: Session, batch: str) -> bytes:
    """The root of a batch's commitments, worked out from its rows again: the one that the log holds."""
    return collect(leaf(values, salt, kept) for _, values, salt, kept in _rows(session, _TABLE.c.batch == batch)).root


def openings(session: Session, batch: str, size: int, numbers: Collection[int]) -> Mapping[int, Opened]:
    """Of a batch of `size` events, openings of those with these numbers that were not erased since; none where it is larger than `MOST`.

    Only rows whose numbers lie so near that they may be of the batch are read: its events were written one after the other.
    """
    if size > MOST:
        return {}
    leaves, found = [], {}
    near = _TABLE.c.id.between(max(numbers) - size + 1, min(numbers) + size - 1)
    for index, (number, values, salt, kept) in enumerate(_rows(session, near, _TABLE.c.batch == batch)):
        leaves.append(leaf(values, salt, kept))
        if number in numbers and kept is None:
            found[number] = index, consent.committed(values), salt
    tree = collect(leaves)
    return {number: Opened(value, salt, index, tuple(tree.proof(index))) for number, (index, value, salt) in found.items()}


def _rows(session: Session, *of: ColumnElement[bool]) -> Iterator[tuple[int, tuple[str | int | None, ...], bytes, bytes | None]]:
    query = select_columns(_TABLE.c.id, *COMMITTED, _TABLE.c.salt, _TABLE.c.leaf).where(*of).order_by(_TABLE.c.id)
    for number, *values, salt, kept in session.connection().execute(query, execution_options={"yield_per": 10_000}):
        yield number, tuple(values), salt, kept


_TABLE = SQLModel.metadata.tables[str(ConsentRow.__tablename__)]
COMMITTED = [column for column in _TABLE.columns if column.name not in ("id", "batch", "salt", "leaf")]
"""Columns that a commitment covers, as `consent.committed` takes them."""
