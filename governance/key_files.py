"""Files of secrets: whole or not there, durable, and nobody else's to read, in folders that are nobody else's either."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from audit.failpoint import reach

RESTORE = "restore it from a backup: a new one would not continue the old"


class KeyFault(Exception):
    """A key is missing, damaged or open to others; `path` says which, `remedy` what to do."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(f"key `{path}` {fault}; {remedy}")
        self.path, self.remedy = path, remedy


def make_folder(folder: Path) -> None:
    """Make a folder with mode 0700, unless it is there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync(folder.parent)


def put(path: Path, content: bytes) -> None:
    """Durable and whole on return. If the name is taken, what has it stays."""
    check(path.parent, folder=True, mode=0o700)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        reach("key-file:before-link")
        try:
            os.link(aside, path)
        except FileExistsError:
            return
        reach("key-file:after-link")
    finally:
        aside.unlink()
        sync(path.parent)


def sync(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def get(path: Path) -> bytes:
    """What a file of secrets holds. Raises KeyFault."""
    check(path.parent, folder=True, mode=0o700)
    check(path, folder=False, mode=0o600)
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFault(path, f"cannot be read: {error.strerror}", "run as its owner") from None


def check(path: Path, folder: bool, mode: int) -> None:
    """Raises KeyFault unless the path is of that kind, no link, and closed to others."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise KeyFault(path, "is missing", RESTORE) from None
    except PermissionError:
        raise KeyFault(path, "belongs to somebody else", "run as its owner") from None
    if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode) != folder:
        raise KeyFault(path, f"is not a {'folder' if folder else 'file'}", RESTORE)
    if status.st_mode & 0o077:
        raise KeyFault(path, f"is open to others: mode {stat.S_IMODE(status.st_mode):04o}, expected {mode:04o}", f"chmod {mode:o} {path}")
