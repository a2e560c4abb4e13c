"""From consent events to the sorted columns that `governance.verdicts` judges, in the data engine.

Whose events bear on whom is a matter of *spans*: everybody's own events, and for merged keys those that their threads say
(`governance.identity`). Subjects are compared as text, exactly. Nothing in the events can make this fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from governance.consent import Status
from governance.identity import Identities
from governance.verdicts import CODES, GUARDIAN, NO_END, SEPARATOR, UNKNOWN, Facts, Numbers
from policies.bases import Basis

COLUMNS = tuple(Facts.__slots__)

KEY = "CASE WHEN CAST(TRY_CAST(subject AS BIGINT) AS VARCHAR) = subject THEN TRY_CAST(subject AS BIGINT) END"
"""SQL of a subject as the number that it spells, in the one way in which a number is spelled; else NULL."""

_WHOLE = -1, (1 << 63) - 1
"""The span of all events, whether they have numbers or not."""


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Facts, and what their numbers mean. `moments`: when each ask is judged, where asks differ in that.

    `heads`: columns subject and first (its first ask; its others follow), in the order of asks.
    """

    facts: Facts
    asks: int
    heads: pa.Table
    purposes: Sequence[str]
    jurisdictions: Sequence[str]
    moments: Numbers | None = None

    @property
    def first(self) -> Numbers:
        """The first ask of each head."""
        return np.asarray(self.heads["first"].to_numpy())


@contextmanager
def engine(files: Sequence[Path] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked connection in memory, which may read `files` and nothing else."""
    with duckdb.connect() as connection:
        for setting in ("temp_directory = ''", "TimeZone = 'UTC'", "enable_progress_bar = false", "preserve_insertion_order = true"):
            connection.execute(f"SET {setting}")
        connection.execute("SET allowed_paths = [" + ", ".join(f"'{text(file)}'" for file in files) + "]")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        yield connection


def known(connection: duckdb.DuckDBPyConnection, events: pa.Table, at: int, before: str | None = None) -> None:
    """Makes `known`: what had happened and had been received at `at` (microseconds).

    `events` (`governance.consent.SNAPSHOT`) are all those of whoever has any there; `before`, SQL of a relation with the columns
    of `coded`, those of everybody else.
    """
    connection.register("events", events)
    connection.register("statuses", statuses())
    others = f" UNION ALL BY NAME SELECT b.* FROM ({before}) b ANTI JOIN (SELECT DISTINCT subject FROM events) USING (subject)"
    connection.execute(
        f"CREATE TEMP TABLE known AS SELECT * FROM ({coded('events')}{others if before else ''}) WHERE happened <= $at AND received <= $at",
        {"at": at},
    )
    for word in ("purpose", "jurisdiction"):
        each = f"SELECT DISTINCT {word} FROM known WHERE {word} IS NOT NULL"
        connection.execute(f"CREATE TEMP TABLE {word}s AS SELECT {word}, row_number() OVER () - 1 AS place FROM ({each})")


def statuses() -> pa.Table:
    """The numbers of statuses."""
    return pa.table({"status": [*CODES], "code": pa.array(CODES.values(), pa.int8())})


def text(file: Path) -> str:
    """A path inside a literal of SQL."""
    return str(file).replace("'", "''")


def coded(events: str) -> str:
    """SQL of events in numbers, out of a relation with the columns of `governance.consent.SNAPSHOT` and one of `statuses`.

    What was given on another basis than consent is as much as a request, with its notice. Purposes are words as in `Rules`: the
    name of a controller comes after the purpose, but for a no, which is anybody's, and proves no notice then.
    """
    no = "e.status IN (" + ", ".join(f"'{status}'" for status in Status if status.blocks) + ")"
    another_basis = f"e.status = '{Status.GIVEN}' AND coalesce(e.basis, '') NOT IN ('', '{Basis.CONSENT}')"
    named = "coalesce(e.controller, '') <> ''"
    return (
        "SELECT coalesce(e.id, 0) AS id, CAST(e.subject AS VARCHAR) AS subject, "
        f"e.purpose || CASE WHEN {named} AND NOT {no} THEN chr({ord(SEPARATOR)}) || e.controller ELSE '' END AS purpose, "
        f"CASE WHEN {another_basis} THEN {CODES[Status.REQUESTED]} ELSE coalesce(s.code, {UNKNOWN}) END::TINYINT AS code, "
        "epoch_us(e.event_time) AS happened, epoch_us(e.received_time) AS received, "
        f"coalesce(epoch_us(e.valid_until), {NO_END}) AS until, "
        f"coalesce(e.notice_version, '') <> '' AND NOT ({named} AND {no}) AS noticed, "
        f"coalesce(e.method, '') = '{GUARDIAN}' AS guardian, nullif(lower(trim(e.jurisdiction)), '') AS jurisdiction "
        f"FROM {events} e LEFT JOIN statuses s ON s.status = e.status WHERE e.subject <> ''"
    )


def gather(connection: duckdb.DuckDBPyConnection, by: Identities) -> Gathered:
    """The facts of whoever said something in `known`, or stands for somebody."""
    _spans(connection, by)
    return _gathered(connection, "SELECT *, 0 AS moment FROM spans", "TRUE")


def gather_turning_points(connection: duckdb.DuckDBPyConnection, by: Identities, at: int) -> Gathered:
    """The same for each moment, up to `at`, at which somebody's verdict may change; a head is a subject at a moment."""
    _spans(connection, by)
    connection.execute(_TURNING_POINTS, {"at": at})
    found = _gathered(connection, "SELECT s.*, t.moment FROM spans s JOIN turns t USING (head)", "k.happened <= a.moment")
    moments = found.heads["moment"].to_numpy()
    counts = np.diff(found.first, append=found.asks)
    return Gathered(found.facts, found.asks, found.heads, found.purposes, found.jurisdictions, np.repeat(moments, counts))


_TURNING_POINTS = f"""
CREATE TEMP TABLE turns AS
WITH said AS (SELECT s.head, k.* FROM spans s JOIN known k ON k.subject = s.key AND k.id > s.after AND k.id <= s.last)
SELECT head, happened AS moment FROM said
UNION SELECT head, until FROM said WHERE code = {CODES["given"]} AND until BETWEEN happened AND $at
"""

_ASKS = """
CREATE TEMP TABLE asks AS
SELECT (dense_rank() OVER (ORDER BY head, moment, thread) - 1)::INTEGER AS ask, * FROM ({spans})
"""

_FACTS = """
SELECT a.ask, k.happened, k.received, p.place::INTEGER AS purpose, k.code, k.until, k.noticed, k.guardian,
       coalesce(j.place, -1)::INTEGER AS jurisdiction
FROM asks a JOIN known k ON k.subject = a.key AND k.id > a.after AND k.id <= a.last AND {which}
JOIN purposes p USING (purpose) LEFT JOIN jurisdictions j ON j.jurisdiction = k.jurisdiction
ORDER BY a.ask, k.happened, k.received
"""


def _spans(connection: duckdb.DuckDBPyConnection, by: Identities) -> None:
    """Makes `spans`: columns head (a number), subject, thread, key, after, last; heads are in the order of their numbers."""
    rows: list[tuple[str, int, str, int, int]] = [
        (subject, number, span.key, span.after, span.last)
        for subject, threads in by.threads.items()
        for number, thread in enumerate(threads)
        for span in thread
    ]
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
    types = pa.string(), pa.int64(), pa.string(), pa.int64(), pa.int64()
    names = "subject", "thread", "key", "after", "last"
    connection.register("linked", pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], names=[*names]))
    connection.register("apart", pa.table({"subject": pa.array(by.keys, pa.string())}))
    after, last = _WHOLE
    connection.execute(
        "CREATE TEMP TABLE spans AS SELECT dense_rank() OVER (ORDER BY subject) AS head, * FROM (SELECT * FROM linked UNION ALL "
        f"SELECT subject, 0, subject, {after}, {last} FROM (SELECT DISTINCT subject FROM known ANTI JOIN apart USING (subject)))"
    )


def _gathered(connection: duckdb.DuckDBPyConnection, spans: str, which: str) -> Gathered:
    connection.execute(_ASKS.format(spans=spans))
    rows = connection.sql(_FACTS.format(which=which)).fetchnumpy()
    heads = connection.sql(
        "SELECT subject, moment, min(ask) AS first FROM asks GROUP BY head, subject, moment ORDER BY first"
    ).to_arrow_table()
    asks = connection.sql("SELECT coalesce(max(ask) + 1, 0) FROM asks").fetchall()[0][0]
    purposes, jurisdictions = (
        [word for (word,) in connection.sql(f"SELECT {kind} FROM {kind}s ORDER BY place").fetchall()]
        for kind in ("purpose", "jurisdiction")
    )
    columns = {name: _plain(column) for name, column in rows.items()}
    columns["tied"] = tied(columns["ask"], columns["happened"], columns["received"])
    return Gathered(Facts(*(columns[name] for name in COLUMNS)), asks, heads, purposes, jurisdictions)


def tied(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows (ask, happened, received) equal the row before them."""
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    return np.concatenate((np.zeros(min(1, len(columns[0])), np.bool_), same))


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """Without a mask; no fact has a hole."""
    return np.asarray(column.data) if isinstance(column, np.ma.MaskedArray) else column
