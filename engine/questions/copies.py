"""Copies of a subject: when each stopped after a no, which recipients got one, and which of them acknowledged its recall.

Whom an acknowledged notice named is kept nowhere (`engine.recalls`), so of such a notice the answer says when it was opened: a no of
one subject opens its notices in a sweep of its own.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from audit.log import Entry
from engine import copies
from engine.questions.archive import Archive
from engine.questions.builds import today
from engine.questions.people import of_purpose
from engine.questions.question import ON, SEGMENT, SUBJECT, Answer, Asking, Draft, Question
from governance import exports
from governance.builds import LIVE, Build
from governance.consent import Recorded
from governance.exports import Export, Notice
from governance.pseudonyms import pseudonyms, purpose_key
from governance.roles import Action


@dataclass(frozen=True, slots=True)
class Handed:
    """A list that may have held the subject: whether it does, and notices that name them, surely or by when they were opened."""

    build: Build
    export: Export
    listed: bool
    named: tuple[Notice, ...]
    perhaps: tuple[Notice, ...]


def copies_stopped(archive: Archive, asked: Asking) -> Answer:
    """When reads, lists, exports and models stopped using a subject after each no of theirs."""
    told = Draft()
    purpose = archive.build().purpose if asked.segment is not None else None
    said = archive.history if purpose is None else of_purpose(archive.history, purpose)
    if not (stops := [each for each in said if each.event.status.blocks]):
        told.say("this subject took nothing back and objected to nothing until then", stops=0)
        told.lack("a withdrawal, refusal or objection of this subject")
        return told.answer()
    rows: list[tuple[str, ...]] = []
    for stop in stops[-_SHOWN:]:
        rows += _after(archive, told, stop)
    today(archive, told, "lists")
    told.table("copies", rows, ("no of", "copy", "stopped", "by"))
    if len(stops) > _SHOWN:
        told.say(f"{len(stops) - _SHOWN} older ones are not shown; ask with --on")
    return told.answer()


def _after(archive: Archive, told: Draft, stop: Recorded) -> Iterator[tuple[str, ...]]:
    event = f"{_minute(stop.event.event_time)}, {stop.event.status} {stop.event.purpose}"
    told.rest_on_said(archive.said(stop), stop, "the salted commitment to this no")
    since = _since(archive, stop)
    for when in sorted(set(since.values())):
        by = "each read judges consent by itself" if when == stop.received_time else "the merge of keys, of which the strictest binds"
        yield event, "every read: plans, builds, members, exports, scores", _minute(when), by
    handed_over = [each for each in _handed(archive, [stop]) if of_purpose([stop], each.build.purpose)]
    for build in archive.of_segment():
        if not of_purpose([stop], build.purpose):
            continue
        recalled = any(not notice.whole for each in handed_over if each.build == build for notice in each.named)
        for key, when in since.items():
            row = archive.considered(build, key)
            if build.created > when or row is None:
                continue
            if build.status in LIVE:
                yield event, f"list of build {build.id}", *_list(archive, told, build, key, when, recalled)
            if row["trained"]:
                yield event, f"model of build {build.id}", *_model(archive, told, build, when)
    for handed in handed_over:
        if handed.export.created > max(since.values()):
            continue
        for notice in (*handed.named, *handed.perhaps):
            _cite(archive, told, notice)
            done = f"acknowledged {_minute(notice.acknowledged)}" if notice.acknowledged else f"{notice.state}, not acknowledged"
            yield event, f"list handed to {handed.export.destination} on {handed.export.created:%Y-%m-%d}", done, f"notice {notice.id}"
        if handed.listed:
            yield event, f"list handed to {handed.export.destination} on {handed.export.created:%Y-%m-%d}", "not yet", "the next sweep"


def _since(archive: Archive, stop: Recorded) -> dict[str, dt.datetime]:
    """Since when a no binds each key: when it was received, or when the key was merged with the one that said it, until `past`."""
    own = stop.event.subject
    joined = {key: stop.received_time if key == own else max(stop.received_time, archive.joined(key, own)) for key in archive.keys}
    return {key: when for key, when in joined.items() if when <= archive.past}


def _list(archive: Archive, told: Draft, build: Build, key: str, when: dt.datetime, recalled: bool) -> tuple[str, str]:
    """When a key left a build's list, and by what. Lists keep no past, so only a recall that names the subject tells that it was there."""
    if archive.member(build, key) is not None:
        return "not yet", "the next sweep"
    swept = _swept(archive, when)
    if recalled and swept is not None:
        told.rest_on(swept, "the sweep after it")
        return _at(swept), f"the sweep of entry {swept.index}"
    told.lack(f"whether the list of build {build.id} held this subject, and until when: lists keep no past")
    return "not on the list today", "-"


def _model(archive: Archive, told: Draft, build: Build, when: dt.datetime) -> tuple[str, str]:
    """By when a model must be trained anew since a no. The mark is the build's: whose no set it, nobody wrote down."""
    marks = archive.entries("build.must_retrain", until=archive.past, build=build.id)
    after = [each for each in marks if dt.datetime.fromisoformat(each.parsed["at"]) >= when]
    mark = after[0] if after else marks[-1] if marks else None
    still = f"not untrained; ε {build.facts['privacy']['epsilon']}"
    if mark is None:
        return "not marked to be trained anew", still
    told.rest_on(mark, "the mark of this build, by whosever no, that its model must be trained anew")
    earlier = "" if after else ", marked before this no"
    return f"to be trained anew by {mark.parsed['facts']['by']}, by the build's mark{earlier}", still


def recipients(archive: Archive, _asked: Asking) -> Answer:
    """Which destinations were handed a list with a subject in it, and what became of each recall."""
    told, rows = Draft(), []
    stops = [each for each in archive.history if each.event.status.blocks]
    for handed in _handed(archive, stops):
        export, notices = handed.export, (*handed.named, *handed.perhaps)
        if handed.listed:
            state = "has them, nobody asked for them back"
        elif handed.named:
            state = "was asked to delete them"
        elif handed.perhaps:
            state = "was asked to delete somebody just after their no; whom, is kept no longer than until it is done"
        else:
            state = "not on the list today; nobody can say whether they were"
            told.lack(f"whether the list handed to {export.destination} on {export.created:%Y-%m-%d} held this subject: lists keep no past")
        done = "; ".join(
            f"notice {n.id}: {n.state}" + (f" {_minute(n.acknowledged)} by {n.acknowledged_by}" if n.acknowledged else "") for n in notices
        )
        rows.append((export.destination, handed.build.segment, _minute(export.created), export.principal, state, done or "-"))
        told.rest_on(
            archive.entry("export.intended", export.created, export=export.id), f"the intent to hand a list to {export.destination}"
        )
        assert export.finished is not None  # others were handed to nobody
        told.rest_on(archive.entry("export.finished", export.finished, export=export.id), f"that {export.destination} got it")
        for notice in notices:
            _cite(archive, told, notice)
    today(archive, told, "lists")
    told.table("recipients", rows, ("recipient", "segment", "handed over", "by", "this subject", "recall"))
    if not rows:
        told.say("no list of a build that considered this subject was handed to anybody", recipients=[])
    return told.answer()


def _handed(archive: Archive, stops: Iterable[Recorded]) -> Iterator[Handed]:
    """Every list that was handed over until `past` of a build that may have held the subject, oldest first, with notices as of then.

    One that never finished was handed to nobody.
    """
    builds = {build.id: build for build in archive.of_segment()}
    notices = [_then(each, archive.past) for each in exports.notices(archive.session) if each.created <= archive.past]
    sweeps = [(stop, when, _until(archive, when)) for stop in stops for when in sorted(set(_since(archive, stop).values()))]
    for export in sorted(exports.exports(archive.session), key=lambda each: each.created):
        build = builds.get(export.build)
        if build is None or export.finished is None or export.finished > archive.past:
            continue
        listed = any(archive.received(export, key) for key in archive.keys)
        held = any(archive.considered(build, key) for key in archive.keys) or not (copies.folder(archive.workspace, build.id)).exists()
        of = [notice for notice in notices if notice.export == export.id]
        named = tuple(notice for notice in of if _names(archive, build, notice))
        rest = [notice for notice in of if notice not in named and not copies.notice_file(archive.workspace, notice.id).exists()]
        bearing = [(since, until) for stop, since, until in sweeps if of_purpose([stop], build.purpose)]
        perhaps = tuple(notice for notice in rest if notice.whole or any(since <= notice.created <= until for since, until in bearing))
        if listed or named or held:
            yield Handed(build, export, listed, named, perhaps)


def _names(archive: Archive, build: Build, notice: Notice) -> bool:
    """Whether a notice that waits names the subject."""
    path = copies.notice_file(archive.workspace, notice.id)
    if not path.exists():
        return False
    key = purpose_key(archive.session, archive.workspace.keys, build.purpose)
    own = pseudonyms(pa.array([*archive.keys], pa.string()), key).to_pylist()
    return not set(json.loads(path.read_text())["delete"]).isdisjoint(own)


def _cite(archive: Archive, told: Draft, notice: Notice) -> None:
    told.rest_on(archive.entry("notice.opened", notice.created, notice=notice.id), "that a recall was opened")
    if notice.handed and (entry := archive.entry("notice.handed", notice.handed, notice=notice.id)):
        told.rest_on(entry, "that it was handed over")
    if notice.acknowledged:
        told.rest_on(archive.entry("notice.acknowledged", notice.acknowledged, notice=notice.id), "that the recipient did as asked")


def _then(notice: Notice, past: dt.datetime) -> Notice:
    """A notice without what became of it later."""
    if notice.handed is not None and notice.handed > past:
        notice = replace(notice, handed=None)
    if notice.acknowledged is not None and notice.acknowledged > past:
        notice = replace(notice, acknowledged=None, acknowledged_by=None)
    return notice


def _swept(archive: Archive, when: dt.datetime) -> Entry | None:
    """The first sweep after a moment, until `past`."""
    swept = archive.first("sweep.done", when)
    return swept if swept and dt.datetime.fromisoformat(swept.parsed["at"]) <= archive.past else None


def _until(archive: Archive, when: dt.datetime) -> dt.datetime:
    """When the first sweep after a moment ended."""
    swept = _swept(archive, when)
    return dt.datetime.fromisoformat(swept.parsed["at"]) if swept else archive.past


def _at(entry: Entry) -> str:
    return _minute(dt.datetime.fromisoformat(entry.parsed["at"]))


def _minute(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


_SHOWN = 10

COPIES_STOPPED = Question(
    "copies-stopped", "When did every copy stop after a withdrawal?", Action.READ_SUBJECT, copies_stopped, SUBJECT, SEGMENT | ON
)
RECIPIENTS = Question(
    "recipients", "Which recipients got a subject, and acknowledged recall?", Action.READ_SUBJECT, recipients, SUBJECT, SEGMENT | ON
)
