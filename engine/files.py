"""Files that are there whole or not at all: written beside, flushed to the disk, then renamed. Writers do not meet.

A draft folder has a name of its own. A file's draft has one name, which writers hold in turn, so that a crash leaves at
most one beside a target that may lie in somebody else's folder. Whoever writes a draft holds a lock on it, so that what a crash
left is told from what is being written (`abandoned`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from audit.failpoint import reach

if TYPE_CHECKING:
    import pyarrow as pa

PARTIAL = ".partial"
"""Ending of what is not whole yet."""


@contextmanager
def draft_folder(target: Path) -> Iterator[Path]:
    """A folder of this writer alone beside `target`; removed at the end of the block, unless it was placed."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=PARTIAL, dir=target.parent))
        handle = os.open(partial, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _same(handle, partial):
            break
        os.close(handle)  # it was taken for abandoned before it was held
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(handle)


def abandoned(folder: Path, clear: bool = False) -> int:
    """How many drafts, at any depth of `folder`, nobody is writing: a crash left them. `clear` removes them."""
    found = 0
    for path in list(folder.rglob(f"*{PARTIAL}")):
        with suppress(FileNotFoundError, BlockingIOError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found += 1
                if clear:
                    delete(path, "draft")  # while it is held, so that no writer takes it up again
            finally:
                os.close(handle)
    return found


def remove(path: Path) -> None:
    """A file, or a folder and all that is in it; what is not there is not missed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def delete(path: Path, name: str) -> None:
    """A file or folder that is gone for good on return; what is not there is not missed. `name` is that of the failpoints."""
    if os.path.lexists(path):
        reach(f"{name}:before-remove")
        remove(path)
        sync(path.parent)
        reach(f"{name}:after-remove")


def flush_folder(partial: Path, name: str) -> None:
    """Make a draft and its files durable. `name` is that of the failpoints, here and below."""
    reach(f"{name}:before-sync")
    for path in partial.iterdir():
        sync(path)
    sync(partial)


def place_folder(partial: Path, target: Path, name: str) -> None:
    """Let a durable draft become `target`."""
    shutil.rmtree(target, ignore_errors=True)
    reach(f"{name}:before-rename")
    partial.rename(target)
    sync(target.parent)
    reach(f"{name}:after-rename")


@contextmanager
def whole_file(target: Path, name: str, private: bool = False) -> Iterator[Path]:
    """A file to write, which becomes `target` when the block ends well. `private`: nobody else's to read."""
    with draft_file(target, private) as partial:
        yield partial
        place_file(partial, target, name)


def draft_of(target: Path) -> Path:
    """Where a file is written before it is whole."""
    return target.with_name(f".{target.name}{PARTIAL}")


@contextmanager
def draft_file(target: Path, private: bool = False) -> Iterator[Path]:
    """A file to write beside `target`, held by one writer at a time; removed at the end of the block, unless it was placed."""
    partial = draft_of(target)
    with _held(partial, 0o600 if private else 0o666):
        placed = os.stat(partial).st_ino
        try:
            yield partial
        finally:
            with suppress(FileNotFoundError):
                if os.stat(partial).st_ino == placed:
                    partial.unlink()


def place_file(partial: Path, target: Path, name: str) -> None:
    """Make a draft durable, and let it become `target`."""
    reach(f"{name}:before-rename")
    sync(partial)
    partial.rename(target)
    sync(target.parent)
    reach(f"{name}:after-rename")


@contextmanager
def _held(partial: Path, mode: int) -> Iterator[None]:
    """Nobody else has `partial`: it is made, or waited for, and its lock ends with this process if not before. `mode`: of a new one."""
    while True:
        with open(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _same(handle.fileno(), partial):
                if not mode & 0o077:
                    os.fchmod(handle.fileno(), mode)  # one that a crash left, perhaps
                yield
                return


def _same(handle: int, path: Path) -> bool:
    """Whether a path still names the open file; the writer before us may have renamed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A file that another command may replace meanwhile. Opened once: by its path, pyarrow opens it for its schema and again for rows."""
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.read_table(file, columns=columns)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
