"""Random consent histories full of ties, and a slow reading of the rules of `governance.admission`, one subject at a time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from governance.admission import Reason
from governance.consent import SNAPSHOT
from governance.verdicts import GUARDIAN
from policies.policy import Policy

PURPOSE, ABOVE, BELOW = "marketing.advertising.first_party", "marketing.advertising", "marketing.advertising.first_party.targeted"
LENDERS = ("analytics.reporting", "personalize.content")
PURPOSES = (PURPOSE, PURPOSE, PURPOSE, ABOVE, BELOW, *LENDERS, *LENDERS, "analytics", "essential.service", "*")
STATUSES = ("requested", "given", "expired", "invalidated", "refused", "withdrawn", "objected")  # mildest first
BLOCKS = ("refused", "withdrawn", "objected")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LAST = 4
HOME, CONTROLLER = "eu", "Shop Ltd"


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
    method: str | None = None
    basis: str | None = None
    controller: str | None = None


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
        st.sampled_from((None, None, "", "eu", " EU", "us", "us-ca", "US-tx", "br", "ch")),
        st.sampled_from((None, "", "v1")),
        st.sampled_from((None, GUARDIAN, "form")),
        st.sampled_from((None, None, "", "consent", "legitimate_interest")),
        st.sampled_from((None, None, "", " ", CONTROLLER, " shop  LTD", "Other Inc")),
    )


def policy(bases: dict[str, str], lenders: tuple[str, ...], children: dict[str, Any] | None = None) -> Policy:
    purposes: dict[str, Any] = {use: {"basis": {"default": "consent"}} for use in LENDERS}
    purposes[PURPOSE] = {"basis": bases, "compatible_with": lenders}
    return Policy.model_validate(
        {
            "name": "p",
            "purposes": purposes,
            "rules": [{"id": "r", "effect": "permit", "categories": ["user"], "reason": "a test"}],
            "budgets": {"cap": {"epsilon": 1}, "snapshot": {"interval": "7d"}},
            "children": {} if children is None else {HOME: {"age": 16, **children}},
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


def reference(events: list[Event], rules: Policy, moment: int, child: bool | None = False) -> Reason:
    """Rules 1 to 6 and 8, one subject and one moment at a time; `child` None: nobody knows."""
    found = adult(events, rules, moment)
    children = rules.children_in(HOME)
    if found is not Reason.ADMITTED or children is None or not (children.unknown != "admit" if child is None else child):
        return found
    if children.treatment == "guardian" and adult(events, rules, moment, by_guardians=True) is Reason.ADMITTED:
        return Reason.ADMITTED
    return Reason.CHILD


def heard(one: Event) -> Event | None:
    """Rule 8: what an event says to `CONTROLLER`."""
    named = " ".join((one.controller or "").split()).lower()
    if one.status in BLOCKS:
        return replace(one, notice=None) if one.controller else one
    if named not in ("", CONTROLLER.lower()):
        return None
    return replace(one, status="requested") if one.status == "given" and one.basis not in (None, "", "consent") else one


def told(events: list[Event], by_guardians: bool = False) -> list[Event]:
    """What is heard of them; `by_guardians`: no other consent."""
    known = [e for e in map(heard, events) if e is not None]
    return [e for e in known if e.status != "given" or e.method == GUARDIAN] if by_guardians else known


def adult(events: list[Event], rules: Policy, moment: int, by_guardians: bool = False) -> Reason:
    """Rules 1 to 5 and 8."""
    everything, events = events, told(events, by_guardians)
    # 1. basis
    bases = rules.purposes[PURPOSE].basis

    def basis_of(jurisdiction: str) -> str | None:
        place = jurisdiction.strip().lower()
        found = bases.get(place) or bases.get(place.split("-")[0]) or bases.get("default")
        return None if found is None else "in" if found.opt_in else "out"

    naming = [e for e in everything if e.jurisdiction and e.jurisdiction.strip()]
    basis = basis_of(HOME)
    if naming:
        newest = max((e.happened, e.received) for e in naming)
        candidates = {basis_of(e.jurisdiction or "") for e in naming if (e.happened, e.received) == newest}
        basis = next(b for b in (None, "in", "out") if b in candidates)
    if basis is None:
        return Reason.NO_BASIS
    if by_guardians:
        basis = "in"
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
    if lent and (not stops or max(lent)[:2] > max(stops)[:2]):
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
                "method": e.method,
                "basis": e.basis,
                "controller": e.controller,
                "id": number,
            }
            for number, e in enumerate(events, 1)
        ],
        SNAPSHOT,
    )
