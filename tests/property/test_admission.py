"""The set operation of `governance.admission` against a slow reading of its rules, over random histories full of ties."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from governance import consent_snapshot
from governance.admission import Reason, admit, intervals
from governance.consent import events_of, speakers_after
from governance.store import micros
from governance.tables import ConsentRow
from policies.policy import Policy
from tests.histories import CONTROLLER, HOME, LAST, LENDERS, PURPOSE, Event, day, event, policy, reference, table
from tests.ledgers import Clock, store

SUBJECTS = ("a", "A", "a ", " a", "7", "007", "ü", "u\u0308")
HISTORIES = st.lists(event(SUBJECTS), min_size=10, max_size=60)
CHILDREN = st.lists(st.sampled_from((False, False, True, None)), min_size=len(SUBJECTS) + 1, max_size=len(SUBJECTS) + 1)
POLICIES = st.builds(
    policy,
    st.dictionaries(
        st.sampled_from(("eu", "us", "us-ca", "br", "default")), st.sampled_from(("consent", "consent", "opt_out")), min_size=1
    ),
    st.sampled_from(((), LENDERS[:1], LENDERS, LENDERS, LENDERS)),
    st.none()
    | st.fixed_dictionaries({"treatment": st.sampled_from(("guardian", "exclude")), "unknown": st.sampled_from(("admit", "refuse"))}),
)


@pytest.mark.slow
@settings(max_examples=100)
@given(HISTORIES, POLICIES, st.integers(0, LAST), CHILDREN)
def test_the_set_operation_agrees_with_the_rules(events: list[Event], rules: Policy, moment: int, children: list[bool | None]) -> None:
    everybody = (*SUBJECTS, "nobody")
    child = dict(zip(everybody, children, strict=True))
    population = pa.table({"subject": [*everybody, None, "", "a"]})
    told = pa.table({"subject": [*everybody, "stranger"], "child": pa.array([*children, True], pa.bool_())})
    judged = admit(table(events), population, rules, PURPOSE, HOME, day(moment), told=told, controller=CONTROLLER).reasons.to_pylist()
    known = [e for e in events if e.happened <= moment and e.received <= moment]
    expected = {s: reference([e for e in known if e.subject == s], rules, moment, child[s]) for s in everybody}
    assert len(judged) == len(expected)
    assert {row["subject"]: Reason(row["reason"]) for row in judged} == expected


@pytest.mark.slow
@settings(max_examples=60)
@given(HISTORIES, POLICIES, st.integers(0, LAST))
def test_a_moment_lies_in_an_interval_exactly_if_it_would_have_been_admitted(events: list[Event], rules: Policy, now: int) -> None:
    found = intervals(table(events), rules, PURPOSE, HOME, day(now), controller=CONTROLLER).to_pylist()
    known = [e for e in events if e.received <= now]
    for subject in SUBJECTS:
        mine = [e for e in known if e.subject == subject]
        covered = [sum(i["subject"] == subject and i["start"] <= day(t) < i["end"] for i in found) for t in range(LAST + 1)]
        expected = [
            int(
                t <= now
                and any(e.happened <= t for e in mine)
                and reference([e for e in mine if e.happened <= t], rules, t) is Reason.ADMITTED
            )
            for t in range(LAST + 1)
        ]
        assert covered == expected


NUMBERS = ("1", "2", "-3", "-9223372036854775808", "4000000000")
KEYS = (*NUMBERS, "007", " 4", "x", "9223372036854775808")


@pytest.mark.slow
@settings(max_examples=10, phases=(Phase.generate,))  # a smaller example is not worth minutes
@given(
    st.sampled_from((KEYS, KEYS[:3])).flatmap(lambda keys: st.lists(event(keys), min_size=10, max_size=40)),
    POLICIES,
    st.integers(0, 40),
    st.booleans(),
)
def test_snapshot_and_newer_events_say_what_all_events_do(events: list[Event], rules: Policy, cut: int, numbered: bool) -> None:
    """Some events are in the files, the rest in the database alone; subjects are told apart by number, or by text."""
    everybody = [*NUMBERS, "5"] if numbered else [*KEYS, "nobody"]
    keyed = {"subject": everybody, **({"key": [int(key) for key in everybody]} if numbered else {})}
    population, told = pa.table(keyed), pa.table(keyed | {"child": [False] * len(everybody)})
    with tempfile.TemporaryDirectory() as folder:
        opened = store(Path(folder), Clock(day(LAST)))
        for part in (events[:cut], events[cut:]):
            with opened.transaction() as write:
                write.record("consent.append")
                for each in part:
                    _put(write.session, each)
            if part is not events[cut:]:
                consent_snapshot.refresh(opened, Path(folder))
        with opened.read() as session, consent_snapshot.base(session, Path(folder), day(LAST), times=True) as base:
            assert base is not None
            newer = events_of(session, day(LAST), speakers_after(session, base.watermark))
            judged = admit(newer, population, rules, PURPOSE, HOME, day(LAST), base, told=told, controller=CONTROLLER).reasons.to_pylist()
            spans = intervals(newer, rules, PURPOSE, HOME, day(LAST), base, controller=CONTROLLER).to_pylist()
        opened.close()
    expected = {s: reference([e for e in events if e.subject == s], rules, LAST) for s in everybody}
    assert {row["subject"]: Reason(row["reason"]) for row in judged} == expected
    key = lambda row: (row["subject"], row["start"])  # noqa: E731
    assert sorted(spans, key=key) == sorted(
        intervals(table(events), rules, PURPOSE, HOME, day(LAST), controller=CONTROLLER).to_pylist(), key=key
    )


def _put(session: Session, each: Event) -> None:
    """As the ledger would hold it, with the received time of the example."""
    session.add(
        ConsentRow(
            subject=each.subject,
            purpose=each.purpose,
            status=each.status,
            event_time=micros(day(each.happened)),
            received_time=micros(day(each.received)),
            valid_until=None if each.until is None else micros(day(each.until)),
            jurisdiction=each.jurisdiction,
            notice_version=each.notice,
            method=each.method,
            basis=each.basis,
            controller=each.controller,
            batch="b",
            salt=b"",
        )
    )
    session.flush()
