"""A partner's side of groups that must fare alike: what it declares is what the contract says, who may be read for it, and what came of it.

Attributes are read for questions about groups alone, in each round anew: of whom policy and consent allow that for the fairness purpose at
that moment, in a room of their own (`engine.stages.groups`). Whoever may not be read is of no known group. What comes back at the end is
believed no further than it is about the contract's groups and bounds, and says of each attribute what its rows say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np

from audit.fairness import Bounds, FairnessFinding, Verdict, worst
from engine import group_tables, stages
from engine.bench import Bench
from engine.stages import People, Reading
from federated.contract import Collaboration
from federated.questions import Asked
from governance.door import Column
from governance.population import UNKNOWN
from policies.contract import Contract
from policies.policy import Policy
from policies.segment import Segment

Difference = tuple[str, str, tuple[str | int, ...], str, str]
"""Folder and name of a document, the place in it, what is there, and what the contract expects."""


def count(contract: Collaboration) -> int:
    """Attributes of a contract."""
    return len(contract.fairness.attributes) if contract.fairness else 0


def columns(bench: Bench, reading: Reading, contract: Collaboration, people: People, asked: Asked) -> dict[str, Column]:
    """`groups` (n_subjects, n_attributes) in the contract's order, `UNKNOWN` of whom nobody may read it, and for every other question."""
    if contract.fairness is None:
        return {}
    if asked.query.step not in group_tables.READING:
        return {"groups": np.full((len(people.subjects), count(contract)), UNKNOWN, np.int16)}
    own = [attribute.column for attribute in reading.prepared.spec.fairness]
    return {"groups": stages.groups(bench, reading, people)[:, [own.index(name) for name in contract.fairness.attributes]]}


def unlike(contract: Collaboration, spec: Segment, data: Contract, policy: Policy) -> Iterator[Difference]:
    """Where what is declared here of groups is not what the contract says; a contract that names none leaves them to each house."""
    if (fairness := contract.fairness) is None:
        return
    declared = [attribute.column for attribute in spec.fairness]
    for name in fairness.attributes.keys() - declared:
        yield "segments", spec.name, ("fairness",), "nothing", f"an attribute `{name}`: {fairness.attributes[name].meaning}"
    for place, attribute in enumerate(spec.fairness):
        name, path = attribute.column, ("fairness", place, "column")
        if name not in fairness.attributes or name in declared[:place]:
            expected = "each attribute once" if name in fairness.attributes else "no such attribute"
            yield "segments", spec.name, path, f"`{name}`", expected
            continue
        table = data.tables.get(attribute.table)
        column = table.columns.get(name) if table else None
        groups = fairness.attributes[name].groups
        if column is not None and column.domain != groups:
            where = ("tables", attribute.table, "columns", name, "domain")
            yield "contracts", data.name, where, _list(column.domain or ()), f"{_list(groups)}, in this order"
    gate = policy.fairness
    if gate is None:
        yield "policies", policy.name, ("fairness",), "nothing", f"a gate with `purpose: {fairness.purpose}`"
        return
    if gate.purpose != fairness.purpose:
        yield "policies", policy.name, ("fairness", "purpose"), f"`{gate.purpose}`", f"`{fairness.purpose}`"
    if gate.min_ratio > fairness.min_ratio:
        yield "policies", policy.name, ("fairness", "min_ratio"), f"`{gate.min_ratio:g}`", f"at most `{fairness.min_ratio:g}`"
    if gate.max_gap < fairness.max_gap:
        yield "policies", policy.name, ("fairness", "max_gap"), f"`{gate.max_gap:g}`", f"at least `{fairness.max_gap:g}`"


def about(found: Sequence[FairnessFinding], parts: Sequence[str], contract: Collaboration) -> bool:
    """Whether findings are about the contract's attributes and their crossings, its groups, its bounds and these `parts`, and each verdict
    follows from its rows; none, where the contract names no group."""
    if (fairness := contract.fairness) is None:
        return not found
    names = list(fairness.attributes)
    domains = {name: each.groups for name, each in fairness.attributes.items()}
    known = {name: set(groups) for name, groups in domains.items()}
    known |= {
        f"{one} × {other}": {" and ".join(each) for each in product(domains[one], domains[other])} for one, other in combinations(names, 2)
    }
    single = {each.attribute for each in found if each.groups} >= {*names}
    return (
        single
        and {each.attribute for each in found} == known.keys()
        and len(found) == len(known)
        and all(
            _follows(each, known[each.attribute], {*parts, "selected", ""}, Bounds(fairness.min_ratio, fairness.max_gap)) for each in found
        )
    )


def _follows(found: FairnessFinding, groups: set[str], outcomes: set[str], bounds: Bounds) -> bool:
    rows = found.groups
    if not rows:
        return found.bounds == bounds and found.verdict is Verdict.INCONCLUSIVE
    return (
        (found.bounds, found.verdict) == (bounds, worst(rows))
        and {row.group for row in rows} == groups
        and {row.outcome for row in rows} <= outcomes
    )


def _list(groups: Sequence[str]) -> str:
    return "`" + ", ".join(groups) + "`" if groups else "nothing"
