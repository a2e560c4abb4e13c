"""Killed with -9 around every durable step of the ledger: what was drawn is spent, the log holds, and the next command works."""

import multiprocessing
import os
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlmodel import Session

from audit import failpoint, log
from audit.checkpoint import CheckpointFile
from governance import snapshots
from governance.budget import BudgetExceeded, LedgerMeter, accounts, balances, close_open, release, reserve, settle, transcript
from governance.door import Contribution, Grant, LocalCohort, Query, ReservationId, StepName, register
from governance.principals import Principal
from governance.store import Store
from tests.evidence import signer
from tests.ledgers import ADS, AS_OF, Clock, contract, policy

DELTA = 1e-5


@register("test.crash")
def _step(batch: Any, _parameters: Any) -> Contribution:
    return Contribution(batch["features"])


QUERY = Query(StepName("test.crash"), {}, (1, 1, 2), 1.0)


class WitnessedNoise:
    """Leaves a durable mark for each time noise was drawn."""

    def __init__(self, folder: Path) -> None:
        self._marks = folder / "drawn"

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        with open(self._marks, "a") as file:
            file.write(f"{sigma!r}\n")
            file.flush()
            os.fsync(file.fileno())
        failpoint.reach("noise:after-draw")
        return np.zeros(size, dtype=np.int64)


def sealed(folder: Path) -> Store:
    """A store with a signed checkpoint file beside it."""
    return Store(f"sqlite:///{folder / 'meta.db'}", CheckpointFile(folder / "checkpoint", signer()), Principal("ana"), Clock())


def spend(folder: Path) -> None:
    """A build as the ledger sees it: reserve, draw twice, settle; then one that nothing was drawn from is released."""
    store, rules = sealed(folder), policy()
    cohort_of = {"features": np.ones((5, 2))}
    with store.transaction("reserve") as transaction:
        reservation = reserve(transaction, accounts(contract(), rules, ADS, transaction.now), rules, 1.0, DELTA, "build")
    parts = reservation.grant().split(a=1, b=1)
    cohort = LocalCohort(cohort_of, LedgerMeter(store, reservation.id))
    cohort.noisy_sum(QUERY, parts["a"], WitnessedNoise(folder))
    cohort.noisy_sum(QUERY, parts["b"], WitnessedNoise(folder))
    with store.transaction("settle") as transaction:
        settle(transaction, reservation.id)
    with store.transaction("reserve") as transaction:
        other = reserve(transaction, accounts(contract(), rules, ADS, transaction.now), rules, 0.2, DELTA, "plan")
    with store.transaction("release") as transaction:
        release(transaction, other.id)


def child(folder: Path, work: Any, variables: dict[str, str]) -> int | None:
    """Run `work` in a forked process that has imported everything; its exit code, -9 if it was killed."""

    def run() -> None:
        os.environ.update(variables)
        work(folder)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    return process.exitcode


def drawn(folder: Path) -> list[Fraction]:
    """μ² of each draw that happened, worked out from its noise."""
    marks = folder / "drawn"
    return [1 / (Fraction(line) / 2**32) ** 2 for line in marks.read_text().split()] if marks.exists() else []


def check(folder: Path) -> Store:
    """Open again as the next command does, and hold everything against what happened outside."""
    store = sealed(folder)
    with store.read() as session:
        connection = session.connection()
        if checkpoint := CheckpointFile(folder / "checkpoint", signer()).read():
            log.check_against(connection, checkpoint)
        actions = [entry.parsed for entry in log.entries(connection)]
        written = [entry["facts"] for entry in actions if entry["action"] == "budget.drawn"]
        assert sum((Fraction(facts["mu_squared"]) for facts in written), Fraction(0)) >= sum(drawn(folder), Fraction(0)) * (
            1 - Fraction(1, 10**12)
        )
        assert len(written) >= len(drawn(folder))
        reserved = [ReservationId(entry["facts"]["reservation"]) for entry in actions if entry["action"] == "budget.reserved"]
        assert sum(len(transcript(session, key)) for key in reserved) == len(written)
        cap = balances(session, contract(), policy(), store.clock())[0]
        assert cap.spent >= 1.0 - 1e-9 or not written
    return store


def points(folder: Path, work: Any) -> list[str]:
    """Every failpoint that `work` passes, by name and count."""
    trace = folder / "trace"
    assert child(folder, work, {failpoint.TRACE: str(trace)}) == 0
    names = trace.read_text().split()
    return [f"{name}#{names[: i + 1].count(name)}" for i, name in enumerate(names)]


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_what_was_drawn_as_spent(tmp_path: Path) -> None:
    first = tmp_path / "whole"
    first.mkdir()
    sealed(first).create()
    all_points = points(first, spend)
    check(first)
    assert {p.partition("#")[0] for p in all_points} >= {
        f"{name}:{when}" for name in ("reserve", "draw", "settle", "release") for when in ("before-commit", "after-commit", "after-seal")
    } | {"noise:after-draw"}
    for number, point in enumerate(all_points):
        folder = tmp_path / str(number)
        folder.mkdir()
        sealed(folder).create()
        assert child(folder, spend, {failpoint.KILL: point}) == -signal.SIGKILL, point
        store = check(folder)
        with store.transaction() as transaction:  # the next command: tidy up, and carry on
            close_open(transaction)
            transaction.record("doctor.tidied")
        spent_before = bool(drawn(folder))
        try:
            spend(folder)
        except BudgetExceeded:
            assert spent_before
        check(folder)
        store.close()


def snapshot(folder: Path) -> None:
    import pyarrow as pa

    from governance.admission import Admission

    people = pa.table({"subject": [str(i) for i in range(50)], "reason": pa.array([i % 3 for i in range(50)], pa.int8())})
    snapshots.take(sealed(folder), contract(), policy(), ADS, AS_OF, lambda: Admission(people), WitnessedNoise(folder), patience=0.0)


def shown(session: Session) -> bool:
    return snapshots.current(session, contract(), policy(), ADS, AS_OF, Clock()()) is not None


@pytest.mark.slow
def test_a_kill_while_a_snapshot_is_taken_costs_budget_and_never_an_answer(tmp_path: Path) -> None:
    first = tmp_path / "whole"
    first.mkdir()
    sealed(first).create()
    for number, point in enumerate(points(first, snapshot)):
        folder = tmp_path / str(number)
        folder.mkdir()
        sealed(folder).create()
        assert child(folder, snapshot, {failpoint.KILL: point}) == -signal.SIGKILL, point
        with sealed(folder).read() as session:
            held = shown(session)
        before = len(drawn(folder))
        snapshot(folder)
        assert len(drawn(folder)) == before + (not held), point  # drawn again only where there was no answer yet
        store = sealed(folder)
        with store.read() as session:
            assert shown(session)
            written = [e.parsed["facts"] for e in log.entries(session.connection()) if e.parsed["action"] == "budget.drawn"]
            assert len(written) >= len(drawn(folder))
            taken = snapshots.current(session, contract(), policy(), ADS, AS_OF, Clock()())
            assert taken is not None
            assert transcript(session, taken.reservation)[0].mu_squared == Fraction(written[-1]["mu_squared"])
        store.close()


def test_a_grant_is_not_good_for_a_second_draw_after_a_restart(tmp_path: Path) -> None:
    store, rules = sealed(tmp_path), policy()
    store.create()
    with store.transaction() as transaction:
        reservation = reserve(transaction, accounts(contract(), rules, ADS, transaction.now), rules, 1.0, DELTA, "build")
    LedgerMeter(store, reservation.id).charge(reservation.grant(), QUERY)
    store.close()
    from governance.door import BudgetError

    with pytest.raises(BudgetError, match="spent already"):
        LedgerMeter(sealed(tmp_path), reservation.id).charge(Grant(reservation.id, "all", reservation.mu_squared), QUERY)
