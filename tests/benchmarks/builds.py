"""Whole builds as events grow: wall seconds and peak memory of `consentric build` in a process of its own.

Goal: time grows no faster than the events, memory stays under 4 GB. Consents (one for each subject, all granted) are
imported before the clock starts. Run with `python -m tests.benchmarks.builds 1e6 1e7 5e7`.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tests.benchmarks.features import EVENTS_PER_SUBJECT, generate

PURPOSE = "marketing.advertising.first_party.targeted"

CONTRACT = """
name: bench
controller: Bench
subject: {key: customer_id, namespace: bench, registered_in: events, max_subjects: 1048576}
tables:
  events:
    source: data/events.parquet
    event_time: bought_on
    retention: 50y
    columns:
      customer_id: {category: user.unique_id.pseudonymous, type: integer}
      bought_on: {category: user.behavior.purchase_history, type: date}
      amount: {category: user.behavior.purchase_history, type: "decimal(10,2)", unit: EUR}
      email: {category: user.contact.email}
"""

POLICY = f"""
name: bench
purposes: {{{PURPOSE}: {{basis: {{default: consent}}}}}}
rules:
  - {{id: behaviour, effect: permit, categories: [user.behavior.purchase_history, user.unique_id.pseudonymous], reason: a benchmark}}
budgets:
  cap: {{epsilon: 5}}
  purposes: {{{PURPOSE}: {{epsilon: 5}}}}
  snapshot: {{interval: 7d}}
approvals: {{required: 0}}
"""

SEGMENT = f"""
name: rfm
purpose: {PURPOSE}
dataset: bench
policy: bench
as_of: 2019-06-01
features:
  spend_90d: {{table: events, agg: sum(amount), window: 90d, bounds: [0, 100000], scale: log}}
  orders: {{table: events, agg: count(*), bounds: [0, 1000], scale: log}}
  recency: {{table: events, agg: days_since(max(bought_on)), bounds: [0, 1500]}}
  largest: {{table: events, agg: max(amount), bounds: [0, 10000]}}
model: {{type: clusters, k: 6}}
privacy: {{epsilon: 1}}
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one build: wall seconds, and the peak memory of its process in MB."""

    events: int
    seconds: float
    peak_mb: float


def run(events: Sequence[int] = (1_000_000, 10_000_000)) -> Iterator[Measured]:
    """One build for each size, in a workspace of its own."""
    for size in events:
        with tempfile.TemporaryDirectory(prefix="consentric-bench-") as folder:
            yield measure(Path(folder), size)


def measure(root: Path, events: int) -> Measured:
    """Make the workspace, then build under the clock."""
    _consentric(root, "init", str(root))
    for path, text in (("contracts/bench", CONTRACT), ("policies/bench", POLICY), ("segments/rfm", SEGMENT)):
        (root / f"{path}.yaml").write_text(text)
    generate(events, root / "data" / "events.parquet")
    consents = root / "consents.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT CAST(i AS VARCHAR) AS subject, '{PURPOSE}' AS purpose, 'given' AS status, TIMESTAMP '2026-01-01' AS event_time "
            f"FROM range({events // EVENTS_PER_SUBJECT}) AS t(i)) TO '{consents}' (FORMAT parquet)"
        )
    _consentric(root, "consent", "import", str(consents))
    start = time.perf_counter()
    peak = _consentric(root, "build", "rfm")
    return Measured(events, time.perf_counter() - start, peak)


def _consentric(root: Path, *arguments: str) -> float:
    """Run a command to its good end; peak memory of the process in MB."""
    environment = {**os.environ, "CONSENTRIC_WORKSPACE": str(root), "CONSENTRIC_ENGINE_MEMORY_LIMIT": "2GB"}
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"`consentric {' '.join(arguments)}` failed:\n{errors.decode()}")
    return _megabytes(used)


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main(sizes: Sequence[int]) -> None:
    """Print the table."""
    print("      events  build s   peak MB   s a million events")
    for row in run(sizes):
        print(f"{row.events:>12,} {row.seconds:>8.1f} {row.peak_mb:>9.0f} {row.seconds / row.events * 1e6:>20.2f}")


if __name__ == "__main__":
    main([int(float(size)) for size in sys.argv[1:]] or [1_000_000, 10_000_000])
