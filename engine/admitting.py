"""Who may be used, at this moment: the registered subjects and the consent ledger, put to admission."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext

import pyarrow as pa
from sqlmodel import Session

from engine.workspace import Workspace
from governance import admission as admissions
from governance.admission import Admission
from governance.consent import judged_at, snapshot_events
from governance.minimise import Resources
from governance.population import population
from governance.reads import Granted, population_reads
from policies.contract import Contract
from policies.policy import Policy
from policies.segment import Segment


def admission_now(workspace: Workspace, contract: Contract, policy: Policy, spec: Segment) -> Admission:
    """Judge the population of a segment at this moment."""
    now = workspace.store.clock()
    known = population(contract, grants_of(population_reads(contract)), spec.as_of, workspace.source, now, resources(workspace))
    return judged(workspace, contract, policy, spec.purpose, known, now)


def admitted_among(
    workspace: Workspace, contract: Contract, policy: Policy, purpose: str, subjects: pa.Table, session: Session | None = None
) -> pa.Array:
    """Which of `subjects` (column `subject`) may be used at this moment; `session`: as that transaction sees the events."""
    return judged(workspace, contract, policy, purpose, subjects, workspace.store.clock(), session).admitted()["subject"]


def judged(
    workspace: Workspace,
    contract: Contract,
    policy: Policy,
    purpose: str,
    subjects: pa.Table,
    at: dt.datetime,
    session: Session | None = None,
) -> Admission:
    """Admission of `subjects` at `at`, by the events that are known then; later, where the clock is behind what is known."""
    with workspace.store.read() if session is None else nullcontext(session) as reading:
        at = judged_at(reading, at)
        events = snapshot_events(reading, at)
    return admissions.admit(events, subjects, policy, purpose, contract.jurisdiction, at)


def intervals_of(workspace: Workspace, contract: Contract, policy: Policy, purpose: str) -> pa.Table:
    """When each subject's consent was valid, for tables of rows collected under consent."""
    with workspace.store.read() as session:
        at = judged_at(session, workspace.store.clock())
        events = snapshot_events(session, at)
    return admissions.intervals(events, policy, purpose, contract.jurisdiction, at)


def resources(workspace: Workspace) -> Resources:
    """What DuckDB may use."""
    return Resources(workspace.hidden, workspace.settings.memory_limit, workspace.settings.threads)


def grants_of(reads: frozenset[tuple[str, str]]) -> Granted:
    """Pairs of table and column, by table."""
    return {table: frozenset(column for owner, column in reads if owner == table) for table, _ in reads}
