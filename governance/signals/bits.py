"""Bits of a base64url text, read in order, each fault with its place. (RFC 4648 section 5, without padding.)

The work for a text grows with its length alone, which `LONGEST` bounds: whatever counts or ranges it claims to hold.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

LONGEST = 1 << 16
"""Characters that a signal may have; the longest strings seen in practice have a tenth."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SIX = {letter: f"{value:06b}" for value, letter in enumerate(_ALPHABET)}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIBONACCI = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765, 10946, 17711, 28657, 46368]


class Fault(StrEnum):
    """Why a signal cannot be read. The log counts by these texts, so none of them holds anything of a signal."""

    EMPTY = "nothing to read"
    TOO_LONG = f"longer than {LONGEST} characters"
    CHARACTER = "a character that does not belong there"
    SHORT = "ends in the middle of a field"
    TRAILING = "more than the last field, and not zeros alone"
    VERSION = "a version that is not known"
    TCF_V1 = "TCF version 1, which ended in 2020"
    LETTER = "a language or country that is not two letters"
    VENDORS = "a range of vendors that begins at zero, runs backwards or passes the largest id"
    NUMBER = "a number that is too large for its place"
    SEGMENT = "a segment that is not known, or there twice"
    HEADER = "not the header of a GPP string"
    SECTIONS = "another number of sections than the header says"
    US_PRIVACY = "not a US Privacy string such as `1YNN`"
    GPC = "not a GPC value, which is `1` or `0`"
    RECORD = "not a consent record of ISO/IEC TS 27560"
    TWICE = "a field that is there twice"
    PRINCIPAL = "a consent record of somebody else"
    CONTROLLER = "for another controller, and no refusal"
    FUTURE = "made later than it was seen"


class SignalError(Exception):
    """A signal that cannot be read. `offset`: the character, from zero, with the fault; `field`: the record's, where it has one."""

    def __init__(self, fault: Fault, offset: int, field: str = "") -> None:
        super().__init__(f"{fault}: `{field}`" if field else f"{fault}, at character {offset}")
        self.fault, self.offset, self.field = fault, offset, field


def check_length(text: str) -> None:
    """Raises SignalError for a text that is empty or too long."""
    if not text:
        raise SignalError(Fault.EMPTY, 0)
    if len(text) > LONGEST:
        raise SignalError(Fault.TOO_LONG, LONGEST)


class Bits:
    """A reader. `start` is where the text begins in the signal, so that faults tell the place in the whole of it."""

    def __init__(self, text: str, start: int = 0) -> None:
        try:
            self._bits = "".join([_SIX[letter] for letter in text])
        except KeyError:
            strange = next(place for place, letter in enumerate(text) if letter not in _SIX)
            raise SignalError(Fault.CHARACTER, start + strange) from None
        self._start, self._at = start, 0

    @property
    def left(self) -> int:
        """Bits not read yet."""
        return len(self._bits) - self._at

    def fault(self, fault: Fault, back: int = 0) -> SignalError:
        """A fault in the field that begins `back` bits before the next one."""
        return SignalError(fault, self._start + (self._at - back) // 6)

    def take(self, width: int) -> str:
        """The next `width` bits, as zeros and ones."""
        if self.left < width:
            raise SignalError(Fault.SHORT, self._start + len(self._bits) // 6)
        self._at += width
        return self._bits[self._at - width : self._at]

    def integer(self, width: int) -> int:
        """A whole number, the highest bit first."""
        return int(self.take(width), 2)

    def flag(self) -> bool:
        """One bit."""
        return self.take(1) == "1"

    def chosen(self, width: int) -> tuple[int, ...]:
        """The numbers, from 1, of the bits that are set."""
        return tuple(number for number, bit in enumerate(self.take(width), 1) if bit == "1")

    def pairs(self, count: int) -> tuple[int, ...]:
        """`count` numbers of two bits."""
        bits = self.take(2 * count)
        return tuple(int(bits[place : place + 2], 2) for place in range(0, 2 * count, 2))

    def letters(self) -> str:
        """Two capital letters of six bits each, A being zero."""
        pair = self.integer(6), self.integer(6)
        if max(pair) > 25:
            raise self.fault(Fault.LETTER, 12)
        return "".join(chr(ord("A") + value) for value in pair)

    def time(self) -> dt.datetime:
        """36 bits: tenths of a second since 1970, until the year 2187."""
        return _EPOCH + dt.timedelta(milliseconds=100 * self.integer(36))

    def fibonacci(self) -> int:
        """A number from 1 below 121,393 in Fibonacci coding: sums of Fibonacci numbers, ended by two ones."""
        begun, total, before = self._at, 0, False
        for value in (*_FIBONACCI, 0):
            bit = self.flag()
            if bit and before:
                return total
            total, before = total + value * bit, bit
        raise self.fault(Fault.NUMBER, self._at - begun)

    def end(self) -> None:
        """Nothing but padding is left."""
        one = self._bits.find("1", self._at)
        if one >= 0:
            raise SignalError(Fault.TRAILING, self._start + one // 6)
