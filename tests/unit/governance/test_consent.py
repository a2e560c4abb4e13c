from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from audit import log
from audit.commitments import collect, commit
from governance import consent
from governance.consent import SKEW, SNAPSHOT, ConsentError, ConsentEvent, EventError, Receipt, Status
from governance.store import Store
from governance.tables import ConsentRow
from policies.policy import Basis
from tests.ledgers import START, Clock, store

pytestmark = pytest.mark.usefixtures("database")

OFFERS = "marketing.advertising.first_party.targeted"
DAY = dt.timedelta(days=1)


def given(subject: str = "ann", purpose: str = OFFERS, at: dt.datetime = START - DAY) -> ConsentEvent:
    return ConsentEvent(subject, purpose, Status.GIVEN, at)


def write(opened: Store, *events: ConsentEvent) -> Receipt:
    with opened.transaction() as transaction:
        return consent.append(transaction, events)


def rows(opened: Store) -> list[ConsentRow]:
    with opened.read() as session:
        return list(session.exec(select(ConsentRow).order_by("id")))


def entries(opened: Store) -> list[dict[str, object]]:
    with opened.read() as session:
        return [entry.parsed for entry in log.entries(session.connection())]


FULL = ConsentEvent(
    "bo",
    OFFERS,
    Status.GIVEN,
    START - DAY,
    valid_until=START + DAY,
    basis=Basis.CONSENT,
    notice_version="v1",
    notice_hash="abc",
    controller="Shop Ltd",
    jurisdiction="eu",
    method="form",
    raw_signal="raw",
)


def test_what_is_appended_is_held(tmp_path: Path) -> None:
    opened = store(tmp_path)
    receipt = write(opened, given(), FULL)
    with opened.read() as session:
        (held,) = consent.history(session, "bo")
    assert (held.event, held.received_time, held.batch) == (FULL, START, receipt.batch)


def test_a_batch_is_one_entry_that_names_nobody(tmp_path: Path) -> None:
    opened = store(tmp_path)
    receipt = write(opened, FULL, *(given(f"customer-{i}") for i in range(25_000)))
    (entry,) = entries(opened)
    assert entry["action"] == "consent.append"
    assert entry["facts"] == {"batch": receipt.batch, "events": 25_001, "root": receipt.root.hex()}
    assert len(rows(opened)) == receipt.events == 25_001


def test_the_root_commits_to_every_field_under_the_salt_of_its_row(tmp_path: Path) -> None:
    opened = store(tmp_path)
    receipt = write(opened, FULL, given())
    held = rows(opened)
    assert len({row.salt for row in held}) == 2

    def root(names: list[str]) -> bytes:
        values = [json.dumps([getattr(row, name) for name in names], separators=(",", ":")) for row in held]
        return collect(commit(value, row.salt) for value, row in zip(values, held, strict=True)).root

    names = [name for name in ConsentRow.model_fields if name not in ("id", "batch", "salt", "leaf", "decoded")]  # nothing was decoded
    assert root(names) == receipt.root
    assert all(root([n for n in names if n != left_out]) != receipt.root for left_out in names)


def test_nothing_is_written_if_one_event_cannot_be_taken(tmp_path: Path) -> None:
    opened = store(tmp_path)
    late = given(at=START + SKEW + dt.timedelta(seconds=1))
    with pytest.raises(EventError, match=r"`event_time`: got `2026-05-20T12:05:01\+00:00`, expected a time no later than now"):
        write(opened, *(given(f"{i}") for i in range(20_000)), late)
    with pytest.raises(ConsentError, match="got no event"):
        write(opened)
    assert rows(opened) == [] and entries(opened) == []


def test_a_clock_ahead_of_ours_does_not_delay_a_withdrawal(tmp_path: Path) -> None:
    opened = store(tmp_path)
    write(opened, ConsentEvent("ann", "*", Status.WITHDRAWN, START + SKEW))
    with opened.read() as session:
        assert consent.snapshot_events(session, START)["event_time"].to_pylist() == [START]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"subject": ""}, "`subject`: got nothing"),
        ({"purpose": "marketing.magic"}, "`purpose`: got `marketing.magic`, expected a fideslang data use"),
        ({"purpose": "x" * 100}, f"`purpose`: got `{'x' * 60}…`"),
        ({"purpose": "*"}, r"`purpose`: got `\*`, expected one data use, because the status is `given`"),
        ({"purpose": "*", "status": Status.REQUESTED}, r"`purpose`: got `\*`"),
        ({"valid_until": START}, "`valid_until`: got .*, expected a time after `event_time`"),
    ],
)
def test_fields_that_contradict_each_other(fields: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"subject": "ann", "purpose": OFFERS, "status": Status.GIVEN, "event_time": START}
    with pytest.raises(EventError, match=message):
        ConsentEvent(**(good | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [status for status in Status if status.blocks])
def test_a_no_may_speak_of_every_purpose(status: Status) -> None:
    assert ConsentEvent("ann", "*", status, START).purpose == "*"


def test_a_grant_and_a_withdrawal_happen_when_they_are_received(tmp_path: Path) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    with opened.transaction() as transaction:
        consent.grant(transaction, "ann", OFFERS, valid_until=START + DAY, notice_version="v1", jurisdiction="eu", method="desk")
    clock.tick(hours=1)
    with opened.transaction() as transaction:
        consent.withdraw(transaction, "ann")
    with opened.read() as session:
        first, second = consent.history(session, "ann")
        assert consent.history(session, "bo") == []
    assert first.event == ConsentEvent("ann", OFFERS, Status.GIVEN, START, START + DAY, None, "v1", None, None, "eu", "desk")
    assert second.event == ConsentEvent("ann", "*", Status.WITHDRAWN, START + dt.timedelta(hours=1))
    assert [entry["action"] for entry in entries(opened)] == ["consent.append"] * 2


def test_a_snapshot_holds_what_had_happened_and_was_known(tmp_path: Path) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    write(opened, FULL)
    clock.tick(days=10)
    write(opened, given("late", at=START), given("ann", at=START + 9 * DAY))
    with opened.read() as session:
        then = consent.snapshot_events(session, START + 5 * DAY)
        now = consent.snapshot_events(session, clock.now)
        of_ann = consent.snapshot_events(session, clock.now, "ann")
        before = consent.snapshot_events(session, START - 2 * DAY)
    assert then.schema == SNAPSHOT
    (row,) = then.to_pylist()
    fields = {name: getattr(FULL, name) for name in SNAPSHOT.names if name not in ("id", "received_time")}
    assert row == fields | {"id": 1, "received_time": START}
    assert sorted(now["subject"].to_pylist()) == ["ann", "bo", "late"]
    assert of_ann["subject"].to_pylist() == ["ann"]
    assert before.num_rows == 0 and before.schema == SNAPSHOT


@pytest.mark.parametrize("behind", [dt.timedelta(0), dt.timedelta(minutes=3), dt.timedelta(days=3)])
def test_a_clock_put_back_judges_by_the_newest_that_is_known(tmp_path: Path, behind: dt.timedelta) -> None:
    opened = store(tmp_path)
    with opened.read() as session:
        assert consent.judged_at(session, START) == START
    write(opened, given(), ConsentEvent("ann", "*", Status.WITHDRAWN, START))
    with opened.read() as session:
        at = consent.judged_at(session, START - behind)
        assert at == START and consent.judged_at(session, START + DAY) == START + DAY
        assert consent.snapshot_events(session, at).num_rows == 2


NO, YES = (Status.WITHDRAWN, Status.OBJECTED), Status.GIVEN


@pytest.mark.parametrize(
    ("events", "stopped"),
    [
        ((), False),
        (((YES, OFFERS, 0),), False),
        (((Status.REFUSED, OFFERS, 0),), False),
        *((((YES, OFFERS, 0), (no, purpose, 1)), True) for no in NO for purpose in (OFFERS, "marketing.advertising", "marketing", "*")),
        (((YES, OFFERS, 0), (Status.WITHDRAWN, "analytics", 1)), False),
        (((YES, OFFERS, 0), (Status.WITHDRAWN, "marketing.advertising.first_party.contextual", 1)), False),
        (((Status.WITHDRAWN, "*", 0), (YES, OFFERS, 1)), False),
        (((Status.WITHDRAWN, "*", 0), (YES, "analytics", 1)), True),
        (((Status.WITHDRAWN, "*", 0), (Status.REQUESTED, OFFERS, 1)), True),
        (((Status.WITHDRAWN, OFFERS, 1), (YES, OFFERS, 1)), True),
        (((YES, OFFERS, 1), (Status.WITHDRAWN, OFFERS, 0)), False),
    ],
)
def test_a_no_stands_until_a_later_consent_to_the_purpose_itself(
    tmp_path: Path, events: tuple[tuple[Status, str, int], ...], stopped: bool
) -> None:
    opened = store(tmp_path)
    if events:
        write(opened, *(ConsentEvent("ann", purpose, status, START - DAY + day * DAY / 2) for status, purpose, day in events))
    with opened.read() as session:
        assert consent.stopped(session, "ann", OFFERS) is stopped
        assert not consent.stopped(session, "bo", OFFERS)


@pytest.mark.parametrize(
    ("fields", "lifts"),
    [({}, True), ({"basis": Basis.CONSENT}, True), ({"basis": Basis.LEGITIMATE_INTEREST}, False), ({"controller": "Other Inc"}, False)],
)
def test_only_consent_and_to_nobody_else_lifts_a_no(tmp_path: Path, fields: dict[str, Any], lifts: bool) -> None:
    opened = store(tmp_path)
    write(opened, ConsentEvent("ann", "*", Status.OBJECTED, START - DAY), ConsentEvent("ann", OFFERS, Status.GIVEN, START, **fields))
    with opened.read() as session:
        assert consent.stopped(session, "ann", OFFERS) is not lifts


def test_exact_counts_by_purpose_and_status(tmp_path: Path) -> None:
    opened = store(tmp_path)
    write(opened, given(), given("bo"), ConsentEvent("ann", "*", Status.WITHDRAWN, START))
    with opened.read() as session:
        assert [(c.purpose, c.status, c.events) for c in consent.stats(session)] == [("*", "withdrawn", 1), (OFFERS, "given", 2)]


def test_no_subject_in_what_may_be_printed(tmp_path: Path) -> None:
    assert "bo" not in repr(FULL) and "raw_signal" not in repr(FULL)
