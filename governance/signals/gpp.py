"""The container of the Global Privacy Platform: a header that names sections, and the sections behind it, apart by `~`.

The header: type 3 (6 bits), version 1 (6 bits), the number of entries (12 bits), then the ids of the sections in Fibonacci
coding, each as its distance from the one before. A section that nobody here knows is kept as it is: sections stand for themselves,
so that the others can be read whole, and that one says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from governance.signals.bits import Bits, Fault, SignalError, check_length
from governance.signals.tcf import TcString, read_tcf
from governance.signals.tcf_ca import CanadianTcString, read_tcf_ca
from governance.signals.us import SECTIONS, UsPrivacy, UsSection, read_us, read_us_privacy


@dataclass(frozen=True, slots=True)
class Unknown:
    """A section that is not known here."""

    section: int
    text: str


Section = TcString | CanadianTcString | UsPrivacy | UsSection | Unknown


@dataclass(frozen=True, slots=True)
class Gpp:
    """A decoded GPP string: sections by id, in the order of the string."""

    sections: tuple[tuple[int, Section], ...]


def read_gpp(text: str) -> Gpp:
    """Raises SignalError."""
    check_length(text)
    header, *parts = text.split("~")
    numbers = _numbers(header, len(parts))
    if len(numbers) != len(parts):
        raise SignalError(Fault.SECTIONS, len(header))
    sections, at = [], len(header) + 1
    for number, part in zip(numbers, parts, strict=True):
        if not part:
            raise SignalError(Fault.EMPTY, at)
        sections.append((number, _section(number, part, at)))
        at += len(part) + 1
    return Gpp(tuple(sections))


def section_ids(header: str) -> tuple[int, ...]:
    """The ids that a header names. Raises SignalError."""
    return _numbers(header, len(header) * 6)


def _numbers(header: str, most: int) -> tuple[int, ...]:
    """The ids of a header that names at most `most` sections: a range of thousands is refused before it is spread out."""
    bits = Bits(header)
    if bits.integer(6) != 3:
        raise SignalError(Fault.HEADER, 0)
    if bits.integer(6) != 1:
        raise SignalError(Fault.VERSION, 1)
    numbers: list[int] = []
    last = 0
    for _ in range(bits.integer(12)):
        group = bits.flag()
        first = last + bits.fibonacci()
        last = first + bits.fibonacci() if group else first
        if len(numbers) + last - first + 1 > most:
            raise SignalError(Fault.SECTIONS, len(header))
        numbers += range(first, last + 1)
    bits.end()
    return tuple(numbers)


def _section(number: int, text: str, start: int) -> Section:
    match number:
        case 2:
            return read_tcf(text, start)
        case 5:
            return read_tcf_ca(text, start)
        case 6:
            return read_us_privacy(text, start)
        case _ if number in SECTIONS:
            return read_us(number, text, start)
        case _:
            return Unknown(number, text)
