"""The ledger whatever is put back: two populations of one namespace, two purposes, periods that reset, two processes, and backups.

What was drawn in any timeline, lost ones too, never exceeds the cap, and every account shows at least what was drawn of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from audit.checkpoint import Signer
from governance.accounting import delta_of, epsilon_of
from governance.blocks import Block
from governance.budget import (
    Accounts,
    BudgetExceeded,
    LedgerMeter,
    Reservation,
    accounts,
    balances,
    carry,
    close_open,
    release,
    reserve,
    settle,
    standing,
)
from governance.door import BudgetError, Grant, Query, StepName
from governance.outside import BehindError, Outside
from governance.principals import Principal
from governance.store import Store
from governance.suppression import Suppression
from tests.ledgers import ADS, CARE, Clock, MemorySeal, block, contract, policy

DELTA, CAP = 1e-5, 2.0
QUERY = Query(StepName("any"), {}, (1, 1, 3), 1.0)


@dataclass(frozen=True)
class Drawn:
    """One draw, or all of a block's."""

    to: Accounts
    created: int
    mu_squared: Fraction
    block: Block | None


def spent(drawn: Iterable[Drawn]) -> tuple[Fraction, int, float, float]:
    """μ² and draws of Gaussian draws, ε and δ of blocks."""
    drawn = list(drawn)
    exact = [each for each in drawn if each.block is None]
    blocks = [each.block for each in drawn if each.block is not None]
    total = sum((each.mu_squared for each in exact), Fraction(0))
    return total, len(exact) * QUERY.size, sum(each.epsilon for each in blocks), sum(each.delta for each in blocks)


class House(RuleBasedStateMachine):
    """The model: every draw that ever was, of which account and when, in whatever timeline."""

    reservations: Bundle[tuple[Reservation, Accounts]] = Bundle("reservations")

    @initialize(period=st.sampled_from(["month", "quarter", "lifetime"]))
    def begin(self, period: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._root, self._kept = Path(self._folder.name) / "house", Path(self._folder.name) / "backup"
        self._root.mkdir()
        self._clock, self._rules = Clock(), policy(cap=CAP, ads=1.2, period=period)
        self._signer = Signer(Ed25519PrivateKey.generate(), "test")
        Suppression(Path(self._folder.name) / "outside", "test").create()
        self._drawn: list[Drawn] = []
        self._blocks: dict[str, Drawn] = {}
        self._open()
        self._stores[0].create()
        with self._stores[0].read() as session:
            self._outside.begin_epoch(session, ())

    def _open(self) -> None:
        outside = Outside(Path(self._folder.name) / "outside", self._signer)
        url = f"sqlite:///{self._root / 'meta.db'}"
        self._stores = [Store(url, MemorySeal(), Principal(name), self._clock, outside) for name in ("ana", "otto")]
        self._outside = outside

    def _close(self) -> None:
        for each in self._stores:
            each.close()

    @rule(
        target=reservations,
        who=st.integers(0, 1),
        epsilon=st.floats(0.1, 1.5),
        purpose=st.sampled_from([ADS, CARE]),
        population=st.sampled_from(["shop", "web"]),
    )
    def reserve(self, who: int, epsilon: float, purpose: str, population: str) -> Any:
        try:
            with self._stores[who].transaction() as write:
                to = accounts(contract(name=population), self._rules, purpose, write.now)
                return reserve(write, to, self._rules, epsilon, DELTA, "build"), to
        except BudgetExceeded:
            return multiple()

    @rule(target=reservations, who=st.integers(0, 1), epsilon=st.floats(0.1, 0.6), purpose=st.sampled_from([ADS, CARE]))
    def reserve_block(self, who: int, epsilon: float, purpose: str) -> Any:
        try:
            with self._stores[who].transaction() as write:
                to = accounts(contract(), self._rules, purpose, write.now)
                return reserve(write, to, self._rules, epsilon, DELTA, "build", block=block(epsilon)), to
        except BudgetExceeded:
            return multiple()

    @rule(of=reservations, who=st.integers(0, 1))
    def train(self, of: tuple[Reservation, Accounts], who: int) -> None:
        try:
            LedgerMeter(self._stores[who], of[0].id).charge_sampled(of[0].sampled(), QUERY)
        except BudgetError:
            return
        self._drew(of, Fraction(0))

    def _drew(self, of: tuple[Reservation, Accounts], mu_squared: Fraction) -> None:
        """Whatever is drawn of a block makes the whole block count, and once."""
        reservation, to = of
        drawn = Drawn(to, int(reservation.created.timestamp() * 1e6), mu_squared, None)
        if reservation.block is not None:
            self._blocks[reservation.id] = replace(drawn, mu_squared=Fraction(0), block=reservation.block)
        else:
            self._drawn.append(drawn)

    @rule(of=reservations, who=st.integers(0, 1), path=st.sampled_from(["all", "all/a", "all/b"]), share=st.fractions(0, 1))
    def draw(self, of: tuple[Reservation, Accounts], who: int, path: str, share: Fraction) -> None:
        """Of a reservation that the database may have lost, or may have again though it was given back."""
        grant = Grant(of[0].id, path, of[0].grant().mu_squared * share)
        try:
            LedgerMeter(self._stores[who], of[0].id).charge(grant, QUERY)
        except BudgetError:
            return
        self._drew(of, grant.mu_squared)

    @rule(of=reservations, who=st.integers(0, 1), end=st.sampled_from([release, settle]))
    def end(self, of: tuple[Reservation, Accounts], who: int, end: Any) -> None:
        try:
            with self._stores[who].transaction() as write:
                end(write, of[0].id)
        except BudgetError:
            return

    @rule(days=st.integers(1, 50))
    def wait(self, days: int) -> None:
        self._clock.tick(days=days)

    @rule()
    def back_up(self) -> None:
        self._close()
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._root, self._kept)
        self._open()

    @rule()
    def restore(self) -> None:
        """As `rights replay` does; nothing else may happen before, which the workspace sees to."""
        if not self._kept.exists():
            return
        self._close()
        shutil.rmtree(self._root)
        shutil.copytree(self._kept, self._root)
        self._open()
        newest = self._outside.newest()
        with self._outside.catching_up(), self._stores[0].transaction() as write:
            close_open(write)
            for account in newest.accounts.values():
                carry(write, account)
            write.record("restored")
        with self._stores[0].read() as session:
            self._outside.begin_epoch(session, newest.accounts)
        with self._stores[0].read() as session:
            self._outside.hold(session)

    def _shown(self, population: str = "shop") -> dict[str | None, Any]:
        with self._stores[1].read() as session:
            return {each.purpose: each for each in balances(session, contract(name=population), self._rules, self._clock())}

    @invariant()
    def what_was_drawn_in_any_timeline_is_within_the_cap(self) -> None:
        if not hasattr(self, "_stores"):
            return
        total, draws, epsilon, delta = spent([*self._drawn, *self._blocks.values()])
        assert delta_of(CAP - epsilon, total, draws) <= DELTA - delta
        assert self._shown()[None].lifetime >= epsilon_of(total, draws, DELTA - delta) + epsilon - 1e-9

    @invariant()
    def every_account_shows_at_least_what_was_drawn_of_it(self) -> None:
        if not hasattr(self, "_stores"):
            return
        for population in ("shop", "web"):
            shown = self._shown(population)
            for purpose in (ADS, CARE):
                of = accounts(contract(name=population), self._rules, purpose, self._clock())
                mine = [each for each in [*self._drawn, *self._blocks.values()] if each.to.scope == of.scope]
                total, draws, epsilon, delta = spent(mine)
                assert shown[purpose].lifetime >= epsilon_of(total, draws, DELTA - delta) + epsilon - 1e-9
                total, draws, epsilon, delta = spent(each for each in mine if each.created >= of.since)
                assert shown[purpose].spent >= epsilon_of(total, draws, DELTA - delta) + epsilon - 1e-6

    def teardown(self) -> None:
        if hasattr(self, "_stores"):
            self._close()
            self._folder.cleanup()


House.TestCase.settings = settings(max_examples=8, stateful_step_count=16, deadline=None, suppress_health_check=list(HealthCheck))
TestHouse = pytest.mark.slow(House.TestCase)


def test_what_a_backup_brings_back_is_not_drawn_from_beside_what_replaced_it() -> None:
    """Reserved, backed up, given back, reserved again and drawn; then the backup is put back, with the first one open."""
    house = House()
    house.begin("lifetime")
    try:
        first = house.reserve(0, 1.0, ADS, "shop")
        house.back_up()
        house.end(first, 0, release)
        second = house.reserve(1, 1.1, ADS, "shop")
        house.draw(second, 1, "all", Fraction(1))
        house.restore()
        house.draw(first, 0, "all", Fraction(1))
        house.end(first, 0, release)
        house.what_was_drawn_in_any_timeline_is_within_the_cap()
        house.every_account_shows_at_least_what_was_drawn_of_it()
    finally:
        house.teardown()


def test_a_block_that_a_backup_forgot_counts_again() -> None:
    house = House()
    house.begin("month")
    try:
        house.back_up()
        trained = house.reserve_block(0, 0.5, ADS)
        house.train(trained, 0)
        house.restore()
        assert house._shown()[None].blocks == house._shown()[ADS].blocks == 0.5
        with house._stores[0].read() as session:
            (kept,) = standing(session, trained[1].cap).allocations.values()
        assert (float(kept.blocks.epsilon), float(kept.blocks.delta)) == (0.5, 1e-6)
    finally:
        house.teardown()


def test_a_database_that_is_behind_or_went_another_way_is_told(tmp_path: Path) -> None:
    kept = Suppression(tmp_path / "outside", "test")
    kept.create()
    outside, rules = Outside(tmp_path / "outside", Signer(Ed25519PrivateKey.generate(), "test")), policy()
    (tmp_path / "a").mkdir()

    def opened(folder: Path) -> Store:
        return Store(f"sqlite:///{folder / 'meta.db'}", MemorySeal(), Principal("ana"), Clock(), outside)

    store = opened(tmp_path / "a")
    store.create()
    with store.transaction() as write:
        write.record("begun")
    with store.read() as session:
        outside.begin_epoch(session, ())
    store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    store = opened(tmp_path / "a")
    with store.transaction() as write:
        reserve(write, accounts(contract(), rules, ADS, write.now), rules, 0.5, DELTA, "build")
    with store.read() as session:
        outside.hold(session)
    behind = opened(tmp_path / "b")
    with behind.read() as session, pytest.raises(BehindError, match="has 1 entries, and 3 were promised"):
        outside.hold(session)
    for _ in range(3):
        with behind.transaction() as write:
            write.record("another way")
    with behind.read() as session, pytest.raises(BehindError, match="had other entries when it had 3"):
        outside.hold(session)
