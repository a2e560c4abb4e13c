"""Sets of vendor ids, as TCF strings hold them: a bit for each, or ranges. (TCF consent string, vendor sections.)

A set keeps its ranges: 2^16 vendors take no more room than one, and ranges that overlap cost nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from governance.signals.bits import Bits, Fault

Range = tuple[int, int]

LARGEST = (1 << 16) - 1
"""The largest id that has a place."""


@dataclass(frozen=True, slots=True)
class Vendors:
    """Vendor ids. `ranges` are apart and in order, ends included."""

    ranges: tuple[Range, ...] = ()

    def __contains__(self, vendor: int) -> bool:
        place = bisect_right(self.ranges, vendor, key=lambda span: span[0])
        return place > 0 and vendor <= self.ranges[place - 1][1]

    def __iter__(self) -> Iterator[int]:
        return (vendor for first, last in self.ranges for vendor in range(first, last + 1))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)


def whole_ids(bits: Bits, largest: int) -> Vendors:
    """Entries of IsARange (1 bit), the id or the first (16 bits), and of a range the last (16 bits); 12 bits say how many."""
    spans = []
    for _ in range(bits.integer(12)):
        width = 32 if bits.flag() else 16
        first = bits.integer(16)
        last = bits.integer(16) if width == 32 else first
        if not 1 <= first <= last <= largest:
            raise bits.fault(Fault.VENDORS, width)
        spans.append((first, last))
    return Vendors(tuple(_joined(spans)))


def distances(bits: Bits, largest: int) -> Vendors:
    """As `whole_ids`, with the distance from the id before in Fibonacci coding: the ranges of GPP."""
    spans, last = [], 0
    for _ in range(bits.integer(12)):
        group = bits.flag()
        first = last + bits.fibonacci()
        last = first + bits.fibonacci() if group else first
        if last > largest:
            raise bits.fault(Fault.VENDORS, 2)
        spans.append((first, last))
    return Vendors(tuple(_joined(spans)))


def vendors(bits: Bits, ranges: Callable[[Bits, int], Vendors] = whole_ids) -> Vendors:
    """MaxVendorId (16 bits), IsRangeEncoding (1 bit), then ranges up to that id, or a bit for each vendor."""
    largest = bits.integer(16)
    if bits.flag():
        return ranges(bits, largest)
    field = bits.take(largest)
    return Vendors(tuple((run.start() + 1, run.end()) for run in re.finditer("1+", field)))


def _joined(spans: Iterable[Range]) -> Iterator[Range]:
    """The same ids in ranges that are apart, in order."""
    held: Range | None = None
    for first, last in sorted(spans):
        if held is not None and first <= held[1] + 1:
            held = held[0], max(held[1], last)
            continue
        if held is not None:
            yield held
        held = first, last
    if held is not None:
        yield held
