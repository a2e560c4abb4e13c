"""Consent on the command line: imports, single events, and the officer's looks, which are logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.gates import refusal
from engine.wording import reason_words
from engine.workspace import Workspace, WorkspaceError
from governance import admission, consent, consent_files
from governance.admission import Reason
from governance.consent import ConsentEvent
from governance.store import stamp
from policies.documents import parse_duration
from policies.parsing import DocumentError


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
    """Record consent, given now."""
    try:
        length = parse_duration(valid_for) if valid_for else None
    except ValueError as error:
        raise WorkspaceError(f"`--valid-for`: got `{valid_for}`, {error}") from error
    with workspace.store.transaction("consent") as write:
        until = write.now + length if length else None
        consent.grant(write, subject, purpose, valid_until=until, notice_version=notice, jurisdiction=jurisdiction, method="command line")


def withdraw(workspace: Workspace, subject: str, purpose: str) -> None:
    """Record a withdrawal, in effect now."""
    with workspace.store.transaction("consent") as write:
        consent.withdraw(write, subject, purpose, method="command line")


def show(workspace: Workspace, subject: str) -> dict[str, Any]:
    """All events of a subject, and what they mean for each purpose of each policy now. For officers; logged without the subject."""
    officer(workspace, "consent.shown")
    import pyarrow as pa

    with workspace.store.read() as session:
        events = consent.history(session, subject)
        known = consent.snapshot_events(session, workspace.store.clock(), subject)
    alone = pa.table({"subject": [subject]})
    verdicts = []
    for name in workspace.documents("policies"):
        policy = workspace.policy(name)
        for purpose in policy.purposes:
            jurisdiction = _jurisdiction(workspace)
            reason = admission.admit(known, alone, policy, purpose, jurisdiction, workspace.store.clock()).check(subject)
            verdicts.append({"policy": name, "purpose": purpose, "reason": reason_words(Reason.NEVER_ASKED if reason is None else reason)})
    return {"events": [_event(recorded.event) | {"received_time": stamp(recorded.received_time)} for recorded in events], "now": verdicts}


def stats(workspace: Workspace) -> list[dict[str, Any]]:
    """Exact numbers of events. For officers; logged."""
    officer(workspace, "consent.counted")
    with workspace.store.read() as session:
        return [{"purpose": c.purpose, "status": c.status, "events": c.events} for c in consent.stats(session)]


def officer(workspace: Workspace, action: str) -> None:
    """Let an officer of the workspace look, with an entry in the log first; anybody else is refused."""
    name = workspace.principal.name
    if name not in workspace.settings.officers:
        raise refusal(
            action,
            "exact-figures-are-the-officers",
            "-",
            "exact counts and a subject's record are for compliance officers",
            f"`{name}` is not among `roles.officers` of consentric.toml",
            "ask an officer, or read the noisy counts that `consentric plan` shows",
        )
    with workspace.store.transaction("look") as write:
        write.record(action)


def _jurisdiction(workspace: Workspace) -> str:
    """Of subjects whose events name none: that of the only contract, else the contracts' first by name."""
    contracts = workspace.documents("contracts")
    return workspace.contract(contracts[0]).jurisdiction if contracts else "eu"


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
