"""Lines that are only ever added: durable one by one, whole or not there, in a file that nobody else may read.

Each line ends in a checksum over itself and the checksum before it, so that a line that was changed, exchanged or taken out is
found. What follows the last line's end is a write that a crash cut off: never read, and cut away by the next one. Writers
hold the file's lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.failpoint import reach
from governance.key_files import sync

_SUM = 16
"""Hexadecimal digits of a checksum: against accidents, not against whoever may write the file."""


class JournalError(Exception):
    """The file is damaged, or open to others; `remedy` says what to do."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(f"`{path}` {fault}; {remedy}")
        self.path, self.remedy = path, remedy


class Journal:
    """One such file; `name` is that of its failpoints."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name
        self._read: tuple[tuple[int, ...], tuple[str, ...]] | None = None

    def create(self) -> None:
        """Make it empty, durably; one that is there stays as it is."""
        with self._locked(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
            os.fsync(file)
        sync(self.path.parent)

    def append(self, line: str) -> None:
        """Add a line; durable on return. Raises JournalError, and OSError where the disk refuses."""
        assert "\n" not in line
        with self._locked(os.O_RDWR, fcntl.LOCK_EX) as file:
            raw, _lines, last = self._whole(file)
            os.ftruncate(file, len(raw))
            reach(f"{self._name}:before-write")
            written = f"{line} {_checksum(last, line)}\n".encode()
            if os.pwrite(file, written, len(raw)) != len(written):  # a disk that is full takes a part, and says so the next time
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reach(f"{self._name}:before-sync")
            os.fdatasync(file)
        reach(f"{self._name}:after-sync")

    def lines(self) -> tuple[str, ...]:
        """Every line, in order; read anew where the file changed. Raises JournalError."""
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as file:
            seen = os.fstat(file)
            state = seen.st_ino, seen.st_size, seen.st_mtime_ns
            if self._read is None or self._read[0] != state:
                self._read = state, self._whole(file)[1]
        return self._read[1]

    def rewrite(self, choose: Callable[[tuple[str, ...]], Iterable[str]]) -> None:
        """Put what `choose` makes of all lines in their place; the file has either when the machine dies. Raises JournalError."""
        with self._locked(os.O_RDWR, fcntl.LOCK_EX) as file:  # of the file that goes: whoever waits for it looks again
            aside, last = self.path.with_name(f".{self.path.name}.partial"), ""
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(aside, flags, 0o600), "w") as new:
                for line in choose(self._whole(file)[1]):
                    last = _checksum(last, line)
                    new.write(f"{line} {last}\n")
                new.flush()
                os.fsync(new.fileno())
            reach(f"{self._name}:before-rename")
            aside.rename(self.path)
            sync(self.path.parent)
        reach(f"{self._name}:after-rename")

    def _whole(self, file: int) -> tuple[bytes, tuple[str, ...], str]:
        """The bytes of whole lines, the lines, and the last checksum."""
        raw = os.pread(file, os.fstat(file).st_size, 0)
        raw = raw[: raw.rfind(b"\n") + 1]
        lines, last = [], ""
        for number, text in enumerate(raw.decode(errors="replace").split("\n")[:-1], 1):
            line, _, checksum = text.rpartition(" ")
            if checksum != (last := _checksum(last, line)):
                raise JournalError(self.path, f"is damaged in line {number}", "restore it from a backup of its folder")
            lines.append(line)
        return raw, tuple(lines), last

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        while True:
            file = os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(file, lock)
                status = os.fstat(file)
                if status.st_mode & 0o077:
                    mode = stat.S_IMODE(status.st_mode)
                    raise JournalError(self.path, f"is open to others: mode {mode:04o}, expected 0600", f"chmod 600 {self.path}")
                if _same(status, self.path):
                    yield file
                    return
            finally:
                os.close(file)


def _checksum(before: str, line: str) -> str:
    return hashlib.sha256(f"{before}\n{line}".encode()).hexdigest()[:_SUM]


def _same(status: os.stat_result, path: Path) -> bool:
    """Whether the path still names the open file; it may have been rewritten while we waited."""
    try:
        return os.path.samestat(status, os.stat(path))
    except FileNotFoundError:
        return False
