"""A question, what it is given, and its answer: values.

An answer is said in sentences, holds the same as facts, names the entries and passports that it rests on, and says what nobody
recorded. It may hold personal data, so only its salted commitment enters the log.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from engine.display import table
from governance.roles import Action

if TYPE_CHECKING:
    from audit.log import Entry
    from engine.questions.archive import Archive
    from governance.builds import Build
    from governance.consent import Recorded


class Given(StrEnum):
    """What a question may be given: options of the command, fields of `Asking`."""

    SEGMENT = "segment"
    SUBJECT = "subject"
    ON = "on"
    COLUMN = "column"
    POLICY = "policy"
    COLLABORATION = "collaboration"
    ROUND = "round"


SEGMENT, SUBJECT, ON, COLUMN, POLICY, COLLABORATION, ROUND = (frozenset({each}) for each in Given)
"""Each by itself, to be joined."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What was given. `segment`: a segment, or a build of one by its id; `on`: a day in UTC, until whose end everything counts;
    `collaboration`: a joint training by its contract's name; `round`: of it, from 1 on."""

    segment: str | None = None
    subject: str | None = field(default=None, repr=False)
    on: dt.date | None = None
    column: str | None = None
    policy: str | None = None
    collaboration: str | None = None
    round: int | None = None

    def given(self) -> frozenset[Given]:
        """What is there."""
        return frozenset(each for each in Given if getattr(self, each) is not None)

    def public(self) -> dict[str, str]:
        """What may stand in the log: all but the subject."""
        return {each.value: str(getattr(self, each)) for each in Given if each in self.given() - {Given.SUBJECT}}


@dataclass(frozen=True, slots=True)
class Cited:
    """An entry that an answer rests on, and what it shows."""

    index: int
    action: str
    at: str
    shows: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`says`: lines for a terminal; `facts`: the same as JSON values; `passports`: builds whose passports it rests on.

    `documents`: texts whose digests stand in entries that it rests on, by the name of a file for each; they go into its proof.
    So do leaves of the subject's own: `openings` of what builds, or their rounds with partners, did with them (entry, what the leaf says it
    is of, and key), and `said`, of consent events (entry, and the event's number).
    """

    says: tuple[str, ...]
    facts: Mapping[str, Any]
    evidence: tuple[Cited, ...] = ()
    passports: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    documents: Mapping[str, str] = field(default_factory=dict, repr=False)
    openings: tuple[tuple[int, str, str], ...] = field(default=(), repr=False)
    said: tuple[tuple[int, int], ...] = ()

    def as_data(self) -> dict[str, Any]:
        """As JSON values; of documents their digests."""
        digests = {name: "sha256:" + hashlib.sha256(text.encode()).hexdigest() for name, text in self.documents.items()}
        return {
            "says": [*self.says],
            "facts": self.facts,
            "evidence": [asdict(one) for one in self.evidence],
            "passports": [*self.passports],
            "documents": digests,
            "unrecorded": [*self.unrecorded],
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [*self.says, *(f"not recorded: {what}" for what in self.unrecorded)]
        entries = [f"  entry {one.index}, {one.action} of {one.at[:19]}: {one.shows}" for one in self.evidence]
        passports = [f"  the passport of build {build}" for build in self.passports]
        if entries or passports:
            lines += ["", "rests on", *entries, *passports]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `needs`: without these it cannot be answered; `takes`: what narrows it; `action`: what whoever asks must be allowed."""

    id: str
    asks: str
    action: Action
    answer: Callable[[Archive, Asking], Answer]
    needs: frozenset[Given] = frozenset()
    takes: frozenset[Given] = frozenset()


class Draft:
    """An answer that is being put together."""

    def __init__(self) -> None:
        self._says: list[str] = []
        self._facts: dict[str, Any] = {}
        self._evidence: dict[int, Cited] = {}
        self._passports: dict[str, None] = {}
        self._unrecorded: dict[str, None] = {}
        self._documents: dict[str, str] = {}
        self._openings: dict[tuple[int, str, str], None] = {}
        self._said: dict[tuple[int, int], None] = {}

    def say(self, line: str, **facts: Any) -> None:
        """A line, and what it says as facts."""
        self._says.append(line)
        self._facts |= facts

    def fact(self, **facts: Any) -> None:
        """Facts that lines to come say."""
        self._facts |= facts

    def add(self, name: str, fact: Any) -> None:
        """One more of the facts of a name."""
        self._facts[name] = [*self._facts.get(name, []), fact]

    def table(self, name: str, rows: Sequence[Sequence[object]], head: Sequence[str]) -> None:
        """Rows as a table, and under `name` as facts; no rows show nothing."""
        self._facts[name] = [dict(zip(head, row, strict=True)) for row in rows]
        if rows:
            self._says += ["", *table(rows, head).split("\n")]

    def rest_on(self, entry: Entry | None, shows: str) -> None:
        """An entry that shows something; where there is none, that is what nobody recorded."""
        if entry is None:
            self.lack(f"{shows}: the log has no entry of it")
        else:
            parsed = entry.parsed
            self._evidence[entry.index] = Cited(entry.index, parsed["action"], parsed["at"], shows)

    def rest_on_said(self, entry: Entry | None, recorded: Recorded, shows: str) -> None:
        """The entry that commits to what the subject said, and that event's own leaf in it, for the proof."""
        self.rest_on(entry, shows)
        if entry is not None:
            self._said[entry.index, recorded.number] = None

    def rest_on_passport(self, build: Build) -> None:
        """The passport of a build; ask `Archive.has_passport` first."""
        self._passports[build.id] = None

    def open_leaf(self, entry: Entry | None, of: str, key: str) -> None:
        """The leaf of a key of the subject in commitments whose root stands in an entry, for the proof. `of`: a build by its id, or a
        record of one of its rounds as leaves name it."""
        if entry is not None:
            self._openings[entry.index, of, key] = None

    def attach(self, name: str, text: str) -> None:
        """A document, for the proof, whose digest stands in an entry that the answer rests on."""
        self._documents[name] = text

    def lack(self, what: str) -> None:
        """What nobody recorded, in words that follow `not recorded: `."""
        self._unrecorded[what] = None

    def answer(self) -> Answer:
        """As it is."""
        evidence = tuple(self._evidence[index] for index in sorted(self._evidence))
        text = json.dumps(self._facts, ensure_ascii=False, default=str)
        facts = json.loads(text, parse_constant=str)  # JSON has no infinity, and what is committed to is JSON
        seen = tuple(self._passports), tuple(self._unrecorded), self._documents, tuple(self._openings), tuple(self._said)
        return Answer(tuple(self._says), facts, evidence, *seen)
