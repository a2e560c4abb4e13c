"""The US sections of GPP: the national one (7) and those of the states (8 to 27), and US Privacy (section 6).

Each is a row of two-bit fields. A notice: 1 given, 2 not given. An opt-out: 1 opted out, 2 did not. A consent: 1 none, 2 given.
0 says that it does not apply; 3 is not defined, yet encoders write it: it decodes, and what it means is for `meaning` to say.
Layouts: IAB Tech Lab, Global Privacy Platform, `Sections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from governance.signals.bits import Bits, Fault, SignalError, check_length

Layout = tuple[tuple[str, int], ...]
"""Names of fields and how many pairs of bits each has; 1 reads as a number, more as a tuple."""


@dataclass(frozen=True, slots=True)
class UsSection:
    """A decoded section. `name`: its prefix, such as `usca`; `gpc` is None where the section does not say."""

    name: str
    version: int
    fields: Mapping[str, int | tuple[int, ...]]
    gpc: bool | None = None


@dataclass(frozen=True, slots=True)
class UsPrivacy:
    """US Privacy version 1: each field is `Y`, `N`, or `-` where it does not apply."""

    notice: str
    opt_out_sale: str
    lspa_covered: str


@dataclass(frozen=True, slots=True)
class _Form:
    """How a section is laid out. `gpc` and `sensitive`: whether it may have such a second segment."""

    name: str
    core: Layout
    gpc: bool = False
    sensitive: int = 0
    versions: tuple[int, ...] = (1,)


def _fields(*names: str | tuple[str, int]) -> Layout:
    return tuple((name, 1) if isinstance(name, str) else name for name in names)


_MSPA = ("MspaCoveredTransaction", "MspaOptOutOptionMode", "MspaServiceProviderMode")
_OPT_OUTS = ("SaleOptOutNotice", "TargetedAdvertisingOptOutNotice", "SaleOptOut", "TargetedAdvertisingOptOut")
_ADDITIONAL = "AdditionalDataProcessingConsent"


def _state(name: str, notice: str, sensitive: int, children: int, additional: bool, *, gpc: bool = True) -> _Form:
    """The layout that most states share."""
    more = (_ADDITIONAL,) if additional else ()
    child = ("KnownChildSensitiveDataConsents", children)
    return _Form(name, _fields(notice, *_OPT_OUTS, ("SensitiveDataProcessing", sensitive), child, *more, *_MSPA), gpc)


def _state_with_sensitive_notice(name: str, notice: str, sensitive_notice: str, *, gpc: bool) -> _Form:
    """The layout of the states that let people opt out of sensitive data."""
    sale, targeted, *choices = _OPT_OUTS
    rest = ("SensitiveDataProcessing", 8), "KnownChildSensitiveDataConsents", *_MSPA
    return _Form(name, _fields(notice, sale, targeted, sensitive_notice, *choices, *rest), gpc)


def _newer_state(name: str, *, child: bool = True, gpc: bool = False) -> _Form:
    """The layout since October 2025: the agreement first, sensitive data in a segment of their own."""
    children = ("KnownChildSensitiveDataConsents",) if child else ()
    core = _fields("MspaCoveredTransaction", "MspaMode", "ProcessingNotice", *_OPT_OUTS, *children, _ADDITIONAL)
    return _Form(name, core, gpc, 0 if gpc else 8)


def _national(sensitive: int, children: int) -> Layout:
    return _fields(
        "SharingNotice",
        "SaleOptOutNotice",
        "SharingOptOutNotice",
        "TargetedAdvertisingOptOutNotice",
        "SensitiveDataProcessingOptOutNotice",
        "SensitiveDataLimitUseNotice",
        "SaleOptOut",
        "SharingOptOut",
        "TargetedAdvertisingOptOut",
        ("SensitiveDataProcessing", sensitive),
        ("KnownChildSensitiveDataConsents", children),
        "PersonalDataConsents",
        *_MSPA,
    )


_CALIFORNIA = _fields(
    "SaleOptOutNotice",
    "SharingOptOutNotice",
    "SensitiveDataLimitUseNotice",
    "SaleOptOut",
    "SharingOptOut",
    ("SensitiveDataProcessing", 9),
    ("KnownChildSensitiveDataConsents", 2),
    "PersonalDataConsents",
    *_MSPA,
)

_FORMS: Mapping[int, _Form] = {
    7: _Form("usnat", _national(16, 3), gpc=True, versions=(1, 2)),
    8: _Form("usca", _CALIFORNIA, gpc=True),
    9: _state("usva", "SharingNotice", 8, 1, False, gpc=False),
    10: _state("usco", "SharingNotice", 7, 1, False),
    11: _state_with_sensitive_notice("usut", "SharingNotice", "SensitiveDataProcessingOptOutNotice", gpc=False),
    12: _state("usct", "SharingNotice", 8, 3, False),
    13: _state("usfl", "ProcessingNotice", 8, 3, True, gpc=False),
    14: _state("usmt", "SharingNotice", 8, 3, True),
    15: _state("usor", "ProcessingNotice", 11, 3, True),
    16: _state("ustx", "ProcessingNotice", 8, 1, True),
    17: _state("usde", "ProcessingNotice", 9, 5, True),
    18: _state_with_sensitive_notice("usia", "ProcessingNotice", "SensitiveDataOptOutNotice", gpc=True),
    19: _state("usne", "ProcessingNotice", 8, 1, True),
    20: _state("usnh", "ProcessingNotice", 8, 3, True),
    21: _state("usnj", "ProcessingNotice", 10, 5, True),
    22: _state("ustn", "ProcessingNotice", 8, 1, True),
    23: _state("usmn", "ProcessingNotice", 8, 1, True),
    24: _newer_state("usmd", child=False, gpc=True),
    25: _newer_state("usin"),
    26: _newer_state("usky"),
    27: _newer_state("usri"),
}

SECTIONS: Mapping[int, str] = {number: form.name for number, form in _FORMS.items()}
"""Names of the US sections that can be read, by section id."""

_FIRST_NATIONAL = _national(12, 2)
_FIRST_NATIONAL_BITS = 66


def read_us(section: int, text: str, start: int = 0) -> UsSection:
    """Section 7 to 27. Raises SignalError. `start`: where the text begins in a larger signal."""
    check_length(text)
    form = _FORMS[section]
    core, *others = text.split(".")
    bits = Bits(core, start)
    # encoders disagree about the version of the national section, so that its length tells the first layout from the second
    layout = _FIRST_NATIONAL if section == 7 and bits.left <= _FIRST_NATIONAL_BITS else form.core
    version = bits.integer(6)
    if version not in form.versions:
        raise SignalError(Fault.VERSION, start)
    fields = _read(bits, layout)
    if len(others) > 1:
        raise SignalError(Fault.SEGMENT, start + len(core) + len(others[0]) + 2)
    if not others:
        return UsSection(form.name, version, fields)
    bits = Bits(others[0], start + len(core) + 1)
    if form.sensitive:
        return UsSection(form.name, version, fields | _read(bits, (("SensitiveDataProcessing", form.sensitive),)))
    if not form.gpc or bits.integer(2) != 1:
        raise SignalError(Fault.SEGMENT, start + len(core) + 1)
    gpc = bits.flag()
    bits.end()
    return UsSection(form.name, version, fields, gpc)


def _read(bits: Bits, layout: Layout) -> dict[str, int | tuple[int, ...]]:
    """The fields, and nothing behind them."""
    read = {name: bits.pairs(count) if count > 1 else bits.integer(2) for name, count in layout}
    bits.end()
    return read


def read_us_privacy(text: str, start: int = 0) -> UsPrivacy:
    """Four characters: the version, notice, opt-out of sale, and the agreement of service providers. Raises SignalError."""
    check_length(text)
    if text[0] != "1":
        raise SignalError(Fault.VERSION, start)
    for place, letter in enumerate(text[1:], 1):
        if letter not in "YN-" or place > 3:
            raise SignalError(Fault.US_PRIVACY, start + place)
    if len(text) < 4:
        raise SignalError(Fault.SHORT, start + len(text))
    return UsPrivacy(*text[1:])
