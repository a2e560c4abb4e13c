"""Bytes of YAML → contract, policy, segment, pack or test, or one error that lists everything there is to mend, line by line.

Numbered as it happens: (1) parse (`policies.parsing`), (2) hold fideslang keys against the taxonomy, which the models
leave alone because it is slow to load, (3) check against the model, strictly: no text for a number, no `true` for 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from policies import complaints, shipped
from policies.contract import Contract
from policies.documents import Document, one_of
from policies.expectations import PolicyTest
from policies.extending import extend, taken
from policies.pack import Pack
from policies.parsing import DocumentError, Path, Problem, Tree, parse, shown
from policies.policy import Policy
from policies.segment import Segment
from policies.taxonomy import BELOW, Vocabulary, keys, known, known_pattern, nearest

__all__ = [
    "KINDS",
    "DocumentError",
    "Problem",
    "kind_of",
    "read",
    "read_contract",
    "read_pack",
    "read_policy",
    "read_policy_test",
    "read_segment",
    "schema",
    "shipped_pack",
]

KINDS: dict[str, type[Document]] = {
    "contract": Contract,
    "policy": Policy,
    "segment": Segment,
    "pack": Pack,
    "policy-test": PolicyTest,
}
"""What people write, by the name that `schema` takes and the field `kind` holds."""

AnyDocument = TypeVar("AnyDocument", bound=Document)

Places = tuple[tuple[Vocabulary, str, bool], ...]
"""Where fideslang keys stand in a document, of which vocabulary, and whether a wildcard may."""

_FIDESLANG: dict[str, Places] = {
    "contract": ((Vocabulary.CATEGORY, "tables/*/columns/*/category", False),),
    "policy": (
        (Vocabulary.USE, "purposes/*", False),
        (Vocabulary.USE, "rules/*/purposes/*", True),
        (Vocabulary.CATEGORY, "rules/*/categories/*", True),
    ),
    "segment": ((Vocabulary.USE, "purpose", False),),
    "pack": ((Vocabulary.USE, "rules/*/purposes/*", True), (Vocabulary.CATEGORY, "rules/*/categories/*", True)),
    "policy-test": (
        (Vocabulary.USE, "cases/*/purpose", True),
        (Vocabulary.USE, "cases/*/purpose/*", True),
        (Vocabulary.CATEGORY, "cases/*/category", True),
        (Vocabulary.CATEGORY, "cases/*/category/*", True),
        (Vocabulary.CATEGORY, "contract/tables/*/columns/*/category", False),
    ),
}
"""Of each kind; other places in a policy refer to its purposes."""


_EXAMPLES = {Vocabulary.CATEGORY: "user.behavior.purchase_history", Vocabulary.USE: "personalize.profiling"}


def read_contract(data: bytes, name: str) -> Contract:
    """The dataset contract in `data`; `name` is the file's in messages. Raises DocumentError."""
    return _read(data, name, Contract)


def read_policy(data: bytes, name: str) -> Policy:
    """The policy in `data` with the packs that it extends; `name` is the file's in messages. Raises DocumentError."""
    policy = _read(data, name, Policy)
    if not policy.extends:
        return policy
    tree, known_packs = parse(data, name), shipped.names()
    unknown = [(("extends", place), pack) for place, pack in enumerate(policy.extends) if pack not in known_packs]
    if unknown:
        raise DocumentError(tuple(tree.problem(path, f"`{pack}`", one_of(known_packs), "no pack") for path, pack in unknown))
    packs = tuple(shipped_pack(pack) for pack in dict.fromkeys(policy.extends))
    twice = [(("rules", place, "id"), f"`{rule}`, a rule of pack `{pack}`") for place, rule, pack in taken(policy, packs)]
    if twice:
        raise DocumentError(tuple(tree.problem(path, got, "an id that no pack has") for path, got in twice))
    return extend(policy, packs)


def read_pack(data: bytes, name: str) -> Pack:
    """The pack in `data`; `name` is the file's in messages. Raises DocumentError."""
    return _read(data, name, Pack)


def read_policy_test(data: bytes, name: str) -> PolicyTest:
    """The test of a policy in `data`; `name` is the file's in messages. Raises DocumentError."""
    return _read(data, name, PolicyTest)


@cache
def shipped_pack(name: str) -> Pack:
    """A pack of `shipped.names()`."""
    return read_pack(*shipped.pack_source(name))


def kind_of(data: bytes, name: str) -> str:
    """The kind that a document says it is; empty where it says none. Raises DocumentError."""
    kind = parse(data, name).value.get("kind", "")
    return kind if isinstance(kind, str) else ""


def read_segment(data: bytes, name: str) -> Segment:
    """The segment spec in `data`; `name` is the file's in messages. Raises DocumentError."""
    return _read(data, name, Segment)


def schema(kind: str, kinds: Mapping[str, type[Document]] = MappingProxyType(KINDS)) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one of `kinds`. Raises DocumentError for anything else."""
    if kind not in kinds:
        raise DocumentError((Problem("schema", 0, 0, "", shown(kind), one_of(kinds)),))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **kinds[kind].model_json_schema(by_alias=True)}


def read(data: bytes, name: str, model: type[AnyDocument], places: Places) -> AnyDocument:
    """A document of any kind, of other packages too; `places` are those of its fideslang keys. Raises DocumentError."""
    tree = parse(data, name)
    kind = str(model.model_fields["kind"].default)
    if tree.value.get("kind", kind) != kind:
        raise DocumentError((tree.problem(("kind",), shown(tree.value["kind"]), f"`{kind}`"),))
    problems = tuple(_unknown_keys(tree, places))
    try:
        document = model.model_validate_json(json.dumps(tree.value), strict=True)
    except ValidationError as error:
        problems += complaints.problems(tree, model.model_json_schema(by_alias=True), error.errors(include_url=False))
        raise DocumentError(problems) from None
    if problems:
        raise DocumentError(problems)
    return document


def _read(data: bytes, name: str, model: type[AnyDocument]) -> AnyDocument:
    return read(data, name, model, _FIDESLANG[str(model.model_fields["kind"].default)])


def _unknown_keys(tree: Tree, places: Places) -> Iterator[Problem]:
    for vocabulary, pattern, wild in places:
        accepts = known_pattern if wild else known
        for path, key in _at(tree.value, (), tuple(pattern.split("/"))):
            if not accepts(vocabulary, key):
                yield tree.problem(path, f"`{key}`", _suggestion(key, vocabulary), f"not a {vocabulary} of fideslang")


def _at(value: Any, path: Path, pattern: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """The text at the end of each path that fits, or the key, where a pattern ends on a mapping."""
    if not pattern:
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            yield path, str(path[-1])
    elif isinstance(value, dict):
        for key in value if pattern[0] == "*" else {pattern[0]} & value.keys():
            yield from _at(value[key], (*path, key), pattern[1:])
    elif isinstance(value, list) and pattern[0] == "*":
        for place, item in enumerate(value):
            yield from _at(item, (*path, place), pattern[1:])


def _suggestion(key: str, vocabulary: Vocabulary) -> str:
    ending = BELOW if key.endswith(BELOW) else ""
    close = nearest(key.removesuffix(BELOW), keys(vocabulary)) or _EXAMPLES[vocabulary]
    return f"a key such as `{close}{ending}`"
