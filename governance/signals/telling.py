"""A decoded signal, told: as plain values for JSON, and in lines for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from governance.signals.vendors import Vendors
from governance.store import stamp

_PURPOSES = frozenset({"consent", "interest", "express", "implied"})


def plain(value: Any) -> Any:
    """As JSON takes it: vendors as their number and ranges, times in RFC 3339."""
    match value:
        case Vendors():
            return {"count": len(value), "ranges": [[*span] for span in value.ranges]}
        case dt.datetime():
            return stamp(value)
        case BaseModel():
            return value.model_dump(mode="json", exclude_none=True)
        case Mapping():
            return {key: plain(each) for key, each in value.items()}
        case tuple():
            return [plain(each) for each in value]
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def lines(value: Any, indent: str = "") -> Iterator[str]:
    """One line a field; purposes by name, vendors by number."""
    for field in fields(value) if is_dataclass(value) else ():
        yield from _line(field.name, getattr(value, field.name), indent)
    if isinstance(value, BaseModel):
        for name, each in value.model_dump(mode="json", exclude_none=True).items():
            yield f"{indent}{name}: {each}"


def _line(name: str, value: Any, indent: str) -> Iterator[str]:
    title = f"{indent}{name.replace('_', ' ')}"
    match value:
        case Vendors():
            shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in value.ranges[:10])
            yield f"{title}: {len(value)} vendors" + (f" ({shown}{', …' if len(value.ranges) > 10 else ''})" if shown else "")
        case dt.datetime():
            yield f"{title}: {stamp(value)}"
        case tuple() if name in _PURPOSES:
            yield f"{title}: {_purposes(value) or 'none'}"
        case tuple() if name == "sections":
            for number, section in value:
                yield f"{indent}section {number}"
                yield from lines(section, indent + "  ")
        case tuple() if value and is_dataclass(value[0]):
            yield title
            for each in value:
                yield from lines(each, indent + "  ")
        case Mapping():
            yield from (f"{indent}{key}: {each}" for key, each in value.items())
        case _ if is_dataclass(value):
            yield title
            yield from lines(value, indent + "  ")
        case tuple():
            yield f"{title}: {', '.join(map(str, value)) or 'none'}"
        case None:
            yield f"{title}: not there"
        case _:
            yield f"{title}: {value}"


def _purposes(numbers: Iterable[int]) -> str:
    from fideslang import gvl

    return ", ".join(f"{number} {gvl.GVL_PURPOSES[number].name}" if number in gvl.GVL_PURPOSES else str(number) for number in numbers)
