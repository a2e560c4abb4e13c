"""Places whose law differs, and which law holds where nobody wrote one for the place itself.

A place is a code of ISO 3166, compared without case: a country, `br`, or a part of one after a dash, `us-ca`; and `eu`, `uk`,
and `eu-de`, which is `de`. What holds in a place is what was said for it, else for what it is part of, else for `default`. Members
of the European Economic Area are parts of `eu` under their own codes: the GDPR holds there (EEA Agreement, annex XI), and a
consent that says `de` must not be read by the law of the rest of the world. For what is no place, such as `Germany`, nothing
is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

DEFAULT = "default"
"""Everywhere that nothing else names."""

EEA = frozenset({
    "at", "be", "bg", "cy", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hr", "hu", "ie", "is", "it", "li", "lt", "lu", "lv", "mt",
    "nl", "no", "pl", "pt", "ro", "se", "si", "sk",
    "ax", "gf", "gp", "mf", "mq", "re", "yt",
})  # fmt: skip
"""ISO 3166-1 codes of the member states of the European Union, of Iceland, Liechtenstein and Norway, and of the parts of
members that have one of their own and where Union law holds (TFEU art. 355(1) and (4)): Åland, and six of France."""

COUNTRIES = EEA | frozenset({
    "ad", "ae", "af", "ag", "ai", "al", "am", "ao", "aq", "ar", "as", "au", "aw", "az", "ba", "bb", "bd", "bf", "bh", "bi", "bj",
    "bl", "bm", "bn", "bo", "bq", "br", "bs", "bt", "bv", "bw", "by", "bz", "ca", "cc", "cd", "cf", "cg", "ch", "ci", "ck", "cl",
    "cm", "cn", "co", "cr", "cu", "cv", "cw", "cx", "dj", "dm", "do", "dz", "ec", "eg", "eh", "er", "et", "fj", "fk", "fm", "fo",
    "ga", "gd", "ge", "gg", "gh", "gi", "gl", "gm", "gn", "gq", "gs", "gt", "gu", "gw", "gy", "hk", "hm", "hn", "ht", "id", "il",
    "im", "in", "io", "iq", "ir", "je", "jm", "jo", "jp", "ke", "kg", "kh", "ki", "km", "kn", "kp", "kr", "kw", "ky", "kz", "la",
    "lb", "lc", "lk", "lr", "ls", "ly", "ma", "mc", "md", "me", "mg", "mh", "mk", "ml", "mm", "mn", "mo", "mp", "mr", "ms", "mu",
    "mv", "mw", "mx", "my", "mz", "na", "nc", "ne", "nf", "ng", "ni", "np", "nr", "nu", "nz", "om", "pa", "pe", "pf", "pg", "ph",
    "pk", "pm", "pn", "pr", "ps", "pw", "py", "qa", "rs", "ru", "rw", "sa", "sb", "sc", "sd", "sg", "sh", "sj", "sl", "sm", "sn",
    "so", "sr", "ss", "st", "sv", "sx", "sy", "sz", "tc", "td", "tf", "tg", "th", "tj", "tk", "tl", "tm", "tn", "to", "tr", "tt",
    "tv", "tw", "tz", "ua", "ug", "uk", "um", "us", "uy", "uz", "va", "vc", "ve", "vg", "vi", "vn", "vu", "wf", "ws", "ye", "za",
    "zm", "zw",
})  # fmt: skip
"""ISO 3166-1 alpha-2, with `uk` for `gb`."""

_STATES = frozenset({
    "al", "ak", "az", "ar", "ca", "co", "ct", "de", "fl", "ga", "hi", "id", "il", "in", "ia", "ks", "ky", "la", "me", "md", "ma",
    "mi", "mn", "ms", "mo", "mt", "ne", "nv", "nh", "nj", "nm", "ny", "nc", "nd", "oh", "ok", "or", "pa", "ri", "sc", "sd", "tn",
    "tx", "ut", "vt", "va", "wa", "wv", "wi", "wy", "dc", "as", "gu", "mp", "pr", "um", "vi",
})  # fmt: skip
"""ISO 3166-2:US."""

_PART = re.compile(r"[a-z0-9]{1,3}")
"""What ISO 3166-2 puts after the dash."""

_ALIASES = {"gb": "uk", "eea": "eu", "el": "gr"}

Said = TypeVar("Said")
"""What is said for a place: a legal basis, the age of a child."""


def plain(jurisdiction: str) -> str:
    """A key as it is compared."""
    head, dash, rest = jurisdiction.strip().lower().partition("-")
    head = _ALIASES.get(head, head)
    return rest if head == "eu" and rest in EEA else head + dash + rest


def known(jurisdiction: str) -> bool:
    """Whether this is a place whose law can be told; what is not must not fall to the law of the rest of the world."""
    head, dash, part = plain(jurisdiction).partition("-")
    if not dash:
        return head in COUNTRIES or head == "eu"
    if head == "us":
        return part in _STATES
    return head in COUNTRIES and _PART.fullmatch(part) is not None


def lineage(jurisdiction: str) -> tuple[str, ...]:
    """The place, what it is part of, and `default`, nearest first: `us-ca` → `us-ca`, `us`, `default`; `de` → `de`, `eu`, `default`."""
    parts = plain(jurisdiction).split("-")
    places = ["-".join(parts[:end]) for end in range(len(parts), 0, -1)]
    above = ["eu"] if parts[0] in EEA else []
    return tuple(dict.fromkeys((*places, *above, DEFAULT)))


def region(jurisdiction: str) -> str:
    """The widest place of one law that holds `jurisdiction`: `us` of `us-ca`, `eu` of `de`."""
    return lineage(jurisdiction)[-2] if plain(jurisdiction) != DEFAULT else DEFAULT


def said_in(said: Mapping[str, Said], jurisdiction: str) -> Said | None:
    """What holds in a place; None: nothing was said for it, nor for anything that it is part of, nor for the rest; or it is no place."""
    if not known(jurisdiction) and plain(jurisdiction) != DEFAULT:
        return None
    by_place = {plain(name): value for name, value in said.items()}
    return next((by_place[place] for place in lineage(jurisdiction) if place in by_place), None)


def within(jurisdiction: str, places: Iterable[str]) -> bool:
    """Whether a place is one of `places`, or part of one."""
    return not {plain(place) for place in places}.isdisjoint(lineage(jurisdiction)[:-1])
