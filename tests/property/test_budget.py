"""The ledger under any sequence of commands: it never overspends, the lifetime cap holds, and only the undrawn is released."""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from governance.accounting import RESERVED_DRAWS, delta_of, epsilon_of
from governance.budget import BudgetExceeded, LedgerMeter, Reservation, accounts, balances, find, release, reserve, settle, transcript
from governance.door import BudgetError, Grant, Query, StepName
from governance.sampling import PATH
from policies.policy import Allowance
from tests.ledgers import ADS, CARE, Clock, block, contract, policy, store

DELTA = 1e-5
CAP = 2.0


class Ledger(RuleBasedStateMachine):
    """The model: a dictionary of what was reserved and a list of what was drawn."""

    reservations: Bundle[Reservation] = Bundle("reservations")

    @initialize(period=st.sampled_from(["lifetime", "year", "quarter", "month"]), first=st.sampled_from(["draws", "block"]))
    def begin(self, period: str, first: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._clock = Clock()
        self._store = store(Path(self._folder.name), self._clock)
        self._policy = policy(cap=CAP, ads=1.2, period=period)
        self._counted: dict[str, Fraction] = {}
        self._blocks: dict[str, tuple[Fraction, Fraction]] = {}
        self._drawn: dict[str, list[Grant]] = {}
        self._closed: set[str] = set()
        if first == "draws":
            self.reserve(0.05, ADS, "shop", CAP)  # registers the cap that binds from now on
        else:
            self.reserve_block(0.05, 1e-6, ADS)

    @rule(
        target=reservations,
        epsilon=st.floats(0.05, 1.5),
        purpose=st.sampled_from([ADS, CARE]),
        dataset=st.sampled_from(["shop", "web"]),
        cap=st.sampled_from([1.0, CAP, 20.0]),
    )
    def reserve(self, epsilon: float, purpose: str, dataset: str, cap: float) -> Any:
        """Under another policy too, whose cap is smaller or larger."""
        asking = self._policy.model_copy(update={"budgets": self._policy.budgets.model_copy(update={"cap": Allowance(epsilon=cap)})})
        try:
            with self._store.transaction() as transaction:
                to = accounts(contract(name=dataset), asking, purpose, transaction.now)
                got = reserve(transaction, to, asking, epsilon, DELTA, "build")
        except BudgetExceeded as refusal:
            assert refusal.left < epsilon
            return multiple()
        self._counted[got.id], self._drawn[got.id] = got.mu_squared, []
        return got

    @rule(target=reservations, epsilon=st.floats(0.05, 1.5), delta=st.sampled_from([1e-6, 4e-6]), purpose=st.sampled_from([ADS, CARE]))
    def reserve_block(self, epsilon: float, delta: float, purpose: str) -> Any:
        """A build whose mechanisms were composed beforehand."""
        try:
            with self._store.transaction() as transaction:
                to = accounts(contract(), self._policy, purpose, transaction.now)
                got = reserve(transaction, to, self._policy, epsilon, delta, "build", block=block(epsilon, delta))
        except BudgetExceeded as refusal:
            assert refusal.left < epsilon
            return multiple()
        self._blocks[got.id], self._drawn[got.id] = (Fraction(epsilon), Fraction(delta)), []
        return got

    @rule(reservation=reservations)
    def train(self, reservation: Reservation) -> None:
        """All steps of training by samples are charged once, and only where they were reserved."""
        asked = Query(StepName("any"), {}, (1, 1, 3), 1.0)
        try:
            LedgerMeter(self._store, reservation.id).charge_sampled(reservation.sampled(), asked)
        except BudgetError:
            return
        assert reservation.id in self._blocks and reservation.id not in self._closed
        self._drawn[reservation.id].append(Grant(reservation.id, PATH, Fraction(0)))

    @rule(reservation=reservations, path=st.sampled_from(["all", "all/a", "all/b", "all/a/x", "all/ab"]), share=st.fractions(-1, 2))
    def draw(self, reservation: Reservation, path: str, share: Fraction) -> None:
        grant = Grant(reservation.id, path, reservation.grant().mu_squared * share)
        try:
            LedgerMeter(self._store, reservation.id).charge(grant, Query(StepName("any"), {}, (1, 1, 3), 1.0))
        except BudgetError:
            return
        assert reservation.id not in self._closed
        self._drawn[reservation.id].append(grant)

    @rule(reservation=reservations)
    def release(self, reservation: Reservation) -> None:
        allowed = reservation.id not in self._closed and not self._drawn[reservation.id]
        try:
            with self._store.transaction() as transaction:
                release(transaction, reservation.id)
        except BudgetError:
            assert not allowed
            return
        assert allowed
        self._counted.pop(reservation.id, None)
        self._blocks.pop(reservation.id, None)
        self._closed.add(reservation.id)

    @rule(reservation=consumes(reservations))
    def settle(self, reservation: Reservation) -> None:
        try:
            with self._store.transaction() as transaction:
                settle(transaction, reservation.id)
        except BudgetError:
            assert reservation.id in self._closed
        self._closed.add(reservation.id)

    @rule(days=st.integers(1, 120))
    def wait(self, days: int) -> None:
        self._clock.tick(days=days)

    @rule()
    def reopen(self) -> None:
        self._store.close()
        self._store = store(Path(self._folder.name), self._clock, create=False)

    @rule(purpose=st.sampled_from([ADS, CARE]))
    def what_is_left_fits(self, purpose: str) -> None:
        left = self._balances()[purpose].left
        if left > 0:
            with pytest.raises(ZeroDivisionError), self._store.transaction() as transaction:
                to = accounts(contract(), self._policy, purpose, transaction.now)
                reserve(transaction, to, self._policy, left, DELTA, "rolled back")
                raise ZeroDivisionError

    def _balances(self) -> dict[str | None, Any]:
        with self._store.read() as session:
            return {balance.purpose: balance for balance in balances(session, contract(), self._policy, self._clock())}

    @invariant()
    def the_cap_holds_for_what_was_reserved_and_shown(self) -> None:
        total, draws = sum(self._counted.values(), Fraction(0)), len(self._counted) * RESERVED_DRAWS
        epsilon, delta = (float(sum(each, Fraction(0))) for each in zip((0, 0), *self._blocks.values(), strict=True))
        assert epsilon <= CAP and delta <= DELTA
        assert delta_of(CAP - epsilon, total, draws) <= DELTA - delta
        shown = self._balances()[None]
        assert shown.lifetime == shown.spent == pytest.approx(epsilon_of(total, draws, DELTA - delta) + epsilon, rel=1e-9)
        assert shown.spent <= CAP and shown.blocks == pytest.approx(epsilon)
        assert shown.reservations == len(self._counted) + len(self._blocks)

    @invariant()
    def nothing_is_drawn_beyond_its_reservation_or_twice(self) -> None:
        with self._store.read() as session:
            for key, drawn in self._drawn.items():
                reservation = find(session, Grant(key, "", Fraction(0)).reservation)  # type: ignore[arg-type]
                assert reservation is not None
                assert [draw.path for draw in transcript(session, reservation.id)] == [grant.path for grant in drawn]
                assert sum((grant.mu_squared for grant in drawn), Fraction(0)) <= reservation.grant().mu_squared
                paths = [grant.path for grant in drawn]
                assert not any(a != b and b.startswith(a + "/") for a in paths for b in paths)
                assert len(set(paths)) == len(paths)
                assert all(grant.mu_squared > 0 for grant in drawn if grant.path != PATH)

    def teardown(self) -> None:
        if hasattr(self, "_store"):
            self._store.close()
            self._folder.cleanup()


Ledger.TestCase.settings = settings(max_examples=15, stateful_step_count=18, deadline=None, suppress_health_check=list(HealthCheck))
TestLedger = pytest.mark.slow(Ledger.TestCase)
