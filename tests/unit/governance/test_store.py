import datetime as dt
import threading
import time
import traceback
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlmodel import select

from audit import log
from governance import databases
from governance.principals import Established, Principal
from governance.store import LAG, Store, StoreError, UnrecordedError, micros, moment, stamp
from governance.tables import ConsentRow, PlanRow
from tests.ledgers import START, Clock, MemorySeal, store

pytestmark = pytest.mark.usefixtures("database")


def row(key: str = "p1") -> PlanRow:
    return PlanRow(id=key, segment="s", spec="a", contract="b", policy="c", snapshot="d", principal="ana", created=0)


def plans(opened: Store) -> list[str]:
    with opened.read() as session:
        return [found.id for found in session.exec(select(PlanRow).order_by(PlanRow.id))]


def sqlite(folder: Path) -> Store:
    return Store(f"sqlite:///{folder / 'meta.db'}", MemorySeal(), Principal("ana"), Clock())


def entries(folder: Path) -> list[dict[str, object]]:
    with store(folder, create=False).read() as session:
        return [entry.parsed for entry in log.entries(session.connection())]


def test_rows_and_their_entry_are_written_and_sealed_together(tmp_path: Path) -> None:
    seal = MemorySeal()
    opened = store(tmp_path, seal=seal)
    with opened.transaction() as transaction:
        transaction.session.add(row())
        assert transaction.record("plan.made", plan="p1") == 0
    assert plans(opened) == ["p1"]
    expected = {
        "action": "plan.made",
        "at": "2026-05-20T12:00:00.000000Z",
        "facts": {"plan": "p1"},
        "principal": "ana",
        "v": 1,
        "established": "os",
    }
    assert entries(tmp_path) == [expected]
    assert seal.size == 1
    with opened.read() as session:
        assert seal.root == log.root(session.connection(), 1)


def test_an_unsafe_principal_is_marked(tmp_path: Path) -> None:
    opened = Store(f"sqlite:///{tmp_path}/meta.db", MemorySeal(), Principal("eve", Established.UNSAFE), Clock())
    opened.create()
    with opened.transaction() as transaction:
        transaction.record("something")
    with opened.read() as session:
        assert [entry.parsed["unsafe_principal"] for entry in log.entries(session.connection())] == [True]


def test_rows_without_an_entry_are_refused(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with pytest.raises(UnrecordedError, match="`plans`"), opened.transaction() as transaction:
        transaction.session.add(row())
    assert plans(opened) == []


@pytest.mark.parametrize("how", ["flushed", "statement", "text", "connection"])
def test_no_way_of_writing_goes_unseen(tmp_path: Path, how: str) -> None:
    opened = store(tmp_path)
    with opened.transaction() as transaction:
        transaction.session.add(row())
        transaction.record("plan.made")
    with pytest.raises(UnrecordedError), opened.transaction() as transaction:
        match how:
            case "flushed":
                transaction.session.add(row("p2"))
                transaction.session.flush()
            case "statement":
                transaction.session.exec(update(PlanRow).values(segment="other"))
            case "text":
                transaction.connection.execute(text("DELETE FROM plans"))
            case "connection":
                transaction.connection.execute(update(PlanRow).values(segment="other"))
    with opened.read() as session:
        assert [found.segment for found in session.exec(select(PlanRow))] == ["s"]


def test_a_read_cannot_write(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with pytest.raises(UnrecordedError), opened.read() as session:
        session.add(row())
        session.commit()
    assert plans(opened) == []


def test_a_read_is_consistent(tmp_path: Path) -> None:
    opened, other = store(tmp_path), store(tmp_path, create=False)
    with opened.read() as session:
        assert session.exec(select(PlanRow)).all() == []
        with other.transaction() as transaction:
            transaction.session.add(row())
            transaction.record("plan.made")
        assert session.exec(select(PlanRow)).all() == []
    assert plans(opened) == ["p1"]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with pytest.raises(KeyError), opened.transaction() as transaction:
        transaction.session.add(row())
        transaction.record("plan.made")
        transaction.session.flush()
        raise KeyError
    assert plans(opened) == []
    assert entries(tmp_path) == []


def test_writers_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "WAIT", 0.1)
    opened = store(tmp_path)
    busy = pytest.raises(StoreError, match=r"another command has been writing for 0\.1 s; try again")
    with opened.transaction() as transaction:
        transaction.record("first")
        with busy, store(tmp_path, create=False).transaction():
            pytest.fail("two wrote at once")
    with store(tmp_path, create=False).transaction() as transaction:
        assert transaction.record("second") == 1


def test_a_writer_sees_what_was_written_while_it_waited(tmp_path: Path) -> None:
    """One that read before it waited could spend a balance that is gone."""
    opened, other = store(tmp_path), store(tmp_path, create=False)
    begun, found = threading.Event(), list[int]()

    def second() -> None:
        begun.set()
        with other.transaction() as transaction:
            found.append(len(transaction.session.exec(select(PlanRow)).all()))
            transaction.record("second")

    with opened.transaction() as transaction:
        thread = threading.Thread(target=second)
        thread.start()
        begun.wait()
        time.sleep(0.2)
        assert not found
        transaction.session.add(row())
        transaction.record("first")
    thread.join()
    assert found == [1]


def test_a_seal_that_a_crash_prevented_is_caught_up(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with opened.transaction() as transaction:
        transaction.record("first")
    seal = MemorySeal()
    store(tmp_path, create=False, seal=seal).seal()
    assert seal.size == 1


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 2000])
def test_a_damaged_database_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "meta.db").write_bytes(content)
    with pytest.raises(StoreError, match="metadata database cannot be used"):
        sqlite(tmp_path).create()


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        sqlite(tmp_path / "nowhere").create()


@pytest.mark.parametrize("given", ["mysql://u:password@host/db", "postgresql+asyncpg://u:password@host/db", "what"])
def test_databases_whose_writers_would_not_wait_are_refused(given: str) -> None:
    with pytest.raises(StoreError, match=r"SQLite or PostgreSQL|cannot be read, expected") as fault:
        Store(given, MemorySeal(), Principal("ana"), Clock())
    assert "password" not in str(fault.value)


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(StoreError, match=r"cannot be used: .*refused") as fault:
        Store("postgresql://u:password@127.0.0.1:1/db", MemorySeal(), Principal("ana"), Clock()).create()
    assert "password" not in str(fault.value)


def test_the_oldest_and_newest_moment_fit(tmp_path: Path) -> None:
    opened = store(tmp_path)
    oldest, newest = micros(dt.datetime.min.replace(tzinfo=dt.UTC)), micros(dt.datetime.max.replace(tzinfo=dt.UTC))
    with opened.transaction() as transaction:
        transaction.record("plan.made")
        for moment in (oldest, newest):
            transaction.session.add(PlanRow(**row(str(moment)).model_dump(exclude={"created"}), created=moment))
    with opened.read() as session:
        assert session.exec(select(PlanRow.created).order_by(PlanRow.created)).all() == [oldest, newest]


def test_texts_are_ordered_alike_everywhere(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with opened.transaction() as transaction:
        transaction.record("plan.made")
        for key in ("b", "B", "_a", "a-b", "ab", "é", "Z"):
            transaction.session.add(row(key))
    assert plans(opened) == sorted(("b", "B", "_a", "a-b", "ab", "é", "Z"))


@pytest.mark.filterwarnings("ignore:New instance:sqlalchemy.exc.SAWarning")
def test_errors_name_no_person(tmp_path: Path) -> None:
    opened = store(tmp_path)
    with pytest.raises(StoreError, match=r"constraint|UniqueViolation") as fault, opened.transaction() as transaction:
        transaction.record("consent.recorded")
        for _ in range(2):
            given = {"purpose": "p", "status": "given", "event_time": 0, "received_time": 0, "batch": "b", "salt": b""}
            transaction.session.add(ConsentRow(id=1, subject="jane@example.com", **given))
            transaction.session.flush()
            transaction.session.expunge_all()
    assert "jane" not in str(fault.value) and "jane" not in "".join(traceback.format_exception(fault.value))


def test_time_never_goes_back_from_one_entry_to_the_next(tmp_path: Path) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    moments = []
    for seconds in (0, -60, -240, 10, 3600):
        clock.tick(seconds=seconds)
        with opened.transaction() as transaction:
            transaction.record("something")
            moments.append(transaction.now)
    assert moments == [START, START, START, START, clock.now]
    assert [entry["at"] for entry in entries(tmp_path)] == [stamp(moment) for moment in moments]


def test_a_clock_far_behind_the_log_is_a_fault_with_a_way_out(tmp_path: Path) -> None:
    clock = Clock()
    opened = store(tmp_path, clock)
    with opened.transaction() as transaction:
        transaction.record("something")
    clock.tick(seconds=-LAG.total_seconds())
    with opened.transaction() as transaction:
        transaction.record("as far as may be")
    clock.tick(seconds=-1)
    with pytest.raises(StoreError, match=r"the clock is behind the log: got `2026-05-20T11:54:59.*set it right"), opened.transaction():
        pytest.fail("a transaction began")
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("body", [b"{}", b"no entry", b'{"at": 7}', b'{"at": "soon"}'])
def test_a_newest_entry_without_a_time_is_a_fault_with_a_way_out(tmp_path: Path, body: bytes) -> None:
    opened = store(tmp_path)
    with opened.transaction() as transaction:
        transaction.last = transaction.tail.append([body])
    with pytest.raises(StoreError, match="entry 0 of the log has no time; run `consentric audit verify`"), opened.transaction():
        pytest.fail("a transaction began")


def test_entries_hold_no_numbers_that_json_cannot(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"), store(tmp_path).transaction() as transaction:
        transaction.record("x", value=float("nan"))


def test_times_are_exact_to_the_microsecond() -> None:
    for value in (0, 1, 1_700_000_000_123_457, -62_135_596_800_000_000, 253_402_300_799_999_999):
        assert micros(moment(value)) == value
    zoned = dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert stamp(zoned) == "2025-12-31T23:00:00.000000Z"
    assert micros(START) == int(START.timestamp()) * 10**6
