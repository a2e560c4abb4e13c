"""A partner's process that can be killed: it answers requests over a socket, as an agent would have it answer, and nobody else's.

Run as a program, this file imports everything once and forks a child for each line that it reads: JSON with the workspace, its
environment and the address of a socket. The child takes part until the socket is closed, and says how it ended by its exit code. Noise
leaves a mark each time it was drawn, in the file that `CONSENTRIC_TEST_MARKS` names.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

ROOT = Path(__file__).parents[1]
MARKS = "CONSENTRIC_TEST_MARKS"
PATIENCE = 60.0
"""Seconds within which a child that was asked for is there."""

OURS = ("round", "round-secret", "reply", "transcript", "answered", "round-record", "collaboration-resumed", "collaboration-ended")
"""Durable steps that no command takes without others: they are taken in processes of this kind (`tests/crash/test_partner.py`)."""


class Homes:
    """The process that is asked; a context manager."""

    def __enter__(self) -> Self:
        words = [sys.executable, "-W", "ignore", __file__]
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(words, cwd=ROOT, env=os.environ | single, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    @contextmanager
    def home(self, name: str, env: Mapping[str, str], at: Path) -> Iterator[Home]:
        """A partner at work; whatever the block does, its process has ended afterwards."""
        address = str(at / "socket")
        with suppress(FileNotFoundError):
            os.unlink(address)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)
            listening.settimeout(PATIENCE)
            listening.listen()
            requests, answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
            requests.write(json.dumps({"name": name, "env": dict(env), "address": address}) + "\n")
            requests.flush()
            child = int(answers.readline())
            line, _ = listening.accept()
            line.settimeout(None)
        home = Home(line, child)
        try:
            yield home
        finally:
            line.close()
            requests.write("\n")
            requests.flush()
            home.code = int(answers.readline())


class Home:
    """One child. `code`: how it ended, once it has: a signal as a negative number."""

    def __init__(self, line: socket.socket, child: int) -> None:
        self._line, self.child = line, child
        self.code: int | None = None

    def answer(self, request: bytes) -> bytes:
        """Its reply; empty where it is gone."""
        try:
            send(self._line, request)
            return receive(self._line) or b""
        except OSError:
            return b""


def send(line: socket.socket, message: bytes) -> None:
    """With its length before it."""
    line.sendall(len(message).to_bytes(4, "big") + message)


def receive(line: socket.socket) -> bytes | None:
    """None where the other end is gone."""
    head = _exactly(line, 4)
    return None if head is None else _exactly(line, int.from_bytes(head, "big"))


def _exactly(line: socket.socket, size: int) -> bytes | None:
    found = b""
    while len(found) < size:
        more = line.recv(size - len(found))
        if not more:
            return None
        found += more
    return found


def main() -> None:
    """Serve until the input ends."""
    import duckdb  # noqa: F401  (what takes long to import, and what a child is to find as it was)

    import engine.partners.serving  # noqa: F401
    import tests.fakes  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if not (child := os.fork()):
            _take_part(request)
        print(child, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _take_part(request: dict[str, Any]) -> None:
    from engine.bench import Bench
    from engine.partners.participation import taking_part
    from engine.workspace import Workspace
    from tests.fakes import SeededNoise

    class Marked(SeededNoise):
        def draw(self, sigma: float, size: int) -> Any:
            drawn = super().draw(sigma, size)
            handle = os.open(os.environ[MARKS], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(handle, f"{drawn[0]}\n".encode())
            os.close(handle)
            return drawn

    os.environ.update(request["env"])
    code = 1
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(request["address"])
            bench = Bench(Workspace.find(None).open(), Marked(os.getpid()), lambda _step: None)
            with taking_part(bench, request["name"]) as there:
                while (asked := receive(line)) is not None:
                    send(line, there.answer(asked))
        code = 0
    except Exception as error:  # noqa: BLE001 (the last place)
        print(type(error).__name__, error, file=sys.stderr)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
