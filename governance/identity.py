"""One person behind several subject keys: merging keys, and splitting them again. Append-only, with two times each.

A merged key is out, and the one that survives stands for all. What its consent is then, nobody may decide by choosing the key
that says more, so the *strictest* binds, in this sense. Each key begins with one *thread*: its own events. Merging two groups of
keys keeps the threads of both, and from then on an event of any of their keys belongs to each thread. A split leaves every
thread, as it is then, to both parts; what comes later belongs to the part that it is said to. Whoever stands for a group is
admitted exactly if each thread that says anything about the purpose would be admitted by itself. So

- a merge admits nobody whom one of the keys, for what it said itself, would have kept out;
- a consent given after it, to any of the keys, lifts what each of them had said before;
- a split changes nobody's verdict, and takes nothing from what was known while the keys were one.

Before and after are told by the numbers of events in the ledger: two things that happen in one microsecond still have an order.
Pure, but for `merge`, `split` and `links`. Entries of the log hold a salted commitment to a row.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from audit.commitments import SALT, commit
from governance import consent
from governance.consent import ConsentError, newest_event
from governance.store import Transaction, micros
from governance.tables import IdentityRow

MOST = 100
"""Keys of one person, and threads that merging and splitting them may leave: beyond it somebody should ask what a key is."""

OPEN = (1 << 63) - 1
"""The last event of a span that has not ended."""


class IdentityError(ConsentError):
    """Keys that cannot be merged or split; nothing was written. The message names no key."""


@dataclass(frozen=True, slots=True)
class Link:
    """From event number `after` on, `subject` is merged into `survivor`; None: it is by itself again."""

    subject: str = field(repr=False)
    survivor: str | None = field(repr=False)
    after: int


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Events of `key` with numbers above `after`, up to `last`."""

    key: str = field(repr=False)
    after: int
    last: int


Thread = frozenset[Span]


@dataclass(frozen=True, slots=True)
class Identities:
    """Who is out because another key stands for it, and the threads of every other key that was ever part of a group."""

    merged: Mapping[str, str] = field(default_factory=dict, repr=False)
    threads: Mapping[str, frozenset[Thread]] = field(default_factory=dict, repr=False)
    members: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)

    def survivor(self, subject: str) -> str:
        """Who stands for a key: the end of its chain."""
        while subject in self.merged:
            subject = self.merged[subject]
        return subject

    def together(self, subject: str) -> frozenset[str]:
        """Every key of the same person, now."""
        return self.members.get(self.survivor(subject), frozenset({subject}))

    def bearing_on(self, subjects: Iterable[str]) -> frozenset[str]:
        """Keys whose events have a say for one of `subjects`."""
        return frozenset(span.key for subject in subjects for thread in self.threads.get(subject, ()) for span in thread)

    @property
    def keys(self) -> frozenset[str]:
        """Whose events have a say for somebody else, or are judged by somebody else's."""
        said = {span.key for threads in self.threads.values() for thread in threads for span in thread}
        return frozenset(said) | frozenset(self.merged) | frozenset(self.threads)


def identities(links: Iterable[Link]) -> Identities:
    """What merges and splits, in their order, come to."""
    merged: dict[str, str] = {}
    members: dict[str, frozenset[str]] = {}
    threads: dict[str, frozenset[Thread]] = {}

    def group(head: str) -> tuple[frozenset[str], frozenset[Thread]]:
        return members.get(head, frozenset({head})), threads.get(head, frozenset({frozenset({Span(head, -1, OPEN)})}))

    def root(subject: str) -> str:
        while subject in merged:
            subject = merged[subject]
        return subject

    for link in links:
        if link.survivor is not None:
            head, ours = root(link.survivor), link.subject
            (stay, kept), (join, brought) = group(head), group(ours)
            merged[ours] = link.survivor
            members[head] = stay | join
            threads[head] = _opened(kept, join, link.after) | _opened(brought, stay, link.after)
            members.pop(ours, None)
            threads.pop(ours, None)
        elif link.subject in merged:
            head = root(link.subject)
            every, known = group(head)
            del merged[link.subject]
            leave = frozenset(key for key in every if root(key) == link.subject)
            members[link.subject], members[head] = leave, every - leave
            threads[link.subject], threads[head] = (_closed(known, gone, link.after) for gone in (every - leave, leave))
    return Identities(merged, threads, members)


def merge(transaction: Transaction, subject: str, into: str, event_time: dt.datetime | None = None) -> int:
    """From now on `into` (or who stands for it) stands for `subject` and all merged into it; returns the entry's index.

    `event_time`: when it turned out, by default now. Raises IdentityError.
    """
    now = identities(links(transaction.session))
    if not subject or not into:
        raise IdentityError("got an empty subject key, expected two keys")
    if subject in now.merged:
        raise IdentityError("the first key is merged already, expected one that stands for itself; split it first")
    if now.survivor(into) == subject:
        raise IdentityError("the second key is the first or is merged into it, expected one of somebody else so far")
    entry = _write(transaction, "identity.merged", subject, into, event_time)
    after = identities(links(transaction.session))
    head = after.survivor(into)
    if max(len(after.members[head]), len(after.threads[head])) > MOST:
        raise IdentityError(f"expected at most {MOST} keys and histories behind one person; look whether the key is somebody's own")
    return entry


def split(transaction: Transaction, subject: str, event_time: dt.datetime | None = None) -> int:
    """From now on `subject`, with all merged into it, stands for itself again; returns the entry's index. Raises IdentityError."""
    if subject not in identities(links(transaction.session)).merged:
        raise IdentityError("this key is not merged into another, expected one that is")
    return _write(transaction, "identity.split", subject, None, event_time)


def links(session: Session, at: dt.datetime | None = None) -> list[Link]:
    """Merges and splits that were known at `at` (None: all), in their order. Who was erased is in none."""
    query = select(IdentityRow).where(col(IdentityRow.subject) != "").order_by(col(IdentityRow.id))
    if at is not None:
        query = query.where(col(IdentityRow.received_time) <= micros(at))
    # whom an erased key stood for stay out: for each its own nobody stands now
    return [Link(row.subject, f"\0{row.id}" if row.survivor == "" else row.survivor, row.after) for row in session.exec(query)]


def stopped(session: Session, subject: str, purpose: str) -> bool:
    """Whether a withdrawal or objection of any key of the same person stands, which only consent to that very key lifted."""
    return any(consent.stopped(session, key, purpose) for key in identities(links(session)).together(subject))


def _opened(threads: frozenset[Thread], keys: frozenset[str], after: int) -> frozenset[Thread]:
    """Threads that go on with the events of more keys; a span that ended just there goes on."""
    found = []
    for thread in threads:
        ended = {span.key: span for span in thread if span.key in keys and span.last == after}
        spans = {Span(key, ended[key].after if key in ended else after, OPEN) for key in keys}
        found.append((thread - frozenset(ended.values())) | spans)
    return frozenset(found)


def _closed(threads: frozenset[Thread], keys: frozenset[str], after: int) -> frozenset[Thread]:
    """Threads that go on without some keys."""
    return frozenset(
        frozenset(
            Span(span.key, span.after, after) if span.key in keys and span.last == OPEN else span
            for span in thread
            if not (span.key in keys and span.last == OPEN and span.after >= after)
        )
        for thread in threads
    )


def _write(transaction: Transaction, action: str, subject: str, survivor: str | None, event_time: dt.datetime | None) -> int:
    session = transaction.session
    newest = newest_event(session)
    happened = transaction.micros if event_time is None else min(micros(event_time), transaction.micros)
    salt = os.urandom(SALT)
    row = IdentityRow(subject=subject, survivor=survivor, after=newest, event_time=happened, received_time=transaction.micros, salt=salt)
    session.add(row)
    session.flush()
    said = json.dumps([subject, survivor, newest, happened, transaction.micros], ensure_ascii=False, separators=(",", ":"))
    return transaction.record(action, commitment=commit(said, salt).hex())
