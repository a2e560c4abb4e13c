"""Who may be used, at this moment: the registered subjects and the consent ledger, put to admission.

Few subjects are looked up in the database one by one. For many there is the columnar snapshot, and of the database only what
those have ever said who said something since: so a withdrawal counts at once, and nobody waits for millions of events. Who is a
child is asked anew at every look, of the source that the contract names.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from sqlmodel import Session

from engine.workspace import Workspace
from governance import admission as admissions
from governance import consent_snapshot
from governance.admission import Admission, Reason
from governance.consent import events_of, judged_at, snapshot_events, speakers_after
from governance.consent_snapshot import Base
from governance.identity import Identities, identities, links
from governance.minimise import Resources
from governance.population import children, population
from governance.reads import Granted, child_reads, population_reads
from policies.contract import Contract
from policies.policy import Policy
from policies.segment import Segment

FEW = 2_000
"""Subjects up to which looking each one up takes less time than reading a snapshot of millions."""


@dataclass(frozen=True, slots=True)
class Known:
    """What admission is told: see `governance.admission.admit`."""

    at: dt.datetime
    events: pa.Table
    base: Base | None
    by: Identities


def admission_now(workspace: Workspace, contract: Contract, policy: Policy, spec: Segment, only: str | None = None) -> Admission:
    """Judge the population of a segment at this moment; `only`: that subject alone, if it is registered."""
    now = workspace.store.clock()
    people = population(contract, grants_of(population_reads(contract)), spec.as_of, workspace.source, now, resources(workspace))
    if only is not None:
        people = people.filter(pc.equal(people["subject"], only))
    keep_up(workspace)
    return judged(workspace, contract, policy, spec.purpose, people, now)


def admitted_among(
    workspace: Workspace,
    contract: Contract,
    policy: Policy,
    purpose: str,
    subjects: pa.Table,
    session: Session | None = None,
    told: pa.Table | None = None,
) -> pa.Array:
    """Which of `subjects` (column `subject`) may be used at this moment; `session`: as that transaction sees the events."""
    return judged(workspace, contract, policy, purpose, subjects, workspace.store.clock(), session, told).admitted()["subject"]


def judged(
    workspace: Workspace,
    contract: Contract,
    policy: Policy,
    purpose: str,
    subjects: pa.Table,
    at: dt.datetime,
    session: Session | None = None,
    told: pa.Table | None = None,
) -> Admission:
    """Admission of `subjects` at `at`, by the events that are known then; later, where the clock is behind what is known.

    `policy`: as `policies.deciding.for_admission` leaves it, wherever it is known what for. `told`: what `told_now` said before the
    writer's lock was taken; else it is read. Raises SourceError and ExtractionError where children cannot be told.
    """
    told = told_now(workspace, contract, policy) if told is None else told
    with _known(workspace, at, session, subjects["subject"] if subjects.num_rows <= FEW else None) as known:
        home, who = contract.jurisdiction, contract.controller
        return admissions.admit(known.events, subjects, policy, purpose, home, known.at, known.base, known.by, told, who)


def told_now(workspace: Workspace, contract: Contract, policy: Policy) -> pa.Table | None:
    """Who is a child now; None where the policy does not ask or the contract does not tell. Raises SourceError, ExtractionError."""
    rule, now = policy.children_in(contract.jurisdiction), workspace.store.clock()
    if rule is None:
        return None
    return children(contract, grants_of(child_reads(contract)), rule.age, workspace.source, now, resources(workspace))


def reason_of(workspace: Workspace, contract: Contract, policy: Policy, purpose: str, subject: str) -> Reason:
    """Why one subject may be used now, or not, registered or not. For whoever may see a subject's record."""
    reason = judged(workspace, contract, policy, purpose, pa.table({"subject": [subject]}), workspace.store.clock()).check(subject)
    return Reason.NEVER_ASKED if reason is None else reason  # the number of `ADMITTED` is zero


def intervals_of(workspace: Workspace, contract: Contract, policy: Policy, purpose: str) -> pa.Table:
    """When each subject's consent was valid, for tables of rows collected under consent."""
    with _known(workspace, workspace.store.clock(), times=True) as known:
        home, who = contract.jurisdiction, contract.controller
        return admissions.intervals(known.events, policy, purpose, home, known.at, known.base, known.by, who)


def keep_up(workspace: Workspace, progress: consent_snapshot.Progress = lambda _step: None) -> bool:
    """Make the snapshot anew where so much was said since that it is worth its time; whether it was. Not inside a transaction."""
    with workspace.store.read() as session:
        worth = consent_snapshot.behind(session) > consent_snapshot.MANY
    if worth:
        consent_snapshot.refresh(workspace.store, workspace.hidden, progress)
    return worth


@contextmanager
def _known(
    workspace: Workspace, at: dt.datetime, session: Session | None = None, among: pa.Array | None = None, times: bool = False
) -> Iterator[Known]:
    """What is known at `at` of everybody, or `among` a few. `times`: of past moments too."""
    with workspace.store.read() if session is None else nullcontext(session) as reading:
        at = judged_at(reading, at)
        by = identities(links(reading, at))
        if among is not None:
            few = set(among.drop_null().to_pylist())
            yield Known(at, events_of(reading, at, few | by.bearing_on(few)), None, by)
            return
        with consent_snapshot.base(reading, workspace.hidden, at, times) as base:
            if base is None:
                yield Known(at, snapshot_events(reading, at), None, by)
            else:
                yield Known(at, events_of(reading, at, by.keys.union(speakers_after(reading, base.watermark))), base, by)


def resources(workspace: Workspace) -> Resources:
    """What DuckDB may use."""
    return Resources(workspace.hidden, workspace.settings.memory_limit, workspace.settings.threads)


def grants_of(reads: frozenset[tuple[str, str]]) -> Granted:
    """Pairs of table and column, by table."""
    return {table: frozenset(column for owner, column in reads if owner == table) for table, _ in reads}
