"""YAML bytes → plain values that know their lines. A small, unsurprising part of YAML, and each surprise is an error.

Left out on purpose: anchors and aliases (a few lines can stand for gigabytes), tags, several documents in a file, and
the plain scalars that YAML 1.1 and 1.2 read differently (`no`, `010`, `1_000`, `12:30`): they ask for quotes. Keys are
always text, dates stay text until a model reads them. What the fields mean is the business of `policies.reading`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

MAX_BYTES = 1 << 20
"""Largest document."""

MAX_DEPTH = 24
"""Deepest nesting; the deepest document of ours has eight levels."""

MAX_SHOWN = 50
"""Most problems that a message spells out."""

Path = tuple[str | int, ...]
"""From the top: keys of mappings and places in lists."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MAX_DIGITS = 17
_AMBIGUOUS = re.compile(
    r"(yes|no|on|off)|[-+]?(0[0-9_]+|0x[0-9a-f_]+|0b[01_]+|0o[0-7]+|[0-9][0-9_]*_[0-9_.]*|[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?|\.(inf|nan))"
    r"|\+[0-9.].*|[-+]?\.[0-9]+|[-+]?[0-9]+\.(e[-+]?[0-9]+)?|[-+]?0[0-9]+\.[0-9]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `line` and `column` count from 1 (0: in no file); `field` is a dotted path, empty for the whole."""

    file: str
    line: int
    column: int
    field: str
    got: str
    expected: str
    what: str = ""

    def __str__(self) -> str:
        said = ", ".join(
            part for part in (self.what, self.got and f"got {self.got}", self.expected and f"expected {self.expected}") if part
        )
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(part for part in (place, self.field, said) if part)
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)  # no escape sequences reach a terminal


class DocumentError(Exception):
    """A document that cannot be used. `problems` lists all that was found, by line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column, problem.field)))
        more = len(self.problems) - MAX_SHOWN
        super().__init__("\n".join([*map(str, self.problems[:MAX_SHOWN]), *([f"and {more} more"] if more > 0 else [])]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where something begins, from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Tree:
    """A document: `value` of dict, list, str, int, float, bool and None, and the place of every path in it."""

    file: str
    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)

    def problem(self, path: Path, got: str, expected: str, what: str = "") -> Problem:
        """A problem at `path`, or at the nearest place above it that the document holds."""
        known = path
        while known not in self.places and known:
            known = known[:-1]
        place = self.places.get(known, Place(1, 1))
        return Problem(self.file, place.line, place.column, dotted(path), got, expected, what)


def dotted(path: Path) -> str:
    """A path as people write it."""
    return ".".join(map(str, path))


def parse(data: bytes, file: str) -> Tree:
    """The one mapping that `data` holds; `file` is its name in messages. Raises DocumentError."""
    text = _decode(data, file)
    builder = _Builder(Tree(file), yaml.parse(text, Loader=_LOADER))
    try:
        builder.document()
    except yaml.reader.ReaderError as error:
        place = _place_of(text, text.find(chr(error.character)) if isinstance(error.character, int) else 0)
        raise DocumentError(
            (Problem(file, place.line, place.column, "", f"the character `{error.character:#x}`", "printable text"),)
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError(
            (Problem(file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, "", "", "", f"not YAML: {said}"),)
        ) from None
    if builder.problems:
        raise DocumentError(tuple(builder.problems))
    return builder.tree


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise DocumentError((Problem(file, 1, 1, "", f"{len(data)} bytes", f"at most {MAX_BYTES}"),))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise DocumentError((Problem(file, line, column, "", f"the byte `{data[error.start]:#04x}`", "text in UTF-8"),)) from None
    return text


def _place_of(text: str, position: int) -> Place:
    return Place(text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))


class _Stop(Exception):
    """Reading on would make no sense."""


class _Builder:
    """Events → tree. Problems that leave the rest readable are collected."""

    def __init__(self, tree: Tree, events: Iterator[Any]) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self._events = events

    def document(self) -> None:
        """Read the stream: one document, holding one mapping."""
        try:
            next(self._events)  # the stream's start
            first = next(self._events)
            if isinstance(first, yaml.StreamEndEvent):
                self._fail((), Place(1, 1), "an empty document", "a mapping of fields")
            event = next(self._events)
            value = self._value((), event)
            if not isinstance(value, dict):
                self._fail((), _start(event), "an empty document" if value is None else shown(value), "a mapping of fields")
            self.tree.value = value
            next(self._events)  # the document's end
            if not isinstance(another := next(self._events), yaml.StreamEndEvent):
                self._fail((), _start(another), "a second document", "one document a file")
        except _Stop:
            pass

    def _value(self, path: Path, event: Any) -> Any:
        self.tree.places.setdefault(path, _start(event))
        if len(path) > MAX_DEPTH:
            self._fail(path[:3], _start(event), f"more than {MAX_DEPTH} levels", "a flatter document")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = f"*{event.anchor}" if isinstance(event, yaml.AliasEvent) else f"&{event.anchor}"
            self._note(path, _start(event), f"`{sign}`", "no anchors or aliases: write the value out")
        if isinstance(event, yaml.AliasEvent):
            return None
        if event.tag is not None:
            self._note(path, _start(event), f"the tag `{event.tag}`", "no tags")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(path, event)

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(path, _start(event), "a key that is not text", "one word before the `:`")
            key, where = str(event.value), _start(event)
            here = (*path, key)
            if key in found:
                self._note(here, where, f"`{key}` twice", f"it once (first on line {self.tree.places[here].line})")
            self.tree.places.setdefault(here, where)
            value = self._value(here, next(self._events))
            found.setdefault(key, value)
        return found

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value((*path, len(found)), event))
        return found

    def _scalar(self, path: Path, event: Any) -> Any:
        text = str(event.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._note(path, _start(event), shown(text), "text without lone surrogates")
            return ""
        if event.style:
            return text
        if text in _NULL:
            return None
        if text in _TRUTH:
            return _TRUTH[text]
        if _FLOAT.fullmatch(text):
            return self._number(path, event, text)
        if _AMBIGUOUS.fullmatch(text):
            got = f"{shown(text)}, which YAML readers take differently"
            self._note(path, _start(event), got, f'`true`, `false`, a plain decimal number, or text in quotes (`"{text}"`)')
        return text

    def _number(self, path: Path, event: Any, text: str) -> int | float:
        if len(text) <= _MAX_DIGITS and _INTEGER.fullmatch(text):
            return int(text)
        if len(text) <= 2 * _MAX_DIGITS and Decimal(text) == Decimal(repr(float(text))):
            return float(text)
        self._note(path, _start(event), f"`{shown(text)}`", f"a number of at most {_MAX_DIGITS} characters")
        return 0

    def _note(self, path: Path, where: Place, got: str, expected: str) -> None:
        self.problems.append(Problem(self.tree.file, where.line, where.column, dotted(path), got, expected))

    def _fail(self, path: Path, where: Place, got: str, expected: str) -> None:
        self._note(path, where, got, expected)
        raise _Stop


def _start(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def shown(value: Any) -> str:
    """A value as it stands in YAML, on one line, in backticks, shortened."""
    text = _flow(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}…`"


def _flow(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case _:
            return str(value)
