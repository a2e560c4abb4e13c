"""TC strings of the IAB Europe Transparency and Consent Framework, versions 2.0 to 2.3.

A core segment, then segments in any order, each at most once: disclosed vendors (1), allowed vendors (2, a remnant of
out-of-band consent) and publisher TC (3). Version 2.3 makes the disclosed vendors mandatory: `TcString.discloses` says no
where they are missing. Strings of version 1 are refused; the framework ended it on 15 August 2020.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from governance.signals.bits import Bits, Fault, SignalError, check_length
from governance.signals.vendors import LARGEST, Vendors, vendors, whole_ids

FIRST_DISCLOSING_POLICY = 5
"""Policy version of TCF 2.3."""

DISCLOSING_SINCE = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
"""Strings made since then need the disclosed vendors, whatever policy version they name (the end of the move to TCF 2.3)."""

NOT_ALLOWED, NEEDS_CONSENT, NEEDS_INTEREST = 0, 1, 2
"""What a publisher restriction demands for a purpose and vendor."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """What the publisher demands of some vendors for one purpose."""

    purpose: int
    kind: int
    vendors: Vendors


@dataclass(frozen=True, slots=True)
class PublisherTc:
    """What the subject said about the publisher's own purposes."""

    consent: tuple[int, ...]
    interest: tuple[int, ...]
    custom_purposes: int
    custom_consent: tuple[int, ...]
    custom_interest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TcString:
    """A decoded TC string. Purposes and special features are numbers of the global vendor list."""

    version: int
    created: dt.datetime
    last_updated: dt.datetime
    cmp_id: int
    cmp_version: int
    consent_screen: int
    consent_language: str
    vendor_list_version: int
    policy_version: int
    service_specific: bool
    non_standard_texts: bool
    special_features: tuple[int, ...]
    consent: tuple[int, ...]
    interest: tuple[int, ...]
    purpose_one_treatment: bool
    publisher_country: str
    vendors_consent: Vendors
    vendors_interest: Vendors
    restrictions: tuple[Restriction, ...]
    disclosed: Vendors | None = None
    allowed: Vendors | None = None
    publisher: PublisherTc | None = None

    def discloses(self, vendor: int) -> bool:
        """Whether the subject was told of the vendor. What is not known counts as no where the string has to say it."""
        if self.disclosed is not None:
            return vendor in self.disclosed
        return self.policy_version < FIRST_DISCLOSING_POLICY and self.last_updated < DISCLOSING_SINCE

    def restricted(self, purpose: int, vendor: int) -> frozenset[int]:
        """The kinds of the publisher's restrictions for one purpose and vendor."""
        return frozenset(each.kind for each in self.restrictions if each.purpose == purpose and vendor in each.vendors)


def read_tcf(text: str, start: int = 0) -> TcString:
    """Raises SignalError. `start`: where the text begins in a larger signal."""
    check_length(text)
    core, *others = text.split(".")
    string = _core(core, start)
    at = start + len(core) + 1
    found: dict[str, Vendors | PublisherTc] = {}
    for segment in others:
        name, value = _segment(segment, at)
        if name in found:
            raise SignalError(Fault.SEGMENT, at)
        found[name] = value
        at += len(segment) + 1
    fields = {name: getattr(string, name) for name in string.__slots__}
    return TcString(**(fields | found))


def _core(text: str, start: int) -> TcString:
    bits = Bits(text, start)
    version = bits.integer(6)
    if version == 1:
        raise SignalError(Fault.TCF_V1, start)
    if version != 2:
        raise SignalError(Fault.VERSION, start)
    string = TcString(
        version=version,
        created=bits.time(),
        last_updated=bits.time(),
        cmp_id=bits.integer(12),
        cmp_version=bits.integer(12),
        consent_screen=bits.integer(6),
        consent_language=bits.letters(),
        vendor_list_version=bits.integer(12),
        policy_version=bits.integer(6),
        service_specific=bits.flag(),
        non_standard_texts=bits.flag(),
        special_features=bits.chosen(12),
        consent=bits.chosen(24),
        interest=bits.chosen(24),
        purpose_one_treatment=bits.flag(),
        publisher_country=bits.letters(),
        vendors_consent=vendors(bits),
        vendors_interest=vendors(bits),
        restrictions=restrictions(bits, lambda bits: whole_ids(bits, LARGEST)),
    )
    bits.end()
    return string


def restrictions(bits: Bits, whose: Callable[[Bits], Vendors]) -> tuple[Restriction, ...]:
    """NumPubRestrictions (12 bits), then for each the purpose (6 bits), the kind (2 bits) and the vendors."""
    return tuple(Restriction(bits.integer(6), bits.integer(2), whose(bits)) for _ in range(bits.integer(12)))


def _segment(text: str, start: int) -> tuple[str, Vendors | PublisherTc]:
    """The field that a segment fills, and with what."""
    bits = Bits(text, start)
    read: tuple[str, Vendors | PublisherTc]
    match bits.integer(3):
        case 1:
            read = "disclosed", vendors(bits)
        case 2:
            read = "allowed", vendors(bits)
        case 3:
            read = "publisher", publisher_tc(bits)
        case _:
            raise SignalError(Fault.SEGMENT, start)
    bits.end()
    return read


def publisher_tc(bits: Bits) -> PublisherTc:
    """The publisher's purposes (24 bits each way), then its own: their number (6 bits), and a bit each way."""
    consent, interest = bits.chosen(24), bits.chosen(24)
    custom = bits.integer(6)
    return PublisherTc(consent, interest, custom, bits.chosen(custom), bits.chosen(custom))
