"""What a subject may ask for: the answer under art. 15, and what an erasure reached and what it did not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from engine.prepared import contracts
from engine.questions.archive import Archive
from engine.questions.builds import today
from engine.questions.question import ON, SUBJECT, Answer, Asking, Draft, Question
from governance import entries, exports
from governance.roles import Action
from governance.suppression import Kind, SuppressionError
from policies.contract import Contract

SHOWN = 20
"""Erasures and lists that an answer shows, the newest."""

BEYOND = (
    "backups of the workspace: `consentric rights replay` erases again after one was put back",
    "blocks of a disk that files no longer use, and PostgreSQL's write-ahead log",
)
"""What no erasure here reaches, whatever is kept where."""


def subject_access(archive: Archive, asked: Asking) -> Answer:
    """Everything that is held about a subject and was done with them, as `rights access` gives it."""
    from engine import access  # with what scores people, which no other question needs

    told = Draft()
    keys = archive.keys
    answer = access.access(archive.workspace, asked.subject or "")
    told.say(access.as_text(answer), answer=access.as_data(answer))
    told.say("as a page for the subject: `consentric rights access KEY --html FILE`")
    for recorded in archive.history[-SHOWN:]:
        told.rest_on_said(archive.said(recorded), recorded, "the salted commitment to what they said")
    for build in archive.builds:
        if any(archive.considered(build, key) for key in keys):
            told.rest_on(archive.quarantined(build), f"the root of whom build {build.id} considered")
            if archive.has_passport(build):
                told.rest_on_passport(build)
    for problem in answer.missing:
        told.lack(problem)
    return told.answer()


def erasure(archive: Archive, asked: Asking) -> Answer:
    """Which erasures there were and whether a look at every file and row found nothing; and what was and is out of their reach."""
    told = Draft()
    if asked.subject is not None:
        _of(archive, told, asked.subject)
        today(archive, told, "sources that hold this subject")
    begun = archive.entries("erasure.intended", last=SHOWN, until=archive.past)
    rows = []
    for entry in begun:
        name = entry.parsed["facts"]["erasure"]
        ends = archive.entries("erasure.finished", until=archive.past, erasure=name)
        told.rest_on(entry, "the intent to erase somebody")
        clean = "not finished: the next command goes on with it"
        if ends:
            told.rest_on(ends[-1], "its end, with what a look at every file and row found")
            clean = {True: "nothing was left", False: "something was left", None: "nobody could look"}[ends[-1].parsed["facts"]["clean"]]
        rows.append((name, entry.parsed["at"][:19], entry.parsed["principal"], ends[-1].parsed["at"][:19] if ends else "-", clean))
    told.table("erasures", rows, ("erasure", "begun", "by", "ended", "found afterwards"))
    if not rows:
        told.say("nobody was erased until then", erased=0)
    older = entries.count(archive.connection, "erasure.intended", until=archive.past) - len(rows)
    if older > 0:
        told.say(f"{older} older ones are not shown; ask with --on")
    told.table(
        "out_of_reach",
        [*_sources(contracts(archive.workspace)), *_lists(archive), *((what, "-") for what in BEYOND)],
        ("out of reach", "state"),
    )
    told.say("the log never names whom an erasure was of; a list outside remembers them by HMACs under a key of its own")
    return told.answer()


def _of(archive: Archive, told: Draft, subject: str) -> None:
    """Whether a subject is on the list outside, and which sources hold them still."""
    from engine import rights  # with the data engine, which whoever asks of no subject does not need

    rights.check_key(subject)
    try:
        listed = tuple(each for each in archive.workspace.suppression.entries(subject) if each.at <= archive.past)
    except SuppressionError as error:
        told.lack(f"whether this subject was erased: {error}")
        listed = ()
    for each in listed:
        what = "was erased" if each.kind is Kind.ERASED else f"objected to {each.purpose}"
        told.say(f"this subject {what} on {each.at:%Y-%m-%d %H:%M} UTC, by the list outside")
        told.add("listed", {"kind": each.kind.value, "at": each.at.astimezone(dt.UTC).isoformat(), "purpose": each.purpose})
    if not any(each.kind is Kind.ERASED for each in listed):
        told.say("this subject was not erased, by the list outside")
    for place in rights.sources_with(archive.workspace, subject):
        told.say(f"out of reach, holds this subject still: {place}")
        told.add("held_by", place)


def _sources(known: tuple[Contract, ...]) -> Iterator[tuple[str, str]]:
    for contract in known:
        for name, table in contract.tables.items():
            if not table.reference:
                yield f"source of {contract.name}.{name}", "whoever keeps it has to erase"


def _lists(archive: Archive) -> Iterator[tuple[str, str]]:
    """Lists that were handed over, the newest, and what their recipients said to recalls."""
    notices = exports.notices(archive.session)
    until = [each for each in exports.exports(archive.session) if each.finished and each.finished <= archive.past]
    for export in until[:SHOWN]:
        of = [notice for notice in notices if notice.export == export.id and notice.created <= archive.past]
        done = sum(notice.acknowledged is not None and notice.acknowledged <= archive.past for notice in of)
        state = f"{done} of {len(of)} recalls acknowledged" if of else "nobody was recalled from it"
        yield f"list handed to {export.destination} on {export.created:%Y-%m-%d}", state


ACCESS = Question(
    "subject-access", "What is the answer to a subject who asks (art. 15)?", Action.READ_SUBJECT, subject_access, needs=SUBJECT
)
ERASURE = Question("erasure", "What was erased, and what is out of reach?", Action.READ_LOG, erasure, takes=SUBJECT | ON)
