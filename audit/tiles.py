"""The log as files that anybody can serve and check: tiles, entry bundles, and a checkpoint (C2SP tlog-tiles).

    checkpoint                      the signed note of the newest tree, with what witnesses signed of it
    tile/<L>/<N>[.p/<W>]            hashes of the complete subtrees of 256^L leaves, 256 a tile
    tile/entries/<N>[.p/<W>]        entries, each behind its length in two bytes

A tile that is full never changes; of the last ones of each level there is a partial one for each size that was published, until
it is full. So a publication writes what is new since the last, whole and durable file by file, and the checkpoint last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from audit import log
from audit.checkpoint import Checkpoint
from audit.failpoint import reach
from audit.merkle import IntegrityError, Place

CHECKPOINT = "checkpoint"
WIDTH = 256
"""Hashes of a full tile, and entries of a full bundle."""

ENTRIES = -1
"""The level of bundles, which stand beside tiles of level 0."""


class Tile(NamedTuple):
    """A tile, or a bundle; `width` is below 256 where it is partial."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Below the folder: index 1234067 is `x001/x234/067`, so that no folder has more than a thousand names."""
        *upper, last = [f"{int(part):03}" for part in f"{self.number:,}".split(",")]
        name = "/".join((*(f"x{part}" for part in upper), last))
        kind = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{kind}/{name}" + (f".p/{self.width}" if self.width < WIDTH else "")


def tiles(size: int, before: int = 0) -> Iterator[Tile]:
    """The tiles and bundles of a tree of `size`, without those that one of `before` entries had already."""
    for level in (ENTRIES, *range(size.bit_length() // 8 + 1)):
        total, had = (count >> 8 * max(level, 0) for count in (size, before))
        for start in range(had // WIDTH * WIDTH if total > had else total, total, WIDTH):
            yield Tile(level, start // WIDTH, min(WIDTH, total - start))


def content(connection: Connection, tile: Tile) -> bytes:
    """The bytes of a tile, or of a bundle. Raises IntegrityError where the log has not that much."""
    start, stop = tile.number * WIDTH, tile.number * WIDTH + tile.width
    if tile.level == ENTRIES:
        parts = [len(entry.body).to_bytes(2, "big") + entry.body for entry in log.entries(connection, start, stop)]
    else:
        parts = log.nodes(connection, [Place(8 * tile.level, index) for index in range(start, stop)])
    if len(parts) != tile.width:
        raise IntegrityError(f"`{tile.path}` has {tile.width} parts, the log has {len(parts)} of them")
    return b"".join(parts)


def publish(connection: Connection, folder: Path, checkpoint: Checkpoint, before: Checkpoint | None) -> int:
    """Write what is new since `before`, the checkpoint that the folder has, and then the new one; gives the number of files.

    Raises IntegrityError where the log does not go on from `before`, and leaves the folder as it is.
    """
    for known in (checkpoint, *((before,) if before else ())):
        log.check_against(connection, known)
    had = before.size if before else 0
    if checkpoint.size < had:
        raise IntegrityError(f"the folder has {had} entries, more than the {checkpoint.size} that are to be published")
    written = [tile for tile in tiles(checkpoint.size, had)]
    for tile in written:
        write(folder / tile.path, content(connection, tile))
    reach("tiles:before-checkpoint")
    write(folder / CHECKPOINT, checkpoint.note.encode())
    for tile in written:
        if tile.width == WIDTH:
            _drop_partial(folder / f"{tile.path}.p")
    return len(written) + 1


def write(path: Path, raw: bytes) -> None:
    """A file that is there whole, and durable, or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    reach("tiles:before-rename")
    aside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _drop_partial(folder: Path) -> None:
    """Whoever asks for a partial tile that is gone takes the full one."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
