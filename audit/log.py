"""The transparency log in the metadata database: entries, and the complete subtrees of the RFC 6962 tree over them.

Append-only. Everything works on the caller's connection, so that an entry commits with what it records or not at all.
Two tables, and no column in them that the tree doesn't cover: an entry's index is its place, its body is the leaf, and
each node is the hash of what stands below it. `audit.verify` recomputes all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
)

from audit.checkpoint import Checkpoint
from audit.merkle import CompactRange, IntegrityError, Place, consistency_ranges, cover, hashes_of, inclusion_ranges, leaf_hash

MOST_BYTES = (1 << 16) - 1
"""Bytes of the longest entry: entry bundles of C2SP tlog-tiles give its length in 16 bits."""

metadata = MetaData()

_index = BigInteger().with_variant(Integer, "sqlite")  # SQLite takes INTEGER alone as its row number

log_entries = Table(
    "log_entries",
    metadata,
    Column("idx", _index, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

log_nodes = Table(
    "log_nodes",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("idx", _index, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)


class EntryError(Exception):
    """What was to be recorded is too long for an entry; nothing was."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `body` is UTF-8 JSON as it was written."""

    index: int
    body: bytes

    @property
    def parsed(self) -> dict[str, Any]:
        """The body as an object."""
        value: dict[str, Any] = json.loads(self.body)
        return value


class Tail:
    """The log's end, for a writer who holds the database's lock: read once, and known from then on."""

    def __init__(self, connection: Connection, last: Entry | None) -> None:
        """`last`: the newest entry, if there is one. Raises IntegrityError if a node is missing."""
        self.last = last
        self._connection = connection
        size = 0 if last is None else last.index + 1
        self._tree = CompactRange(size, _hashes(connection, cover(0, size)))

    def on(self, connection: Connection) -> Tail:
        """The same end, for a later transaction that finds `last` still to be the newest entry."""
        self._connection = connection
        return self

    @property
    def head(self) -> tuple[int, bytes]:
        """Size and root, with what was added."""
        return self._tree.size, self._tree.root()

    def append(self, bodies: Iterable[bytes]) -> int:
        """Add entries in order; returns the index of the first.

        Raises EntryError, with nothing added, for an entry that an entry bundle could not hold.
        """
        first, added = self._tree.size, list(bodies)
        for index, body in enumerate(added, first):
            if len(body) > MOST_BYTES:
                raise EntryError(f"entry {index} of the log has {len(body)} bytes, expected at most {MOST_BYTES}")
        if added:
            _insert(self._connection, log_entries, list(enumerate(added, first)))
            _insert(self._connection, log_nodes, self._tree.extend([leaf_hash(body) for body in added]))
            self.last = Entry(first + len(added) - 1, added[-1])
        return first


def append(connection: Connection, body: bytes) -> int:
    """Add one entry; returns its index."""
    return append_many(connection, [body])


def append_many(connection: Connection, bodies: Iterable[bytes]) -> int:
    """Add entries in order; returns the index of the first. Two writers at once: the database's lock or its key refuses one."""
    return Tail(connection, newest(connection)).append(bodies)


def size(connection: Connection) -> int:
    """Number of entries."""
    last = connection.execute(_LAST).scalar()
    return 0 if last is None else int(last) + 1


def root(connection: Connection, size: int) -> bytes:
    """The tree's root over the first `size` entries, from stored nodes. Raises IntegrityError if one is missing."""
    return CompactRange(size, _hashes(connection, cover(0, size))).root()


def entries(connection: Connection, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
    """Entries [start, stop), streamed."""
    query = select(log_entries.c.idx, log_entries.c.body).where(log_entries.c.idx >= start).order_by(log_entries.c.idx)
    if stop is not None:
        query = query.where(log_entries.c.idx < stop)
    with connection.execute(query, execution_options={"yield_per": 1024}) as found:
        for index, body in found:
            yield Entry(index, body)


def backwards(connection: Connection, stop: int | None = None, step: int = 256) -> Iterator[Entry]:
    """Entries [0, stop), newest first; None: all."""
    for end in range(size(connection) if stop is None else stop, 0, -step):
        yield from reversed(list(entries(connection, max(0, end - step), end)))


def newest(connection: Connection) -> Entry | None:
    """The last entry; None in an empty log."""
    rows = _rows(connection, _NEWEST)
    return Entry(*rows[0]) if rows else None


def copy(connection: Connection, to: Connection) -> None:
    """Copy the log as it is, proper or not, into a database that has none; a consistent read makes it one of one moment."""
    metadata.create_all(to)
    for table in (log_entries, log_nodes):
        with connection.execute(select(table), execution_options={"yield_per": 1024}) as found:
            for rows in found.partitions():
                to.execute(insert(table), [dict(row._mapping) for row in rows])


def inclusion_proof(connection: Connection, index: int, size: int) -> list[bytes]:
    """Hashes that lead from entry `index` to the root of the first `size` entries (RFC 6962, section 2.1.1)."""
    return _proof(connection, inclusion_ranges(index, size))


def nodes(connection: Connection, places: Sequence[Place]) -> list[bytes]:
    """Hashes of complete subtrees that lie side by side on one level. Raises IntegrityError if one is missing."""
    first, last = places[0], places[-1]
    query = select(log_nodes.c.hash).where(log_nodes.c.level == first.level, log_nodes.c.idx.between(first.idx, last.idx))
    found = [bytes(row.hash) for row in connection.execute(query.order_by(log_nodes.c.idx))]
    if len(found) != len(places):
        raise IntegrityError(f"nodes of the log at level {first.level}, from index {first.idx} to {last.idx}, are missing")
    return found


def consistency_proof(connection: Connection, old: int, new: int) -> list[bytes]:
    """Hashes that show that the first `old` entries are a prefix of the first `new` (RFC 6962, section 2.1.2)."""
    return _proof(connection, consistency_ranges(old, new))


def check_against(connection: Connection, checkpoint: Checkpoint | None) -> None:
    """Raises IntegrityError if the log is not one that the checkpoint was signed over: cheap, from stored nodes.

    Without a checkpoint the log must be empty. What is not seen here, an entry edited below intact nodes, `audit.verify` sees.
    """
    held = size(connection)
    if checkpoint is None:
        if held:
            raise IntegrityError(f"the checkpoint file is gone: nothing vouches for the log's {held} entries")
        return
    if held < checkpoint.size:
        raise IntegrityError(f"the log was cut: the checkpoint covers {checkpoint.size} entries, the log holds {held}")
    if root(connection, checkpoint.size) != checkpoint.root:
        raise IntegrityError(f"the log's root over {checkpoint.size} entries is not the one that was signed")


_NEWEST = "SELECT idx, body FROM log_entries ORDER BY idx DESC LIMIT 1"
_LAST = select(func.max(log_entries.c.idx))


def _rows(connection: Connection, query: str, keys: tuple[int, ...] | dict[str, int] = ()) -> Sequence[Any]:
    """Straight to the driver, within a transaction: what SQLAlchemy does around a statement takes longer than SQLite does with it."""
    if connection.dialect.positional and connection.in_transaction():
        return connection.connection.cursor().execute(query, keys).fetchall()  # type: ignore[no-any-return]
    return connection.exec_driver_sql(query, keys).all()


def _insert(connection: Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    """The same, and preparing each row as SQLAlchemy does takes twice as long as everything else in a batch."""
    if connection.dialect.positional:
        connection.connection.cursor().executemany(_adding(table, connection.dialect), rows)
    else:
        names = table.columns.keys()
        connection.exec_driver_sql(_adding(table, connection.dialect), [dict(zip(names, row, strict=True)) for row in rows])


@lru_cache
def _adding(table: Table, dialect: Dialect) -> str:
    return str(insert(table).compile(dialect=dialect))


@lru_cache
def _lookup(count: int, dialect: Dialect) -> str:
    """Selects `count` nodes by key; SQLite would scan the table for a row value IN a list."""
    keys = [and_(log_nodes.c.level == bindparam(f"l{k}"), log_nodes.c.idx == bindparam(f"i{k}")) for k in range(count)]
    return str(select(log_nodes.c.level, log_nodes.c.idx, log_nodes.c.hash).where(or_(*keys)).compile(dialect=dialect))


def _nodes(connection: Connection, places: list[Place]) -> dict[Place, bytes]:
    if not places:
        return {}
    keys: tuple[int, ...] | dict[str, int] = tuple(value for place in places for value in place)
    if not connection.dialect.positional:
        keys = {f"{name}{k}": value for k, place in enumerate(places) for name, value in zip("li", place, strict=True)}
    rows = _rows(connection, _lookup(len(places), connection.dialect), keys)
    found = {Place(row[0], row[1]): bytes(row[2]) for row in rows}
    if missing := [place for place in places if place not in found]:
        raise IntegrityError(f"the log's node at level {missing[0].level}, index {missing[0].idx} is missing")
    return found


def _hashes(connection: Connection, places: list[Place]) -> list[bytes]:
    found = _nodes(connection, places)
    return [found[place] for place in places]


def _proof(connection: Connection, ranges: list[tuple[int, int]]) -> list[bytes]:
    return hashes_of(ranges, _nodes(connection, [place for leaves in ranges for place in cover(*leaves)]))
