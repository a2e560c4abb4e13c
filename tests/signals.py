"""Consent strings, written for tests: as the specifications lay them out, independently of the decoders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def base64url(bits: str) -> str:
    """Bits, padded with zeros to whole letters."""
    bits += "0" * (-len(bits) % 6)
    return "".join(_LETTERS[int(bits[place : place + 6], 2)] for place in range(0, len(bits), 6))


def tc_string(
    *,
    updated: dt.datetime,
    consent: Collection[int] = (),
    interest: Collection[int] = (),
    vendors: Collection[int] = (),
    vendors_interest: Collection[int] = (),
    disclosed: Collection[int] | None = None,
    publisher: Collection[int] | None = None,
    policy: int = 5,
    specific: bool = True,
    restrictions: Collection[tuple[int, int, int]] = (),
) -> str:
    """A TC string of version 2. `restrictions`: purpose, kind, vendor. A segment that is None is left out."""
    tenths = (updated - _EPOCH) // dt.timedelta(milliseconds=100)
    core = f"{2:06b}{tenths:036b}{tenths:036b}{1:012b}{1:012b}{0:06b}{4:06b}{13:06b}{141:012b}{policy:06b}{specific:b}0"
    core += "0" * 12 + _chosen(consent, 24) + _chosen(interest, 24) + "0" + "0" * 12 + _vendors(vendors) + _vendors(vendors_interest)
    core += f"{len(restrictions):012b}" + "".join(f"{p:06b}{kind:02b}{1:012b}0{vendor:016b}" for p, kind, vendor in restrictions)
    segments = [base64url(core)]
    if disclosed is not None:
        segments.append(base64url("001" + _vendors(disclosed)))
    if publisher is not None:
        segments.append(base64url("011" + _chosen(publisher, 24) + "0" * 24 + "0" * 6))
    return ".".join(segments)


def california(
    *, sale: int = 0, sharing: int = 0, notice: int = 1, children: tuple[int, int] = (0, 0), personal: int = 0, gpc: bool | None = None
) -> str:
    """Section 8 of GPP."""
    core = (
        f"{1:06b}{notice:02b}{notice:02b}{0:02b}{sale:02b}{sharing:02b}"
        + "0" * 18
        + f"{children[0]:02b}{children[1]:02b}"
        + f"{personal:02b}01"
        + "0000"
    )
    return base64url(core) + ("" if gpc is None else "." + base64url(f"01{gpc:b}"))


def national(*, sale: int = 0, sharing: int = 0, targeted: int = 0, notice: int = 1) -> str:
    """Section 7 of GPP, version 2."""
    core = f"{2:06b}{notice:02b}{notice:02b}{notice:02b}{notice:02b}0000{sale:02b}{sharing:02b}{targeted:02b}"
    return base64url(core + "0" * 32 + "0" * 6 + "00" + "01" + "0000")


def gpp(**sections: str) -> str:
    """A GPP string; sections by name, `s7=...`."""
    numbers = sorted(int(name[1:]) for name in sections)
    bits, last = f"{3:06b}{1:06b}{len(numbers):012b}", 0
    for number in numbers:
        bits += "0" + _fibonacci(number - last)
        last = number
    return "~".join([base64url(bits), *(sections[f"s{number}"] for number in numbers)])


def _chosen(numbers: Collection[int], width: int) -> str:
    return "".join("1" if number in numbers else "0" for number in range(1, width + 1))


def _vendors(vendors: Collection[int]) -> str:
    largest = max(vendors, default=0)
    return f"{largest:016b}0" + _chosen(vendors, largest)


def _fibonacci(number: int) -> str:
    numbers = [1, 2]
    while numbers[-1] <= number:
        numbers.append(numbers[-1] + numbers[-2])
    bits = ""
    for value in reversed(numbers[:-1] if number < numbers[-1] else numbers):
        if value <= number:
            number -= value
            bits = "1" + bits
        elif bits:
            bits = "0" + bits
    return bits + "1"
