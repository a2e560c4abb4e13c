import datetime as dt
import json
import multiprocessing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select as core_select
from sqlmodel import Session

from audit.log import log_entries
from governance.accounting import RESERVED_DRAWS, epsilon_of, mu_squared_of
from governance.budget import (
    Balance,
    BudgetExceeded,
    LedgerMeter,
    Request,
    Reservation,
    Status,
    _left,
    _Spent,
    _worth,
    accounts,
    balances,
    find,
    release,
    reserve,
    settle,
    transcript,
)
from governance.caps import Blocks
from governance.door import BudgetError, Contribution, Grant, LocalCohort, Part, Query, ReservationId, StepName, register
from governance.store import Store
from policies.policy import Allowance, Policy
from tests.fakes import ZeroNoise
from tests.ledgers import ADS, CARE, START, Clock, block, contract, policy, store

pytestmark = pytest.mark.usefixtures("database")

DELTA = 1e-5
QUERY = Query(StepName("test.budget"), {}, (1, 1, 4), 2.0, Part.TRAIN)


@register("test.budget")
def _step(batch: Any, _parameters: Any) -> Contribution:
    return Contribution(batch["features"])


def ask(opened: Store, epsilon: float, purpose: str = ADS, rules: Policy | None = None, **of: Any) -> Reservation:
    rules = rules or policy()
    with opened.transaction("reserve") as transaction:
        return reserve(transaction, accounts(contract(**of), rules, purpose, transaction.now), rules, epsilon, DELTA, "build x")


def show(opened: Store, rules: Policy | None = None, **of: Any) -> dict[str | None, Balance]:
    with opened.read() as session:
        return {balance.purpose: balance for balance in balances(session, contract(**of), rules or policy(), opened.clock())}


def state(session: Session) -> tuple[int, list[Any]]:
    entries = session.connection().execute(core_select(log_entries.c.body)).scalars().all()
    return len(entries), [json.loads(body) for body in entries]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Store:
    return store(tmp_path, clock)


def test_a_reservation_is_worth_what_was_asked(opened: Store) -> None:
    reservation = ask(opened, 1.0)
    assert reservation.mu_squared == mu_squared_of(1.0, DELTA)
    assert reservation.grant() == Grant(reservation.id, "all", reservation.mu_squared)
    assert (reservation.status, reservation.principal, reservation.draws) == (Status.RESERVED, "ana", RESERVED_DRAWS)
    with opened.read() as session:
        assert find(session, reservation.id) == reservation
        assert find(session, ReservationId("unknown")) is None


def test_the_log_tells_a_reservation_in_fractions_with_the_running_total(opened: Store) -> None:
    first, second = ask(opened, 1.0), ask(opened, 0.5, CARE)
    with opened.read() as session:
        _, entries = state(session)
    facts = entries[-1]["facts"]
    assert [entry["action"] for entry in entries] == ["budget.cap_registered", "budget.reserved", "budget.reserved"]
    assert Fraction(facts["mu_squared"]) == second.mu_squared
    assert Fraction(facts["cap_mu_squared"]) == first.mu_squared + second.mu_squared
    assert facts["cap_reservations"] == 2
    assert [name for name, value in facts.items() if isinstance(value, float)] == ["epsilon"]


def test_all_of_the_budget_can_be_asked_at_once(opened: Store) -> None:
    assert ask(opened, 2.0).epsilon == 2.0
    assert show(opened)[ADS].left == 0.0


def test_asking_for_more_than_the_allocation_changes_nothing(opened: Store) -> None:
    ask(opened, 1.0)
    before = show(opened)
    with opened.read() as session:
        entries = state(session)
    with pytest.raises(BudgetExceeded) as refusal:
        ask(opened, 1.9)
    assert (refusal.value.asked, refusal.value.which) == (1.9, "allocation")
    assert refusal.value.account.startswith("Shop Ltd/loyalty/shop/marketing.advertising/")
    assert refusal.value.left == before[ADS].left
    assert show(opened) == before
    with opened.read() as session:
        assert state(session) == entries


def test_the_cap_binds_across_purposes_and_datasets(opened: Store) -> None:
    ask(opened, 2.0, ADS)
    with pytest.raises(BudgetExceeded) as refusal:
        ask(opened, 2.0, CARE, policy(cap=2.5), name="other_shop")
    assert (refusal.value.which, refusal.value.account) == ("cap", "Shop Ltd/loyalty")
    left = refusal.value.left
    assert 0 < left < 2.0
    assert ask(opened, left, CARE, policy(cap=2.5), name="other_shop").epsilon == left


def test_another_namespace_or_controller_has_a_cap_of_its_own(opened: Store) -> None:
    rules = policy(cap=2.0)
    ask(opened, 2.0, rules=rules)
    ask(opened, 2.0, rules=rules, controller="Other Ltd")
    ask(opened, 2.0, rules=rules, subject={"key": "id", "namespace": "online", "registered_in": "people"})
    with pytest.raises(BudgetExceeded):
        ask(opened, 0.1, CARE, rules)


def test_a_purpose_without_a_budget_may_spend_nothing(opened: Store) -> None:
    with pytest.raises(BudgetExceeded) as refusal:
        ask(opened, 0.01, "analytics")
    assert refusal.value.left == 0.0


def test_what_buys_no_draw_is_refused(opened: Store) -> None:
    rules = policy()
    with pytest.raises(BudgetError, match="buys no draw"), opened.transaction() as transaction:
        reserve(transaction, accounts(contract(), rules, ADS, START), rules, 1.0, 1e-12, "x")


@pytest.mark.parametrize("spent", [0.0, 0.1, 0.75, 1.9])
def test_left_is_the_largest_request_that_fits(opened: Store, spent: float) -> None:
    if spent:
        ask(opened, spent)
    left = show(opened)[ADS].left
    with pytest.raises(BudgetExceeded):
        ask(opened, left + 2e-6)
    assert ask(opened, left).epsilon == left
    assert show(opened)[ADS].left <= 1e-3


def test_left_of_an_allocation_is_no_more_than_the_caps(opened: Store) -> None:
    rules = policy(cap=2.5)
    ask(opened, 2.0, ADS, rules)
    shown = show(opened, rules)
    assert shown[CARE].left == shown[None].left < 2.0
    assert (shown[CARE].spent, shown[CARE].reservations) == (0.0, 0)


def test_charges_add_up_as_mu_squared(opened: Store) -> None:
    for _ in range(4):
        ask(opened, 0.5)
    spent = show(opened)[ADS].spent
    assert spent == epsilon_of(4 * mu_squared_of(0.5, DELTA), 4 * RESERVED_DRAWS, DELTA)
    assert 0.5 < spent < 4 * 0.5


@pytest.mark.parametrize(
    ("period", "days", "start"), [("month", 31, "2026-06-01"), ("quarter", 62, "2026-07-01"), ("year", 366, "2027-01-01")]
)
def test_a_period_begins_anew_and_the_lifetime_goes_on(opened: Store, clock: Clock, period: str, days: int, start: str) -> None:
    rules = policy(cap=2.5, period=period)
    ask(opened, 2.0, ADS, rules)
    with pytest.raises(BudgetExceeded):
        ask(opened, 0.5, ADS, rules)
    clock.tick(days=days)
    assert ask(opened, 0.5, ADS, rules).allocation == f"Shop Ltd/loyalty/shop/{ADS}/{start}"
    shown = show(opened, rules)[ADS]
    assert shown.spent == pytest.approx(0.5)
    assert shown.lifetime > 2.0
    clock.tick(days=2 * days)
    with pytest.raises(BudgetExceeded) as refusal:
        ask(opened, 2.0, ADS, rules)
    assert refusal.value.which == "cap"


@pytest.mark.parametrize(
    ("period", "now", "start"),
    [
        ("month", dt.datetime(2026, 12, 31, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-1))), "2027-01-01"),
        ("quarter", dt.datetime(2026, 12, 31, tzinfo=dt.UTC), "2026-10-01"),
        ("quarter", dt.datetime(2024, 2, 29, tzinfo=dt.UTC), "2024-01-01"),
        ("year", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01"),
        ("lifetime", START, "lifetime"),
    ],
)
def test_periods_begin_at_midnight_utc(period: str, now: dt.datetime, start: str) -> None:
    assert accounts(contract(), policy(period=period), ADS, now).allocation.rpartition("/")[2] == start


def test_a_change_of_period_forgives_nothing(opened: Store) -> None:
    ask(opened, 2.0, ADS, policy(period="month"))
    for period in ("quarter", "year", "lifetime"):
        with pytest.raises(BudgetExceeded) as refusal:
            ask(opened, 0.5, ADS, policy(period=period))
        assert refusal.value.which == "allocation"


def test_a_smaller_budget_in_a_new_policy_binds_at_once(opened: Store) -> None:
    ask(opened, 1.5)
    assert show(opened, policy(ads=1.0))[ADS].left == 0.0
    with pytest.raises(BudgetExceeded):
        ask(opened, 0.01, ADS, policy(ads=1.0))


def test_what_was_released_is_left_again(opened: Store) -> None:
    reservation = ask(opened, 2.0)
    with opened.transaction() as transaction:
        release(transaction, reservation.id)
    assert show(opened)[ADS].left == 2.0
    with opened.read() as session:
        assert state(session)[1][-1]["facts"]["cap_mu_squared"] == "0"


def test_what_was_drawn_from_cannot_be_released(opened: Store) -> None:
    reservation = ask(opened, 2.0)
    LedgerMeter(opened, reservation.id).charge(reservation.grant().split(a=1, b=9)["a"], QUERY)
    with pytest.raises(BudgetError, match="noise was drawn"), opened.transaction() as transaction:
        release(transaction, reservation.id)
    assert show(opened)[ADS].left == 0.0


@pytest.mark.parametrize("close", [settle, release])
def test_a_closed_reservation_pays_for_nothing(opened: Store, close: Any) -> None:
    reservation = ask(opened, 1.0)
    with opened.transaction() as transaction:
        close(transaction, reservation.id)
    with pytest.raises(BudgetError, match="expected `reserved`"):
        LedgerMeter(opened, reservation.id).charge(reservation.grant(), QUERY)
    for again in (settle, release):
        with pytest.raises(BudgetError, match="expected `reserved`"), opened.transaction() as transaction:
            again(transaction, reservation.id)
    with opened.read() as session:
        assert transcript(session, reservation.id) == ()


def test_a_settled_reservation_stays_spent(opened: Store) -> None:
    reservation = ask(opened, 2.0)
    LedgerMeter(opened, reservation.id).charge(reservation.grant().split(a=1, b=3)["a"], QUERY)
    with opened.transaction() as transaction:
        settle(transaction, reservation.id)
    assert show(opened)[ADS].left == 0.0
    with opened.read() as session:
        facts = state(session)[1][-1]["facts"]
    assert (facts["queries"], facts["draws"], Fraction(facts["mu_squared"])) == (1, 4, reservation.mu_squared / 4)


def test_every_draw_is_in_the_transcript_and_in_the_log(opened: Store) -> None:
    reservation = ask(opened, 1.0)
    parts = reservation.grant().split(a=1, b=3)
    meter = LedgerMeter(opened, reservation.id)
    meter.charge(parts["a"], QUERY)
    meter.charge(parts["b"], QUERY)
    with opened.read() as session:
        drawn = transcript(session, reservation.id)
        entries = state(session)[1]
    assert [(draw.path, draw.step, draw.part, draw.draws) for draw in drawn] == [(f"all/{p}", "test.budget", "train", 4) for p in "ab"]
    assert sum(draw.mu_squared for draw in drawn) == reservation.mu_squared
    assert drawn[0].sigma == parts["a"].sigma(2.0)
    assert [entry["action"] for entry in entries[1:]] == ["budget.reserved", "budget.drawn", "budget.drawn"]
    assert Fraction(entries[-1]["facts"]["mu_squared"]) == parts["b"].mu_squared


def refused_grants(reservation: Reservation) -> dict[str, tuple[Grant, Query]]:
    whole, part = reservation.grant(), reservation.grant().split(a=1, b=1)["a"]
    return {
        "spent already": (part, QUERY),
        "beside a part of it": (whole, QUERY),
        "a part of what was spent": (part.split(x=1)["x"], QUERY),
        "more than reserved": (Grant(whole.reservation, "all/c", whole.mu_squared * Fraction(51, 100)), QUERY),
        "nothing": (Grant(whole.reservation, "all/c", Fraction(0)), QUERY),
        "less than nothing": (Grant(whole.reservation, "all/c", Fraction(-1)), QUERY),
        "of another reservation": (Grant(ReservationId("other"), "all/c", part.mu_squared), QUERY),
        "too many draws": (Grant(whole.reservation, "all/b", part.mu_squared), Query(QUERY.step, {}, (1, 1, RESERVED_DRAWS - 3), 1.0)),
    }


REFUSALS = (
    "spent already",
    "beside a part of it",
    "a part of what was spent",
    "more than reserved",
    "nothing",
    "less than nothing",
    "of another reservation",
    "too many draws",
)


@pytest.mark.parametrize("why", REFUSALS)
def test_a_grant_that_is_not_good_is_refused_and_changes_nothing(opened: Store, why: str) -> None:
    reservation = ask(opened, 1.0)
    meter = LedgerMeter(opened, reservation.id)
    meter.charge(reservation.grant().split(a=1, b=1)["a"], QUERY)
    with opened.read() as session:
        before = state(session)
    grant, query = refused_grants(reservation)[why]
    with pytest.raises(BudgetError):
        meter.charge(grant, query)
    with opened.read() as session:
        assert len(transcript(session, reservation.id)) == 1
        assert state(session) == before


def test_the_door_charges_before_it_computes(opened: Store) -> None:
    reservation = ask(opened, 1.0)

    class Broken(ZeroNoise):
        def draw(self, sigma: float, size: int) -> Any:
            raise OSError("no randomness")

    cohort = LocalCohort({"features": np.ones((3, 4)), "part": np.ones(3)}, LedgerMeter(opened, reservation.id))
    with pytest.raises(OSError, match="no randomness"):
        cohort.noisy_sum(QUERY, reservation.grant(), Broken())
    with pytest.raises(BudgetError):
        cohort.noisy_sum(QUERY, reservation.grant(), ZeroNoise())
    with opened.read() as session:
        assert len(transcript(session, reservation.id)) == 1


def _race(folder: Path, barrier: Any, results: Any) -> None:
    opened = store(folder, create=False)
    barrier.wait()
    for _ in range(6):
        try:
            results.put(str(ask(opened, 0.5).mu_squared))
        except BudgetExceeded:
            results.put("refused")


@pytest.mark.slow
def test_processes_that_reserve_at_once_never_overspend(tmp_path: Path) -> None:
    store(tmp_path)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_race, args=(tmp_path, barrier, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=120) for _ in range(24)]
    for worker in workers:
        worker.join()
    won = [Fraction(outcome) for outcome in outcomes if outcome != "refused"]
    opened = store(tmp_path, create=False)
    assert 0 < len(won) < 24
    assert epsilon_of(sum(won, Fraction(0)), len(won) * RESERVED_DRAWS, DELTA) <= 2.0
    assert show(opened)[ADS].reservations == len(won)
    with pytest.raises(BudgetExceeded):
        ask(opened, 0.5)


def test_a_block_is_added_on_top_of_gaussian_draws(opened: Store) -> None:
    ask(opened, 1.0)
    assert ask_block(opened, 0.5).block == block(0.5)
    cap = show(opened)[None]
    worth = epsilon_of(mu_squared_of(1.0, DELTA), RESERVED_DRAWS, DELTA - 1e-6)
    assert (cap.spent, cap.blocks, cap.reservations) == (pytest.approx(worth + 0.5, rel=1e-9), 0.5, 2)
    left = show(opened)[ADS].left
    assert left < show_alone(worth)
    assert ask(opened, left).epsilon == left
    with pytest.raises(BudgetExceeded):
        ask(opened, 0.01)


def show_alone(worth: float) -> float:
    """ε that would be left of 1.5, if a block of 0.5 were nothing."""
    return epsilon_of(mu_squared_of(2.0, DELTA, 2 * RESERVED_DRAWS, mu_squared_of(worth, DELTA)), RESERVED_DRAWS, DELTA)


def ask_block(opened: Store, epsilon: float, delta: float = 1e-6) -> Reservation:
    rules = policy()
    with opened.transaction("reserve") as transaction:
        to = accounts(contract(), rules, ADS, transaction.now)
        return reserve(transaction, to, rules, epsilon, DELTA, "build x", block=block(epsilon, delta))


def test_what_is_left_for_a_block_fits_and_no_more(opened: Store) -> None:
    ask(opened, 1.0)
    with pytest.raises(BudgetExceeded) as refused:
        ask_block(opened, 1.9)
    assert 0 < refused.value.left < 1.0
    with pytest.raises(BudgetExceeded):
        ask_block(opened, refused.value.left + 2e-6)
    assert ask_block(opened, refused.value.left).epsilon == refused.value.left


def test_blocks_alone_do_not_exceed_the_cap(opened: Store) -> None:
    for _ in range(2):
        ask_block(opened, 0.9)
    with pytest.raises(BudgetExceeded) as refused:
        ask_block(opened, 0.9)
    assert refused.value.left == pytest.approx(0.2, abs=2e-6)


def test_blocks_add_up_in_delta_too(opened: Store) -> None:
    for _ in range(2):
        ask_block(opened, 0.1, 4e-6)
    with pytest.raises(BudgetExceeded, match="blocks add up in δ too") as refused:
        ask_block(opened, 0.1, 4e-6)
    assert refused.value.left == 0
    assert ask_block(opened, 0.1, 1e-6).delta == 1e-6


def test_training_by_samples_is_one_line_of_the_transcript_and_of_nothing_else(opened: Store) -> None:
    reservation = ask_block(opened, 0.5)
    meter, asked = LedgerMeter(opened, reservation.id), Query(StepName("test.budget"), {}, (1, 1, 3), 2.0, Part.TRAIN)
    grants = reservation.grant().split(a=1, b=3)
    meter.charge(grants["a"], QUERY)
    meter.charge_sampled(reservation.sampled(), asked)
    meter.charge(grants["b"], QUERY)
    with pytest.raises(BudgetError, match="was spent already"):
        meter.charge_sampled(reservation.sampled(), asked)
    with opened.read() as session:
        lines = transcript(session, reservation.id)
        recorded = [body["facts"] for body in state(session)[1] if body["action"] == "budget.drawn"]
    terms = reservation.sampled().terms
    assert [(line.path, line.sampled) for line in lines] == [("all/a", None), ("samples", terms), ("all/b", None)]
    assert (lines[1].mu_squared, lines[1].sigma, lines[1].draws) == (0, 2.0 * terms.noise, terms.draws)
    assert recorded[1]["sampled"] == json.loads(terms.dump())
    with pytest.raises(BudgetError, match="holds no training by samples"):
        ask(opened, 0.1).sampled()
    other = ask_block(opened, 0.2)
    with pytest.raises(BudgetError, match="is not what reservation"):
        LedgerMeter(opened, other.id).charge_sampled(reservation.sampled(), asked)


def test_blocks_that_use_up_an_accounts_delta_leave_nothing_and_a_number_to_show() -> None:
    limit = Allowance(epsilon=20.0, delta=1e-5)
    for kept in (0.0, 1e-21):  # a δ that is left may still be too little for what was drawn
        spent = _Spent(mu_squared_of(0.5, 1e-6), RESERVED_DRAWS, Blocks(Fraction(5), Fraction(1e-5) - Fraction(1e-6) - Fraction(kept)), 2)
        assert _left(limit, spent, Request(2.0, 1e-6, block=True)) == 0.0
        all_of_it = _Spent(spent.mu_squared, spent.draws, Blocks(Fraction(5), Fraction(1e-5) - Fraction(kept)), 2)
        assert 5.0 < _worth(limit, all_of_it) < 6.0
