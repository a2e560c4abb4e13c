"""Consent at scale: from file to verdict for a million subjects, and verdicts for ten million from the columnar snapshot.

Wall and processor seconds of each stage, once, in one process; peak memory of the process at the end. The arguments
say how many subjects, `KEYS` of `text integer` with which keys. Events are half as many again as subjects. Up to a million they
are imported from a file; a larger ledger is written past the importer, which would take most of the time and is measured there.
Run with `python -m tests.benchmarks.admission 1e6 1e7`.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine import admitting
from engine.admitting import admitted_among, judged
from engine.workspace import Workspace
from governance import consent_snapshot
from governance.admission import Reason
from governance.consent import Status, withdraw
from governance.consent_files import import_file
from governance.principals import UNSAFE_VARIABLE
from governance.store import micros
from policies.policy import Policy
from tests.ledgers import contract

PURPOSE, OTHER = "marketing.advertising.first_party.targeted", "analytics.reporting"
YEAR = dt.timedelta(days=365)
MEMBERS = 100_000
IMPORTED = 1_000_000
"""Subjects up to which events come from a file."""

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
CONTRACT = contract(jurisdiction="eu")

_EVENTS = """
SELECT {subject} AS subject, ['{purpose}', '{purpose}', '{other}'][1 + floor(random() * 3)::INT] AS purpose,
       ['given', 'given', 'given', 'requested', 'refused', 'withdrawn', 'objected'][1 + floor(random() * 7)::INT] AS status,
       make_timestamp({start} + floor(random() * 63e6)::BIGINT * 1000000)::TIMESTAMPTZ AS event_time,
       make_timestamp({end})::TIMESTAMPTZ AS valid_until, 'v1' AS notice_version,
       ['eu', 'us'][1 + floor(random() * 2)::INT] AS jurisdiction
FROM (SELECT floor(random() * {subjects})::BIGINT AS number FROM range({events}))
"""
_KEYS = {"text": "'customer-' || number", "integer": "CAST(number AS VARCHAR)"}


@contextmanager
def _stage(name: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    print(f"  {name:<58}{time.perf_counter() - wall:8.2f} s  {time.process_time() - processor:8.2f} s of processor", flush=True)


def _events(engine: duckdb.DuckDBPyConnection, subjects: int, keys: str, now: dt.datetime) -> duckdb.DuckDBPyRelation:
    engine.execute("SET TimeZone = 'UTC'; SET threads = 1")
    engine.execute("SELECT setseed(0.7)").fetchall()
    times = {"start": micros(now - 2 * YEAR), "end": micros(now + YEAR)}
    return engine.sql(
        _EVENTS.format(subject=_KEYS[keys], purpose=PURPOSE, other=OTHER, subjects=subjects, events=subjects * 3 // 2, **times)
    )


def _population(subjects: int, keys: str) -> pa.Table:
    """Everybody, in no order, as `governance.population` gives them."""
    numbers = np.random.default_rng(7).permutation(subjects)
    texts = pa.chunked_array([pa.array(part).cast(pa.string()) for part in np.array_split(numbers, 16)])
    if keys == "integer":
        return pa.table({"subject": texts, "key": numbers})
    return pa.table({"subject": pa.chunked_array([pa.array([f"customer-{n}" for n in chunk.to_pylist()]) for chunk in texts.chunks])})


def _fill(workspace: Workspace, subjects: int, keys: str, now: dt.datetime) -> None:
    """Write events past the importer, and the index after them."""
    names = "subject", "purpose", "status", "event_time", "received_time", "valid_until", "notice_version", "jurisdiction", "batch", "salt"
    with closing(sqlite3.connect(workspace.hidden / "metadata.db")) as database, duckdb.connect() as engine:
        database.execute("PRAGMA synchronous = OFF")
        (index,) = database.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'consent_events'").fetchone()
        database.execute(f"DROP INDEX {index.split()[2]}")
        _events(engine, subjects, keys, now).create("events")
        rows = engine.execute(
            f"SELECT subject, purpose, status, epoch_us(event_time), {micros(now)}, epoch_us(valid_until), notice_version, jurisdiction, "
            "'batch', '00000000000000000000000000000000'::BLOB FROM events"
        )
        while chunk := rows.fetchmany(100_000):
            database.executemany(f"INSERT INTO consent_events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", chunk)
        database.execute(index)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def run(subjects: int, keys: str = "text") -> None:
    """Print the figures."""
    print(f"consent and admission: {subjects:,} subjects with {keys} keys, {subjects * 3 // 2:,} events", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "bench", demo=True, environment={UNSAFE_VARIABLE: "bench"})
        store, now = workspace.store, workspace.store.clock()
        if subjects <= IMPORTED:
            path = Path(folder) / "events.parquet"
            with duckdb.connect() as engine:
                pq.write_table(_events(engine, subjects, keys, now).to_arrow_table(), path)
            with _stage("check a Parquet file (dry run)"):
                import_file(store, path, dry_run=True)
            with _stage("import it, in one entry of the log"):
                import_file(store, path)
        else:
            _fill(workspace, subjects, keys, now)
        population = _population(subjects, keys)
        with _stage("snapshot, cold"):
            consent_snapshot.refresh(store, workspace.hidden)
        size = sum(file.stat().st_size for file in (workspace.hidden / consent_snapshot.PLACE).glob("*/*"))
        print(f"  {'size of the snapshot':<58}{size / 1e6:8.0f} MB")
        with _stage("admission from the snapshot"):
            admission = judged(workspace, CONTRACT, POLICY, PURPOSE, population, now)
        members = admission.admitted().slice(0, MEMBERS).select(["subject"])
        someone = members["subject"][0].as_py()
        with _stage("one withdrawal"), store.transaction() as transaction:
            withdraw(transaction, someone)
        consent_snapshot.forget_digests()  # as a command of its own would, which begins without them
        with _stage("admission from the snapshot and what is newer"):
            reason = judged(workspace, CONTRACT, POLICY, PURPOSE, population, now).check(someone)
        if reason is not Reason.WITHDRAWN:
            raise SystemExit(f"a withdrawn subject was judged `{reason}`, expected `{Status.WITHDRAWN}`")
        for count in (MEMBERS, admitting.FEW, 1):
            consent_snapshot.forget_digests()
            with _stage(f"who of {min(count, len(members)):,} members may still be used"):
                left = admitted_among(workspace, CONTRACT, POLICY, PURPOSE, members.slice(0, count))
            if len(left) != min(count, len(members)) - 1:
                raise SystemExit(f"{len(left)} members are left, expected one less than there were")
        with _stage("snapshot, from the last one and what is newer"):
            consent_snapshot.refresh(store, workspace.hidden)
        store.close()
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB", flush=True)


if __name__ == "__main__":
    for size in sys.argv[1:] or ["1e6"]:
        for keys in os.environ.get("KEYS", "text integer").split():
            run(int(float(size)), keys)
