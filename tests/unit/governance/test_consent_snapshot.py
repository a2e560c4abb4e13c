"""The columnar copy of the ledger: believed only while it is exactly what the database says, and whole or not there."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from sqlmodel import select

from audit import log
from audit.failpoint import KILL
from governance import consent, consent_snapshot
from governance.admission import Admission, Reason, admit, intervals
from governance.consent import ConsentEvent, Status, events_of, speakers_after
from governance.consent_snapshot import FILES, PLACE, Base, behind, discard, invalidate, refresh
from governance.store import Store
from governance.tables import ConsentRow
from tests.ledgers import ADS, CARE, START, Clock, policy, store

PEOPLE = ("ann", "bo", "7", "-7", "07", "cy")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Store:
    """Everybody but `cy` consented, and `bo` withdrew."""
    held = store(tmp_path, clock)
    say(held, *(ConsentEvent(subject, ADS, Status.GIVEN, clock.now) for subject in PEOPLE[:-1]))
    clock.tick(hours=1)
    say(held, ConsentEvent("bo", ADS, Status.WITHDRAWN, clock.now))
    return held


def say(opened: Store, *events: ConsentEvent) -> None:
    with opened.transaction() as write:
        consent.append(write, events)


@contextmanager
def believed(opened: Store, hidden: Path, times: bool = False) -> Iterator[Base | None]:
    consent_snapshot.forget_digests()
    with opened.read() as session, consent_snapshot.base(session, hidden, opened.clock(), times) as found:
        yield found


def judged(opened: Store, hidden: Path, subjects: tuple[str, ...] = PEOPLE) -> dict[str, Reason]:
    with opened.read() as session, consent_snapshot.base(session, hidden, opened.clock()) as base:
        assert base is not None
        newer = events_of(session, opened.clock(), speakers_after(session, base.watermark))
        found: Admission = admit(newer, pa.table({"subject": subjects}), policy(), ADS, "eu", opened.clock(), base)
    return {row["subject"]: Reason(row["reason"]) for row in found.reasons.to_pylist()}


def folders(hidden: Path) -> list[Path]:
    return [path for path in (hidden / PLACE).iterdir() if path.is_dir()]


def test_a_copy_says_what_the_ledger_says_and_what_came_since(opened: Store, tmp_path: Path, clock: Clock) -> None:
    assert refresh(opened, tmp_path) == 6
    expected = dict.fromkeys(PEOPLE, Reason.ADMITTED) | {"bo": Reason.WITHDRAWN, "cy": Reason.NEVER_ASKED}
    assert judged(opened, tmp_path) == expected
    clock.tick(hours=1)
    say(opened, ConsentEvent("ann", "*", Status.OBJECTED, clock.now), ConsentEvent("new", ADS, Status.GIVEN, clock.now))
    assert judged(opened, tmp_path, (*PEOPLE, "new")) == expected | {"ann": Reason.OBJECTED, "new": Reason.ADMITTED}
    with opened.read() as session:
        assert behind(session) == 2
    assert refresh(opened, tmp_path) == 8
    with opened.read() as session:
        assert behind(session) == 0
    assert judged(opened, tmp_path, (*PEOPLE, "new")) == expected | {"ann": Reason.OBJECTED, "new": Reason.ADMITTED}
    assert len(folders(tmp_path)) == 1


def test_one_made_of_the_last_and_what_is_newer_is_the_one_made_of_everything(opened: Store, tmp_path: Path, clock: Clock) -> None:
    refresh(opened, tmp_path)
    clock.tick(hours=1)
    say(opened, ConsentEvent("aa", CARE, Status.GIVEN, clock.now, jurisdiction="eu"), ConsentEvent("8", ADS, Status.REFUSED, clock.now))
    refresh(opened, tmp_path)
    (grown,) = [[(path / name).read_bytes() for name in FILES] for path in folders(tmp_path)]
    discard(opened, tmp_path)
    refresh(opened, tmp_path)
    (fresh,) = [[(path / name).read_bytes() for name in FILES] for path in folders(tmp_path)]
    assert grown == fresh


def test_intervals_are_those_of_the_ledger(opened: Store, tmp_path: Path, clock: Clock) -> None:
    refresh(opened, tmp_path)
    with opened.read() as session:
        events = consent.snapshot_events(session, clock.now)
    with believed(opened, tmp_path, times=True) as base:
        assert base is not None
        mine = intervals(consent.SNAPSHOT.empty_table(), policy(), ADS, "eu", clock.now, base)
    assert mine.sort_by("subject").equals(intervals(events, policy(), ADS, "eu", clock.now).sort_by("subject"))
    assert mine.num_rows == 5


def test_a_copy_is_not_believed_about_the_past(opened: Store, tmp_path: Path, clock: Clock) -> None:
    refresh(opened, tmp_path)
    with opened.read() as session, consent_snapshot.base(session, tmp_path, START) as base:
        assert base is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["torn", "changed", "gone"])
def test_what_is_torn_changed_or_gone_is_passed_over_and_made_anew(opened: Store, tmp_path: Path, name: str, how: str) -> None:
    refresh(opened, tmp_path)
    (folder,) = folders(tmp_path)
    raw = bytearray((folder / name).read_bytes())
    match how:
        case "torn":
            (folder / name).write_bytes(raw[: len(raw) // 2])
        case "changed":
            raw[len(raw) // 2] ^= 1
            (folder / name).write_bytes(raw)
        case _:
            (folder / name).unlink()
    with believed(opened, tmp_path, times=True) as base:
        assert base is None
    refresh(opened, tmp_path)
    assert judged(opened, tmp_path)["ann"] is Reason.ADMITTED


def test_a_copy_of_another_format_is_passed_over_and_made_anew(
    opened: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent_snapshot, "FORMAT", "1")
    refresh(opened, tmp_path)
    monkeypatch.undo()
    with believed(opened, tmp_path) as base:
        assert base is None
    say(opened, ConsentEvent("ann", ADS, Status.GIVEN, clock.now, controller="Other Inc"))
    assert refresh(opened, tmp_path) == 7
    with believed(opened, tmp_path) as base:
        assert base is not None and f"{ADS}\x1fOther Inc" in base.words[0]


def test_a_folder_of_another_ledger_is_not_believed(opened: Store, tmp_path: Path, clock: Clock) -> None:
    refresh(opened, tmp_path)
    (folder,) = folders(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    foreign = store(other, clock)
    say(foreign, *(ConsentEvent(subject, ADS, Status.GIVEN, clock.now) for subject in PEOPLE))
    refresh(foreign, other)
    (theirs,) = folders(other)
    shutil.rmtree(folder)
    shutil.copytree(theirs, folder)
    with believed(opened, tmp_path) as base:
        assert base is None


def test_after_an_erasure_no_earlier_copy_is_believed_and_no_file_holds_anybody(opened: Store, tmp_path: Path) -> None:
    refresh(opened, tmp_path)
    (kept,) = folders(tmp_path)
    copy = shutil.copytree(kept, tmp_path / "kept")
    with opened.transaction() as write:
        invalidate(write)
        write.record("erased")
    with believed(opened, tmp_path) as base:
        assert base is None
    discard(opened, tmp_path)
    assert folders(tmp_path) == []
    shutil.copytree(copy, kept)  # an old backup of the files alone
    with believed(opened, tmp_path) as base:
        assert base is None


def test_a_copy_that_an_erasure_overtakes_is_not_placed(opened: Store, tmp_path: Path) -> None:
    steps: list[str] = []

    def erase(step: str) -> None:
        steps.append(step)
        if steps == ["read", "number"]:
            discard(opened, tmp_path)

    refresh(opened, tmp_path, erase)
    assert steps[:2] == ["read", "number"] and steps.count("read") == 2
    assert judged(opened, tmp_path)["bo"] is Reason.WITHDRAWN


def test_a_refresh_that_an_erasure_overtakes_can_write_nothing_more(opened: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill it then, and nobody's rows are left behind."""
    connect, spills, steps = duckdb.connect, list[Path](), list[str]()

    def watched(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        spills.append(Path(options["config"]["temp_directory"]))
        return connect(*arguments, **options)

    def erase(step: str) -> None:
        steps.append(step)
        if steps == ["read", "number"]:
            discard(opened, tmp_path)
            assert not spills[0].parent.exists() and folders(tmp_path) == []  # DuckDB makes one folder if need be, and not its parent

    monkeypatch.setattr(duckdb, "connect", watched)
    refresh(opened, tmp_path, erase)
    assert steps.count("read") == 2 and len(folders(tmp_path)) == 1


def test_tombstones_are_in_no_copy(opened: Store, tmp_path: Path) -> None:
    with opened.transaction() as write:
        for row in write.session.exec(select(ConsentRow).where(ConsentRow.subject == "ann")):
            row.subject, row.purpose, row.status = "", "", "erased"
            write.session.add(row)
        write.record("erased")
    assert refresh(opened, tmp_path) == 5
    with opened.read() as session:
        assert sum(count.events for count in consent.stats(session)) == 5
        assert "" not in consent.snapshot_events(session, opened.clock())["subject"].to_pylist()
    assert judged(opened, tmp_path)["ann"] is Reason.NEVER_ASKED


def test_the_log_says_that_a_copy_was_made_and_not_of_whom(opened: Store, tmp_path: Path) -> None:
    refresh(opened, tmp_path)
    with opened.read() as session:
        newest = list(log.entries(session.connection()))[-1].parsed
    assert (newest["action"], newest["facts"]) == ("consent.snapshot_taken", {"events": 6})


def _die_at(point: str, folder: Path) -> None:
    os.environ[KILL] = point
    refresh(store(folder, Clock(START + dt.timedelta(hours=1)), create=False), folder)


@pytest.mark.parametrize(
    "point",
    [
        "consent-snapshot:before-sync",
        "consent-snapshot:before-row",
        "consent-snapshot:before-commit",
        "consent-snapshot:after-commit",
        "consent-snapshot:after-seal",
    ],
)
def test_killed_anywhere_the_old_copy_is_believed_or_the_new_one(opened: Store, tmp_path: Path, clock: Clock, point: str) -> None:
    refresh(opened, tmp_path)
    say(opened, ConsentEvent("new", ADS, Status.GIVEN, clock.now))
    process = multiprocessing.get_context("fork").Process(target=_die_at, args=(point, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -9
    everybody = (*PEOPLE, "new")
    before = judged(opened, tmp_path, everybody)
    assert before["new"] is Reason.ADMITTED and before["bo"] is Reason.WITHDRAWN
    refresh(opened, tmp_path)
    assert judged(opened, tmp_path, everybody) == before and len(folders(tmp_path)) == 1
