"""Shares of noise: they add up to what the grant says, what is paid covers colluders and presence, and the sum is Gaussian enough."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

from federated.contract import ROOM
from federated.shares import NEEDED, Sharing, convolution, whole
from governance.accounting import MIN_SIGMA, RESERVED_DRAWS, TOTAL_VARIATION, delta_of, holds
from governance.door import MAX_SIGMA, DoorError, Grant, ReservationId, grid_sigma
from governance.grid import GRID
from tests.collaborations import contract

HERE = ReservationId("here")


def grant(mu_squared: Fraction) -> Grant:
    return Grant(ReservationId("there"), "all", mu_squared)


def discrete(sigma: float, width: int) -> np.ndarray:
    weights = np.exp(-(np.arange(-width, width + 1) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("sigma", [0.5, 0.6, 0.8])
def test_proposition_13_holds_and_is_not_for_nothing(sigma: float, parts: int) -> None:
    """By convolution: the logarithm of probabilities of the sum over those of one discrete Gaussian of the same variance."""
    one = discrete(sigma, 40)
    total = one
    for _ in range(parts - 1):
        total = np.convolve(total, one)
    middle = slice(len(total) // 2 - 6, len(total) // 2 + 7)  # where float64 holds either with all its digits
    worst = np.abs(np.log(total[middle] / discrete(sigma * math.sqrt(parts), len(total) // 2)[middle])).max()
    assert worst <= convolution(sigma, parts)
    assert worst > convolution(sigma, parts) / 40


def test_the_term_is_that_of_theorem_1_and_never_nothing() -> None:
    """Kairouz, Liu, Steinke 2021: τ = 10 Σ exp(−2π²σ² k/(k+1)), twice ours."""
    tau = 10 * sum(math.exp(-2 * math.pi**2 * 0.7**2 * k / (k + 1)) for k in range(1, 10))
    assert 2 * convolution(0.7, 10) == pytest.approx(tau, rel=1e-8)
    assert convolution(MIN_SIGMA, 2) == sys.float_info.min and convolution(0.5, 1) == 0


def test_the_term_is_paid_by_what_accounting_rounds_up() -> None:
    exact = 4 * math.exp(-0.5) / math.sqrt(2 * math.pi) / 48
    assert exact < NEEDED < TOTAL_VARIATION
    assert convolution(MIN_SIGMA / math.sqrt(1000), 1000) < (TOTAL_VARIATION - NEEDED) / MAX_SIGMA**2


SHARINGS = [Sharing(2, 2, 1), Sharing(3, 3, 1), Sharing(3, 2, 2), Sharing(10, 7, 1), Sharing(10, 5, 3), Sharing(1000, 501, 1)]


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_the_fewest_honest_shares_hide_a_subject_for_what_is_paid(sharing: Sharing) -> None:
    for mu_squared in (Fraction(1, 7), Fraction(1, 10**6), Fraction(3)):
        asked = grant(mu_squared)
        share = sharing.share_sigma(asked)
        assert share**2 * sharing.partners >= grid_sigma(asked) ** 2 * (1 - 1e-15)
        sensitivity = sharing.presence * GRID
        spent = Fraction(sensitivity) ** 2 / (Fraction(share) ** 2 * sharing.honest)
        paid = sharing.price(asked, HERE).mu_squared
        assert spent <= paid  # exactly, in fractions
        assert spent > paid * (1 - Fraction(1, 10**12))
        assert sharing.price(asked, HERE).reservation == HERE and sharing.price(asked, HERE).path == asked.path


def test_without_colluders_dropouts_and_presence_a_sum_costs_what_it_would_at_one_place() -> None:
    assert Sharing.of(contract(5)).factor == 1
    assert Sharing.of(contract(5, presence=3)).factor == 9
    assert Sharing.of(contract(5, colluders=3)).factor == Fraction(5, 2)
    assert Sharing.of(contract(10, dropouts=3, least_partners=7, colluders=2, presence=2)).factor == 4 * Fraction(10, 5)


@pytest.mark.parametrize("changed", [{}, {"presence": 3}, {"colluders": 1}, {"privacy": {"epsilon": 0.2, "delta": 1e-6}}])
def test_the_whole_grant_costs_the_contract_s_epsilon_and_no_more(changed: dict[str, object]) -> None:
    made = contract(3, **changed)
    paid = Sharing.of(made).price(whole(made), HERE).mu_squared
    epsilon, delta = made.privacy.epsilon, made.privacy.delta
    assert holds(epsilon, delta, paid, RESERVED_DRAWS)
    assert delta_of(epsilon, paid * Fraction(1001, 1000), RESERVED_DRAWS) > delta


def test_noise_that_cannot_be_accounted_for_is_refused() -> None:
    """At one place 2^24 grid units are the least; here it is what honest partners add that has to be as much."""
    most = (Fraction(GRID) / Fraction(2) ** 24) ** 2
    assert Sharing(4, 4, 1).share_sigma(grant(most)) >= 2**23
    with pytest.raises(DoorError, match="too large"):
        Sharing(4, 2, 1).share_sigma(grant(most))
    with pytest.raises(DoorError, match="too large"):
        Sharing(4, 4, 1).share_sigma(grant(most * 2))
    with pytest.raises(DoorError, match="too small"):
        Sharing(4, 4, 1).share_sigma(grant(Fraction(1, 2**60)))
    with pytest.raises(DoorError):
        Sharing(4, 4, 1).share_sigma(grant(Fraction(0)))


def test_noise_and_sum_fit_the_ring() -> None:
    """64 standard deviations of the most noise there is, beside the largest sum of a contract."""
    assert ROOM + 64 * MAX_SIGMA <= 2**63
