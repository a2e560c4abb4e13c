"""The log as lines: JSON that can be verified, or CSV to look at; streamed, so that memory does not grow with it.

A line of JSON is `{"entry":BODY,"index":N,"leaf":HEX}` with the entry's bytes as they are in the log, so that a reader can hash them
again: leaf = SHA-256(0x00 || BODY) (RFC 6962, section 2.1), and the root over all leaves is the one in the checkpoint beside it. The
same is done here while writing, and a log whose entries are not those that were signed is not exported. CSV has a column for each fact
that any entry has, found in a first pass; its cells are safe to open in a spreadsheet, and not meant to be hashed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from audit import log as audit_log
from audit.checkpoint import Checkpoint
from audit.merkle import CompactRange, IntegrityError, leaf_hash
from audit.record import inert

STEP = 50_000
"""Entries between two reports of progress."""

_ROWS = 1_000
"""Entries in memory at once; `STEP` is a multiple of it."""

CHECKPOINT = ".checkpoint"
"""What the name of the checkpoint's file ends with, after that of the log's."""

Progress = Callable[[str], None]

_OWN = ("index", "at", "action", "principal", "established", "unsafe_principal", "claimed_roles", "leaf")
"""Columns that come before facts; an entry's version `v` is left out."""


def steps(size: int, form: str) -> int:
    """How many an export of `size` entries reports."""
    return (1 + size // STEP) * (2 if form == ".csv" else 1)


def write(connection: Connection, checkpoint: Checkpoint, to: Path, form: str, progress: Progress) -> None:
    """The entries that a checkpoint covers. Raises IntegrityError where they are not those that it was signed over."""
    if form == ".csv":
        _csv(connection, checkpoint, to, progress)
        return
    with to.open("wb") as file:
        for entry, leaf in _verified(connection, checkpoint, "entries", progress):
            file.write(b'{"entry":%b,"index":%d,"leaf":"%b"}\n' % (entry.body, entry.index, leaf.hex().encode()))


def _csv(connection: Connection, checkpoint: Checkpoint, to: Path, progress: Progress) -> None:
    names: dict[str, None] = {}
    for entry, _ in _verified(connection, checkpoint, "columns", progress):
        names |= dict.fromkeys(flat("", _body(entry)["facts"]))
    facts = sorted(names)
    with to.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_OWN, *(inert(name) for name in facts)])
        for entry, leaf in _verified(connection, checkpoint, "entries", progress):
            body = _body(entry)
            own = body | {"index": entry.index, "leaf": leaf.hex()}
            said = flat("", body["facts"])
            writer.writerow([*(cell(own.get(name)) for name in _OWN), *(cell(said.get(name)) for name in facts)])


def _verified(connection: Connection, checkpoint: Checkpoint, step: str, progress: Progress) -> Iterator[tuple[audit_log.Entry, bytes]]:
    """Entries and their leaves; raises after the last one if the root is another than the checkpoint's."""
    tree, found = CompactRange(), audit_log.entries(connection, 0, checkpoint.size)
    while entries := list(islice(found, _ROWS)):
        if entries[0].index % STEP == 0:
            progress(f"{step} from {entries[0].index:,}")
        if wrong := next((entry for entry in entries if not isinstance(entry.body, bytes)), None):
            raise IntegrityError(f"entry {wrong.index} of the log is not stored as bytes: somebody wrote it anew")
        leaves = [leaf_hash(entry.body) for entry in entries]
        tree.extend(leaves)
        yield from zip(entries, leaves, strict=True)
    if tree.size != checkpoint.size or tree.root() != checkpoint.root:
        raise IntegrityError(
            f"the log is not the one that was signed: got {tree.size} entries of another root than the checkpoint's {checkpoint.size}; "
            "`consentric audit verify` names what was changed"
        )


def _body(entry: audit_log.Entry) -> dict[str, Any]:
    """The entry as an object; an edited one, which the end of a pass would tell too, may be none."""
    with suppress(ValueError, AttributeError):
        body = entry.parsed
        if isinstance(body.get("facts"), dict):
            return body
    raise IntegrityError(f"entry {entry.index} of the log is not one that this program wrote")


def flat(path: str, value: Any) -> dict[str, Any]:
    """Facts within facts by dotted names; lists stay whole."""
    if not isinstance(value, dict):
        return {path: value}
    return {name: each for key, item in value.items() for name, each in flat(f"{path}.{key}" if path else key, item).items()}


def cell(value: Any) -> str:
    """A text as it is but for what a spreadsheet would take for a formula, everything else as JSON, nothing where there is nothing."""
    return "" if value is None else inert(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
