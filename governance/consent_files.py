"""Import of files of consent: events, or signals that become events. One entry of the log for a file.

Events: `subject`, `purpose`, `status` and `event_time` are required; `valid_until`, `basis`, `notice_version`, `notice_hash`,
`controller`, `jurisdiction`, `method` and `raw_signal` may be there. A bad row stops the file: all or nothing. So does a place that
nobody knows, because it would fall under the law of the rest of the world.

Signals: `subject` and `at`, when the signal was seen, are required, and at least one of `tcf`, `gpp`, `usp`, `gpc` and `record`;
`jurisdiction`, `controller`, `notice_version`, `notice_hash` and `valid_until` (of consent) may be there. A signal that cannot be
read is rejected with the character and the reason, and counted; the rest is taken. A bad subject, time or place stops the file.

Either way no other column may be there, and the received time is the clock's, never the file's. A bad row is told by number, field,
got and expected, because the file is the operator's own; subjects and signals are never repeated.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from sqlmodel import Session, select

from governance.consent import ConsentError, ConsentEvent, EventError, Receipt, Status, append, check_time, quoted
from governance.consent_rows import ConsentFileError, Row, Rows, rows
from governance.rights import refile
from governance.signals.events import Kind, Rejected, Sighting, events_of
from governance.signals.purposes import Controller, needs
from governance.store import Store, micros, moment, stamp
from governance.suppression import Suppression
from governance.tables import ImportRow
from policies import jurisdictions
from policies.policy import Basis

REQUIRED = ("subject", "purpose", "status", "event_time")
OPTIONAL = ("valid_until", "basis", "notice_version", "notice_hash", "controller", "jurisdiction", "method", "raw_signal")

SIGNALS = tuple(str(kind) for kind in Kind)
SEEN = ("subject", "at")
BESIDE = ("jurisdiction", "controller", "notice_version", "notice_hash", "valid_until")

SHOWN = 10
"""Bad rows, or rejected signals, that are shown."""

_FIRST = micros(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
_LAST = micros(dt.datetime.max.replace(tzinfo=dt.UTC))
_STATUSES = {status.value: status for status in Status}
_BASES = {basis.value: basis for basis in Basis}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A signal that could not be read: the row, from 1, and where and why."""

    row: int
    what: Rejected

    def __str__(self) -> str:
        where = f"`{self.what.field}`" if self.what.field else f"character {self.what.offset}"
        return f"row {self.row}: `{self.what.kind}`: {self.what.fault}, at {where}"


@dataclass(slots=True)
class Tally:
    """What was left out while the events stream by."""

    rejected: Counter[str] = field(default_factory=Counter)
    first: list[Rejection] = field(default_factory=list)
    suppressed: int = 0
    returning: set[str] = field(default_factory=set)

    def reject(self, row: int, what: Rejected) -> None:
        """Count a signal that could not be read, and show the first few."""
        self.rejected[f"{what.kind}: {what.fault}"] += 1
        if len(self.first) < SHOWN:
            self.first.append(Rejection(row, what))

    def facts(self) -> dict[str, Any]:
        """For the entry of the log: how many signals were rejected, by reason. Who was left out as suppressed is not said there."""
        return {"rejected": dict(sorted(self.rejected.items()))} if self.rejected else {}


@dataclass(frozen=True, slots=True)
class Imported:
    """How many events a file holds, and what was done with them; a dry run has no receipt.

    `rejected`: signals that could not be read, by reason; `first`: the first of them; `suppressed`: events left out because their
    subject was erased, or objected, since; None where that is not to be told, and `events` are all that were read.
    """

    events: int
    receipt: Receipt | None
    rejected: Mapping[str, int]
    first: tuple[Rejection, ...]
    suppressed: int | None


def import_file(
    store: Store,
    path: Path,
    *,
    again: bool = False,
    dry_run: bool = False,
    controller: Callable[[], Controller] = lambda: Controller(None, needs()),
    suppression: Suppression | None = None,
) -> Imported:
    """Append the events of a file. `again` takes a file that is identical to one imported before; `dry_run` checks alone, with an
    entry in the log that it did. A file of which every event is left out is taken like any other.

    `controller`: for whom signals are read, asked for where there are any. Raises ConsentFileError, and what `controller` raises.
    """
    digest, tally = _digest(path), Tally()
    if dry_run:
        with store.read() as session:
            _refuse_known(session, path, digest, again)
        count = sum(1 for _ in _events(path, store.clock(), controller, suppression, tally))
        if not count and not tally.suppressed:
            raise _empty(path, tally)
        with store.transaction("consent-check") as transaction:  # what it tells may be about one person
            transaction.record("consent.checked")
        return Imported(count, None, tally.rejected, tuple(tally.first), tally.suppressed)
    with store.transaction("consent-import") as transaction:
        _refuse_known(transaction.session, path, digest, again)
        receipt = None
        try:
            receipt = append(transaction, _events(path, transaction.now, controller, suppression, tally), tally.facts)
        except ConsentFileError:
            raise
        except ConsentError:  # the events themselves are fine, so there is none
            if not tally.suppressed:
                raise _empty(path, tally) from None
            transaction.record("consent.left_out", **tally.facts())
        if suppression and tally.returning:  # an objection outlives an erasure, and who comes back has it again
            refile(transaction, suppression, tally.returning)
        salt = os.urandom(32)
        batch = receipt.batch if receipt else secrets.token_hex(16)
        transaction.session.add(ImportRow(batch=batch, salt=salt, digest=_salted(salt, digest), received=transaction.micros))
    return Imported(receipt.events if receipt else 0, receipt, tally.rejected, tuple(tally.first), tally.suppressed)


def _empty(path: Path, tally: Tally) -> ConsentFileError:
    lines = [f"`{path}` holds no event"]
    lines += [f"{count} rejected: {reason}" for reason, count in sorted(tally.rejected.items())]
    return ConsentFileError("\n  ".join([*lines, *map(str, tally.first)]))


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ConsentFileError(f"`{path}` cannot be read: {(error.strerror or 'unknown fault').lower()}") from error


def _salted(salt: bytes, digest: bytes) -> bytes:
    """What is kept of a file's digest, so that it can be recognised by whoever holds the file and the database only."""
    return hmac.digest(salt, digest, "sha256")


def _refuse_known(session: Session, path: Path, digest: bytes, again: bool) -> None:
    for row in session.exec(select(ImportRow)):
        if not again and hmac.compare_digest(row.digest, _salted(row.salt, digest)):
            when = stamp(moment(row.received))
            raise ConsentFileError(f"`{path}` was imported before, at {when}; to record the same events once more, say so with `--again`")


def _events(
    path: Path, now: dt.datetime, controller: Callable[[], Controller], suppression: Suppression | None, tally: Tally
) -> Iterator[ConsentEvent]:
    """The events of a file, in its order, less those that are not to be taken. Raises ConsentFileError, at the latest at the end."""
    with rows(path, _check_columns) as opened:
        signals = bool(_signals_of(opened.names))
        chunks = _of_signals(opened, now, controller(), tally) if signals else _of_events(opened, now)
        for events in chunks:
            known = suppression.among({event.subject for event in events}) if suppression else ()
            if not known or suppression is None:
                yield from events
                continue
            kept = [event for event in events if event.subject not in known or not suppression.drops(event)]
            tally.suppressed += len(events) - len(kept)
            tally.returning |= {event.subject for event in kept} & known.keys()
            yield from kept


def _of_events(opened: Rows, now: dt.datetime) -> Iterator[list[ConsentEvent]]:
    def read(_number: int, row: Row) -> tuple[ConsentEvent]:
        _present(REQUIRED, row)
        subject, purpose, status, event_time, valid_until, basis, *rest, happened, ends = row
        event = ConsentEvent(
            subject,
            purpose,
            _member(_STATUSES, "status", status),
            _time("event_time", event_time, happened),
            None if valid_until is None else _time("valid_until", valid_until, ends),
            None if basis is None else _member(_BASES, "basis", basis),
            *rest,
        )
        _check_place(event.jurisdiction)
        check_time(event, now)
        return (event,)

    return _checked(opened, opened.read((*REQUIRED, *OPTIONAL), ("event_time", "valid_until")), read)


def _of_signals(opened: Rows, now: dt.datetime, who: Controller, tally: Tally) -> Iterator[list[ConsentEvent]]:
    kinds = _signals_of(opened.names)

    def read(number: int, row: Row) -> Sequence[ConsentEvent]:
        _present(SEEN, row)
        subject, at, jurisdiction, controller, version, notice_hash, valid_until = row[: len(SEEN) + len(BESIDE)]
        *texts, seen, ends = row[len(SEEN) + len(BESIDE) :]
        _check_place(jurisdiction)
        sighting = Sighting(
            subject,
            _time("at", at, seen),
            {kind: text for kind, text in zip(kinds, texts, strict=True) if text is not None},
            jurisdiction,
            controller,
            version,
            notice_hash,
            None if valid_until is None else _time("valid_until", valid_until, ends),
        )
        if sighting.at > now:
            check_time(ConsentEvent(subject, "*", Status.OBJECTED, sighting.at), now)
        events, rejected = events_of(sighting, who)
        for each in rejected:
            tally.reject(number, each)
        return events

    return _checked(opened, opened.read((*SEEN, *BESIDE, *kinds), ("at", "valid_until")), read)


def _checked(opened: Rows, chunks: Iterable[list[Row]], read: Callable[[int, Row], Sequence[ConsentEvent]]) -> Iterator[list[ConsentEvent]]:
    """Events, in chunks, until a row is bad; then its fault, with those of up to nine more."""
    faults: list[str] = []
    number = 0
    for chunk in chunks:
        events: list[ConsentEvent] = []
        for row in chunk:
            number += 1
            try:
                events += read(number, row)
            except EventError as fault:
                faults.append(f"row {number}: {fault}")
                if len(faults) == SHOWN:
                    break
        if len(faults) == SHOWN:
            break
        if not faults:
            yield events
    if faults:
        first = f"the first {SHOWN} bad rows are" if len(faults) == SHOWN else "bad rows are"
        raise ConsentFileError("\n  ".join([f"`{opened.path}` was not imported; {first}", *faults]))


def _present(names: Sequence[str], row: Row) -> None:
    """The first columns of a row, which must be there."""
    if None in row[: len(names)]:
        raise EventError(names[row.index(None)], "nothing", "a value")


_Member = TypeVar("_Member", bound=StrEnum)


def _member(members: Mapping[str, _Member], field: str, value: str) -> _Member:
    try:
        return members[value]
    except KeyError:
        raise EventError(field, quoted(value), f"one of {', '.join(members)}") from None


def _time(name: str, text: str, parsed: int | None) -> dt.datetime:
    if parsed is None or not _FIRST <= parsed <= _LAST:
        raise EventError(name, quoted(text), "a time in ISO 8601 such as `2026-11-22T09:30:00Z`")
    return moment(parsed)


def _check_place(jurisdiction: str | None) -> None:
    if jurisdiction is not None and not jurisdictions.known(jurisdiction):
        raise EventError("jurisdiction", quoted(jurisdiction), "a code of ISO 3166 such as `de` or `us-ca`, or `eu`")


def _signals_of(names: Sequence[str]) -> tuple[Kind, ...]:
    return tuple(Kind(name) for name in SIGNALS if name in names)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    required, optional = (SEEN, SIGNALS + BESIDE) if _signals_of(names) else (REQUIRED, OPTIONAL)
    expected = f"expected {', '.join(required)}, and perhaps {', '.join(optional)}"
    if missing := [name for name in required if name not in names]:
        raise ConsentFileError(f"`{path}` lacks the column `{missing[0]}`: {expected}")
    for name in names:
        if name not in required + optional or names.count(name) > 1:
            raise ConsentFileError(f"`{path}` has a column {quoted(name)} that is not known, or twice there: {expected}")
