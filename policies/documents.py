"""What every document shares: strict fields, exact durations, and a digest that a plan can pin.

Reading YAML with line numbers lives in `policies.reading`; this module holds the pydantic ground only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, NewType, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from policies.jurisdictions import DEFAULT, known, plain

Digest = NewType("Digest", str)
"""Hexadecimal SHA-256 of a document's canonical JSON, with the prefix `sha256:`."""

_UNITS = {"h": dt.timedelta(hours=1), "d": dt.timedelta(days=1), "w": dt.timedelta(weeks=1), "y": dt.timedelta(days=365)}
_DURATION = re.compile(r"([0-9]{1,5})([hdwy])")


def parse_duration(value: object) -> dt.timedelta:
    """`90d`, `12h`, `2w`, `3y` (of 365 days) as a timedelta. Raises ValueError for anything else, and for no time at all."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())) and int(match[1]):
        return int(match[1]) * _UNITS[match[2]]
    if isinstance(value, dt.timedelta):
        return value
    raise ValueError("expected a duration such as `90d`, `12h`, `2w` or `3y`")


def show_duration(value: dt.timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back."""
    hours = int(value.total_seconds() // 3600)
    return f"{hours // 24}d" if hours % 24 == 0 else f"{hours}h"


Duration = Annotated[
    dt.timedelta, BeforeValidator(parse_duration, json_schema_input_type=str), PlainSerializer(show_duration, return_type=str)
]


def one_of(names: Iterable[str]) -> str:
    """The names that may stand in a place, for messages."""
    return "one of " + ", ".join(f"`{name}`" for name in sorted(names))


def refuse(problems: Iterable[str]) -> None:
    """End a validator with all it found: each problem begins with its field, in backticks, relative to the model.

    Raises ValueError, one problem a line, which `policies.reading` takes apart again to find the line of each.
    """
    if text := "\n".join(problems):
        raise ValueError(text)


A_PLACE = "a code of ISO 3166 such as `de` or `us-ca`, or `eu`, or `uk`"
"""What a jurisdiction must be, for messages."""


def _a_place(jurisdiction: str) -> str:
    if not known(jurisdiction):
        raise ValueError(f"expected {A_PLACE}")
    return jurisdiction


Jurisdiction = Annotated[str, AfterValidator(_a_place)]
"""A place whose law can be told."""

Said = TypeVar("Said")


def _apart(said: dict[str, Said]) -> dict[str, Said]:
    """What is said twice of one place would be read by the order of the keys, which the digest does not cover."""
    first: dict[str, str] = {}
    problems = []
    for name in said:
        if plain(name) != DEFAULT and not known(name):
            problems.append(f"`{name}` is no place, got `{name}`, expected {A_PLACE}, or `{DEFAULT}`")
        elif (other := first.setdefault(plain(name), name)) != name:
            problems.append(f"`{name}` is the place of `{other}`, got both, expected each place once")
    refuse(problems)
    return said


ByPlace = Annotated[dict[str, Said], AfterValidator(_apart)]
"""What is said for places, and under `default` for the rest."""


def digest_of(data: bytes) -> Digest:
    """SHA-256, as digests are written."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


class Document(BaseModel):
    """Base of everything people write: unknown fields are errors, values cannot change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    def canonical(self) -> bytes:
        """Sorted-key JSON of the parsed document, so that a comment or an indent does not change the digest."""
        dump: Any = self.model_dump(mode="json", by_alias=True)
        return json.dumps(dump, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def digest(self) -> Digest:
        """SHA-256 of `canonical()`."""
        return digest_of(self.canonical())
