import datetime as dt
import json
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sqlmodel import Session, select

from audit import log
from governance.accounting import mu_squared_of
from governance.admission import Admission, Reason
from governance.budget import BudgetExceeded, balances, transcript
from governance.snapshots import DRAWS, Snapshot, current, take
from governance.store import Store
from governance.tables import SnapshotRow
from policies.policy import Policy
from tests.fakes import SeededNoise, ZeroNoise
from tests.ledgers import ADS, AS_OF, CARE, START, Clock, contract, policy, store

pytestmark = pytest.mark.usefixtures("database")

SIGMA = 1 / math.sqrt(mu_squared_of(0.1, 1e-5, DRAWS))


def admission(admitted: int = 900, withdrawn: int = 100) -> Admission:
    reasons = [int(Reason.ADMITTED)] * admitted + [int(Reason.WITHDRAWN)] * withdrawn
    return Admission(pa.table({"subject": [str(i) for i in range(len(reasons))], "reason": pa.array(reasons, pa.int8())}))


def get(opened: Store, people: Admission, noise: Any = None, purpose: str = ADS, rules: Policy | None = None, **more: Any) -> Snapshot:
    return take(opened, contract(), rules or policy(), purpose, AS_OF, lambda: people, noise or SeededNoise(3), **more)


def spent(opened: Store, rules: Policy | None = None) -> int:
    with opened.read() as session:
        return balances(session, contract(), rules or policy(), opened.clock())[0].reservations


def actions(session: Session) -> list[str]:
    return [entry.parsed["action"] for entry in log.entries(session.connection())]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Store:
    return store(tmp_path, clock)


def test_counts_are_those_of_the_admission_plus_noise(opened: Store) -> None:
    taken = get(opened, admission(), ZeroNoise())
    assert taken.values[Reason.ADMITTED] == pytest.approx(900, abs=1e-5)
    assert taken.values[Reason.WITHDRAWN] == pytest.approx(100, abs=1e-5)
    assert taken.values[Reason.EXPIRED] == 0
    assert taken.n == pytest.approx(1000, abs=1e-5)
    assert taken.sigma == pytest.approx(SIGMA)
    assert taken.n_sigma == pytest.approx(SIGMA * math.sqrt(len(Reason)))
    noisy = get(opened, admission(), rules=policy(version="2"))
    assert 0 < abs(noisy.values[Reason.ADMITTED] - 900) < 6 * SIGMA


def test_the_floor_is_three_deviations_below_the_count(opened: Store) -> None:
    taken = get(opened, admission(), ZeroNoise())
    assert taken.admitted_low == pytest.approx(900 - 3 * SIGMA, abs=1e-4)


def test_what_is_shown_is_whole_and_not_negative(opened: Store) -> None:
    taken = get(opened, admission(5, 0))
    assert min(taken.values.values()) < 0
    assert min(taken.shown.values()) == 0
    assert all(isinstance(count, int) for count in taken.shown.values())
    assert taken.shown[Reason.WITHDRAWN] == max(0, round(taken.values[Reason.WITHDRAWN]))


def test_a_withdrawal_within_the_interval_changes_nothing_that_is_seen(opened: Store, clock: Clock) -> None:
    first = get(opened, admission(900, 100))
    clock.tick(hours=1)
    second = get(opened, admission(899, 101), SeededNoise(99))
    assert second == first
    assert spent(opened) == 1
    with opened.read() as session:
        assert current(session, contract(), policy(), ADS, AS_OF, clock()) == first
        assert len(transcript(session, first.reservation)) == 1


def test_the_next_interval_has_a_snapshot_of_its_own(opened: Store, clock: Clock) -> None:
    first = get(opened, admission())
    assert first.taken == START
    assert START < first.next_at <= START.replace(day=START.day + 7)
    clock.now = first.next_at.replace(microsecond=0)
    with opened.read() as session:
        assert current(session, contract(), policy(), ADS, AS_OF, clock()) is None
    second = get(opened, admission())
    assert (second.number, second.id != first.id) == (first.number + 1, True)
    assert spent(opened) == 2
    with opened.read() as session:
        clock.tick(microseconds=-1)
        assert current(session, contract(), policy(), ADS, AS_OF, clock()) == first


def test_each_purpose_and_policy_has_its_own(opened: Store) -> None:
    ids = {get(opened, admission(), purpose=ADS).id, get(opened, admission(), purpose=CARE).id}
    ids.add(get(opened, admission(), rules=policy(version="2")).id)
    assert len(ids) == 3
    assert spent(opened) == 3


def test_what_cannot_be_paid_is_not_taken(opened: Store) -> None:
    poor = policy(ads=0.05)
    with pytest.raises(BudgetExceeded):
        get(opened, admission(), rules=poor)
    with opened.read() as session:
        assert actions(session) == []
        assert session.exec(select(SnapshotRow)).all() == []


def test_the_log_has_intent_draw_and_result_in_whole_numbers(opened: Store) -> None:
    taken = get(opened, admission())
    with opened.read() as session:
        entries = [entry.parsed for entry in log.entries(session.connection())]
    assert [entry["action"] for entry in entries] == [
        "budget.cap_registered",
        "budget.reserved",
        "snapshot.intended",
        "budget.drawn",
        "budget.settled",
        "snapshot.taken",
    ]
    assert entries[-1]["facts"]["histogram"]["admitted"] == round(taken.admitted)
    assert not any(isinstance(value, float) for value in entries[-1]["facts"].values())


class Dying(ZeroNoise):
    """A power cut after the draw."""

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        raise KeyboardInterrupt


def test_one_that_died_is_waited_for_then_taken_over_and_paid_again(opened: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(opened, admission(), Dying())
    with opened.read() as session:
        assert current(session, contract(), policy(), ADS, AS_OF, START) is None
    naps: list[float] = []
    taken = get(opened, admission(), patience=1.0, sleep=naps.append)
    assert sum(naps) == pytest.approx(1.0, abs=0.11)
    assert spent(opened) == 2
    with opened.read() as session:
        assert current(session, contract(), policy(), ADS, AS_OF, START) == taken


def test_one_that_died_long_ago_is_not_waited_for(opened: Store, clock: Clock) -> None:
    with pytest.raises(KeyboardInterrupt):
        get(opened, admission(), Dying())
    clock.tick(minutes=1)
    naps: list[float] = []
    get(opened, admission(), sleep=naps.append)
    assert naps == []


class Overtaken(SeededNoise):
    """While this one draws, somebody else takes the snapshot over and finishes."""

    def __init__(self, overtake: Callable[[], Snapshot]) -> None:
        super().__init__(1)
        self.overtake, self.theirs = overtake, None

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        self.theirs = self.overtake()  # type: ignore[assignment]
        return super().draw(sigma, size)


def test_whoever_was_overtaken_shows_what_the_other_drew_and_stays_charged(opened: Store) -> None:
    slow = Overtaken(lambda: get(opened, admission(), SeededNoise(2), patience=0.0))
    ours = get(opened, admission(), slow)
    assert ours == slow.theirs
    assert spent(opened) == 2
    with opened.read() as session:
        assert actions(session).count("snapshot.taken") == 1
        assert actions(session).count("budget.settled") == 2


def _take(folder: Path, barrier: Any, results: Any, seed: int) -> None:
    opened = store(folder, create=False)
    barrier.wait()
    taken = get(opened, admission(), SeededNoise(seed))
    results.put(json.dumps([taken.id, taken.reservation, list(taken.values.values())]))


@pytest.mark.slow
def test_processes_at_once_take_one(tmp_path: Path) -> None:
    opened = store(tmp_path)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_take, args=(tmp_path, barrier, results, seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    taken = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(taken) == 1
    assert spent(opened) == 1


def test_nobody_at_all_is_a_snapshot_too(opened: Store) -> None:
    taken = get(opened, admission(0, 0))
    assert abs(taken.admitted) < 6 * SIGMA
    assert taken.admitted_low < 100


def test_another_population_is_another_snapshot(tmp_path: Path) -> None:
    """Another day, or another contract, is another set of people: counted, and paid for, by itself."""
    opened = store(tmp_path)
    first = get(opened, admission())
    earlier = take(opened, contract(), policy(), ADS, dt.date(2025, 1, 1), lambda: admission(400), SeededNoise(4))
    moved = take(opened, contract(description="moved"), policy(), ADS, AS_OF, lambda: admission(300), SeededNoise(5))
    assert len({first.id, earlier.id, moved.id}) == len({first.reservation, earlier.reservation, moved.reservation}) == 3
    assert first.admitted > earlier.admitted + 100 > moved.admitted


def test_the_intent_is_on_record_before_anybody_is_counted_and_a_fault_leaves_it_spent(tmp_path: Path) -> None:
    opened = store(tmp_path)

    def faulty() -> Admission:
        with opened.read() as session:
            assert [e.parsed["action"] for e in log.entries(session.connection())][-1] == "snapshot.intended"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        take(opened, contract(), policy(), ADS, AS_OF, faulty, SeededNoise(1))
    with opened.read() as session:
        assert current(session, contract(), policy(), ADS, AS_OF, START) is None
        assert balances(session, contract(), policy(), START)[0].spent > 0
    assert get(opened, admission(), patience=60.0, sleep=lambda _: pytest.fail("nobody is there to wait for")).admitted > 0
