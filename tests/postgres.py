"""A PostgreSQL server of the tests' own, on loopback and in a folder that goes with it, from the machine's programs.

It is started when the first test asks, ended by its process, and never durable (`-F`). A server does not run as root: where the
tests do, it runs as `postgres`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

_NAMES = count(1)
_EMPTIED = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "DROP SCHEMA public CASCADE",
    "CREATE SCHEMA public",
)


class NoServerError(Exception):
    """There is no PostgreSQL here that can be started; says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs; `process` is its own. `idle`: URLs of databases that may be lent."""

    port: int
    process: int
    idle: list[str] = field(default_factory=list)

    def url(self, database: str) -> str:
        """How a database is reached."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """A database of its own, empty; gives its URL."""
        name = f"test{next(_NAMES)}"
        self.run("postgres", f'CREATE DATABASE "{name}"')
        return self.url(name)

    @contextmanager
    def lending(self) -> Iterator[Callable[[], str]]:
        """What gives URLs of empty databases until the block ends; they are emptied then and lent again, as making one takes long."""
        lent: list[str] = []

        def lend() -> str:
            lent.append(self.idle.pop() if self.idle else self.create())
            return lent[-1]

        yield lend
        for url in lent:
            self.run(url.rpartition("/")[2], *_EMPTIED)
            self.idle.append(url)

    def run(self, database: str, *statements: str) -> None:
        """Statements as the owner of everything."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@contextmanager
def server() -> Iterator[Server]:
    """One server until the block ends. Raises NoServerError."""
    programs = _programs()
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N"],
            check=False,
            user=user,
            capture_output=True,
            text=True,
            cwd="/",
        )
        if made.returncode:
            raise NoServerError(f"initdb failed: {made.stderr.strip()}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = ["-F", "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        running = subprocess.Popen(
            [programs / "postgres", "-D", data, *settings], user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            started = Server(port, running.pid)
            _wait(started, running)
            yield started
        finally:
            running.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            running.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in [*installed, *map(Path, os.environ.get("PATH", "").split(":"))]:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise NoServerError("no PostgreSQL in /usr/lib/postgresql or PATH")


def _user() -> str | None:
    if os.getuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise NoServerError("a PostgreSQL server does not run as root, and there is no user `postgres`") from None


def _wait(started: Server, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while running.poll() is None and time.monotonic() < until:
        try:
            psycopg.connect(started.url("postgres"), connect_timeout=1).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise NoServerError("the server did not start")
