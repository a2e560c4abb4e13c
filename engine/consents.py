"""Consent on the command line: imports, single events, and the officer's looks, which are logged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import prepared, roles, signals
from engine.admitting import reason_of
from engine.identities import together
from engine.rights import check_key
from engine.sweep import Swept, sweep
from engine.wording import reason_words
from engine.workspace import Workspace, WorkspaceError
from governance import consent, consent_files
from governance.consent import ConsentEvent
from governance.consent_files import Imported
from governance.identity import stopped
from governance.roles import Action
from governance.store import stamp
from policies import jurisdictions
from policies.contract import Contract
from policies.documents import parse_duration
from policies.parsing import DocumentError
from policies.policy import Policy


def import_file(
    workspace: Workspace, file: Path, *, again: bool = False, dry_run: bool = False, vendor: int | None = None
) -> tuple[Imported, Swept]:
    """Import a file of events or signals, then sweep. `vendor`: whose consent TCF strings are read for, where it is not that of
    the settings. How many were left out, because somebody was erased or objected, is told to officers alone.
    Raises ConsentFileError."""
    done = consent_files.import_file(
        workspace.store,
        file,
        again=again,
        dry_run=dry_run,
        controller=lambda: signals.controller(workspace, vendor),
        suppression=workspace.suppression,
    )
    if not roles.may(workspace, Action.READ_SUBJECT):
        done = replace(done, events=done.events + (done.suppressed or 0), suppressed=None)
    return done, Swept() if dry_run else sweep(workspace)


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
    if jurisdiction is not None and not jurisdictions.known(jurisdiction):
        raise WorkspaceError(f"`--jurisdiction`: got `{jurisdiction}`, expected a code of ISO 3166 such as `de` or `us-ca`, or `eu`")
    with workspace.store.transaction("consent") as write:
        allowed = not stopped(write.session, subject, purpose) or roles.may(workspace, Action.RECORD_CONSENT, lifts=True)
        if allowed:
            until = write.now + length if length else None
            consent.grant(
                write, subject, purpose, valid_until=until, notice_version=notice, jurisdiction=jurisdiction, method="command line"
            )
    if not allowed:
        roles.authorise(workspace, Action.RECORD_CONSENT, lifts=True)


def withdraw(workspace: Workspace, subject: str, purpose: str) -> tuple[bool, Swept]:
    """Record a withdrawal, in effect now, then sweep; says whether an officer should hear that no event of this key was held before."""
    with workspace.store.transaction("consent") as write:
        unheard = roles.may(workspace, Action.READ_SUBJECT) and not consent.history(write.session, subject)
        consent.withdraw(write, subject, purpose, method="command line")
    return unheard, sweep(workspace, together(workspace, subject))


def show(workspace: Workspace, subject: str) -> dict[str, Any]:
    """All events of a subject, and what they mean now for each purpose of each dataset and policy. For officers; logged
    without the subject. Datasets differ in the jurisdiction of whoever named none. Raises Refused, WorkspaceError for an empty key."""
    check_key(subject)
    roles.look(workspace, "consent.shown", Action.READ_SUBJECT)
    with workspace.store.read() as session:
        events = consent.history(session, subject)
    verdicts = []
    for contract, policy in _pairs(workspace):
        for purpose in policy.purposes:
            words = reason_words(reason_of(workspace, contract, policy, purpose, subject))
            verdicts.append({"dataset": contract.name, "policy": policy.name, "purpose": purpose, "reason": words})
    return {"events": [_event(recorded.event) | {"received_time": stamp(recorded.received_time)} for recorded in events], "now": verdicts}


def stats(workspace: Workspace) -> list[dict[str, Any]]:
    """Exact numbers of events. For officers; logged. Raises Refused."""
    roles.look(workspace, "consent.counted", Action.READ_EXACT)
    with workspace.store.read() as session:
        return [{"purpose": c.purpose, "status": c.status, "events": c.events} for c in consent.stats(session)]


def _pairs(workspace: Workspace) -> tuple[tuple[Contract, Policy], ...]:
    """Contracts and policies that segments put together; without a segment, each with each."""
    named, _ = prepared.pairs(workspace)
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
        "raw_signal": event.raw_signal,
        "decoded": event.decoded,
    }
