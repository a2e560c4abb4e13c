import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audit.failpoint import KILL, TRACE, reach

ROOT = Path(__file__).parents[3]
PROGRAM = """
from audit.failpoint import reach
for name in ("a", "b", "a", "b", "a"):
    reach(name)
    print(name, flush=True)
"""


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", PROGRAM], check=False, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("where", "printed"), [("a", ""), ("b", "a"), ("a#2", "ab"), ("b#2", "aba"), ("a#3", "abab")])
def test_dies_at_the_named_point_and_time(where: str, printed: str) -> None:
    done = run(**{KILL: where})
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == list(printed)


def test_another_name_or_a_fourth_time_does_not_kill() -> None:
    assert run(**{KILL: "c"}).returncode == run(**{KILL: "a#4"}).returncode == 0


def test_lists_the_names_reached(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run(**{TRACE: str(trace), KILL: "b#2"})
    assert trace.read_text().split() == ["a", "b", "a", "b"]


def test_without_variables_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KILL, raising=False)
    monkeypatch.delenv(TRACE, raising=False)
    reach("anything")
