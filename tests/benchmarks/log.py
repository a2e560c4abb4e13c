"""The log's speed: single durable events beside bare SQLite commits, batches, inclusion proofs, and a whole log verified.

Singles are `Store.transaction` with one entry, checkpoint and all, and their peer is a commit of the same bytes into one table
by sqlite3 alone, with the same journal and `synchronous=FULL`. One process does a few of each in turn, and the medians are compared,
so that whatever else the machine does meets both; then eight write at once.
Run with `python -m tests.benchmarks.log [ENTRIES]`: how many entries the log that is verified has (default 1e6; 1e7 takes minutes).
"""

from __future__ import annotations

import multiprocessing
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import create_engine

from audit import log, verify
from audit.checkpoint import CheckpointFile
from audit.merkle import leaf_hash, verify_inclusion
from governance.principals import Principal
from governance.store import Store
from tests.evidence import signer
from tests.ledgers import Clock

WRITERS, EACH, ROUNDS, IN_TURN = 8, 200, 5, 5
BATCH = 50_000

Work = Callable[[Path], Callable[[int], None]]
"""Opens what it writes to, and gives what writes one event."""


def opened(folder: Path) -> Store:
    """As a workspace opens one."""
    seal = CheckpointFile(folder / "checkpoint", signer(), signer().verifier)
    return Store(f"sqlite:///{folder / 'metadata.db'}", seal, Principal("ana"), Clock())


def ours(folder: Path) -> Callable[[int], None]:
    """Writes a single event, durable and under a checkpoint on return."""
    store = opened(folder)

    def write(number: int) -> None:
        with store.transaction() as transaction:
            transaction.record("noted", number=number)

    return write


def bare(folder: Path) -> Callable[[int], None]:
    """Commits as many bytes."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None, timeout=60)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")

    def write(number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO entries (body) VALUES (?)", (b'{"action":"noted","facts":{"number":%06d}}' % number + bytes(60),))
        connection.execute("COMMIT")

    return write


def at_work(work: Work, folder: Path, start: Barrier, end: Barrier) -> None:
    """One of several writers; what it needs is imported and opened before the clock starts."""
    write = work(folder)
    write(0)
    start.wait()
    for number in range(EACH):
        write(number)
    end.wait()


def rate(work: Work, folder: Path, writers: int) -> float:
    """Events a second, of all writers together."""
    context = multiprocessing.get_context("fork")
    start, end = context.Barrier(writers + 1), context.Barrier(writers + 1)
    workers = [context.Process(target=at_work, args=(work, folder, start, end)) for _ in range(writers)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    end.wait()
    took = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return writers * EACH / took


def in_turn(folder: Path) -> tuple[float, float]:
    """Seconds of a bare commit and of one of ours, medians."""
    spent: tuple[list[float], list[float]] = ([], [])
    writers = [bare(folder), ours(folder)]
    for number in range(EACH):
        for write, seconds in zip(writers, spent, strict=True):
            for _ in range(IN_TURN):
                began = time.perf_counter()
                write(number)
                seconds.append(time.perf_counter() - began)
    return statistics.median(spent[0]), statistics.median(spent[1])


def singles(folder: Path) -> None:
    """One line for one writer, one for eight."""
    opened(folder).create()
    with sqlite3.connect(folder / "bare.db") as connection:
        connection.execute("CREATE TABLE entries (idx INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    peer, own = in_turn(folder)
    print(f"single events, one writing: bare commit {1000 * peer:.2f} ms, ours {1000 * own:.2f} ms, ratio {peer / own:.2f}", flush=True)
    rounds = [(rate(bare, folder, WRITERS), rate(ours, folder, WRITERS)) for _ in range(ROUNDS)]
    peer, own = (statistics.median(each) for each in zip(*rounds, strict=True))
    ratios = sorted(own / peer for peer, own in rounds)
    print(
        f"single events, {WRITERS} writing: bare commits {peer:7,.0f}/s, ours {own:7,.0f}/s, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def batches(folder: Path) -> None:
    """One transaction with many entries, sealed."""
    store, bodies = opened(folder), [b'{"action":"noted","facts":{"number":%08d}}' % number for number in range(BATCH)]
    store.create()
    began = time.perf_counter()
    with store.transaction() as write:
        write.last = write.tail.append(bodies)
    print(f"batched: {BATCH / (time.perf_counter() - began):,.0f} entries/s in one transaction of {BATCH:,}", flush=True)


def whole(folder: Path, entries: int) -> None:
    """A long log: a proof from it, and all of it verified."""
    engine = create_engine(f"sqlite:///{folder / 'log.db'}")
    log.metadata.create_all(engine)
    began = time.perf_counter()
    for start in range(0, entries, BATCH):
        with engine.begin() as connection:
            log.append_many(
                connection, (b'{"action":"noted","facts":{"number":%08d},"v":1}' % n for n in range(start, min(entries, start + BATCH)))
            )
    print(f"a log of {entries:,} entries written in {time.perf_counter() - began:.0f} s", flush=True)
    with engine.connect() as connection:
        root = log.root(connection, entries)
        CheckpointFile(folder / "checkpoint", signer()).publish(entries, root)
        spent = []
        for number in range(1, 101):
            index = number * entries // 101
            began = time.perf_counter()
            proof = log.inclusion_proof(connection, index, entries)
            spent.append(time.perf_counter() - began)
            (entry,) = log.entries(connection, index, index + 1)
            verify_inclusion(index, entries, leaf_hash(entry.body), proof, root)
    print(f"inclusion proof: {1000 * statistics.median(spent):.2f} ms median, {1000 * max(spent):.2f} ms worst of {len(spent)}", flush=True)
    key, before = verify.parse_key(str(signer().verifier)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    report = verify.verify_log(folder / "log.db", folder / "checkpoint", key)
    assert (report.findings, report.covered) == ((), entries)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"verified in {time.perf_counter() - began:.1f} s; peak memory {after / 1024:.0f} MB, {(after - before) / 1024:.0f} MB more")


def main() -> None:
    """Four figures."""
    entries = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        for number, part in enumerate((singles, batches, lambda place: whole(place, entries))):
            (place := Path(folder) / str(number)).mkdir()
            part(place)


if __name__ == "__main__":
    main()
