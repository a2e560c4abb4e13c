"""Commands in children of a process that has imported everything, so that a kill meets a build and not seconds of imports.

Run as a program, this file reads a request a line and answers a line, both JSON. Noise leaves a durable mark each time it was
drawn, in the file that `CONSENTRIC_TEST_MARKS` names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

ROOT = Path(__file__).parents[1]
MARKS = "CONSENTRIC_TEST_MARKS"


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


def _command(app: Any, request: dict[str, Any]) -> None:
    from engine import bench
    from governance.noise import NoiseSource, SystemNoise

    class Witnessed(SystemNoise):
        def draw(self, sigma: float, size: int) -> Any:
            drawn = super().draw(sigma, size)
            handle = os.open(os.environ[MARKS], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(handle, f"{size}\n".encode())
            os.fsync(handle)
            os.close(handle)
            return drawn

    os.environ.update(request["env"])
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
