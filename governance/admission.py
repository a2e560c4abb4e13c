"""Admission: which subjects may be used for a purpose now, and for everybody else the one reason why not.

A set operation on the data engine, over all subjects at once; it also judges past moments (`intervals`). The rules:

1. *Basis*: that of the subject's jurisdiction, which the latest event naming one tells (else the contract's default);
   a jurisdiction that the policy does not name gets `default`; none: `NO_BASIS`.
2. *Order*: the later event time wins, then the later received time, then the stricter status (`STRICTNESS`).
3. *Blocks*: a refusal, withdrawal or objection for the purpose, for a data use above it or for `*` stands until the
   subject gives consent for the purpose itself; asking again lifts nothing. Ties go to the block.
4. *Opt-in*: the latest event must be `given`, its validity not past. Consent to a purpose that the policy calls
   compatible serves as well, unless a block stands, or a withdrawal or objection to any of the compatible purposes is newer.
5. *Opt-out*: yes with proof of notice (an event for the purpose with a notice version), unless a block stands or the
   latest record was invalidated.

Consent is not inherited: `marketing.advertising` serves neither `marketing` nor `marketing.advertising.first_party`.
Subjects are compared as strings, exactly. Nothing in the events or the population can make this fail. Exact counts
stay inside; what leaves is the histogram of reasons, through the door: add/remove neighbours, sensitivity 1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from governance.consent import EVERY_PURPOSE, Status
from governance.door import Array, Batch, Contribution, Query, StepName, register
from governance.store import micros
from policies.policy import Policy
from policies.taxonomy import ancestors


class Reason(IntEnum):
    """Why a subject is admitted or not. The numbers are stable: they are the slots of the histogram."""

    ADMITTED = 0
    NEVER_ASKED = 1
    REQUESTED = 2
    REFUSED = 3
    WITHDRAWN = 4
    OBJECTED = 5
    EXPIRED = 6
    INVALIDATED = 7
    NO_NOTICE = 8
    NO_BASIS = 9


STRICTNESS: Mapping[Status, Reason] = {
    Status.REQUESTED: Reason.REQUESTED,
    Status.GIVEN: Reason.ADMITTED,
    Status.EXPIRED: Reason.EXPIRED,
    Status.INVALIDATED: Reason.INVALIDATED,
    Status.REFUSED: Reason.REFUSED,
    Status.WITHDRAWN: Reason.WITHDRAWN,
    Status.OBJECTED: Reason.OBJECTED,
}
"""Statuses, mildest first, and the reason that each leads to. A request answered at the same instant gives way to its answer."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Every subject of a population with one reason. `reasons`: columns subject (string) and reason (int8), in no order."""

    reasons: pa.Table = field(repr=False)

    def admitted(self) -> pa.Table:
        """Whoever may be used: one column `subject`."""
        return self.reasons.filter(pc.equal(self.reasons["reason"], int(Reason.ADMITTED))).select(["subject"])

    def check(self, subject: str) -> Reason | None:
        """The reason of one subject; None if the population does not hold it. For whoever may see a subject's record."""
        found = self.reasons["reason"].filter(pc.equal(self.reasons["subject"], subject))
        return Reason(found[0].as_py()) if len(found) else None

    def histogram_columns(self) -> Mapping[str, NDArray[np.int32]]:
        """The cohort column `reason` (n_subjects,) that `reasons_query` asks for."""
        return {"reason": self.reasons["reason"].to_numpy().astype(np.int32)}


def admit(events: pa.Table, population: pa.Table, policy: Policy, purpose: str, default_jurisdiction: str, at: dt.datetime) -> Admission:
    """Judge every subject in column `subject` of `population` at `at`, by what was known then.

    `events`: as `governance.consent.snapshot_events` gives them. NULL and empty subjects are dropped, duplicates count once.
    """
    with _engine(events, policy, purpose, default_jurisdiction, at) as engine:
        engine.register("population", population.select(["subject"]))
        engine.execute(_SUBJECTS, {"at": micros(at)})
        return Admission(engine.sql(f"SELECT a.subject, v.reason FROM asks a JOIN ({_VERDICTS}) v USING (id)").to_arrow_table())


def intervals(events: pa.Table, policy: Policy, purpose: str, default_jurisdiction: str, at: dt.datetime) -> pa.Table:
    """When each subject could be used, as known at `at`: columns subject, start, end (UTC), of half-open intervals [start, end).

    A moment lies in one of a subject's intervals exactly if `admit` would have admitted it then, given all that was received
    by `at`. The intervals of a subject do not overlap, in no order; the last one ends just after `at`, where knowledge ends.
    Work grows with the square of the events of one subject.
    """
    with _engine(events, policy, purpose, default_jurisdiction, at) as engine:
        engine.execute(_TURNING_POINTS, {"at": micros(at)})
        return engine.sql(_INTERVALS, params={"at": micros(at)}).to_arrow_table()


@register("admission.reasons")
def _reasons(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    """One in the slot of the subject's reason; L2 norm 1."""
    reason = batch["reason"]
    return Contribution(np.ones((len(reason), 1)), reason.astype(np.int64))


def reasons_query() -> Query:
    """The histogram of reasons, shape (1, len(Reason), 1), in subjects. One subject counts in one slot: sensitivity 1."""
    return Query(StepName("admission.reasons"), {}, (1, len(Reason), 1), 1.0)


_CODES = {status: code for code, status in enumerate(STRICTNESS)}
_GIVEN, _EXPIRED, _INVALIDATED = (_CODES[s] for s in (Status.GIVEN, Status.EXPIRED, Status.INVALIDATED))
_REFUSED, _WITHDRAWN = _CODES[Status.REFUSED], _CODES[Status.WITHDRAWN]
_OPT_OUT, _OPT_IN, _NO_BASIS = 0, 1, 2  # the strictest is the largest, so that it wins a tie
_NEVER = -(1 << 126)  # ranks before every event

# `rank` orders events: event time, received time (below 2^57 µs, so until the year 6500), and three bits left for a code.
_KNOWN = f"""
CREATE TEMP TABLE known AS
SELECT CAST(e.subject AS VARCHAR) AS subject, e.purpose, coalesce(s.code, {_INVALIDATED}) AS code,
       epoch_us(e.event_time) AS happened, epoch_us(e.valid_until) AS until,
       epoch_us(e.event_time)::HUGEINT * {1 << 60} + epoch_us(e.received_time) * 8 AS rank,
       coalesce(e.notice_version, '') <> '' AS noticed,
       CASE WHEN coalesce(trim(e.jurisdiction), '') <> '' THEN coalesce(b.basis, $rest) END AS basis
FROM events e LEFT JOIN statuses s ON s.status = e.status LEFT JOIN bases b ON b.jurisdiction = lower(trim(e.jurisdiction))
WHERE epoch_us(e.event_time) <= $at AND epoch_us(e.received_time) <= $at AND e.subject <> ''
  AND (e.purpose IN (SELECT purpose FROM lanes) OR coalesce(trim(e.jurisdiction), '') <> '')
"""

_SUBJECTS = """
CREATE TEMP TABLE asks AS
SELECT row_number() OVER () AS id, subject, $at AS moment
FROM (SELECT DISTINCT CAST(subject AS VARCHAR) AS subject FROM population) WHERE subject <> ''
"""

_TURNING_POINTS = f"""
CREATE TEMP TABLE asks AS
SELECT row_number() OVER () AS id, subject, moment
FROM (SELECT subject, happened AS moment FROM known
      UNION SELECT subject, until FROM known WHERE code = {_GIVEN} AND until BETWEEN happened AND $at)
"""

# Lane 0 is the purpose itself, the others are those compatible with it; `least` is the mildest code that reaches a lane.
_VERDICTS = f"""
WITH facts AS MATERIALIZED (
    SELECT a.id, k.purpose, k.rank, k.noticed, k.basis, k.code = {_GIVEN} AS gave,
           CASE WHEN k.code = {_GIVEN} AND k.until <= a.moment THEN {_EXPIRED} ELSE k.code END AS code
    FROM asks a JOIN known k ON k.subject = a.subject AND k.happened <= a.moment),
lately AS (
    SELECT f.id, l.lane,
           max(f.rank + f.code) AS latest,
           max(f.rank + f.code) FILTER (f.gave) AS granted,
           max(f.rank + f.code) FILTER (f.code >= {_REFUSED}) AS blocked,
           max(f.rank) FILTER (f.code >= {_WITHDRAWN}) AS stopped,
           bool_or(f.noticed AND l.least = 0) AS noticed
    FROM facts f JOIN lanes l ON l.purpose = f.purpose AND f.code >= l.least
    GROUP BY f.id, l.lane),
states AS (
    SELECT id, lane, latest, stopped, noticed,
           (CASE WHEN blocked > granted OR granted IS NULL THEN coalesce(blocked, latest) ELSE latest END & 7)::TINYINT AS code
    FROM lately),
standings AS (
    SELECT id, max(code) FILTER (lane = 0) AS code, bool_or(noticed) FILTER (lane = 0) AS noticed,
           coalesce(max(latest) FILTER (lane > 0 AND code = {_GIVEN}) > coalesce(max(stopped) FILTER (lane > 0), {_NEVER}), false) AS lent
    FROM states GROUP BY id),
grounds AS (SELECT id, (max(rank + basis) & 7)::TINYINT AS basis FROM facts WHERE basis IS NOT NULL GROUP BY id)
SELECT a.id, (CASE
    WHEN coalesce(g.basis, here.basis) = {_NO_BASIS} THEN {Reason.NO_BASIS:d}
    WHEN s.code >= {_REFUSED} THEN r.reason
    WHEN coalesce(g.basis, here.basis) = {_OPT_OUT} THEN
        CASE WHEN s.code = {_INVALIDATED} THEN r.reason WHEN s.noticed THEN {Reason.ADMITTED:d} ELSE {Reason.NO_NOTICE:d} END
    WHEN s.lent THEN {Reason.ADMITTED:d}
    ELSE coalesce(r.reason, {Reason.NEVER_ASKED:d}) END)::TINYINT AS reason
FROM asks a CROSS JOIN here LEFT JOIN standings s USING (id) LEFT JOIN grounds g USING (id) LEFT JOIN statuses r ON r.code = s.code
"""

_INTERVALS = f"""
SELECT subject, make_timestamptz(start) AS start, make_timestamptz("end") AS "end"
FROM (SELECT a.subject, v.reason, a.moment AS start, lead(a.moment, 1, $at + 1) OVER (PARTITION BY a.subject ORDER BY a.moment) AS "end"
      FROM asks a JOIN ({_VERDICTS}) v USING (id))
WHERE reason = {Reason.ADMITTED:d}
"""


@contextmanager
def _engine(
    events: pa.Table, policy: Policy, purpose: str, default_jurisdiction: str, at: dt.datetime
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked connection that holds the events known at `at` (`known`) and what the rules need."""
    bases = _bases(policy, purpose)
    rest = bases.get("default", _NO_BASIS)
    with duckdb.connect() as engine:
        for setting in ("temp_directory = ''", "TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
            engine.execute(f"SET {setting}")
        engine.register("events", events)
        engine.register("lanes", _lanes(policy, purpose))
        engine.register(
            "statuses", pa.table({"status": [*_CODES], "code": [*_CODES.values()], "reason": [int(r) for r in STRICTNESS.values()]})
        )
        engine.register("bases", pa.table({"jurisdiction": pa.array(bases, pa.string()), "basis": pa.array(bases.values(), pa.int8())}))
        engine.register("here", pa.table({"basis": [bases.get(_plain(default_jurisdiction), rest)]}))
        engine.execute(_KNOWN, {"at": micros(at), "rest": rest})
        yield engine


def _bases(policy: Policy, purpose: str) -> dict[str, int]:
    """How silence is read, by jurisdiction; empty where the policy does not know the purpose."""
    named = policy.purposes[purpose].basis if purpose in policy.purposes else {}
    return {_plain(jurisdiction): _OPT_IN if basis.opt_in else _OPT_OUT for jurisdiction, basis in named.items()}


def _plain(jurisdiction: str) -> str:
    return jurisdiction.strip().lower()


def _lanes(policy: Policy, purpose: str) -> pa.Table:
    """Which purposes of events matter: each data use with everything, those above it and `*` with blocks alone."""
    compatible = policy.purposes[purpose].compatible_with if purpose in policy.purposes else ()
    rows = []
    for lane, use in enumerate(dict.fromkeys((purpose, *compatible))):
        rows += [(use, lane, 0), *((other, lane, _REFUSED) for other in (EVERY_PURPOSE, *ancestors(use)))]
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("purpose", "lane", "least"), map(list, columns), strict=True)))
