"""Publishing a checkpoint, killed at every step, torn at every length, and raced by another process."""

from __future__ import annotations

import fcntl
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from audit import verify
from audit.checkpoint import SLOT, CheckpointFile, make_checkpoint, pack_slot
from audit.failpoint import KILL
from tests.evidence import read_slots, signer

ROOT = Path(__file__).parents[2]
KEY = verify.parse_key(str(signer().verifier))
PROGRAM = """
import sys
import threading
import time
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
    assert newest(path) == 1 and not read_slots(path, KEY)[1]


@pytest.mark.parametrize(("point", "left"), [("before-write", 2), ("before-sync", 3), ("after-sync", 3)])
def test_killed_in_a_later_publication(tmp_path: Path, point: str, left: int) -> None:
    path = tmp_path / "checkpoint"
    file = CheckpointFile(path, signer())
    for size in (1, 2):
        file.publish(size, bytes([size]) * 32)
    assert publish(path, 3, f"checkpoint:{point}") == -signal.SIGKILL
    assert newest(path) == left
    CheckpointFile(path, signer()).publish(3, bytes([3]) * 32)
    assert newest(path) == 3 and not read_slots(path, KEY)[1]


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
    heads, findings = read_slots(path, KEY)
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
    heads, findings = read_slots(path, KEY)
    assert max(head.size for head in heads) == 119 and not findings


def covered(path: Path, size: int, held: int) -> list[int]:
    """Asks for a checkpoint over `size` while somebody else has the file; gives the sizes that were asked for under the lock."""
    asked: list[int] = []

    def newest() -> tuple[int, bytes]:
        asked.append(held)
        return held, bytes([held]) * 32

    file = CheckpointFile(path, signer())
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=file.cover, args=(size, bytes([size]) * 32, newest))
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive()
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.join()
    return asked


def test_who_waited_writes_nothing_where_a_newer_one_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    CheckpointFile(path, signer()).publish(5, bytes([5]) * 32)
    kept = path.read_bytes()
    assert covered(path, 4, 5) == [] and path.read_bytes() == kept
    assert covered(path, 6, 8) == [8] and newest(path) == 8  # one write for all that was committed meanwhile


@pytest.mark.parametrize("point", ["before-sync", "after-sync"])
def test_who_waited_leans_on_nobody_who_died_before_saying_that_it_flushed(tmp_path: Path, point: str) -> None:
    """Killed between write and sync, or between sync and the mark: the head is in the file, and the next one flushes it again."""
    path = tmp_path / "checkpoint"
    CheckpointFile(path, signer()).publish(1, bytes([1]) * 32)
    assert publish(path, 5, f"checkpoint:{point}") == -signal.SIGKILL
    assert newest(path) == 5
    assert covered(path, 4, 5) == [5]
    assert covered(path, 4, 5) == []


@pytest.mark.parametrize("mark", [b"", b"\0" * 32, b"x" * 33])
def test_a_mark_that_is_lost_or_of_another_slot_costs_a_flush_and_nothing_else(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "checkpoint"
    CheckpointFile(path, signer()).publish(5, bytes([5]) * 32)
    (tmp_path / "checkpoint.synced").write_bytes(mark)
    assert covered(path, 4, 5) == [5]
