"""A SuperLink: started, waited for, ended.

It runs as a process of its own (`federated.flower.server`) with TLS and registered nodes only, and writes what it says to a log file. It
sees who sends how many bytes when, and masked vectors; it keeps them in memory, and leaves none behind.

**Why no database.** Flower can keep its state in SQLite. All that has to last is durable elsewhere: answers and replies at coordinator
and partners, who give the same bytes to the same request. With SQLite a look for requests costs the SuperLink 10 ms of processor time
instead of 5, a reply 28 instead of 13, a look for replies 28 to 118 instead of 7 to 14; writers wait for each other, and messages of
ended runs stay on the disk. One that was killed is started anew: the courier registers the nodes and asks again, and agents wait for it.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from federated.flower.calls import StoppedError
from federated.flower.certificates import ServerFiles
from federated.flower.pinned import QUIET, TransportError, require
from governance import key_files

READY_SECONDS = 120.0
"""It is ready in three on an idle machine."""
ENDING_SECONDS = 10.0


@dataclass
class SuperLink:
    """`folder` (mode 0700) holds its log and secret; `host` and `port` are where it listens; `stopping` ends the wait for it."""

    folder: Path
    files: ServerFiles
    host: str
    port: int
    stopping: threading.Event = field(default_factory=threading.Event)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def address(self) -> str:
        """As agents and couriers take it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def log(self) -> Path:
        """All that it says, of all its starts."""
        return self.folder / "superlink.log"

    @property
    def secret(self) -> bytes:
        """By which its coordinator is known; made on first use."""
        key_files.make_folder(self.folder)
        key_files.put(self.folder / "secret", secrets.token_hex(32).encode())
        return key_files.get(self.folder / "secret")

    def start(self) -> None:
        """Returns when it serves. Raises TransportError: no Flower, port taken, or it ended at once, with the end of its log; and
        StoppedError."""
        require()
        if not self.secret or self._process is not None:
            raise TransportError("this SuperLink runs already")
        _free(self.host, self.port)
        arguments = {
            "--host": self.host,
            "--port": self.port,
            "--ssl-certfile": self.files.certificate,
            "--ssl-keyfile": self.files.key,
            "--ssl-ca-certfile": self.files.ca,
        }
        command = [sys.executable, "-m", "federated.flower.server", str(self.folder / "secret")]
        command += [str(each) for pair in arguments.items() for each in pair]
        environment = os.environ | QUIET | {"FLWR_HOME": str(self.folder / "flower"), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self._wait()

    def stop(self) -> None:
        """Ends it, gently and then at once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of its process. Raises TransportError where it has none."""
        if self._process is None:
            raise TransportError("this SuperLink does not run")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not self.running():
                self.stop()
                raise TransportError(f"the SuperLink ended as it started; its log `{self.log}` ends in: {self._last_words()}")
            if self.stopping.is_set():
                self.stop()
                raise StoppedError
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
            except OSError:
                self.stopping.wait(0.05)
            else:
                return
        self.stop()
        raise TransportError(f"the SuperLink did not serve within {READY_SECONDS:.0f} seconds; see its log `{self.log}`")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return " / ".join([line for line in lines if line][-3:]) or "nothing"


def _free(host: str, port: int) -> None:
    """Raises TransportError where something listens there already, or nothing can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server sets it: what a dead one left does not count
        try:
            probe.bind((host, port))
        except OSError as fault:
            raise TransportError(f"nothing can listen on `{host}:{port}`: {fault.strerror}; choose another host or port") from None
