"""Merges and splits in any order, amid consents: what `governance.identity` promises, and what its threads come to in admission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from governance.admission import Reason, admit
from governance.identity import Link, identities
from governance.verdicts import SEVERITY
from policies.policy import Policy
from tests.histories import (
    BLOCKS,
    CONTROLLER,
    HOME,
    LAST,
    LENDERS,
    PURPOSE,
    Event,
    above,
    adult,
    day,
    effective,
    event,
    policy,
    table,
    told,
)

KEYS = ("a", "b", "c", "d")
Step = Event | tuple[str, str | None]
"""An event, or a key with the one that it is merged into (None: split)."""

Children = Mapping[str, bool | None]
"""Of whom the contract tells whether they are children; None: a row that does not say."""

CHILDREN = st.dictionaries(st.sampled_from(KEYS), st.sampled_from((False, False, True, None)))
STEPS = st.lists(event(KEYS) | st.tuples(st.sampled_from(KEYS), st.sampled_from((*KEYS, None))), min_size=2, max_size=30)
POLICIES = st.builds(
    policy,
    st.dictionaries(st.sampled_from(("eu", "us", "default")), st.sampled_from(("consent", "consent", "opt_out")), min_size=1),
    st.sampled_from(((), LENDERS)),
    st.none() | st.just({"treatment": "guardian"}),
)


SILENT = (Reason.NEVER_ASKED, Reason.NO_NOTICE)
"""What a key is that said nothing about the purpose."""


@dataclass
class Person:
    """Keys that stand together, and every history that binds them."""

    keys: set[str]
    threads: list[list[Event]]


def lived(steps: Sequence[Step]) -> tuple[dict[str, Person], dict[str, str], list[Link], list[Event]]:
    """One step after the other, as the docstring of `governance.identity` tells it; what cannot be done is left out."""
    persons = {key: Person({key}, [[]]) for key in KEYS}
    merged: dict[str, str] = {}
    links: list[Link] = []
    events: list[Event] = []

    def root(key: str) -> str:
        return root(merged[key]) if key in merged else key

    for step in steps:
        match step:
            case Event():
                events.append(step)
                for thread in persons[root(step.subject)].threads:
                    thread.append(step)
            case (key, None) if key in merged:
                whole = persons[root(key)]
                head = root(key)
                del merged[key]
                leaving = {other for other in whole.keys if root(other) == key}
                persons[key] = Person(leaving, [list(thread) for thread in whole.threads])
                persons[head] = Person(whole.keys - leaving, whole.threads)
                links.append(Link(key, None, len(events)))
            case (key, str(into)) if key not in merged and root(into) != key:
                head = root(into)
                merged[key] = into
                joined = persons.pop(key)
                persons[head] = Person(persons[head].keys | joined.keys, persons[head].threads + joined.threads)
                links.append(Link(key, into, len(events)))
    return {key: persons[key] for key in KEYS if key not in merged}, merged, links, events


def strictest(threads: Sequence[list[Event]], rules: Policy, by_guardians: bool = False) -> Reason:
    """Of the threads that say something about the purpose; of all, if none does."""
    uses = (PURPOSE, *rules.purposes[PURPOSE].compatible_with)

    def bears(one: Event) -> bool:
        return one.purpose in uses or (effective(one, LAST) in BLOCKS and any(one.purpose in above(use) for use in uses))

    found = [(adult(thread, rules, LAST, by_guardians), any(map(bears, told(thread, by_guardians)))) for thread in threads]
    telling = [reason for reason, said in found if said or reason is Reason.NO_BASIS]
    return max(telling or [reason for reason, _ in found], key=SEVERITY.index)


def expected(person: Person, rules: Policy, children: Children) -> Reason:
    """A child, if one of its keys is told to be one, is in by what guardians say alone; so is whoever nobody tells of."""
    found = strictest(person.threads, rules)
    said = {children.get(key) for key in person.keys} - {None}
    if found is not Reason.ADMITTED or not rules.children or (said and True not in said):
        return found
    return found if strictest(person.threads, rules, by_guardians=True) is Reason.ADMITTED else Reason.CHILD


GROWN_UP: Children = dict.fromkeys(KEYS, False)


def judged(
    events: list[Event],
    links: list[Link],
    rules: Policy,
    children: Children = GROWN_UP,
    registered: Sequence[str] = KEYS,
) -> dict[str, Reason]:
    population = pa.table({"subject": [*registered]})
    said = pa.table({"subject": [*children], "child": pa.array(children.values(), pa.bool_())})
    by = identities(links)
    rows = admit(table(events), population, rules, PURPOSE, HOME, day(LAST), by=by, told=said, controller=CONTROLLER).reasons.to_pylist()
    return {row["subject"]: Reason(row["reason"]) for row in rows}


@pytest.mark.slow
@settings(max_examples=60, phases=(Phase.generate,))
@given(STEPS, POLICIES, CHILDREN, st.sampled_from((KEYS, KEYS[:2])))
def test_admission_is_what_the_threads_come_to(steps: list[Step], rules: Policy, children: Children, registered: tuple[str, ...]) -> None:
    """Whether all keys are registered or some only bear on others."""
    persons, merged, links, events = lived(steps)
    known = [e for e in events if e.happened <= LAST]
    wanted = {key: Reason.MERGED for key in merged} | {key: expected(person, rules, children) for key, person in persons.items()}
    assert judged(known, links, rules, children, registered) == {key: wanted[key] for key in registered}


@pytest.mark.slow
@settings(max_examples=40, phases=(Phase.generate,))
@given(STEPS, POLICIES, st.sampled_from(KEYS), st.sampled_from(KEYS))
def test_a_merge_admits_nobody_whom_either_part_kept_out_and_a_split_changes_nobody(
    steps: list[Step], rules: Policy, key: str, into: str
) -> None:
    _, _, links, events = lived(steps)
    before = judged(events, links, rules)
    together, _, joined, _ = lived([*steps, (key, into)])
    if len(joined) > len(links):
        (head,) = [head for head, person in together.items() if key in person.keys]
        after = judged(events, joined, rules)[head]
        assert after is not Reason.ADMITTED or {before[key], before[head]} <= {Reason.ADMITTED, *SILENT}
        _, _, apart, _ = lived([*steps, (key, into), (key, None)])
        split = judged(events, apart, rules)
        assert split[key] == split[head] == after
