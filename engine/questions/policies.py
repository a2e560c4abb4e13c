"""Versions of a policy: who approved each, what it changed, and what was approved under it."""

from __future__ import annotations

from sqlmodel import col, select

from engine.policy_approvals import changed, parsed
from engine.questions.archive import Archive
from engine.questions.question import ON, POLICY, Answer, Asking, Draft, Question
from engine.workspace import WorkspaceError
from governance import documents
from governance.documents import APPROVED, KEPT, Approved, Kept, Kind
from governance.roles import Action
from governance.store import micros, moment
from governance.tables import ApprovalRow
from policies.parsing import DocumentError


def policy_approval(archive: Archive, asked: Asking) -> Answer:
    """Each version of a policy that was ever pinned: since when, who approved it, what it changed, and which builds are under it."""
    told, name = Draft(), asked.policy or ""
    versions = [each for each in documents.versions(archive.session, Kind.POLICY, name) if each.created <= archive.past]
    approvals = [each for each in documents.approvals(archive.session, name) if each.created <= archive.past]
    if not versions and name not in archive.workspace.documents("policies"):
        raise WorkspaceError(f"`--policy`: got `{name}`, expected one of {[*archive.workspace.documents('policies')]}")
    before: Kept | None = None
    for version in versions:
        _version(archive, told, version, before, [each for each in approvals if each.policy == version.digest])
        told.attach(f"policy-{version.digest.removeprefix('sha256:')[:16]}.json", version.text)
        before = version
    _in_order(archive, told, approvals)
    if not versions:
        told.lack(f"any version of `{name}`: no plan, approval or release has pinned one since texts are kept")
    elif name in archive.workspace.documents("policies") and archive.asked.on is None:
        try:
            today = archive.workspace.policy(name).digest()
        except DocumentError as error:
            told.lack(f"what the file says today: {str(error).splitlines()[0]}")
            return told.answer()
        if today != versions[-1].digest and today not in {each.digest for each in versions}:
            told.say(f"the file says {today} today, which nothing has pinned yet", today=today)
    return told.answer()


def _version(archive: Archive, told: Draft, version: Kept, before: Kept | None, approvals: list[Approved]) -> None:
    kept = archive.entry(KEPT, version.created, digest=version.digest)
    told.rest_on(kept, "the first time that this version was pinned, and by whom")
    by = kept.parsed["principal"] if kept else "somebody"
    told.say(f"{version.digest}, first pinned {version.created:%Y-%m-%d %H:%M} UTC by {by}")
    for said in approvals:
        entry = archive.entry(APPROVED, said.created, policy=said.policy)
        told.say(f"  approved {said.created:%Y-%m-%d %H:%M} UTC by {said.principal}")
        told.rest_on(entry, f"the approval by {said.principal}, and what changed against the version approved before")
    if not approvals:
        told.lack(f"who approved version {version.digest}: nobody ran `consentric policy approve` on it")
    changes = [] if before is None else changed(archive.workspace, parsed(before.text), parsed(version.text))
    if before is None:
        told.say("  the first version that was kept")
    else:
        told.say(f"  against the version before, for the columns of today's contracts: {'nothing' if not changes else ''}".rstrip())
        for change in changes:
            told.say(f"    {change}")
    rows = archive.session.exec(select(ApprovalRow).where(ApprovalRow.policy == version.digest).order_by(col(ApprovalRow.id)))
    said_yes = [row for row in rows if row.created <= micros(archive.past)]
    for row in said_yes[-_SHOWN:]:
        entry = archive.entry(f"build.{row.verdict}", moment(row.created), build=row.build)
        told.rest_on(entry, f"what {row.principal} said to build {row.build} under this version")
    builds = [{"build": row.build, "by": row.principal, "said": row.verdict} for row in said_yes]
    if builds:
        told.say("  under it: " + ", ".join(f"{each['by']} said {each['said']} to build {each['build']}" for each in builds))
    told.add(
        "versions",
        {
            "digest": version.digest,
            "first_pinned": version.created.isoformat(),
            "approved_by": [{"by": said.principal, "at": said.created.isoformat(), "before": said.before} for said in approvals],
            "changes": None if before is None else changes,
            "builds": builds,
        },
    )


def _in_order(archive: Archive, told: Draft, approvals: list[Approved]) -> None:
    """Every approval, the oldest first, with what it changed when it was given: a version may come back after another."""
    if approvals:
        told.say("approvals, in order of time:")
    for said in approvals:
        entry = archive.entry(APPROVED, said.created, policy=said.policy)
        changes = entry.parsed["facts"]["changes"] if entry else None
        told.say(f"  {said.created:%Y-%m-%d %H:%M} UTC, {said.principal}: {said.policy}")
        if entry is None:
            told.lack(f"what the approval by {said.principal} changed: the log has no entry of it")
        elif not changes:
            told.say("    no version was approved before" if changes is None else "    nothing changes")
        for change in changes or ():
            told.say(f"    {change}")
        at = said.created.isoformat()
        told.add("approvals", {"by": said.principal, "at": at, "digest": said.policy, "before": said.before, "changes": changes})


_SHOWN = 20

POLICY_APPROVAL = Question(
    "policy-approval", "Who approved a policy, and what did it change?", Action.READ_POLICY, policy_approval, POLICY, ON
)
