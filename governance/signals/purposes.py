"""Which data uses signals speak of: TCF purposes through fideslang's global vendor list, US choices, children, and GPC.

A data use needs the TCF purposes that the vendor list maps to it, and those that a policy of the workspace names for it: profiling
for advertising (3) is not part of choosing an advertisement (4) for everybody, yet a policy may say that both are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from policies.jurisdictions import DEFAULT, region

Needs = tuple[tuple[str, tuple[int, ...]], ...]
"""Data uses, each with the TCF purposes that it needs, all of them."""

SALE = ("third_party_sharing",)
"""What a sale of personal data is: an objection to it reaches whatever lies below."""

CROSS_CONTEXT = ("marketing.advertising.third_party", "marketing.advertising.third_party.targeted")
"""Targeted advertising across contexts. The states define it by activity on others' sites; advertising to one's own customers by
what they did here is none of it (Cal. Civ. Code 1798.140(k), Va. Code 59.1-575)."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "SaleOptOut": SALE,
    "SharingOptOut": SALE + CROSS_CONTEXT,
    "TargetedAdvertisingOptOut": CROSS_CONTEXT,
}
"""Opt-outs of the US sections, and what they stop. Sharing is California's: disclosure for cross-context advertising."""

UNRELATED: Mapping[str, tuple[str, ...]] = {
    "PersonalDataConsents": SALE + CROSS_CONTEXT,
    "AdditionalDataProcessingConsent": SALE + CROSS_CONTEXT,
}
"""Consents of the US sections to what is incompatible with the purpose of collection (11 CCR 7002(e)), and what stops without them:
what serves others. Whether a use of our own is compatible is for a policy to say."""

CHILD, TEEN = ("*",), SALE + CROSS_CONTEXT
"""What a known child's data may not serve without consent: below 13 nothing at all, later what is sold, shared or targeted."""

CHILDREN: Mapping[str, tuple[tuple[str, ...], ...]] = {"usnat": (TEEN, CHILD, TEEN), "usca": (TEEN, TEEN)}
"""What each number of KnownChildSensitiveDataConsents is about; elsewhere the first is the child's, the others the teenager's."""

GPC: Mapping[str, tuple[tuple[str, ...], str]] = {
    "us": (SALE + CROSS_CONTEXT, "Cal. Civ. Code 1798.135(b), 11 CCR 7025; Colo. Rev. Stat. 6-1-1306(1)(a)(IV)"),
    DEFAULT: (SALE + CROSS_CONTEXT, "GDPR art. 21(2), where it holds: data that goes to other controllers for their direct marketing"),
}
"""What Global Privacy Control objects to, by region, and under which law. First-party use it leaves alone everywhere."""


@dataclass(frozen=True, slots=True)
class Controller:
    """For whom signals are read. `vendor`: its id in the global vendor list; None: a publisher, for whom publisher TC speaks.

    `names`: what it is called; None: nobody says, and any name is its own.
    """

    vendor: int | None
    needs: Needs
    names: frozenset[str] | None = None

    def called(self, name: str | None) -> bool:
        """Whether a signal for `name` is one for us; case and blanks aside, it must be a name of ours. None: for whoever got it."""
        return name is None or self.names is None or _plain(name) in map(_plain, self.names)


def needs(policies: Iterable[Mapping[str, Iterable[int]]] = ()) -> Needs:
    """The vendor list's table, made stricter by what policies say that their data uses need."""
    table = {use: {*purposes} for use, purposes in _vendor_list()}
    for named in policies:
        for use, purposes in named.items():
            table[use] = table.get(use, set()) | {*purposes}
    return tuple((use, tuple(sorted(purposes))) for use, purposes in sorted(table.items()) if purposes)


@cache
def special_uses() -> tuple[tuple[str, int], ...]:
    """Data uses of the special purposes, which the subject is told of and cannot refuse."""
    from fideslang import gvl

    return tuple((use, purpose) for purpose, mapped in sorted(gvl.MAPPED_SPECIAL_PURPOSES.items()) for use in mapped.data_uses)


def consents(section: str, field: str, values: int | tuple[int, ...]) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Each number of a field, with what stops without that consent; nothing for fields that are about none, or not used."""
    listed = (values,) if isinstance(values, int) else values
    about: tuple[tuple[str, ...], ...] = (UNRELATED[field],) if field in UNRELATED else ()
    if field == "KnownChildSensitiveDataConsents":
        about = CHILDREN.get(section, (CHILD, *(TEEN for _ in listed[1:])))
    return tuple(zip(listed, about, strict=False))


def objected(jurisdiction: str | None) -> tuple[tuple[str, ...], str]:
    """What GPC objects to there, and under which law; the United States' where nobody says."""
    return GPC.get("us" if jurisdiction is None else region(jurisdiction), GPC[DEFAULT])


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


@cache
def _vendor_list() -> Needs:
    from fideslang import gvl

    return tuple((use, (purpose,)) for purpose, mapped in sorted(gvl.MAPPED_PURPOSES.items()) for use in mapped.data_uses)
