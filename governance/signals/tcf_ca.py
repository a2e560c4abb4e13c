"""TC strings of IAB Canada's framework, version 1 (GPP section 5): express and implied consent.

A core segment, then publisher purposes (3) and disclosed vendors (1), each at most once, in any order. Older encoders end the
core before the publisher restrictions.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from governance.signals.bits import Bits, Fault, SignalError, check_length
from governance.signals.tcf import PublisherTc, Restriction, publisher_tc, restrictions
from governance.signals.vendors import Vendors, distances, vendors


@dataclass(frozen=True, slots=True)
class CanadianTcString:
    """A decoded string. `publisher` holds express consent as `consent` and implied consent as `interest`."""

    version: int
    created: dt.datetime
    last_updated: dt.datetime
    cmp_id: int
    cmp_version: int
    consent_screen: int
    consent_language: str
    vendor_list_version: int
    policy_version: int
    non_standard_stacks: bool
    special_features: tuple[int, ...]
    express: tuple[int, ...]
    implied: tuple[int, ...]
    vendors_express: Vendors
    vendors_implied: Vendors
    restrictions: tuple[Restriction, ...]
    disclosed: Vendors | None
    publisher: PublisherTc | None


def read_tcf_ca(text: str, start: int = 0) -> CanadianTcString:
    """Raises SignalError. `start`: where the text begins in a larger signal."""
    check_length(text)
    core, *others = text.split(".")
    disclosed: Vendors | None = None
    publisher: PublisherTc | None = None
    at = start + len(core) + 1
    for segment in others:
        bits = Bits(segment, at)
        match bits.integer(3):
            case 1 if disclosed is None:
                disclosed = vendors(bits, distances)
            case 3 if publisher is None:
                publisher = publisher_tc(bits)
            case _:
                raise SignalError(Fault.SEGMENT, at)
        bits.end()
        at += len(segment) + 1
    return _string(Bits(core, start), disclosed, publisher)


def _string(bits: Bits, disclosed: Vendors | None, publisher: PublisherTc | None) -> CanadianTcString:
    version = bits.integer(6)
    if version != 1:
        raise bits.fault(Fault.VERSION, 6)
    string = CanadianTcString(
        version=version,
        created=bits.time(),
        last_updated=bits.time(),
        cmp_id=bits.integer(12),
        cmp_version=bits.integer(12),
        consent_screen=bits.integer(6),
        consent_language=bits.letters(),
        vendor_list_version=bits.integer(12),
        policy_version=bits.integer(6),
        non_standard_stacks=bits.flag(),
        special_features=bits.chosen(12),
        express=bits.chosen(24),
        implied=bits.chosen(24),
        vendors_express=vendors(bits, distances),
        vendors_implied=vendors(bits, distances),
        restrictions=restrictions(bits, lambda bits: vendors(bits, distances)) if bits.left >= 12 else (),
        disclosed=disclosed,
        publisher=publisher,
    )
    bits.end()
    return string
