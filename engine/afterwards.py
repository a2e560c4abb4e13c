"""What a terminal shows of segments after their release: when they end, who must be recalled, and what a sweep did."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import recalls, roles
from engine.display import table
from engine.recalls import Pending
from engine.reports import retrain_words
from engine.sweep import Swept
from engine.workspace import Workspace
from governance.builds import Build, Status
from governance.roles import Action

View = tuple[dict[str, Any], str]


def swept(workspace: Workspace, done: Swept, dry_run: bool) -> View:
    """What a sweep did; how many people left is exact, and shown to whoever may see exact counts (the look is logged)."""
    data: dict[str, Any] = {
        "dry_run": dry_run,
        "expired": list(done.expired),
        "cleared": done.cleared,
        "notices": list(done.notices),
        "problems": list(done.problems),
    }
    verb = "would be" if dry_run else "were"
    lines = [f"{len(done.expired)} builds {verb} expired, {done.cleared} leftovers {verb} deleted"]
    if roles.may(workspace, Action.READ_EXACT):
        roles.look(workspace, "sweep.counted", Action.READ_EXACT)
        data["left"] = done.left
        lines.append(f"{done.left:,} people may not be used any more and {verb} taken out of lists")
    else:
        lines.append("whoever may not be used any more " + ("would leave every list" if dry_run else "has left every list"))
    if done.notices:
        lines.append(f"{len(done.notices)} recall notices opened; next: consentric segments notices --to DIR")
    return data, "\n".join([*lines, *(f"not judged: {problem}" for problem in done.problems)])


def notices(workspace: Workspace, written: Sequence[Path]) -> View:
    """Recall notices that wait for a recipient's word."""
    waiting = recalls.pending(workspace)
    rows = [
        (each.notice.id, each.segment, each.export.destination, "everybody" if each.notice.whole else "some", each.notice.state, each.days)
        for each in waiting
    ]
    text = table(rows, ("notice", "segment", "destination", "whom", "state", "days")) if rows else "no notice waits"
    text += "".join(f"\nwritten: {path}" for path in written)
    if rows:
        text += "\nnext: hand each file to its destination, and record its answer with consentric segments acknowledge NOTICE"
    return {"notices": [notice_data(each) for each in waiting], "written": [str(path) for path in written]}, text


def notice_data(each: Pending) -> dict[str, Any]:
    """A notice as JSON."""
    return {
        "notice": each.notice.id,
        "export": each.export.id,
        "segment": each.segment,
        "destination": each.export.destination,
        "whole": each.notice.whole,
        "state": each.notice.state.value,
        "days": each.days,
    }


def times(build: Build, now: dt.datetime) -> list[str]:
    """When it ends, and by when its model must be trained anew."""
    if build.status not in (Status.QUARANTINED, Status.RELEASED):
        return []
    lines = [f"expires: {build.expires:%Y-%m-%d}" + (", which has passed" if build.over(now) else "")] if build.expires else []
    if build.listed_until:
        lines.append(f"lists are read until: {build.listed_until:%Y-%m-%d}" + ("" if build.listed(now) else ", which has passed"))
    return lines + ([retrain_words(build)] if build.retrain_by else [])


def note(build: Build, now: dt.datetime) -> str:
    """What somebody should know of a build in a list."""
    if build.status not in (Status.QUARANTINED, Status.RELEASED):
        return ""
    if build.over(now):
        return "its time has passed"
    if build.retrain_by:
        return f"retrain {'was due' if now >= build.retrain_by else 'by'} {build.retrain_by:%Y-%m-%d}"
    return f"scored with {build.model}" if build.model else ""
