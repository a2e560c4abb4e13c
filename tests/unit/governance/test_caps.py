from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audit import log
from governance.accounting import epsilon_of
from governance.budget import Balance, BudgetExceeded, Reservation, accounts, balances, reserve
from governance.caps import accept_cap, registered_cap
from governance.store import Store
from policies.policy import Allowance, Policy
from tests.ledgers import ADS, CARE, contract, policy, store

pytestmark = pytest.mark.usefixtures("database")

ACCOUNT = "Shop Ltd/loyalty"
DELTA = 1e-5


@pytest.fixture
def opened(tmp_path: Path) -> Store:
    return store(tmp_path)


def ask(opened: Store, epsilon: float, rules: Policy, purpose: str = ADS, **of: Any) -> Reservation:
    with opened.transaction() as transaction:
        return reserve(transaction, accounts(contract(**of), rules, purpose, transaction.now), rules, epsilon, DELTA, "build")


def accept(opened: Store, rules: Policy) -> Allowance | None:
    with opened.transaction() as transaction:
        return accept_cap(transaction, ACCOUNT, rules)


def shown(opened: Store, rules: Policy) -> tuple[Balance, ...]:
    with opened.read() as session:
        return balances(session, contract(), rules, opened.clock())


def entries(opened: Store, action: str) -> list[dict[str, Any]]:
    with opened.read() as session:
        found = [entry.parsed for entry in log.entries(session.connection())]
    return [entry["facts"] for entry in found if entry["action"] == action]


SMALL, LARGE = policy(cap=3, ads=3), policy(cap=20, ads=20, name="generous")


def test_the_first_reservation_registers_the_cap_of_its_policy(opened: Store) -> None:
    ask(opened, 1, SMALL)
    with opened.read() as session:
        assert registered_cap(session, ACCOUNT) == Allowance(epsilon=3)
    ask(opened, 1, policy(cap=2.5, ads=2.5))
    assert entries(opened, "budget.cap_registered") == [{"cap": ACCOUNT, "epsilon": 3.0, "delta": "1e-05", "policy": SMALL.digest()}]


def test_a_refused_first_request_registers_nothing(opened: Store) -> None:
    with pytest.raises(BudgetExceeded):
        ask(opened, 4, SMALL)
    with opened.read() as session:
        assert registered_cap(session, ACCOUNT) is None


@pytest.mark.parametrize("of", [{}, {"name": "other_shop"}])
def test_another_policy_cannot_raise_the_cap(opened: Store, of: dict[str, str]) -> None:
    ask(opened, 2.5, SMALL)
    with pytest.raises(BudgetExceeded) as refused:
        ask(opened, 2.5, LARGE, CARE, **of)
    assert refused.value.which == "cap" and refused.value.left < 1.5
    assert all(words in str(refused.value) for words in ("ε 3 at δ 1e-05", "ε 20", "officer", "--accept-cap generous"))
    cap, *rest = shown(opened, LARGE)
    assert (cap.epsilon, cap.note) == (3, refused.value.note)
    assert [(balance.left, balance.note) for balance in rest] == [(cap.left, cap.note)] * 2
    assert ask(opened, refused.value.left, LARGE, CARE, **of).epsilon == refused.value.left


def test_a_smaller_cap_of_a_policy_binds_for_that_policy(opened: Store) -> None:
    ask(opened, 1, SMALL)
    tight = policy(cap=1.5, ads=3)
    with pytest.raises(BudgetExceeded) as refused:
        ask(opened, 1.2, tight)
    assert refused.value.note is None and shown(opened, tight)[0].epsilon == 1.5
    assert ask(opened, 1.2, SMALL).epsilon == 1.2


def test_a_cap_with_more_room_by_its_delta_does_not_bind_either(opened: Store) -> None:
    ask(opened, 2.5, SMALL)
    loose = policy(ads=3)
    loose = loose.model_copy(update={"budgets": loose.budgets.model_copy(update={"cap": Allowance(epsilon=3, delta=1e-4)})})
    with pytest.raises(BudgetExceeded) as refused:
        ask(opened, 1.5, loose, CARE)
    assert refused.value.note and shown(opened, loose)[0].delta == 1e-5


def test_what_was_accepted_binds_from_then_on(opened: Store) -> None:
    first = ask(opened, 2.5, SMALL)
    assert accept(opened, LARGE) == Allowance(epsilon=3)
    second = ask(opened, 8, LARGE, CARE)
    assert shown(opened, LARGE)[0].spent == epsilon_of(first.mu_squared + second.mu_squared, first.draws + second.draws, DELTA) > 8
    with pytest.raises(BudgetExceeded):
        ask(opened, 0.1, SMALL)
    assert entries(opened, "budget.cap_accepted") == [
        {"cap": ACCOUNT, "epsilon": 20.0, "delta": "1e-05", "epsilon_before": 3.0, "delta_before": "1e-05", "policy": LARGE.digest()}
    ]


def test_a_cap_may_be_accepted_before_anything_is_spent_and_lowered(opened: Store) -> None:
    assert accept(opened, LARGE) is None
    assert accept(opened, SMALL) == Allowance(epsilon=20)
    with pytest.raises(BudgetExceeded):
        ask(opened, 3.5, LARGE)
