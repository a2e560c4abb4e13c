"""What merging and splitting write and refuse; `tests/property/test_identity.py` covers what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import Session, select

from audit import log
from audit.commitments import commit
from governance import consent, identity
from governance.consent import ConsentEvent, Status
from governance.identity import IdentityError, Link, identities, links, stopped
from governance.store import Store, Transaction
from governance.tables import IdentityRow
from tests.ledgers import ADS, CARE, START, Clock, store


def do(opened: Store, *steps: Callable[[Transaction], object]) -> None:
    for step in steps:
        with opened.transaction() as write:
            step(write)


def merge(subject: str, into: str) -> Callable[[Transaction], object]:
    return lambda write: identity.merge(write, subject, into)


def split(subject: str) -> Callable[[Transaction], object]:
    return lambda write: identity.split(write, subject)


def withdraw(subject: str) -> Callable[[Transaction], object]:
    return lambda write: consent.withdraw(write, subject, ADS)


def rows(session: Session) -> list[IdentityRow]:
    return list(session.exec(select(IdentityRow).order_by("id")))


def test_a_merge_and_a_split_are_rows_with_two_times_and_entries_that_name_nobody(tmp_path: Path, database: str) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    do(opened, withdraw("ann"), lambda write: identity.merge(write, "ann", "bo", START.replace(hour=1)))
    clock.tick(days=1)
    do(opened, split("ann"))
    with opened.read() as session:
        first, second = rows(session)
        entries = [entry.parsed for entry in log.entries(session.connection())][1:]
        assert [link.after for link in links(session)] == [1, 1]
        assert len(links(session, START)) == 1
    assert (first.subject, first.survivor, first.event_time < first.received_time) == ("ann", "bo", True)
    assert (second.subject, second.survivor, second.event_time - first.received_time) == ("ann", None, 86_400_000_000)
    assert [entry["action"] for entry in entries] == ["identity.merged", "identity.split"]
    assert "ann" not in json.dumps(entries)
    for row, entry in zip((first, second), entries, strict=True):
        said = [row.subject, row.survivor, row.after, row.event_time, row.received_time]
        assert entry["facts"] == {"commitment": commit(json.dumps(said, separators=(",", ":")), row.salt).hex()}


def test_chains_are_resolved(tmp_path: Path) -> None:
    opened = store(tmp_path)
    do(opened, merge("a", "b"), merge("b", "c"), merge("d", "a"))
    with opened.read() as session:
        found = identities(links(session))
    assert {found.survivor(key) for key in "abcd"} == {"c"}
    assert found.together("a") == found.together("c") == set("abcd") and found.together("e") == {"e"}
    assert set(found.merged) == set("abd")


@pytest.mark.parametrize(("subject", "into"), [("a", "a"), ("c", "a"), ("c", "d"), ("", "x"), ("x", ""), ("a", "x")])
def test_cycles_second_merges_and_empty_keys_are_refused_and_nothing_is_written(tmp_path: Path, subject: str, into: str) -> None:
    opened = store(tmp_path)
    do(opened, merge("a", "b"), merge("b", "c"), merge("d", "c"))
    with pytest.raises(IdentityError, match="expected"):
        do(opened, merge(subject, into))
    with opened.read() as session:
        assert len(rows(session)) == 3


def test_what_is_not_merged_cannot_be_split(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with pytest.raises(IdentityError, match="not merged"):
        do(opened, split("a"))
    do(opened, merge("a", "b"))
    with pytest.raises(IdentityError, match="not merged"):
        do(opened, split("b"))


def test_a_split_takes_along_what_was_merged_into_the_key() -> None:
    found = identities([Link("a", "b", 0), Link("b", "c", 0), Link("b", None, 0)])
    assert found.together("a") == {"a", "b"} and found.together("c") == {"c"}
    assert dict(found.merged) == {"a": "b"}


def test_merging_and_splitting_again_and_again_with_nothing_said_adds_nothing() -> None:
    again = [Link("a", "b", 7), Link("a", None, 7)] * 30
    once, often = identities(again[:3]), identities([*again, again[0]])
    assert often.threads == once.threads


def test_a_person_has_a_bounded_number_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MOST", 3)
    opened = store(tmp_path)
    do(opened, merge("a", "d"), merge("b", "d"))
    with pytest.raises(IdentityError, match="at most 3"):
        do(opened, merge("c", "d"))
    with opened.read() as session:
        assert len(rows(session)) == 2


def test_a_withdrawal_of_one_key_stands_for_all_until_consent_is_given_to_it(tmp_path: Path) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    do(opened, withdraw("a"))
    with opened.read() as session:
        assert not stopped(session, "b", ADS)
    do(opened, merge("a", "b"))
    with opened.read() as session:
        assert stopped(session, "b", ADS) and stopped(session, "a", ADS) and not stopped(session, "b", CARE)
    clock.tick(hours=1)
    do(opened, lambda write: consent.append(write, [ConsentEvent("a", ADS, Status.GIVEN, clock.now)]))
    with opened.read() as session:
        assert not stopped(session, "b", ADS)


def test_whom_an_erased_key_stood_for_stays_out_and_meets_no_stranger(tmp_path: Path) -> None:
    opened = store(tmp_path)
    do(opened, merge("a", "gone"), merge("b", "lost"), merge("gone", "c"))

    def erase(write: Transaction) -> None:
        for row in rows(write.session):
            row.subject = "" if row.subject == "gone" else row.subject
            row.survivor = "" if row.survivor in ("gone", "lost") else row.survivor
            write.session.add(row)
        write.record("erased")

    do(opened, erase)
    with opened.read() as session:
        found = identities(links(session))
    assert set(found.merged) == {"a", "b"}
    assert found.together("a").isdisjoint(found.together("b")) and found.together("c") == {"c"}
