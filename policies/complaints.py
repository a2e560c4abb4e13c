"""What a model says against a document → problems that name line, field, got and expected.

pydantic's locations hold more than a path: the branch of a union, `[key]`, and positions that are missing. Here they
become paths that people wrote, and its types of error become our words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import ErrorDetails

from policies.parsing import Path, Problem, Tree, shown
from policies.taxonomy import nearest

Loc = tuple[str | int, ...]
"""pydantic's: a path with branches of unions in it."""

Schema = dict[str, Any]
"""A JSON Schema, or a part of it."""

_EXPECTED = {
    "string_type": "text",
    "string_pattern_mismatch": "text that matches `{pattern}`",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "int_type": "a whole number",
    "float_type": "a number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "bool_type": "`true` or `false`",
    "model_type": "a mapping of fields",
    "dict_type": "a mapping of fields",
    "tuple_type": "a list",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "date_type": "a date such as `2026-01-31`",
    "date_parsing": "a date such as `2026-01-31`",
    "date_from_datetime_parsing": "a date such as `2026-01-31`",
    "date_from_datetime_inexact": "a date without a time of day",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "union_tag_invalid": "a {discriminator} of {expected_tags}",
    "union_tag_not_found": "the field {discriminator}",
}
_SAID = re.compile(r"(?:`(?P<field>[^`]+)` )?(?P<what>.*?)(?:(?:, |^)got (?P<got>.*?))?(?:(?:, |^)expected (?P<expected>.*))?")


def problems(tree: Tree, schema: Schema, details: Iterable[ErrorDetails]) -> tuple[Problem, ...]:
    """pydantic's errors over `tree`, told once each; `schema` is the model's, for names and descriptions of fields."""
    placed = [(_path(tree.value, detail["loc"], detail["type"] == "missing"), detail) for detail in details]
    merged: dict[tuple[Path, str, str], list[Problem]] = {}
    for path, detail in _meant(placed):
        for problem in _told(tree, schema, path, detail):
            merged.setdefault((path, problem.field, problem.what), []).append(problem)
    return tuple(_one(same) for same in merged.values())


def _meant(placed: list[tuple[Path, ErrorDetails]]) -> Iterator[tuple[Path, ErrorDetails]]:
    """Without the branches of a union that nobody meant: a wrong type, where another branch has more to say. Without lists that are too
    short for pydantic alone, which counts the entries that are right: those that are not are told one by one."""
    placed = [(path, detail) for path, detail in placed if not _long_enough(detail)]
    telling = {path[:end] for path, detail in placed if not _wrong_type(detail) for end in range(len(path) + 1)}
    return ((path, detail) for path, detail in placed if not (_wrong_type(detail) and path in telling))


def _wrong_type(detail: ErrorDetails) -> bool:
    word = detail["type"] == "literal_error" and isinstance(detail["input"], dict | list)  # a branch that is one word, and something else
    return word or detail["type"].endswith("_type")


def _long_enough(detail: ErrorDetails) -> bool:
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def _one(same: list[Problem]) -> Problem:
    """What branches of a union expect of one place, as one problem."""
    first, expected = same[0], " or ".join(dict.fromkeys(problem.expected for problem in same))
    return Problem(first.file, first.line, first.column, first.field, first.got, expected, first.what)


def _told(tree: Tree, schema: Schema, path: Path, detail: ErrorDetails) -> Iterator[Problem]:
    got, context = shown(detail["input"]), detail.get("ctx", {})
    match detail["type"]:
        case "missing" if isinstance(detail["loc"][-1], int):
            yield tree.problem(path, got, f"{detail['loc'][-1] + 1} or more entries")
        case "missing":
            field = _fields(schema, detail["loc"][:-1]).get(str(path[-1]), {})
            yield tree.problem(path, "nothing", field.get("description", "a value"), "a required field")
        case "extra_forbidden":
            yield tree.problem(path, f"`{path[-1]}`", _choice(str(path[-1]), _fields(schema, detail["loc"][:-1])), "an unknown field")
        case "value_error":
            yield from _from_validator(tree, path, got, str(context["error"]))
        case "literal_error" | "enum":
            names = re.findall(r"'([^']*)'", context["expected"])
            yield tree.problem(path, got, _choice(str(detail["input"]), names) if names else f"`{context['expected'].lower()}`")
        case "string_type" if not isinstance(detail["input"], dict | list | None):
            yield tree.problem(path, got, f'text, in quotes: "{got[1:-1]}"')
        case kind:
            words = {name: str(value).replace("'", "`") for name, value in context.items()}
            yield tree.problem(path, got, _EXPECTED[kind].format(**words) if kind in _EXPECTED else detail["msg"])


def _from_validator(tree: Tree, path: Path, got: str, text: str) -> Iterator[Problem]:
    """Messages of our own validators (`policies.documents.refuse`): "`field` what is wrong, got …, expected …", one a line."""
    for line in text.splitlines():
        said = _SAID.fullmatch(line)
        assert said  # every part of it is optional
        place = path + (_inside(_value(tree.value, path), said["field"]) if said["field"] else ())
        yield tree.problem(place, said["got"] or (got if place == path else ""), said["expected"] or "", said["what"])


def _choice(word: str, names: Iterable[str]) -> str:
    options = sorted(names)
    listed = "one of " + ", ".join(f"`{name}`" for name in options)
    close = nearest(word, options)
    return f"{listed}; did you mean `{close}`?" if close else listed


# -- places -----------------------------------------------------------------------------------------------------------


def _path(value: Any, loc: Loc, missing: bool) -> Path:
    """The path that people wrote, without branches of unions; the last part is not in `value` where it is `missing`."""
    path: Path = ()
    for depth, part in enumerate(loc):
        if isinstance(value, dict):
            if part != value.get("type") and (part in value or (missing and depth == len(loc) - 1)):
                path, value = (*path, part), value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path, value = (*path, part), value[part]
    return path


def _value(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _inside(value: Any, text: str) -> Path:
    """`budgets.purposes.marketing.advertising` as a path, where keys hold dots: the longest key that fits."""
    if isinstance(value, dict):
        for key in sorted(value, key=len, reverse=True):
            if text == key:
                return (key,)
            if text.startswith(f"{key}."):
                return (key, *_inside(value[key], text[len(key) + 1 :]))
    head, _, rest = text.partition(".")
    if isinstance(value, list) and head.isdigit() and int(head) < len(value):
        return (int(head), *(_inside(value[int(head)], rest) if rest else ()))
    return (text,)


def _fields(schema: Schema, loc: Loc) -> dict[str, Schema]:
    """Names and schemas of the fields that the mapping at `loc` may have."""
    nodes = _branches(schema, schema)
    for part in loc:
        inner = [branch for node in nodes for child in _children(node, part) for branch in _branches(schema, child)]
        nodes = inner or nodes  # a branch of a union has no place of its own in the schema
    return {name: field for node in nodes for name, field in node.get("properties", {}).items()}


def _branches(schema: Schema, node: Schema) -> list[Schema]:
    """A node, with references followed and optional values opened. A union with a discriminator stays one node."""
    if reference := node.get("$ref"):
        return _branches(schema, schema["$defs"][reference.rpartition("/")[2]])
    if "anyOf" in node:
        return [branch for option in node["anyOf"] for branch in _branches(schema, option)]
    return [node]


def _children(node: Schema, part: str | int) -> list[Schema]:
    if "discriminator" in node:
        target = node["discriminator"]["mapping"].get(part)
        return [{"$ref": target}] if target else []
    if isinstance(part, int):
        return [node["items"]] if isinstance(node.get("items"), dict) else []
    if part in node.get("properties", {}):
        return [node["properties"][part]]
    return [child for child in (*node.get("patternProperties", {}).values(), node.get("additionalProperties")) if isinstance(child, dict)]
