"""A sweep of a large release: one withdrawal out of membership, release file and export, as after `consent withdraw` and in full.

A small shop is built, released and handed over; then its lists are made as long as the argument says, with a consent each. Seconds
on the clock and of processors, once. Run with `python -m tests.benchmarks.sweep 1e6`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine import considered, copies
from engine.sweep import sweep
from engine.workspace import Workspace
from governance import consent
from governance.consent import ConsentEvent, Status
from governance.pseudonyms import pseudonyms
from tests.scenes import ADS, OFFICER, Shop


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long the block took, on the clock and of processors."""
    started, worked = time.monotonic(), time.process_time()
    yield
    print(f"{what:<58}{time.monotonic() - started:8.2f} s {time.process_time() - worked:8.2f} s", flush=True)


def lengthen(shop: Shop, size: int) -> list[str]:
    """Give everybody of a long list a consent, and put them into every file of the newest release of `groups`."""
    workspace, build = shop.workspace(), shop.newest("groups").id
    people = [f"member-{number:09d}" for number in range(size)]
    with workspace.store.transaction("consent") as write:
        consent.append(write, (ConsentEvent(subject, ADS, Status.GIVEN, write.now) for subject in people))
    subjects, segment = pa.array(people), pa.array(np.full(size, shop.newest("groups").facts["parts"][0]["name"]), pa.string())
    pq.write_table(pa.table({"subject": subjects, "segment": segment}), copies.folder(workspace, build) / copies.MEMBERSHIP)
    reasons = pa.table({"subject": subjects, "reason": pa.array(np.zeros(size, np.int8))})
    considered.write(copies.folder(workspace, build) / considered.CONSIDERED, build, reasons, subjects, size)
    names = pseudonyms(subjects, workspace.keys.pseudonym(ADS))
    pq.write_table(pa.table({"pseudonym": names, "segment": segment}), copies.released(workspace, build) / "membership.parquet")
    (handed,) = (workspace.hidden / "exports").glob("*.parquet")
    pq.write_table(pa.table({"subject": subjects}), handed)
    return people


def withdraw(workspace: Workspace, subject: str) -> None:
    """Of everything."""
    with workspace.store.transaction("consent") as write:
        consent.withdraw(write, subject)


def main() -> None:
    """One line for each sweep."""
    size = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop.make(Path(folder) / "shop")
        for words, by in ((("build", "groups"), "ana"), (("approve", "groups"), OFFICER)):
            assert shop.run(*words, by=by).code == 0
        assert shop.run("segments", "export", "groups", "--to", f"{folder}/list.csv").code == 0
        people, workspace = lengthen(shop, size), shop.workspace(OFFICER)
        print(f"{size:,} members")
        withdraw(workspace, people[0])
        with timed("sweep of whoever withdrew, as `consent withdraw` does"):
            assert sweep(workspace, [people[0]]).left == 1
        withdraw(workspace, people[1])
        with timed("full sweep, one who withdrew"):
            assert sweep(workspace).left == 1
        with timed("full sweep, nobody"):
            assert sweep(workspace).left == 0
        with timed("sweep of one subject, nobody left"):
            assert sweep(workspace, [people[2]]).left == 0
        inside = pq.read_table(copies.folder(workspace, shop.newest("groups").id) / copies.MEMBERSHIP)["subject"]
        assert len(inside) == size - 2 and people[0] not in inside.slice(0, 2).to_pylist()


if __name__ == "__main__":
    main()
