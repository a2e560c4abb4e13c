"""What changes if one policy takes the place of another: every column, for every purpose, place and recipient, decided under both.

Not the words of the two are compared but what follows from them: columns that become open or closed, finer or coarser, and
figures. A pack permits nothing by itself, so it is compared laid under a policy (`policies.extending`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from policies.contract import Contract
from policies.deciding import Request, Use, decide_destination, generalisations, judge, places
from policies.jurisdictions import plain
from policies.policy import Policy
from policies.rules import Reading

WORKSPACE = "workspace"
"""Where a result stays that no destination receives."""

ABSENT = "-"
"""A figure that one of the policies does not have."""

_NOT_FIGURES = {"kind", "name", "version", "description", "extends", "rules"}


@dataclass(frozen=True, slots=True)
class Case:
    """One column, read for something, for a purpose, of people in a place, handed to somebody."""

    contract: str
    column: str
    reading: Reading
    purpose: str
    place: str
    destination: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it may be read, how coarse it then is, in words, and the rules behind it."""

    allowed: bool
    steps: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One case that is answered differently."""

    case: Case
    before: Answer
    after: Answer


@dataclass(frozen=True, slots=True)
class Difference:
    """All that changes: cases that open, close, or become finer or coarser; rules and figures by name, before and after."""

    opened: tuple[Change, ...]
    closed: tuple[Change, ...]
    reshaped: tuple[Change, ...]
    rules: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str, str], ...]

    @property
    def nothing(self) -> bool:
        """Whether the two are the same in all that follows from them."""
        return not (self.opened or self.closed or self.reshaped or self.rules or self.figures)


def compare(before: Policy, after: Policy, contracts: Iterable[Contract]) -> Difference:
    """What changes for the columns of `contracts`, and which figures and rules do."""
    changes = [change for contract in contracts for change in _changes(before, after, contract)]
    return Difference(
        tuple(change for change in changes if change.after.allowed and not change.before.allowed),
        tuple(change for change in changes if change.before.allowed and not change.after.allowed),
        tuple(change for change in changes if change.before.allowed and change.after.allowed),
        tuple(_rules(before, after)),
        tuple(_figures(before, after)),
    )


def _changes(before: Policy, after: Policy, contract: Contract) -> Iterator[Change]:
    old, new = ({case: answer for case, answer in _answers(policy, contract, before, after)} for policy in (before, after))
    for case, answer in old.items():
        other = new[case]
        if answer.allowed != other.allowed or (answer.allowed and answer.steps != other.steps):
            yield Change(case, answer, other)


def _answers(policy: Policy, contract: Contract, *named: Policy) -> Iterator[tuple[Case, Answer]]:
    """Every case that one of the policies names, under `policy`."""
    purposes = sorted({purpose for each in named for purpose in each.purposes})
    destinations = [None, *sorted({destination for each in named for destination in each.destinations})]
    for place, purpose, destination, reading in product(
        _places(contract, named), purposes, destinations, (Reading.SEGMENT, Reading.FAIRNESS)
    ):
        uses = tuple(
            Use(table, column, ("a segment",), None, reading is Reading.FAIRNESS)
            for table, described in contract.tables.items()
            for column in described.columns
        )
        request = Request(purpose, contract.model_copy(update={"jurisdiction": place}), uses, "propensity", destination)
        steps = generalisations(policy, request)
        for use, answer in _answered(policy, request):
            coarse = tuple(step.words() for step in steps.get((use.table, use.column), ()))
            yield Case(contract.name, use.name, reading, purpose, place, destination or WORKSPACE), replace(answer, steps=coarse)


def _answered(policy: Policy, request: Request) -> Iterator[tuple[Use, Answer]]:
    """What is said of each use: what blocks the purpose or the destination, blocks all."""
    found = (*judge(policy, request), *decide_destination(policy, request.destination).because)
    names = {use.name for use in request.uses}
    shared = tuple(one.rule for one in found if one.blocks and one.subject not in names)
    for use in request.uses:
        own = [one for one in found if one.subject == use.name]
        against = shared + tuple(one.rule for one in own if one.blocks)
        yield use, Answer(not against, (), against or tuple(one.rule for one in own))


def _places(contract: Contract, policies: Iterable[Policy]) -> list[str]:
    """Where people may be: what the contract says, and what the policies tell apart."""
    return sorted({plain(contract.jurisdiction)}.union(*(places(policy) for policy in policies)))


# -- words and figures --------------------------------------------------------------------------------------------------


def _rules(before: Policy, after: Policy) -> Iterator[tuple[str, str]]:
    """Ids of rules that one of the two lacks, or has in other words."""
    old, new = ({rule.id: rule for rule in policy.rules} for policy in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, "added" if name not in old else "removed" if name not in new else "changed"


def _figures(before: Policy, after: Policy) -> Iterator[tuple[str, str, str]]:
    """Bases, budgets, floors, approvals, retention, children, destinations: whatever is no rule, by its dotted name."""
    old, new = (dict(_flat((), policy.model_dump(mode="json", exclude=_NOT_FIGURES))) for policy in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name, ABSENT) != new.get(name, ABSENT):
            yield name, old.get(name, ABSENT), new.get(name, ABSENT)


def _flat(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat((*path, key), item)
    elif value not in (None, {}, []):
        yield ".".join(path), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
