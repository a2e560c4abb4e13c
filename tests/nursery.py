"""Commands in children of a process that has imported everything, so that a kill meets a build and not seconds of imports.

Run as a program, this file reads a request a line and answers a line, both JSON. Noise leaves a mark each time it was
drawn, in the file that `CONSENTRIC_TEST_MARKS` names. With `CONSENTRIC_TEST_SEED` the n-th draw that the file knows of is the same
in every process. Each write that was acknowledged leaves the size and root of the log that it returned with, in the file that
`CONSENTRIC_TEST_ACKNOWLEDGED` names. `CONSENTRIC_TEST_LATER`: how many days a command's clock is ahead.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

ROOT = Path(__file__).parents[1]
MARKS = "CONSENTRIC_TEST_MARKS"
SEED = "CONSENTRIC_TEST_SEED"
ACKNOWLEDGED = "CONSENTRIC_TEST_ACKNOWLEDGED"
LATER = "CONSENTRIC_TEST_LATER"


@dataclass(frozen=True, slots=True)
class Ended:
    """Exit code (negative: the signal that killed it) and seconds of a command."""

    code: int
    seconds: float


class Nursery:
    """The process that is asked; a context manager."""

    def __enter__(self) -> Self:
        words = [sys.executable, "-W", "ignore", __file__]  # by its path: other distributions install a package `tests`
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            words, cwd=ROOT, env=os.environ | single, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    def run(self, *words: str, env: Mapping[str, str], kill_after: float | None = None) -> Ended:
        """A command in a child, killed with -9 after so many seconds if it has not ended."""
        requests, answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        requests.write(json.dumps({"words": words, "env": dict(env), "kill_after": kill_after}) + "\n")
        requests.flush()
        answer = json.loads(answers.readline())
        return Ended(answer["code"], answer["seconds"])


def main() -> None:
    """Serve until the input ends."""
    import opendp.prelude  # noqa: F401  (what takes long to import)
    import sklearn.cluster  # noqa: F401

    from engine import afterwards, consents, pipeline, release, views  # noqa: F401
    from engine.cli import app

    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        if not (child := os.fork()):
            _command(app, request)
        if request["kill_after"] is not None:
            time.sleep(request["kill_after"])
            os.kill(child, signal.SIGKILL)  # one that has ended is still there until it is waited for
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"code": code, "seconds": time.monotonic() - started}), flush=True)


def _mark(variable: str, line: str) -> None:
    """A line that is there even if this process is killed at once."""
    handle = os.open(os.environ[variable], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def _tell_acknowledgements() -> None:
    from governance.store import Store, Transaction

    original = Store.transaction

    @contextmanager
    def transaction(self: Store, name: str = "write") -> Iterator[Transaction]:
        with original(self, name) as write:
            yield write
        if write.last is not None:
            size, root = write.tail.head
            _mark(ACKNOWLEDGED, f"{size} {root.hex()}")

    Store.transaction = transaction  # type: ignore[method-assign]


def _go_ahead() -> None:
    import engine.workspace

    by = dt.timedelta(days=float(os.environ[LATER]))
    engine.workspace.now = lambda: dt.datetime.now(dt.UTC) + by


def _command(app: Any, request: dict[str, Any]) -> None:
    from engine import bench
    from governance.noise import NoiseSource, SystemNoise
    from tests.fakes import SeededNoise

    class Witnessed(SystemNoise):
        def draw(self, sigma: float, size: int) -> Any:
            marks = Path(os.environ[MARKS])
            if SEED in os.environ:
                number = len(marks.read_bytes().splitlines()) if marks.exists() else 0
                drawn = SeededNoise(int(os.environ[SEED]) * 10_000 + number).draw(sigma, size)
            else:
                drawn = super().draw(sigma, size)
            _mark(MARKS, str(size))
            return drawn

    os.environ.update(request["env"])
    if ACKNOWLEDGED in os.environ:
        _tell_acknowledgements()
    if LATER in os.environ:
        _go_ahead()
    noise: type[NoiseSource] = Witnessed
    bench.SystemNoise = noise  # type: ignore[misc, assignment]
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    code: int = 1
    try:
        app(request["words"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
