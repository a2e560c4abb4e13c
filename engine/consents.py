"""Consent on the command line: imports, single events, and the officer's looks, which are logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine import planning, roles
from engine.wording import reason_words
from engine.workspace import Workspace, WorkspaceError
from governance import admission, consent, consent_files
from governance.admission import Reason
from governance.consent import ConsentEvent
from governance.store import stamp
from policies.contract import Contract
from policies.documents import parse_duration
from policies.parsing import DocumentError
from policies.policy import Policy


def import_file(workspace: Workspace, file: Path, *, again: bool = False, dry_run: bool = False) -> int:
    """Import a file of events, all or nothing; returns how many. Raises ConsentFileError."""
    return consent_files.import_file(workspace.store, file, again=again, dry_run=dry_run).events


def known(workspace: Workspace, purpose: str) -> bool:
    """Whether a policy of the workspace has this purpose; consent to another is kept and serves nothing."""
    try:
        return any(purpose in workspace.policy(name).purposes for name in workspace.documents("policies"))
    except DocumentError:
        return True  # nobody can say while a policy cannot be read


def grant(workspace: Workspace, subject: str, purpose: str, valid_for: str | None, notice: str | None, jurisdiction: str | None) -> None:
    """Record consent, given now. Raises Refused where the subject withdrew or objected, and whoever says otherwise is no officer."""
    try:
        length = parse_duration(valid_for) if valid_for else None
    except ValueError as error:
        raise WorkspaceError(f"`--valid-for`: got `{valid_for}`, {error}") from error
    with workspace.store.transaction("consent") as write:
        allowed = roles.is_officer(workspace) or not consent.stopped(write.session, subject, purpose)
        if allowed:
            until = write.now + length if length else None
            consent.grant(
                write, subject, purpose, valid_until=until, notice_version=notice, jurisdiction=jurisdiction, method="command line"
            )
    if not allowed:
        reason = "this subject withdrew or objected, and only an officer may record that they consent again"
        remedy = "ask an officer, who has seen the subject's own yes"
        raise roles.refused(workspace, "consent.granted", "a-no-is-lifted-by-officers", reason, remedy)


def withdraw(workspace: Workspace, subject: str, purpose: str) -> bool:
    """Record a withdrawal, in effect now; returns whether an officer should hear that no event of this key was held before."""
    with workspace.store.transaction("consent") as write:
        unheard = roles.is_officer(workspace) and not consent.history(write.session, subject)
        consent.withdraw(write, subject, purpose, method="command line")
    return unheard


def show(workspace: Workspace, subject: str) -> dict[str, Any]:
    """All events of a subject, and what they mean now for each purpose of each dataset and policy. For officers; logged
    without the subject. Datasets differ in the jurisdiction of whoever named none. Raises Refused."""
    roles.look(workspace, "consent.shown")
    import pyarrow as pa

    with workspace.store.read() as session:
        events = consent.history(session, subject)
        at = consent.judged_at(session, workspace.store.clock())
        known = consent.snapshot_events(session, at, subject)
    alone = pa.table({"subject": [subject]})
    verdicts = []
    for contract, policy in _pairs(workspace):
        for purpose in policy.purposes:
            reason = admission.admit(known, alone, policy, purpose, contract.jurisdiction, at).check(subject)
            words = reason_words(Reason.NEVER_ASKED if reason is None else reason)
            verdicts.append({"dataset": contract.name, "policy": policy.name, "purpose": purpose, "reason": words})
    return {"events": [_event(recorded.event) | {"received_time": stamp(recorded.received_time)} for recorded in events], "now": verdicts}


def stats(workspace: Workspace) -> list[dict[str, Any]]:
    """Exact numbers of events. For officers; logged. Raises Refused."""
    roles.look(workspace, "consent.counted")
    with workspace.store.read() as session:
        return [{"purpose": c.purpose, "status": c.status, "events": c.events} for c in consent.stats(session)]


def _pairs(workspace: Workspace) -> tuple[tuple[Contract, Policy], ...]:
    """Contracts and policies that segments put together; without a segment, each with each."""
    named, _ = planning.pairs(workspace)
    contracts, policies = workspace.documents("contracts"), workspace.documents("policies")
    return named or tuple((workspace.contract(contract), workspace.policy(policy)) for contract in contracts for policy in policies)


def _event(event: ConsentEvent) -> dict[str, Any]:
    return {
        "event_time": stamp(event.event_time),
        "purpose": event.purpose,
        "status": event.status.value,
        "valid_until": stamp(event.valid_until) if event.valid_until else None,
        "notice_version": event.notice_version,
        "jurisdiction": event.jurisdiction,
        "method": event.method,
    }
