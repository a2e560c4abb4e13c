"""What the commands of a subject's rights show: JSON and text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from engine.restoring import Replayed
from engine.rights import Erased
from engine.sweep import Swept
from governance.rights import LONG
from governance.traces import Trace

Shown = tuple[dict[str, Any], str]


def erased(done: Erased) -> Shown:
    """After an erasure: what was rewritten, what is out of reach, and what is left."""
    lines = [
        f"erased: {done.events:,} consent events are tombstones, {done.files:,} files rewritten",
        *(f"model of build {build}: marked, to be trained anew" for build in done.retrain),
        *_out_of_reach(done),
        *_left(done.left, done.short, "nothing of the subject is left in the workspace: every file and row was looked at"),
        "a list outside the workspace remembers the erasure, so that no backup undoes it: `consentric rights replay` after restoring one",
    ]
    return _data(done) | {"erased": not done.left}, "\n".join(lines)


def preview(found: Erased) -> Shown:
    """What an erasure would find."""
    lines = [
        f"{found.events:,} consent events would become tombstones; nothing was changed",
        *(f"would be rewritten or looked at: {trace.place}: {trace.what}" for trace in found.left),
        *_out_of_reach(found),
    ]
    return _data(found) | {"erased": False, "dry_run": True}, "\n".join(lines)


def objected(purpose: str, swept: Swept) -> Shown:
    """After an objection."""
    notices = [*swept.notices]
    text = f"recorded: objects to {'all purposes' if purpose == '*' else purpose}; in effect at once, in files too"
    waiting = [f"notice {notice} waits for `consentric segments notices`" for notice in notices]
    return {"recorded": "objected", "notices": notices}, "\n".join([text, *waiting])


def replayed(done: Replayed) -> Shown:
    """After an old backup."""
    data = {"carried": done.carried, "objections": done.objections, "erased": done.erased, "left": _places(done.left)}
    lines = [
        f"carried over: the budget of {done.carried:,} allocations; written down again: {done.objections:,} objections",
        f"erased again: {done.erased:,} subjects",
        *_left(done.left, False, "the ledger is open again"),
    ]
    return data, "\n".join(lines)


def _out_of_reach(done: Erased) -> Iterator[str]:
    for source in done.sources:
        yield f"out of reach, still holds the subject: {source}"
    for each in done.sent:
        yield f"out of reach: `{each.destination}` was handed a list; send it notice {each.notice}, `{each.file}` ({each.state})"
    for build in done.mentions:
        yield f"look yourself whether a comment on build {build}, or why it was recalled, means this subject: the key is too short to tell"


def _left(left: Iterable[Trace], short: bool, clean: str) -> list[str]:
    places = [f"LEFT: {trace.place}: {trace.what}" for trace in left]
    how = f"a key of fewer than {LONG} characters was looked for as a whole value, its digests as bytes"
    return [*(places or [clean]), *([how] if short else [])]


def _places(left: Iterable[Trace]) -> list[dict[str, str]]:
    return [{"place": trace.place, "what": trace.what} for trace in left]


def _data(done: Erased) -> dict[str, Any]:
    return {
        "events": done.events,
        "files": done.files,
        "retrain": list(done.retrain),
        "notices": [{"notice": s.notice, "destination": s.destination, "file": s.file, "state": s.state} for s in done.sent],
        "sources": list(done.sources),
        "comments_to_read": list(done.mentions),
        "left": _places(done.left),
    }
