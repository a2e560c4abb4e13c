"""Erasure in the database: tombstones that keep every root, merges and comments without the name, and objections that outlast it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from sqlmodel import select

from audit import log
from governance import builds, consent, erasures, identity, rights, traces
from governance.consent import ConsentEvent, Status
from governance.consent_batches import batch_root
from governance.store import Store
from governance.suppression import Kind, Suppression
from governance.tables import ApprovalRow, BuildRow, ConsentRow, ErasureRow, ExportRow, IdentityRow
from tests.ledgers import ADS, CARE, START, store

ANNA, OTTO = "anna@example.com", "otto@example.com"


def said(subject: str, status: Status, day: int, purpose: str = ADS, **more: str) -> ConsentEvent:
    return ConsentEvent(subject, purpose, status, START - dt.timedelta(days=100 - day), **more)  # type: ignore[arg-type]


@pytest.fixture
def kept(tmp_path: Path, database: str) -> Store:
    opened = store(tmp_path)
    events = [
        said(ANNA, Status.GIVEN, 1, notice_version="v1", method="form", jurisdiction="eu", raw_signal="raw", decoded='{"a":1}'),
        said(OTTO, Status.GIVEN, 2),
        said(ANNA, Status.WITHDRAWN, 3, CARE),
    ]
    with opened.transaction() as write:
        consent.append(write, events)
    with opened.transaction() as write:
        consent.append(write, [said(OTTO, Status.REFUSED, 4)])
    return opened


def erase(kept: Store, *subjects: str) -> None:
    with kept.transaction() as write:
        begun = [erasures.begin(write, subject) for subject in subjects]
    with kept.transaction() as write:
        for each in begun:
            rights.bury(write, each, [each.subject])
    with kept.transaction() as write:
        for each in begun:
            erasures.forget_name(write, each)
    kept.shred()
    with kept.transaction() as write:
        for each in begun:
            erasures.finish(write, each, True)


def roots(kept: Store) -> tuple[list[str], list[str]]:
    """Those of the log, and those that rows give now."""
    with kept.read() as session:
        facts = [e.parsed["facts"] for e in log.entries(session.connection()) if e.parsed["action"] == "consent.append"]
        return [fact["root"] for fact in facts], [batch_root(session, fact["batch"]).hex() for fact in facts]


def test_tombstones_keep_every_root_and_nothing_of_the_subject(kept: Store) -> None:
    erase(kept, ANNA)
    logged, now = roots(kept)
    assert logged == now and len(now) == 2
    with kept.read() as session:
        rows = session.exec(select(ConsentRow).order_by(ConsentRow.id)).all()  # type: ignore[arg-type]
        assert [row.subject for row in rows] == ["", OTTO, "", OTTO]
        for row in (rows[0], rows[2]):
            shown = {name: getattr(row, name) for name in type(row).model_fields}
            empty = {name for name, value in shown.items() if value in (None, "", b"")}
            assert set(shown) - empty == {"id", "status", "event_time", "received_time", "batch", "leaf"}
            assert row.status == "erased" and row.event_time == row.received_time
        assert list(traces.in_rows(session.connection(), traces.needles(ANNA, {"k": b"k" * 32}))) == []
        assert list(traces.in_rows(session.connection(), traces.needles(OTTO, {"k": b"k" * 32})))
        assert consent.history(session, ANNA) == [] and len(consent.history(session, OTTO)) == 2


def test_a_changed_row_beside_a_tombstone_is_still_found(kept: Store) -> None:
    erase(kept, ANNA)
    with kept.transaction() as write:
        row = write.session.exec(select(ConsentRow).where(ConsentRow.subject == OTTO)).first()
        assert row is not None
        row.status = "withdrawn"
        write.session.add(row)
        write.record("tampered")
    logged, now = roots(kept)
    assert logged[0] != now[0] and logged[1] == now[1]


def recalled(build: str, reason: str) -> BuildRow:
    facts = json.dumps({"recalled": reason})
    return BuildRow(id=build, segment="s", plan="p", purpose=ADS, status="recalled", builder="ana", created=1, reservation="r", facts=facts)


def test_merges_and_comments_lose_the_name_and_keep_their_place(kept: Store) -> None:
    with kept.transaction() as write:
        identity.merge(write, ANNA, OTTO)
        write.session.add(ApprovalRow(build="b", principal="olga", verdict="approve", comment=f"for {ANNA}, not x{ANNA}", created=1))
        write.session.add(ExportRow(id="e", build="b", destination="mail", file=f"/out/{ANNA}.csv", principal="ana", created=1))
        write.session.add(recalled("b", f"asked by {ANNA}"))
    erase(kept, ANNA)
    with kept.read() as session:
        assert session.get_one(BuildRow, "b").facts == json.dumps({"recalled": f"asked by {rights.REDACTED}"})
        assert session.get_one(ExportRow, "e").file == rights.REDACTED
        (link,) = session.exec(select(IdentityRow)).all()
        assert (link.subject, link.survivor, link.salt) == ("", OTTO, b"")
        assert identity.identities(identity.links(session)).together(OTTO) == {OTTO}
        (said_yes,) = builds.approvals(session, builds.BuildId("b"))
        assert said_yes.comment == f"for {rights.REDACTED}, not x{ANNA}"


def test_a_short_key_in_a_comment_is_told_and_not_touched(kept: Store) -> None:
    with kept.transaction() as write:
        consent.append(write, [said("17", Status.GIVEN, 1)])
        write.session.add(ApprovalRow(build="b", principal="olga", verdict="approve", comment="17 of them", created=1))
        write.session.add(recalled("c", "17 complained"))
    erase(kept, "17")
    with kept.read() as session:
        assert rights.mentions(session, "17") == ("b", "c") and rights.mentions(session, "7") == ()


def test_a_key_that_json_escapes_is_found_in_why_a_build_was_recalled(kept: Store) -> None:
    key = 'müller-"häuser"-1'
    with kept.transaction() as write:
        consent.append(write, [said(key, Status.GIVEN, 1)])
        write.session.add(recalled("b", f"{key} complained"))
    erase(kept, key)
    with kept.read() as session:
        assert session.get_one(BuildRow, "b").facts == json.dumps({"recalled": f"{rights.REDACTED} complained"})
        assert list(traces.in_rows(session.connection(), traces.needles(key, {}))) == []


def test_an_intent_that_was_begun_goes_on_and_the_end_knows_nobody(kept: Store) -> None:
    with kept.transaction() as write:
        first = erasures.begin(write, ANNA)
    with kept.transaction() as write:
        assert erasures.begin(write, ANNA) == first
    with kept.read() as session:
        assert erasures.unfinished(session) == (first,)
    erase(kept, ANNA)
    with kept.read() as session:
        assert erasures.unfinished(session) == ()
        assert [row.subject for row in session.exec(select(ErasureRow))] == [""]
        assert ANNA not in "".join(entry.body.decode() for entry in log.entries(session.connection()))


def test_objections_that_stand_outlast_an_erasure_and_follow_whoever_comes_back(kept: Store, tmp_path: Path) -> None:
    listed = Suppression(tmp_path / "outside", "test")
    listed.create()
    with kept.read() as session:
        standing = list(rights.standing(session, ANNA))
    assert [(entry.kind, entry.purpose) for entry in standing] == [(Kind.OBJECTED, CARE)]
    for entry in standing:
        listed.add(ANNA, entry.kind, entry.at, entry.purpose)
    listed.add(ANNA, Kind.ERASED, START)
    erase(kept, ANNA)
    with kept.transaction() as write:
        consent.append(write, [said(ANNA, Status.REQUESTED, 99, CARE, notice_version="v2")])
        assert rights.refile(write, listed, [ANNA, OTTO]) == 1
        assert rights.refile(write, listed, [ANNA, OTTO]) == 0
    with kept.read() as session:
        assert consent.stopped(session, ANNA, CARE) and not consent.stopped(session, ANNA, ADS)
    with kept.transaction() as write:
        consent.append(write, [said(ANNA, Status.GIVEN, 99, CARE)])
    with kept.read() as session:
        assert not consent.stopped(session, ANNA, CARE)  # a yes that is newer than the objection lifts it, as ever
        assert list(rights.known_subjects(session)) and set(rights.known_subjects(session)) == {ANNA, OTTO}


def test_a_no_that_was_lifted_is_not_kept(kept: Store) -> None:
    with kept.transaction() as write:
        consent.append(write, [said(ANNA, Status.GIVEN, 50, CARE)])
    with kept.read() as session:
        assert list(rights.standing(session, ANNA)) == []
