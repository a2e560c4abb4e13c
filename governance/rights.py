"""The subject's rights in the metadata database: what stands there of one subject, and how it goes (GDPR art. 15, 17, 21).

Erasure leaves tombstones: of a consent event stay its place, its batch and the commitment that its batch's root was made of, so
that the root in the log still verifies (`governance.consent_batches`); who it was of, what it said and when, is gone. The intent is a
row with the subject, written before anything else and blanked at the end, so that whoever opens the workspace after a crash can go on.

Not here: files (`engine.copies`), the list outside (`governance.suppression`), the look for what is left (`governance.traces`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, SQLModel, col, select

from governance import builds, consent
from governance.builds import BuildId
from governance.consent import ConsentEvent, Recorded, Status
from governance.consent_batches import COMMITTED, leaf, values_of
from governance.consent_snapshot import invalidate
from governance.erasures import Erasure
from governance.store import Transaction
from governance.suppression import Entry, Kind, Suppression
from governance.tables import ApprovalRow, BuildRow, ConsentRow, ExportRow, IdentityRow

ERASED = "erased"
"""Status of a tombstone."""

REDACTED = "[erased]"
"""What stands in people's words, or for the place of a list, in place of a subject."""

RECALLED = "recalled"
"""Where the facts of a build say why it was recalled."""

LONG = 8
"""Characters from which on a subject key in somebody's text is not there by chance."""


def bury(transaction: Transaction, erasure: Erasure, subjects: Collection[str]) -> None:
    """Turn every consent event of `subjects` into a tombstone, as merges and splits of them, and take them out of people's words."""
    session = transaction.session
    for subject in subjects:
        for row in session.exec(select(ConsentRow).where(col(ConsentRow.subject) == subject)).all():
            row.leaf = leaf(values_of(row), row.salt, None)
            for name in _BLANK:
                setattr(row, name, None)
            row.subject, row.purpose, row.status, row.salt = "", "", ERASED, b""
            row.event_time = row.received_time
            session.add(row)
        for link in session.exec(select(IdentityRow).where(or_(col(IdentityRow.subject) == subject, col(IdentityRow.survivor) == subject))):
            link.subject = "" if link.subject == subject else link.subject
            link.survivor = "" if link.survivor == subject else link.survivor
            link.salt = b""
            session.add(link)
        if len(subject) >= LONG:
            _redact(session, subject)
    invalidate(transaction)
    transaction.record("erasure.consent", erasure=erasure.id)


def mentions(session: Session, subject: str) -> tuple[BuildId, ...]:
    """Builds where somebody's comment, or the reason of a recall, has the subject's key as a word."""
    named = [row.build for row in _saying(session, subject)] + [row.id for row, _ in _recalled(session, subject)]
    return tuple(BuildId(build) for build in dict.fromkeys(named))


def standing(session: Session, subject: str) -> Iterator[Entry]:
    """Objections and withdrawals of a subject that no later consent lifted, one a purpose: they outlast an erasure."""
    said = consent.history(session, subject)
    for purpose in sorted({each.event.purpose for each in said}):
        if consent.stopped(session, subject, purpose):
            stops = [Entry(Kind.OBJECTED, each.event.purpose, each.event.event_time) for each in said if each.event.status in _STOPS]
            yield Entry(Kind.OBJECTED, purpose, max(entry.at for entry in stops if entry.covers(purpose)))


def refile(transaction: Transaction, suppression: Suppression, subjects: Collection[str]) -> int:
    """Write down again the objections of those of `subjects` whose objection is on the list outside and not in this ledger, as
    happens when an old backup was put back, or when somebody erased comes back; gives how many. Later consent is left alone."""
    events = []
    for subject, entries in suppression.among(subjects).items():
        said = consent.history(transaction.session, subject)
        events += [
            ConsentEvent(subject, entry.purpose, Status.OBJECTED, entry.at, method="kept since the objection")
            for entry in entries
            if entry.kind is Kind.OBJECTED and not any(_knows(each, entry) for each in said)
        ]
    if events:
        consent.append(transaction, events)
    return len(events)


def known_subjects(session: Session) -> Iterator[str]:
    """Everybody whom the database holds a consent event of, each once."""
    query = select_columns(_TABLE.c.subject).where(_TABLE.c.subject != "").distinct()
    for (subject,) in session.connection().execute(query, execution_options={"yield_per": 10_000}):
        yield subject


_STOPS = (Status.WITHDRAWN, Status.OBJECTED)
_TABLE = SQLModel.metadata.tables[str(ConsentRow.__tablename__)]
_BLANK = [column.name for column in COMMITTED if column.nullable]


def _redact(session: Session, subject: str) -> None:
    """Take a key out of what people wrote: comments, reasons of recalls, and where they had a list put."""
    word = _word(subject)
    for found in _saying(session, subject):
        found.comment = word.sub(REDACTED, found.comment)
        session.add(found)
    for build, facts in _recalled(session, subject):  # its other facts, the log has the digest of
        build.facts = json.dumps(facts | {RECALLED: word.sub(REDACTED, facts[RECALLED])}, sort_keys=True)
        session.add(build)
    for export in session.exec(select(ExportRow).where(col(ExportRow.file).contains(subject, autoescape=True))):
        export.file = REDACTED
        session.add(export)


def _recalled(session: Session, subject: str) -> list[tuple[BuildRow, dict[str, Any]]]:
    """Builds, with their facts, whose recall was explained with the subject as a word; read from JSON, which may escape the key."""
    rows = session.exec(select(BuildRow).where(BuildRow.status == builds.Status.RECALLED)).all()
    found = [(row, json.loads(row.facts)) for row in rows]
    return [(row, facts) for row, facts in found if _word(subject).search(facts.get(RECALLED, ""))]


def _saying(session: Session, subject: str) -> list[ApprovalRow]:
    """Rows of comments that name a subject as a word."""
    rows = session.exec(select(ApprovalRow).where(col(ApprovalRow.comment).contains(subject, autoescape=True)))
    return [row for row in rows if _word(subject).search(row.comment)]


def _word(subject: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(subject)}(?!\w)")


def _knows(recorded: Recorded, entry: Entry) -> bool:
    """Whether an event says what an entry of the list says, or something stricter, or did so later."""
    event = recorded.event
    return event.status.blocks and event.event_time >= entry.at and Entry(entry.kind, event.purpose, event.event_time).covers(entry.purpose)
