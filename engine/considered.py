"""Whom a build considered: subject, reason, whether their rows trained it, and the salted leaf that the log vouches for.

Row i is leaf i of the build's tree, in the order of random salts; random leaves of a kept seed fill it up to the public number,
so that the tree can be built again for proofs. To erase somebody is to blank subject, reason and salt: the leaf stays, so
every proof stays valid, and without the salt it says nothing about anybody. Rows beyond the public number have no leaf:
an error would tell the exact one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from audit.commitments import SALT, Commitments, collect, commit
from engine.files import read_parquet
from governance.verdicts import Reason

CONSIDERED = "considered.parquet"
"""In a build's folder."""

SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        ("reason", pa.int8()),
        ("trained", pa.bool_()),
        ("salt", pa.binary(SALT)),
        ("leaf", pa.binary(SALT)),
    ]
)

_SEED, _SIZE = b"padding seed", b"size"
_CHUNK = 1 << 12


@dataclass(frozen=True, slots=True)
class Opening:
    """One subject's leaf, opened: `audit.commitments.check_opening` says whether `value` is what the tree at `root` commits to."""

    value: str
    reason: Reason
    trained: bool
    salt: bytes
    index: int
    proof: tuple[bytes, ...]
    size: int
    root: bytes

    def as_data(self) -> dict[str, Any]:
        """As `audit.proof.opening` hands it to its subject."""
        return {"value": self.value, "salt": self.salt.hex(), "index": self.index, "proof": [each.hex() for each in self.proof]}


def write(path: Path, build: str, reasons: pa.Table, trained: pa.Array, size: int) -> Commitments:
    """Commit to everybody in `reasons` (subject, reason), and write it down; `size` is the public number of leaves."""
    order, salts = _shuffled(reasons.num_rows)
    table = reasons.combine_chunks().take(order)
    subjects, codes = table["subject"].to_pylist(), table["reason"].to_pylist()
    leaves = [
        commit(_value(build, subject, code), salt) if place < size else None
        for place, (subject, code, salt) in enumerate(zip(subjects, codes, salts, strict=True))
    ]
    seed = os.urandom(SALT)
    columns = [table["subject"], table["reason"].cast(pa.int8()), pc.is_in(table["subject"], trained), salts, leaves]
    filled = pa.table(
        [pa.chunked_array([pa.array(c, t)]) if isinstance(c, list) else c for c, t in zip(columns, SCHEMA.types, strict=True)], SCHEMA
    )
    pq.write_table(filled.replace_schema_metadata({_SEED: seed.hex(), _SIZE: str(size)}), path)
    return collect((*leaves[:size], *_padding(seed, size - len(leaves))), size)


def blanked(table: pa.Table, gone: pa.Array) -> pa.Table:
    """Without `gone`: subject, reason and salt go, the leaf stays in its row."""
    out = pc.is_in(table["subject"], gone)
    for place, name in enumerate(table.column_names):
        if name != "leaf":
            blank = pa.scalar(False if name == "trained" else None, table.schema.field(name).type)
            table = table.set_column(place, table.schema.field(name), pc.if_else(out, blank, table[name]))
    return table


def opening(path: Path, build: str, subject: str) -> Opening | None:
    """The leaf of one subject, to be shown to that subject; None where it has none. For whoever may see a subject's record."""
    table = read_parquet(path)
    index = pc.index(table["subject"], subject).as_py()
    if index < 0 or table["leaf"][index].as_py() is None:
        return None
    tree, row = commitments(table), {name: table[name][index].as_py() for name in ("reason", "trained", "salt")}
    value, proof = _value(build, subject, row["reason"]), tuple(tree.proof(index))
    return Opening(value, Reason(row["reason"]), row["trained"], row["salt"], index, proof, tree.size, tree.root)


def commitments(table: pa.Table) -> Commitments:
    """The tree again, whoever was blanked since."""
    seed, size = bytes.fromhex(table.schema.metadata[_SEED].decode()), int(table.schema.metadata[_SIZE])
    leaves = table["leaf"].drop_null().to_pylist()
    return collect((*leaves, *_padding(seed, size - len(leaves))), size)


def _shuffled(count: int) -> tuple[pa.Array, list[bytes]]:
    """An order that says nothing, and a random salt for each place in it."""
    raw = os.urandom(SALT * count)
    salts = [raw[start : start + SALT] for start in range(0, SALT * count, SALT)]
    order = sorted(range(count), key=salts.__getitem__)
    return pa.array(order, pa.int64()), [os.urandom(SALT) for _ in order]


def _padding(seed: bytes, count: int) -> Iterator[bytes]:
    """`count` leaves that nobody without the seed can tell from commitments (SHAKE-256 of seed and counter)."""
    for start in range(0, max(count, 0), _CHUNK):
        block = hashlib.shake_256(seed + start.to_bytes(8, "big")).digest(SALT * min(_CHUNK, count - start))
        yield from (block[place : place + SALT] for place in range(0, len(block), SALT))


def _value(build: str, subject: str, reason: int) -> str:
    return f"{build}\n{subject}\n{reason}"
