"""Recall notices on their way: written for recipients, acknowledged, and what is still open.

A notice is opened by whatever lets somebody leave an export (`engine.copies`). It is handed over as a file that the recipient can
act on, and this workspace keeps it until the recipient's word is recorded; then nothing but the fact that there was one stays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.copies import notice_file
from engine.files import delete, whole_file
from engine.workspace import Workspace, WorkspaceError
from governance import builds, exports
from governance.exports import Export, Notice, NoticeId, State

OUTBOX = "notices"
"""Beside the suppression list: where notices of an erasure wait."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A notice, the export that it is about, and how many days nobody has acknowledged it."""

    notice: Notice
    export: Export
    segment: str
    days: int


def pending(workspace: Workspace) -> tuple[Pending, ...]:
    """Notices that nobody acknowledged yet, the oldest first."""
    now = workspace.store.clock()
    with workspace.store.read() as session:
        of = {export.id: export for export in exports.exports(session)}
        segments = {build.id: build.segment for build in builds.builds(session)}
        waiting = exports.notices(session, waiting=True)
    return tuple(Pending(n, of[n.export], segments[of[n.export].build], max(0, (now - n.created).days)) for n in waiting)


def hand_over(workspace: Workspace, to: Path, only: Collection[NoticeId] | None = None, keep: bool = True) -> tuple[Path, ...]:
    """Write every notice that waits, or `only` these, into the folder `to`, one file for each; returns the files.

    `keep=False`: the workspace keeps none of them, as after an erasure, so that a lost file cannot be written again. Raises
    WorkspaceError where `to` lies in the workspace, or is no folder.
    """
    if to != workspace.suppression.folder / OUTBOX:  # where those of an erasure wait
        workspace.check_leaving(to)
    if not to.is_dir():
        raise WorkspaceError(f"got `{to}`, expected a folder that exists")
    written = []
    for each in pending(workspace):
        source = notice_file(workspace, each.notice.id)
        if (only is not None and each.notice.id not in only) or not source.exists():
            continue
        target = to / f"{each.export.destination}-{each.notice.id}.json"
        with whole_file(target, "notice-copy") as partial:
            partial.write_bytes(source.read_bytes())
        with workspace.store.transaction("notice-handed") as write:
            exports.hand_over(write, each.notice.id)
        if not keep:
            delete(source, "notice-file")
        written.append(target)
    return tuple(written)


def acknowledge(workspace: Workspace, name: str) -> Notice:
    """The recipient did as asked: no copy of the notice stays, here or outside. Raises WorkspaceError."""
    with workspace.store.read() as session:
        notice = exports.find_notice(session, NoticeId(name))
    if notice is None or notice.state is State.ACKNOWLEDGED:
        got = f"one that was acknowledged on {notice.acknowledged:%Y-%m-%d}" if notice and notice.acknowledged else "an unknown one"
        raise WorkspaceError(f"notice `{name}`: got {got}, expected one of `consentric segments notices`")
    with workspace.store.transaction("acknowledge") as write:
        exports.acknowledge(write, notice.id)
    outbox = workspace.suppression.folder / OUTBOX
    for path in (notice_file(workspace, notice.id), *outbox.glob(f"*-{notice.id}.json")):
        delete(path, "notice")
    with workspace.store.read() as session:
        found = exports.find_notice(session, notice.id)
    assert found is not None  # notices are never deleted
    return found
