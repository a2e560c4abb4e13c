"""What a decoded signal says about each data use, for one controller.

1. *Consent* is given where the subject gave it to the purpose and to this controller, who was disclosed, and no restriction of
   the publisher stands against it. A yes that does not reach this controller is void (`invalidated`), never a yes.
2. *Notice*: a framework's string is proof that the subject was told. Told and not refused, but no consent, is `requested`: an
   opt-in stays closed, an opt-out has its proof.
3. *No*: a purpose or controller without consent and without transparency is `refused`; a US opt-out and GPC are `objected`.
4. A use that needs several purposes gets the strictest of what is said about them. What is not defined is void.
5. In US signals, a no is heard wherever it stands. Else a state's section is heard before the national one, and that before US
   Privacy; for each use the most specific one that speaks of it counts, and of several the strictest. GPC is heard always, and
   a section that is not known voids without replacing anything.
6. *Place*: a section says what its encoder took the subject to be protected by, not where the subject lives. So no string moves
   anybody under another law; a consent record says it in a field of its own.
7. *Records*: what was given on another ground than consent is notice; who collected it says nothing about who consented.

Special features are means and no data use, and consent to sensitive categories is no consent to a use: both stay in the raw
signal, and nothing is taken from them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from governance.consent import Status
from governance.signals.gpp import Gpp, Section, Unknown
from governance.signals.purposes import CHOICES, CROSS_CONTEXT, SALE, Controller, consents, objected, special_uses
from governance.signals.records import Record
from governance.signals.tcf import NEEDS_CONSENT, NEEDS_INTEREST, TcString
from governance.signals.tcf_ca import CanadianTcString
from governance.signals.us import SECTIONS, UsPrivacy, UsSection
from policies.policy import Basis

_SEVERITY = {
    status: place for place, status in enumerate((Status.GIVEN, Status.REQUESTED, Status.INVALIDATED, Status.REFUSED, Status.OBJECTED))
}
_TWELVE_AT_NIGHT = dt.time(0)
_DAY = dt.timedelta(days=1, microseconds=-1)
_NO_INTEREST = {1: 0, 3: 4, 4: 4, 5: 4, 6: 4}
"""TCF purposes that no legitimate interest may serve, and since which policy version (TCF policies, appendix A; 4 is TCF 2.2)."""


class Level(IntEnum):
    """How specific a US signal is."""

    US_PRIVACY = 0
    NATIONAL = 1
    STATE = 2


@dataclass(frozen=True, slots=True)
class Statement:
    """What a signal says about one data use (or `*`). `decoded`: JSON of what in the signal says so; `raw`: all of the signal.

    `made`: the earliest and the latest moment of the decision; None: when the signal was seen. `until`: when it ends. `untold`: the
    signal itself says that notice was not given.
    """

    use: str
    status: Status
    method: str
    decoded: str
    made: tuple[dt.datetime, dt.datetime] | None = None
    until: dt.datetime | None = None
    basis: Basis | None = None
    notice: str | None = None
    notice_hash: str | None = None
    untold: bool = False
    controller: str | None = None
    jurisdiction: str | None = None
    level: Level | None = None
    raw: str = ""


def tcf_says(string: TcString, who: Controller) -> Iterator[Statement]:
    """A TC string of IAB Europe."""
    facts = {"cmp": string.cmp_id, "gvl": string.vendor_list_version, "policy": string.policy_version, "vendor": who.vendor}
    notice = f"tcf policy {string.policy_version}, vendor list {string.vendor_list_version}"
    silent = (1,) if string.purpose_one_treatment else ()
    for use, purposes in who.needs:
        asked = {purpose: _tcf_status(string, purpose, who.vendor) for purpose in purposes if purpose not in silent}
        if asked:
            status = max(asked.values(), key=_SEVERITY.__getitem__)
            basis = Basis.CONSENT if status is Status.GIVEN else None
            decoded = _json(facts, purposes={str(purpose): each.value for purpose, each in asked.items()})
            yield Statement(use, status, "tcf", decoded, _made(string.last_updated), basis=basis, notice=notice)
    if who.vendor is not None and string.discloses(who.vendor):
        for use, purpose in special_uses():
            yield Statement(use, Status.REQUESTED, "tcf", _json(facts, special_purpose=purpose), _made(string.last_updated), notice=notice)


def _tcf_status(string: TcString, purpose: int, vendor: int | None) -> Status:
    if vendor is None:
        return _publisher_status(string, purpose)
    kinds = string.restricted(purpose, vendor)
    agreed = purpose in string.consent and vendor in string.vendors_consent
    told = purpose in string.interest and vendor in string.vendors_interest and _interest_allowed(string, purpose)
    if not agreed and not told:
        return Status.REFUSED
    if not (string.service_specific and string.discloses(vendor)) or kinds - {NEEDS_CONSENT, NEEDS_INTEREST}:
        return Status.INVALIDATED
    if agreed and NEEDS_INTEREST not in kinds:
        return Status.GIVEN
    return Status.REQUESTED if told and NEEDS_CONSENT not in kinds else Status.INVALIDATED


def _publisher_status(string: TcString, purpose: int) -> Status:
    """For a controller that is no vendor: publisher TC; without it, a yes to vendors is none to the publisher."""
    if string.publisher is None:
        return Status.INVALIDATED if purpose in string.consent else Status.REFUSED
    if purpose in string.publisher.consent:
        return Status.GIVEN if string.service_specific else Status.INVALIDATED
    return Status.REQUESTED if purpose in string.publisher.interest and _interest_allowed(string, purpose) else Status.REFUSED


def _interest_allowed(string: TcString, purpose: int) -> bool:
    return purpose not in _NO_INTEREST or string.policy_version < _NO_INTEREST[purpose]


def tcf_ca_says(string: CanadianTcString, who: Controller) -> Iterator[Statement]:
    """A TC string of IAB Canada: express consent is consent, implied consent is that somebody was told and did not refuse."""
    facts = {"cmp": string.cmp_id, "policy": string.policy_version, "vendor": who.vendor}
    notice = f"tcf canada policy {string.policy_version}, vendor list {string.vendor_list_version}"
    for use, purposes in who.needs:
        asked = {purpose: _canadian_status(string, purpose, who.vendor) for purpose in purposes}
        status = max(asked.values(), key=_SEVERITY.__getitem__)
        decoded = _json(facts, purposes={str(purpose): each.value for purpose, each in asked.items()})
        basis = Basis.CONSENT if status is Status.GIVEN else None
        yield Statement(use, status, "tcf canada", decoded, _made(string.last_updated), basis=basis, notice=notice)


def _canadian_status(string: CanadianTcString, purpose: int, vendor: int | None) -> Status:
    if vendor is None:
        if string.publisher is None:
            return Status.INVALIDATED if purpose in string.express + string.implied else Status.REFUSED
        express, implied = purpose in string.publisher.consent, purpose in string.publisher.interest
    else:
        express = purpose in string.express and vendor in string.vendors_express
        implied = purpose in string.implied and vendor in string.vendors_implied
        hidden = string.disclosed is not None and vendor not in string.disclosed
        bound = any(each.purpose == purpose and vendor in each.vendors for each in string.restrictions)
        if (express or implied) and (hidden or bound):
            return Status.INVALIDATED
    return Status.GIVEN if express else Status.REQUESTED if implied else Status.REFUSED


def us_says(section: UsSection) -> Iterator[Statement]:
    """A US section of GPP. 1 is an opt-out, 2 none, 0 says nothing, 3 is not defined; of consents 1 is none."""
    level = Level.NATIONAL if section.name == "usnat" else Level.STATE
    for choice, uses in CHOICES.items():
        match section.fields.get(choice, 0):
            case 1:
                status = Status.OBJECTED
            case 2:
                status = Status.REQUESTED
            case 3:
                status = Status.INVALIDATED
            case _:
                continue
        told = section.fields.get(f"{choice}Notice", 0)
        notice = f"gpp {section.name} {section.version}" if told == 1 else None
        fields = {choice: section.fields[choice], f"{choice}Notice": told}
        yield from _us(section.name, uses, status, level, fields, notice, untold=told in (2, 3))
    for field, values in section.fields.items():
        for value, uses in consents(section.name, field, values):
            if value in (1, 3):
                yield from _us(section.name, uses, Status.REFUSED, level, {field: values})
    if section.gpc:
        yield from gpc_says("us", f"gpp {section.name}")


def us_privacy_says(string: UsPrivacy) -> Iterator[Statement]:
    """US Privacy, which asks of sale alone and stood for all of it before the states' sections did."""
    told = string.notice == "Y"
    decoded = {"notice": string.notice, "opt_out_sale": string.opt_out_sale}
    if string.opt_out_sale == "Y":
        yield from _us("uspv1", SALE + CROSS_CONTEXT, Status.OBJECTED, Level.US_PRIVACY, decoded)
    elif string.opt_out_sale == "N":
        notice = "us privacy 1" if told else None
        uses = SALE + CROSS_CONTEXT
        yield from _us("uspv1", uses, Status.REQUESTED, Level.US_PRIVACY, decoded, notice, untold=string.notice == "N")


def gpc_says(jurisdiction: str | None, method: str = "gpc") -> Iterator[Statement]:
    """Global Privacy Control, switched on. `jurisdiction`: where the subject is."""
    uses, law = objected(jurisdiction)
    for use in uses:
        yield Statement(use, Status.OBJECTED, method, _json({"gpc": True, "law": law}))


def record_says(record: Record) -> Iterator[Statement]:
    """A consent record: each event about each purpose."""
    told = record.pii_processing
    method = f"consent record: {told.collection_method}" if told.collection_method else "consent record"
    for purpose in told.purposes:
        for event in record.events:
            status = Status(event.event_state)
            if status is Status.GIVEN and purpose.lawful_basis is not Basis.CONSENT:
                status = Status.REQUESTED
            until = event.event_time + event.validity_duration if event.validity_duration else None
            yield Statement(
                purpose.purpose,
                status,
                method,
                _json({"record": record.header.record_id, "schema": record.header.schema_version, "event_type": event.event_type}),
                (event.event_time, event.event_time),
                until,
                purpose.lawful_basis,
                told.privacy_notice,
                told.notice_hash,
                controller=told.pii_controller,
                jurisdiction=purpose.jurisdiction,
            )


def gpp_says(string: Gpp, who: Controller) -> Iterator[Statement]:
    """All sections of a GPP string."""
    for _, section in string.sections:
        yield from _section_says(section, who)


def _section_says(section: Section, who: Controller) -> Iterator[Statement]:
    match section:
        case TcString():
            yield from tcf_says(section, who)
        case CanadianTcString():
            yield from tcf_ca_says(section, who)
        case UsPrivacy():
            yield from us_privacy_says(section)
        case UsSection():
            yield from us_says(section)
        case Unknown() if section.section > max(SECTIONS):  # most likely a state's, and what it says of sale is not known
            yield from _us(f"section {section.section}", SALE + CROSS_CONTEXT, Status.INVALIDATED, None, {"unknown": True})


def settle(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """What counts of all that one sighting says: of the US signals one for each use, everything else as it is."""
    said = list(statements)
    heard: dict[str, Statement] = {}
    for each in said:
        if each.level is not None:
            heard[each.use] = max(heard.get(each.use, each), each, key=_weight)
    return (*heard.values(), *(each for each in said if each.level is None))


def _weight(said: Statement) -> tuple[int, int, int, bool]:
    """The strictest no, else the most specific, of those the strictest, and of those one that nobody was told of."""
    severity = _SEVERITY[said.status]
    return severity if said.status.blocks else 0, -1 if said.level is None else said.level, severity, said.untold


def _us(
    section: str,
    uses: tuple[str, ...],
    status: Status,
    level: Level | None,
    fields: Mapping[str, Any],
    notice: str | None = None,
    untold: bool = False,
) -> Iterator[Statement]:
    for use in uses:
        yield Statement(use, status, f"gpp {section}", _json(fields, section=section), notice=notice, untold=untold, level=level)


def _made(updated: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Since TCF 2.2 strings name the day alone: somewhere in it."""
    return updated, updated + _DAY if updated.time() == _TWELVE_AT_NIGHT else updated


def _json(facts: Mapping[str, Any], **more: Any) -> str:
    return json.dumps({**facts, **more}, separators=(",", ":"), sort_keys=True)
