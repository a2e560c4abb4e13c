"""From the signals of one sighting to consent events.

The time of an event is that of the decision, not of the sighting: a string that is seen again every day grants nothing anew. Where
a signal names the day alone, a yes counts from the day's first moment and a no until its last (or the sighting): whatever else
happened on that day, the stricter order holds. Signals without a time count when they were seen.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from governance.consent import ConsentEvent, Status
from governance.signals import meaning
from governance.signals.bits import Fault, SignalError
from governance.signals.gpc import read_gpc
from governance.signals.gpp import Gpp, read_gpp
from governance.signals.meaning import Statement
from governance.signals.purposes import Controller
from governance.signals.records import Record, read_record
from governance.signals.tcf import TcString, read_tcf
from governance.signals.us import UsPrivacy, read_us_privacy

_AHEAD = dt.timedelta(days=1)
"""How much later than the sighting a string may say that it was made: days are those of the subject's time zone."""


class Kind(StrEnum):
    """Signals, by the column that they stand in."""

    TCF = "tcf"
    GPP = "gpp"
    USP = "usp"
    GPC = "gpc"
    RECORD = "record"


Signal = TcString | Gpp | UsPrivacy | bool | Record


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of one subject at one moment (aware). `valid_until` bounds consent, the other fields go where a signal has none."""

    subject: str
    at: dt.datetime
    signals: Mapping[Kind, str]
    jurisdiction: str | None = None
    controller: str | None = None
    notice_version: str | None = None
    notice_hash: str | None = None
    valid_until: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A signal that could not be read, and where: nothing of the signal itself."""

    kind: Kind
    fault: Fault
    offset: int
    field: str = ""


def read(kind: Kind, text: str) -> Signal:
    """Raises SignalError."""
    match kind:
        case Kind.TCF:
            return read_tcf(text)
        case Kind.GPP:
            return read_gpp(text)
        case Kind.USP:
            return read_us_privacy(text)
        case Kind.GPC:
            return read_gpc(text)
        case Kind.RECORD:
            return read_record(text)


def events_of(seen: Sighting, who: Controller) -> tuple[tuple[ConsentEvent, ...], tuple[Rejected, ...]]:
    """The events, and the signals that were rejected; the others count whatever became of those. Raises EventError."""
    said: list[Statement] = []
    rejected = []
    for kind, text in seen.signals.items():
        try:
            said += _of_subject(kind, text, seen, who)
        except SignalError as error:
            rejected.append(Rejected(kind, error.fault, error.offset, error.field))
    return tuple(_event(each, seen) for each in meaning.settle(said)), tuple(rejected)


def says(signal: Signal, who: Controller, jurisdiction: str | None = None) -> tuple[Statement, ...]:
    """What one signal says by itself."""
    match signal:
        case TcString():
            return tuple(meaning.tcf_says(signal, who))
        case Gpp():
            return meaning.settle(meaning.gpp_says(signal, who))
        case UsPrivacy():
            return tuple(meaning.us_privacy_says(signal))
        case Record():
            return tuple(meaning.record_says(signal))
        case bool():
            return tuple(meaning.gpc_says(jurisdiction)) if signal else ()


def _of_subject(kind: Kind, text: str, seen: Sighting, who: Controller) -> tuple[Statement, ...]:
    """Raises SignalError, for a record of somebody else and a signal from the future too.

    What was said to another controller is no yes to us, nor notice from us. A no counts: names are spelt in more than one way.
    """
    if kind is Kind.RECORD:
        record = read_record(text)
        if record.header.pii_principal_id not in (None, seen.subject):
            raise SignalError(Fault.PRINCIPAL, 0, "header.pii_principal_id")
        statements = _with_raw(text, says(record, who))
    else:
        statements = _said(kind, text, who, seen.jurisdiction)
    if any(each.made is not None and each.made[0] > seen.at + _AHEAD for each in statements):
        raise SignalError(Fault.FUTURE, 0)
    ours = tuple(each for each in statements if each.status.blocks or who.called(each.controller or seen.controller))
    if statements and not ours:
        raise SignalError(Fault.CONTROLLER, 0, "pii_processing.pii_controller" if kind is Kind.RECORD else "controller")
    return ours


@lru_cache(maxsize=4096)
def _said(kind: Kind, text: str, who: Controller, jurisdiction: str | None) -> tuple[Statement, ...]:
    """Many subjects send the same string."""
    return _with_raw(text, says(read(kind, text), who, jurisdiction))


def _with_raw(text: str, said: Iterable[Statement]) -> tuple[Statement, ...]:
    return tuple(replace(each, raw=text) for each in said)


def _event(said: Statement, seen: Sighting) -> ConsentEvent:
    first, last = said.made or (seen.at, seen.at)
    mild = said.status in (Status.GIVEN, Status.REQUESTED)
    time = min(first if mild else last, seen.at)
    ends = [end for end in (said.until, seen.valid_until) if end is not None] if said.status is Status.GIVEN else []
    return ConsentEvent(
        seen.subject,
        said.use,
        said.status,
        time,
        min(ends, default=None),
        said.basis,
        said.notice or (None if said.untold else seen.notice_version),
        said.notice_hash or (None if said.untold else seen.notice_hash),
        said.controller or seen.controller,
        seen.jurisdiction or said.jurisdiction,
        said.method,
        said.raw,
        said.decoded,
    )
