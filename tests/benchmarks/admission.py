"""Consent at scale: a million subjects and half as many events again, from file to verdict.

Wall and processor seconds of each stage, once, in one process; peak memory of the process at the end. Run with
`python -m tests.benchmarks.admission 1e6`.
"""

from __future__ import annotations

import datetime as dt
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from governance.admission import Reason, admit, intervals
from governance.consent import Status, snapshot_events, withdraw
from governance.consent_files import import_file
from governance.principals import Principal
from governance.store import Store, micros
from policies.policy import Policy

PURPOSE, OTHER = "marketing.advertising.first_party.targeted", "analytics.reporting"
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
YEAR = dt.timedelta(days=365)
POLICY = Policy.model_validate(
    {
        "name": "bench",
        "purposes": {
            PURPOSE: {"basis": {"eu": "consent", "us": "opt_out"}, "compatible_with": [OTHER]},
            OTHER: {"basis": {"default": "consent"}},
        },
        "rules": [{"id": "all", "effect": "permit", "categories": ["user.*"], "reason": "a benchmark"}],
        "budgets": {"cap": {"epsilon": 1}, "snapshot": {"interval": "7d"}},
    }
)


class _NoSeal:
    """Durability of a checkpoint is not what is measured here."""

    def publish(self, size: int, root: bytes) -> None:
        """See `governance.store.Seal`."""


@contextmanager
def _stage(name: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    print(f"  {name:<46}{time.perf_counter() - wall:8.2f} s  {time.process_time() - processor:8.2f} s of processor")


def _write_events(path: Path, subjects: int, events: int) -> None:
    draw = np.random.default_rng(7)
    statuses = np.array(["given", "given", "given", "requested", "refused", "withdrawn", "objected"])
    columns = {
        "subject": pa.array([f"customer-{i}" for i in draw.integers(0, subjects, events)]),
        "purpose": pa.array(np.array([PURPOSE, PURPOSE, OTHER])[draw.integers(0, 3, events)]),
        "status": pa.array(statuses[draw.integers(0, len(statuses), events)]),
        "event_time": pa.array(micros(NOW - 2 * YEAR) + draw.integers(0, 63_000_000, events) * 1_000_000).cast(
            pa.timestamp("us", tz="UTC")
        ),
        "valid_until": pa.array([NOW + YEAR] * events),
        "notice_version": pa.array(["v1"] * events),
        "jurisdiction": pa.array(np.array(["eu", "us"])[draw.integers(0, 2, events)]),
    }
    pq.write_table(pa.table(columns), path)


def run(subjects: int = 1_000_000) -> None:
    """Print the figures."""
    events = subjects * 3 // 2
    print(f"consent and admission: {subjects:,} subjects, {events:,} events")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/meta.db", _NoSeal(), Principal("bench"), lambda: NOW)
        store.create()
        path = Path(folder) / "events.parquet"
        _write_events(path, subjects, events)
        population = pa.table({"subject": [f"customer-{i}" for i in range(subjects)]})
        with _stage("check a Parquet file (dry run)"):
            import_file(store, path, dry_run=True)
        with _stage("import it, in one entry of the log"):
            import_file(store, path)
        with _stage("read all events from SQLite"), store.read() as session:
            known = snapshot_events(session, NOW)
        with _stage("admit"):
            admission = admit(known, population, POLICY, PURPOSE, "eu", NOW)
        with _stage("intervals of valid consent"):
            intervals(known, POLICY, PURPOSE, "eu", NOW)
        someone = admission.admitted()["subject"][0].as_py()
        with _stage("withdraw one subject, read, admit again"):
            with store.transaction() as transaction:
                withdraw(transaction, someone)
            with store.read() as session:
                known = snapshot_events(session, NOW)
            reason = admit(known, population, POLICY, PURPOSE, "eu", NOW).check(someone)
        if reason is not Reason.WITHDRAWN:
            raise SystemExit(f"a withdrawn subject was judged `{reason}`, expected `{Status.WITHDRAWN}`")
        store.close()
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    run(int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000)
