"""Publishing a checkpoint, killed at every step, torn at every length, and raced by another process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audit import verify
from audit.checkpoint import SLOT, CheckpointFile, make_checkpoint, pack_slot
from audit.failpoint import KILL
from tests.evidence import signer

ROOT = Path(__file__).parents[2]
KEY = verify.parse_key(str(signer().verifier))
PROGRAM = """
import sys
from pathlib import Path
from audit.checkpoint import CheckpointFile
from tests.evidence import signer
CheckpointFile(Path(sys.argv[1]), signer()).publish(int(sys.argv[2]), bytes([int(sys.argv[2])]) * 32)
"""


def publish(path: Path, size: int, die_at: str) -> int:
    environment = os.environ | {KILL: die_at}
    return subprocess.run([sys.executable, "-c", PROGRAM, str(path), str(size)], check=False, cwd=ROOT, env=environment).returncode


def newest(path: Path) -> int | None:
    found = CheckpointFile(path, None, signer().verifier).read()
    return found.size if found else None


@pytest.mark.parametrize(("point", "left"), [("before-write", None), ("before-sync", 1), ("after-sync", 1)])
def test_killed_in_the_first_publication(tmp_path: Path, point: str, left: int | None) -> None:
    path = tmp_path / "checkpoint"
    assert publish(path, 1, f"checkpoint:{point}") == -signal.SIGKILL
    assert newest(path) == left
    CheckpointFile(path, signer()).publish(1, bytes([1]) * 32)
    assert newest(path) == 1 and not verify.read_slots(path, KEY)[1]


@pytest.mark.parametrize(("point", "left"), [("before-write", 2), ("before-sync", 3), ("after-sync", 3)])
def test_killed_in_a_later_publication(tmp_path: Path, point: str, left: int) -> None:
    path = tmp_path / "checkpoint"
    file = CheckpointFile(path, signer())
    for size in (1, 2):
        file.publish(size, bytes([size]) * 32)
    assert publish(path, 3, f"checkpoint:{point}") == -signal.SIGKILL
    assert newest(path) == left
    CheckpointFile(path, signer()).publish(3, bytes([3]) * 32)
    assert newest(path) == 3 and not verify.read_slots(path, KEY)[1]


@pytest.mark.parametrize("written", [*range(1, 40), 100, 200, 279, 280, 512, 1024, SLOT - 1])
def test_a_half_written_slot(tmp_path: Path, written: int) -> None:
    """A power cut in the middle of a page: the older checkpoint stands, and the next publication mends the rest."""
    path = tmp_path / "checkpoint"
    file = CheckpointFile(path, signer())
    for size in (1, 2):
        file.publish(size, bytes([size]) * 32)
    new = pack_slot(make_checkpoint(signer(), 3, bytes([3]) * 32).note)
    with open(path, "r+b") as raw:
        raw.write(new[:written])
    assert newest(path) == (3 if path.read_bytes()[:SLOT] == new else 2)
    CheckpointFile(path, signer()).publish(3, bytes([3]) * 32)
    heads, findings = verify.read_slots(path, KEY)
    assert max(head.size for head in heads) == 3 and not findings


def race(path: Path, start: int, barrier: multiprocessing.synchronize.Barrier) -> None:
    file = CheckpointFile(path, signer())
    barrier.wait()
    for size in range(start, 120, 2):
        file.publish(size, bytes([size]) * 32)
        found = file.read()
        assert found is not None and found.size >= size


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Each finds its own or a newer head after every publication, and the file ends at the newest of all."""
    path = tmp_path / "checkpoint"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=race, args=(path, start, barrier)) for start in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    heads, findings = verify.read_slots(path, KEY)
    assert max(head.size for head in heads) == 119 and not findings
