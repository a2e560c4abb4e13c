"""Each rule of admission on a history small enough to read; `tests/property/test_admission.py` covers their interplay."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from governance.admission import STRICTNESS, Admission, Reason, admit, intervals, reasons_query
from governance.consent import SNAPSHOT, Status
from governance.door import LocalCohort, MemoryMeter
from governance.identity import Link, identities
from policies.policy import Policy
from tests.fakes import ZeroNoise

OFFERS, ADVERTISING, REPORTS = "marketing.advertising.first_party.targeted", "marketing.advertising", "analytics.reporting"
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
POLICY = Policy.model_validate(
    {
        "name": "p",
        "purposes": {
            OFFERS: {"basis": {"eu": "consent", "us": "opt_out"}},
            REPORTS: {"basis": {"default": "consent"}, "compatible_with": [OFFERS, "essential.service"]},
            "essential.service": {"basis": {"default": "legitimate_interest"}},
        },
        "rules": [{"id": "r", "effect": "permit", "categories": ["user"], "reason": "a test"}],
        "budgets": {"cap": {"epsilon": 1}, "snapshot": {"interval": "7d"}},
    }
)

History = list[dict[str, Any]]


def day(number: int) -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number)


def said(status: str, on: int, purpose: str = OFFERS, **fields: Any) -> dict[str, Any]:
    event = {
        "subject": "ann",
        "purpose": purpose,
        "status": status,
        "event_time": day(on),
        "received_time": day(on),
        "notice_version": None,
    }
    return event | {"valid_until": None, "jurisdiction": "eu"} | fields


def judge(history: History, purpose: str = OFFERS, home: str = "eu", at: dt.datetime = NOW) -> Reason | None:
    events, population = pa.Table.from_pylist(history, SNAPSHOT), pa.table({"subject": ["ann"]})
    return admit(events, population, POLICY, purpose, home, at, controller="Shop Ltd").check("ann")


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([], Reason.NEVER_ASKED),
        ([said("requested", 1)], Reason.REQUESTED),
        ([said("given", 1)], Reason.ADMITTED),
        ([said("refused", 1)], Reason.REFUSED),
        ([said("given", 1), said("withdrawn", 2)], Reason.WITHDRAWN),
        ([said("withdrawn", 2), said("given", 1)], Reason.WITHDRAWN),
        ([said("withdrawn", 1), said("given", 2)], Reason.ADMITTED),
        ([said("given", 1), said("objected", 2, "*")], Reason.OBJECTED),
        ([said("given", 1), said("withdrawn", 2, ADVERTISING)], Reason.WITHDRAWN),
        ([said("given", 1, ADVERTISING)], Reason.NEVER_ASKED),
        ([said("given", 1), said("withdrawn", 2, REPORTS)], Reason.ADMITTED),
        ([said("withdrawn", 1, ADVERTISING), said("given", 2)], Reason.ADMITTED),
        ([said("withdrawn", 1), said("requested", 2)], Reason.WITHDRAWN),
        ([said("withdrawn", 1), said("expired", 2)], Reason.WITHDRAWN),
        ([said("given", 1), said("withdrawn", 1), said("requested", 2)], Reason.WITHDRAWN),
        ([said("given", 1), said("requested", 2)], Reason.REQUESTED),
        ([said("given", 1), said("expired", 2)], Reason.EXPIRED),
        ([said("given", 1), said("invalidated", 2)], Reason.INVALIDATED),
        ([said("given", 1, valid_until=NOW)], Reason.EXPIRED),
        ([said("given", 1, valid_until=NOW + dt.timedelta(microseconds=1))], Reason.ADMITTED),
        ([said("given", 1), said("withdrawn", 300)], Reason.ADMITTED),
        ([said("given", 1), said("withdrawn", 2, received_time=day(300))], Reason.ADMITTED),
        ([said("given", 1, jurisdiction="br")], Reason.NO_BASIS),
        ([said("shrugged", 1)], Reason.INVALIDATED),
    ],
)
def test_opt_in(history: History, reason: Reason) -> None:
    assert judge(history) is reason


@pytest.mark.parametrize("milder", list(Status)[:-1])
def test_on_a_tie_the_stricter_status_wins(milder: Status) -> None:
    ladder = list(STRICTNESS)
    for stricter in ladder[ladder.index(milder) + 1 :]:
        history = [said(milder, 1), said(stricter, 1)]
        assert judge(history) is judge(history[::-1]) is STRICTNESS[stricter]


def test_of_two_tied_grants_the_shorter_counts() -> None:
    assert judge([said("given", 1, valid_until=day(9)), said("given", 1)]) is Reason.EXPIRED


def test_received_time_breaks_ties_of_event_time() -> None:
    assert judge([said("withdrawn", 1), said("given", 1, received_time=day(2))]) is Reason.ADMITTED
    assert judge([said("withdrawn", 1, received_time=day(2)), said("given", 1)]) is Reason.WITHDRAWN


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([], Reason.NO_NOTICE),
        ([said("requested", 1, notice_version="v1")], Reason.ADMITTED),
        ([said("given", 1, notice_version="")], Reason.NO_NOTICE),
        ([said("requested", 1, REPORTS, notice_version="v1")], Reason.NO_NOTICE),
        ([said("requested", 1, notice_version="v1"), said("objected", 2)], Reason.OBJECTED),
        ([said("objected", 1, notice_version="v1"), said("requested", 2, notice_version="v1")], Reason.OBJECTED),
        ([said("objected", 1, notice_version="v1"), said("given", 2)], Reason.ADMITTED),
        ([said("requested", 1, notice_version="v1"), said("invalidated", 2)], Reason.INVALIDATED),
    ],
)
def test_opt_out(history: History, reason: Reason) -> None:
    assert judge([event | {"jurisdiction": " US "} for event in history], home="us") is reason


def test_the_latest_event_that_names_a_jurisdiction_tells_the_basis() -> None:
    moved = [said("requested", 1, notice_version="v1", jurisdiction="us"), said("given", 2, "analytics", jurisdiction="eu")]
    assert judge(moved, home="us") is Reason.REQUESTED
    assert judge([moved[0], moved[1] | {"jurisdiction": None}]) is Reason.ADMITTED
    assert (
        judge([said("given", 1, jurisdiction="us", notice_version="v"), said("withdrawn", 1, REPORTS, jurisdiction="br")])
        is Reason.NO_BASIS
    )


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([said("given", 1)], Reason.ADMITTED),
        ([said("given", 2), said("refused", 1, REPORTS)], Reason.REFUSED),
        ([said("given", 2), said("objected", 1, "*")], Reason.OBJECTED),
        ([said("given", 2), said("withdrawn", 1, REPORTS), said("requested", 3, REPORTS)], Reason.WITHDRAWN),
        ([said("given", 2), said("expired", 1, REPORTS)], Reason.ADMITTED),
        ([said("given", 1, valid_until=day(2)), said("invalidated", 1, REPORTS)], Reason.INVALIDATED),
        ([said("given", 1), said("withdrawn", 2, ADVERTISING)], Reason.NEVER_ASKED),
        ([said("given", 1), said("withdrawn", 2, "essential.service")], Reason.NEVER_ASKED),
        ([said("given", 2), said("withdrawn", 1, "essential.service")], Reason.ADMITTED),
        ([said("given", 1), said("withdrawn", 1, "essential.service")], Reason.NEVER_ASKED),
        ([said("given", 1), said("objected", 1, "essential.service")], Reason.NEVER_ASKED),
        ([said("given", 1), said("refused", 2, "essential.service")], Reason.ADMITTED),
        ([said("given", 1, REPORTS), said("withdrawn", 2, "essential.service")], Reason.ADMITTED),
    ],
)
def test_consent_to_a_compatible_purpose_serves_until_something_speaks_against_it(history: History, reason: Reason) -> None:
    assert judge(history, REPORTS) is reason


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([said("given", 1, controller="Other Inc")], Reason.NEVER_ASKED),
        ([said("given", 1, controller=" shop  LTD\t")], Reason.ADMITTED),
        ([said("given", 1, controller="\t ")], Reason.ADMITTED),
        ([said("withdrawn", 1), said("given", 2, controller="Other Inc")], Reason.WITHDRAWN),
        ([said("given", 1), said("withdrawn", 2, controller="Other Inc")], Reason.WITHDRAWN),
        ([said("given", 1), said("requested", 2, controller="Other Inc")], Reason.ADMITTED),
        ([said("given", 1, basis="consent")], Reason.ADMITTED),
        ([said("given", 1, basis="legal_obligation")], Reason.REQUESTED),
        ([said("refused", 1), said("given", 2, basis="legitimate_interest")], Reason.REFUSED),
        ([said("refused", 1), said("given", 2, basis="legal_obligation", controller="Other Inc")], Reason.REFUSED),
    ],
)
def test_consent_is_given_to_us_and_is_consent(history: History, reason: Reason) -> None:
    assert judge(history) is reason


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([said("given", 1, basis="legitimate_interest", notice_version="v")], Reason.ADMITTED),
        ([said("given", 1, basis="legitimate_interest")], Reason.NO_NOTICE),
        ([said("given", 1, notice_version="v", controller="Other Inc")], Reason.NO_NOTICE),
        ([said("expired", 1, notice_version="v", controller="Other Inc")], Reason.NO_NOTICE),
        ([said("requested", 1, notice_version="v", controller="SHOP LTD")], Reason.ADMITTED),
        ([said("objected", 1, basis="legitimate_interest", notice_version="v", controller="Other Inc")], Reason.OBJECTED),
        ([said("objected", 1, notice_version="v", controller="Other Inc"), said("given", 2)], Reason.NO_NOTICE),
        ([said("objected", 1), said("given", 2, basis="legitimate_interest", notice_version="v")], Reason.OBJECTED),
    ],
)
def test_notice_is_ours_and_another_basis_lifts_no_objection(history: History, reason: Reason) -> None:
    assert judge([event | {"jurisdiction": "us"} for event in history], home="us") is reason


def test_consent_to_a_compatible_purpose_is_lent_only_if_it_was_given_to_us() -> None:
    assert judge([said("given", 1, controller="Other Inc")], REPORTS) is Reason.NEVER_ASKED
    assert judge([said("given", 1, controller="Shop Ltd")], REPORTS) is Reason.ADMITTED


def test_more_controllers_than_a_small_number_counts_break_nothing() -> None:
    history = [said("given", 1, controller=f"Other {number}") for number in range(40_000)]
    assert judge([*history, said("given", 1)]) is Reason.ADMITTED
    assert judge(history) is Reason.NEVER_ASKED


@pytest.mark.parametrize(
    ("unknown", "told", "reason"),
    [
        ("leave_out", {"bob": True}, Reason.CHILD),
        ("admit", {"bob": True}, Reason.CHILD),
        ("leave_out", {"bob": False}, Reason.ADMITTED),
        ("leave_out", {"ann": False, "bob": True}, Reason.CHILD),
        ("leave_out", {"ann": None}, Reason.CHILD),
        ("leave_out", {"other": False}, Reason.CHILD),
        ("admit", {"ann": None}, Reason.ADMITTED),
        ("admit", None, Reason.ADMITTED),
        ("leave_out", None, Reason.ADMITTED),
        ("refuse", None, Reason.CHILD),
    ],
)
def test_a_merged_key_that_nobody_registered_tells_of_its_person(unknown: str, told: dict[str, bool | None] | None, reason: Reason) -> None:
    rules = Policy.model_validate(POLICY.model_dump() | {"children": {"eu": {"age": 16, "unknown": unknown}}})
    events, by = pa.Table.from_pylist([said("given", 2)], SNAPSHOT), identities([Link("bob", "ann", 0)])
    said_of = None if told is None else pa.table({"subject": [*told], "child": pa.array(told.values(), pa.bool_())})
    for population in ({"subject": ["ann"]}, {"subject": ["ann", "bob"]}):
        assert admit(events, pa.table(population), rules, OFFERS, "eu", NOW, by=by, told=said_of).check("ann") is reason


def test_a_purpose_that_the_policy_does_not_know_has_no_basis() -> None:
    assert judge([said("given", 1, "sales")], "sales") is Reason.NO_BASIS


def test_every_subject_once_and_no_null_or_empty_one() -> None:
    population = pa.table({"subject": pa.array([7, 7, None, 8]), "other": [1, 2, 3, 4]})
    events = pa.Table.from_pylist([said("given", 1, subject="7"), said("given", 1, subject="")], SNAPSHOT)
    admission = admit(events, population, POLICY, OFFERS, "eu", NOW)
    assert sorted(map(tuple, map(dict.values, admission.reasons.to_pylist()))) == [("7", Reason.ADMITTED), ("8", Reason.NEVER_ASKED)]
    assert admission.admitted().to_pydict() == {"subject": ["7"]}
    assert admission.check("9") is None
    assert "7" not in repr(admission)


def test_nobody_at_all() -> None:
    admission = admit(SNAPSHOT.empty_table(), pa.table({"subject": pa.array([], pa.string())}), POLICY, OFFERS, "eu", NOW)
    assert admission.reasons.num_rows == admission.admitted().num_rows == 0
    assert intervals(SNAPSHOT.empty_table(), POLICY, OFFERS, "eu", NOW).num_rows == 0


def test_the_histogram_goes_through_the_door() -> None:
    reasons = [Reason.ADMITTED] * 5 + [Reason.OBJECTED] * 3 + [Reason.NO_BASIS]
    admission = Admission(pa.table({"subject": [str(i) for i in range(9)], "reason": pa.array(reasons, pa.int8())}))
    meter = MemoryMeter(Fraction(1))
    noisy = LocalCohort(admission.histogram_columns(), meter).noisy_sum(reasons_query(), meter.grant(), ZeroNoise())
    assert noisy.shape == (1, len(Reason), 1)
    assert np.rint(noisy).ravel().tolist() == [5, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0]
    assert reasons_query().bound == 1.0


def test_intervals_of_valid_consent() -> None:
    history = [said("given", 1, valid_until=day(5)), said("given", 3, valid_until=day(9)), said("withdrawn", 7), said("given", 20)]
    found = intervals(pa.Table.from_pylist(history, SNAPSHOT), POLICY, OFFERS, "eu", day(30)).sort_by("start").to_pylist()
    tick = dt.timedelta(microseconds=1)
    assert [(i["start"], i["end"]) for i in found] == [(day(1), day(3)), (day(3), day(5)), (day(5), day(7)), (day(20), day(30) + tick)]


def test_an_import_that_comes_late_changes_what_was_known_then() -> None:
    history = [said("given", 1), said("withdrawn", 3, received_time=day(10))]
    assert judge(history, at=day(5)) is Reason.ADMITTED
    events = pa.Table.from_pylist(history, SNAPSHOT)
    assert [i["end"] for i in intervals(events, POLICY, OFFERS, "eu", day(30)).to_pylist()] == [day(3)]
