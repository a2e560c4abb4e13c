"""The set operation of `governance.admission` against a slow reading of its rules, over random histories full of ties."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.admission import Reason, admit, intervals
from governance.consent import SNAPSHOT
from policies.policy import Policy

PURPOSE, ABOVE, BELOW = "marketing.advertising.first_party", "marketing.advertising", "marketing.advertising.first_party.targeted"
LENDERS = ("analytics.reporting", "personalize.content")
PURPOSES = (PURPOSE, PURPOSE, PURPOSE, ABOVE, BELOW, *LENDERS, *LENDERS, "analytics", "essential.service", "*")
STATUSES = ("requested", "given", "expired", "invalidated", "refused", "withdrawn", "objected")  # mildest first
BLOCKS = ("refused", "withdrawn", "objected")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LAST = 4
HOME = "eu"


@dataclass(frozen=True)
class Event:
    subject: str
    purpose: str
    status: str
    happened: int
    received: int
    until: int | None
    jurisdiction: str | None
    notice: str | None


def event(subjects: tuple[str, ...]) -> st.SearchStrategy[Event]:
    days = st.integers(0, LAST)
    return st.builds(
        Event,
        st.sampled_from(subjects),
        st.sampled_from(PURPOSES),
        st.sampled_from(STATUSES) | st.just("given"),
        days,
        days,
        st.none() | days,
        st.sampled_from((None, None, "", "eu", " EU", "us", "br", "ch")),
        st.sampled_from((None, "", "v1")),
    )


def policy(bases: dict[str, str], lenders: tuple[str, ...]) -> Policy:
    purposes: dict[str, Any] = {use: {"basis": {"default": "consent"}} for use in LENDERS}
    purposes[PURPOSE] = {"basis": bases, "compatible_with": lenders}
    return Policy.model_validate(
        {
            "name": "p",
            "purposes": purposes,
            "rules": [{"id": "r", "effect": "permit", "categories": ["user"], "reason": "a test"}],
            "budgets": {"cap": {"epsilon": 1}, "snapshot": {"interval": "7d"}},
        }
    )


def rank(one: Event, status: str | None = None) -> tuple[int, int, int]:
    return one.happened, one.received, STATUSES.index(status or one.status)


def lapsed(one: Event, moment: int) -> bool:
    return one.status == "given" and one.until is not None and one.until <= moment


def effective(one: Event, moment: int) -> str:
    return "expired" if lapsed(one, moment) else one.status


def above(purpose: str) -> set[str]:
    parts = purpose.split(".")
    return {"*"} | {".".join(parts[:n]) for n in range(1, len(parts))}


def state(events: list[Event], purpose: str, moment: int) -> tuple[str | None, tuple[int, int, int] | None]:
    """What stands for one data use: the effective status, and the rank of the event behind it."""
    mine = [e for e in events if e.purpose == purpose]
    blocks = [e for e in events if e.status in BLOCKS and (e.purpose == purpose or e.purpose in above(purpose))]
    grants = [rank(e, effective(e, moment)) for e in mine if e.status == "given"]
    if blocks:
        last = max(blocks, key=rank)
        if not grants or rank(last) > max(grants):
            return last.status, rank(last)
    if not mine:
        return None, None
    best = max(rank(e, effective(e, moment)) for e in mine)
    return STATUSES[best[2]], best


def reference(events: list[Event], rules: Policy, moment: int) -> Reason:
    """The rules in the module's docstring, one subject and one moment at a time."""
    # 1. basis
    bases = rules.purposes[PURPOSE].basis

    def basis_of(jurisdiction: str) -> str | None:
        found = bases.get(jurisdiction.strip().lower(), bases.get("default"))
        return None if found is None else "in" if found.opt_in else "out"

    naming = [e for e in events if e.jurisdiction and e.jurisdiction.strip()]
    basis = basis_of(HOME)
    if naming:
        newest = max((e.happened, e.received) for e in naming)
        candidates = {basis_of(e.jurisdiction or "") for e in naming if (e.happened, e.received) == newest}
        basis = next(b for b in (None, "in", "out") if b in candidates)
    if basis is None:
        return Reason.NO_BASIS
    # 2., 3. what stands for the purpose itself
    own, _ = state(events, PURPOSE, moment)
    if own in BLOCKS:
        return {"refused": Reason.REFUSED, "withdrawn": Reason.WITHDRAWN, "objected": Reason.OBJECTED}[own]
    # 5. opt-out
    if basis == "out":
        if own == "invalidated":
            return Reason.INVALIDATED
        return Reason.ADMITTED if any(e.purpose == PURPOSE and e.notice for e in events) else Reason.NO_NOTICE
    # 4. opt-in
    if own == "given":
        return Reason.ADMITTED
    lenders = rules.purposes[PURPOSE].compatible_with
    lent = [when for use in lenders for status, when in [state(events, use, moment)] if status == "given" and when]
    stops = [
        rank(e)
        for use in lenders
        for e in events
        if e.status in ("withdrawn", "objected") and (e.purpose == use or e.purpose in above(use))
    ]
    if lent and (not stops or max(lent)[:2] >= max(stops)[:2]):
        return Reason.ADMITTED
    reasons = {"requested": Reason.REQUESTED, "expired": Reason.EXPIRED, "invalidated": Reason.INVALIDATED, None: Reason.NEVER_ASKED}
    return reasons[own]


def day(number: int) -> dt.datetime:
    return START + dt.timedelta(days=number)


def table(events: list[Event]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "subject": e.subject,
                "purpose": e.purpose,
                "status": e.status,
                "event_time": day(e.happened),
                "received_time": day(e.received),
                "valid_until": None if e.until is None else day(e.until),
                "jurisdiction": e.jurisdiction,
                "notice_version": e.notice,
            }
            for e in events
        ],
        SNAPSHOT,
    )


SUBJECTS = ("a", "A", "a ", " a", "7", "007", "ü", "u\u0308")
HISTORIES = st.lists(event(SUBJECTS), min_size=10, max_size=60)
POLICIES = st.builds(
    policy,
    st.dictionaries(st.sampled_from(("eu", "us", "br", "default")), st.sampled_from(("consent", "consent", "opt_out")), min_size=1),
    st.sampled_from(((), LENDERS[:1], LENDERS, LENDERS, LENDERS)),
)


@pytest.mark.slow
@settings(max_examples=200)
@given(HISTORIES, POLICIES, st.integers(0, LAST))
def test_the_set_operation_agrees_with_the_rules(events: list[Event], rules: Policy, moment: int) -> None:
    population = pa.table({"subject": [*SUBJECTS, "nobody", None, "", "a"]})
    judged = admit(table(events), population, rules, PURPOSE, HOME, day(moment)).reasons.to_pylist()
    known = [e for e in events if e.happened <= moment and e.received <= moment]
    expected = {s: reference([e for e in known if e.subject == s], rules, moment) for s in (*SUBJECTS, "nobody")}
    assert len(judged) == len(expected)
    assert {row["subject"]: Reason(row["reason"]) for row in judged} == expected


@pytest.mark.slow
@settings(max_examples=100)
@given(HISTORIES, POLICIES, st.integers(0, LAST))
def test_a_moment_lies_in_an_interval_exactly_if_it_would_have_been_admitted(events: list[Event], rules: Policy, now: int) -> None:
    found = intervals(table(events), rules, PURPOSE, HOME, day(now)).to_pylist()
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
