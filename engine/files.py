"""Files that are there whole or not at all: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.failpoint import reach


@contextmanager
def whole_folder(target: Path, name: str) -> Iterator[Path]:
    """A folder to fill, which becomes `target` (replacing a leftover) when the block ends well. `name` is that of its failpoints."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        yield partial
        reach(f"{name}:before-sync")
        for path in partial.iterdir():
            sync(path)
        sync(partial)
        shutil.rmtree(target, ignore_errors=True)
        reach(f"{name}:before-rename")
        partial.rename(target)
        sync(target.parent)
        reach(f"{name}:after-rename")
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def whole_file(target: Path, name: str) -> Iterator[Path]:
    """A file to write, which becomes `target` when the block ends well."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        reach(f"{name}:before-rename")
        sync(partial)
        partial.rename(target)
        sync(target.parent)
        reach(f"{name}:after-rename")
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
