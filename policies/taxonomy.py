"""The vocabulary: fideslang's data categories and data uses, which of them exist, and what a pattern covers.

fideslang 3, `fideslang.default_taxonomy`. A key's ancestors are its dotted prefixes. Importing the library takes longer than most
commands' own work, so its keys are read off its source, where they stand as literals; were they not there, it would be imported.
Covering is a matter of text alone and loads nothing.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from pathlib import Path

EVERYTHING = "*"
"""The pattern that covers every key."""

BELOW = ".*"
"""Ending of a pattern that covers a key and all below it."""


SPECIAL = (
    "user.demographic.race_ethnicity",
    "user.demographic.political_opinion",
    "user.demographic.religious_belief",
    "user.demographic.sexual_orientation",
    "user.health_and_medical.*",
    "user.biometric.*",
    "user.authorization.biometric",
)
"""Special categories of personal data, GDPR art. 9(1). fideslang has no key for trade union membership: contracts mark it `sensitive`."""


class Vocabulary(StrEnum):
    """Which keys are meant."""

    CATEGORY = "data category"
    USE = "data use"


_SOURCES = {Vocabulary.CATEGORY: "data_categories.py", Vocabulary.USE: "data_uses.py"}


@cache
def keys(vocabulary: Vocabulary) -> frozenset[str]:
    """All keys of a vocabulary, of the version of fideslang that is installed."""
    return written(vocabulary) or asked(vocabulary)


def written(vocabulary: Vocabulary) -> frozenset[str]:
    """The keys that stand in the library's source; none where it is not the source that is known here."""
    found = importlib.util.find_spec("fideslang")
    source = Path(found.origin).parent / "default_taxonomy" / _SOURCES[vocabulary] if found and found.origin else None
    if source is None or not source.is_file():
        return frozenset()
    named = (each for each in ast.walk(ast.parse(source.read_bytes())) if isinstance(each, ast.keyword) and each.arg == "fides_key")
    values = [each.value.value if isinstance(each.value, ast.Constant) else None for each in named]
    return frozenset() if None in values else frozenset(map(str, values))


def asked(vocabulary: Vocabulary) -> frozenset[str]:
    """The same, of the library itself."""
    from fideslang.default_taxonomy import DEFAULT_TAXONOMY

    entries = DEFAULT_TAXONOMY.data_category if vocabulary is Vocabulary.CATEGORY else DEFAULT_TAXONOMY.data_use
    return frozenset(str(entry.fides_key) for entry in entries)


def known(vocabulary: Vocabulary, key: str) -> bool:
    """Whether a key exists."""
    return key in keys(vocabulary)


def known_pattern(vocabulary: Vocabulary, pattern: str) -> bool:
    """Whether a pattern covers anything that exists."""
    return pattern == EVERYTHING or known(vocabulary, pattern.removesuffix(BELOW))


def ancestors(key: str) -> tuple[str, ...]:
    """The keys above, nearest first: `user.contact.email` → `user.contact`, `user`."""
    parts = key.split(".")
    return tuple(".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))


def covers(pattern: str, key: str) -> bool:
    """`user.behavior.*` covers the key and all below it, `*` everything, anything else itself alone."""
    if pattern == EVERYTHING or key == pattern:
        return True
    return pattern.endswith(BELOW) and (key == pattern[: -len(BELOW)] or key.startswith(pattern[:-1]))


def reaches(pattern: str, key: str) -> bool:
    """`covers`, and what lies below a pattern without wildcard too: how anything that forbids is read."""
    return covers(pattern, key) or key.startswith(pattern + ".")


def special(key: str) -> bool:
    """Whether a data category is one of the special categories, or lies above one and may hold it: `user.demographic`, `user`."""
    return any(covers(pattern, key) or pattern.startswith(f"{key}.") for pattern in SPECIAL)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """What was probably meant: the closest of `candidates`, or the one with the same last part; None if nothing is close."""
    options = sorted(candidates)
    if close := difflib.get_close_matches(word, options, n=1, cutoff=0.7):
        return close[0]
    return next((option for option in options if option.rpartition(".")[2] == word.rpartition(".")[2]), None)
