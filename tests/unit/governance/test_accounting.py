import math
from fractions import Fraction
from itertools import pairwise

import pytest

from governance.accounting import (
    MIN_SIGMA,
    RESERVED_DRAWS,
    TOTAL_VARIATION,
    concentrated_epsilon,
    concentrated_mu_squared,
    delta_of,
    discreteness,
    epsilon_of,
    gaussian_delta,
    holds,
    mu_squared_of,
)

DELTA = 1e-5
EPSILONS = [0.01, 0.1, 0.5, 1.0, 3.0, 8.0]


def test_ten_gaussians_of_sigma_ten_give_the_measured_epsilon() -> None:
    assert epsilon_of(Fraction(10, 100), 0, DELTA) == pytest.approx(1.1994, abs=5e-5)


@pytest.mark.parametrize("delta", [1e-9, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("sigmas", [(4.0,), (10.0,) * 10, (9.0,) * 40, (1.0, 2.0, 5.0), (0.6,), (30.0,) * 200, (3.0, 100.0)], ids=str)
def test_epsilon_agrees_with_dp_accounting(sigmas: tuple[float, ...], delta: float) -> None:
    """Within 0.5 % of privacy loss distributions, and never below the exact value, which bisection of the closed form gives."""
    from dp_accounting import dp_event, pld

    accountant = pld.PLDAccountant()
    for sigma in set(sigmas):
        accountant.compose(dp_event.GaussianDpEvent(sigma), sigmas.count(sigma))
    mu_squared = sum(1 / Fraction(sigma) ** 2 for sigma in sigmas)
    ours = epsilon_of(mu_squared, 0, delta)
    assert abs(ours / accountant.get_epsilon(delta) - 1) <= 0.005
    assert ours >= _exact_epsilon(math.sqrt(mu_squared), delta) - 1e-9


def _exact_epsilon(mu: float, delta: float) -> float:
    """Where δ(ε) of μ-GDP is `delta` (Dong, Roth, Su 2022, Corollary 2.13), in 50 digits."""
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 50
    low, high = mp.mpf(0), mp.mpf(200)
    for _ in range(100):
        middle = (low + high) / 2
        found = mp.ncdf(-middle / mu + mp.mpf(mu) / 2) - mp.e**middle * mp.ncdf(-middle / mu - mp.mpf(mu) / 2)
        low, high = (middle, high) if found > delta else (low, middle)
    return float(low)


@pytest.mark.parametrize(("epsilon", "mu"), [(e, m) for e in (0.0, 0.1, 1.0, 5.0, 12.0) for m in (0.01, 0.3, 1.0, 4.0)])
def test_delta_is_never_below_the_exact_value(epsilon: float, mu: float) -> None:
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 60
    exact = mp.ncdf(-epsilon / mp.mpf(mu) + mp.mpf(mu) / 2) - mp.e**epsilon * mp.ncdf(-epsilon / mp.mpf(mu) - mp.mpf(mu) / 2)
    ours = gaussian_delta(epsilon, mu)
    assert ours >= exact - mp.mpf("1e-300")  # below that, float64 ends
    assert ours <= exact * (1 + 1e-6) + 1e-10


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_epsilon_and_mu_squared_are_inverse(epsilon: float) -> None:
    mu_squared = mu_squared_of(epsilon, DELTA)
    assert holds(epsilon, DELTA, mu_squared, RESERVED_DRAWS)
    assert not holds(epsilon, DELTA, mu_squared + Fraction(1, 1 << 40), RESERVED_DRAWS)
    assert epsilon_of(mu_squared, RESERVED_DRAWS, DELTA) == pytest.approx(epsilon, rel=1e-6)


def test_epsilon_holds_its_delta_and_hardly_more() -> None:
    mu_squared = Fraction(3, 20)
    epsilon = epsilon_of(mu_squared, 1000, DELTA)
    assert delta_of(epsilon, mu_squared, 1000) <= DELTA < delta_of(epsilon - 1e-9, mu_squared, 1000)


def test_draws_are_paid_for() -> None:
    assert mu_squared_of(8.0, DELTA, RESERVED_DRAWS) < mu_squared_of(8.0, DELTA, 1)
    assert discreteness(1.0, 100) == pytest.approx((1 + math.e) * 100 * 0.0202 / 2**48)
    assert discreteness(20.0, RESERVED_DRAWS) > DELTA


def test_what_discreteness_alone_breaks_is_refused() -> None:
    assert mu_squared_of(1.0, 1e-11) == 0
    assert epsilon_of(Fraction(1, 100), RESERVED_DRAWS, 1e-11) == math.inf
    assert not holds(100.0, 1e-11, Fraction(0), RESERVED_DRAWS)


def test_a_larger_epsilon_never_buys_less() -> None:
    bought = [mu_squared_of(epsilon, DELTA) for epsilon in (9.0, 10.0, 11.0, 11.5, 12.0, 20.0, 100.0)]
    assert all(later >= earlier * (1 - Fraction(1, 10**9)) for earlier, later in pairwise(bought))


def test_what_was_spent_is_taken_off() -> None:
    whole = mu_squared_of(1.0, DELTA)
    assert mu_squared_of(1.0, DELTA, spent=whole / 3) + whole / 3 == pytest.approx(whole, abs=1e-11)
    assert mu_squared_of(1.0, DELTA, spent=2 * whole) == 0


def test_nothing_spent_is_nothing() -> None:
    assert epsilon_of(Fraction(0), 0, DELTA) == 0.0
    assert gaussian_delta(0.5, 0.0) == 0.0


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, DELTA), (-1.0, DELTA), (math.nan, DELTA), (math.inf, DELTA), (1.0, 0.0), (1.0, 1.0)])
def test_requests_outside_the_range_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < ε"):
        mu_squared_of(epsilon, delta)


@pytest.mark.parametrize("sigma", [64.0, 128.0, 300.0])
def test_total_variation_between_discrete_and_rounded_gaussian_is_as_derived(sigma: float) -> None:
    reach = int(12 * sigma)
    weights = [math.exp(-(k * k) / (2 * sigma * sigma)) for k in range(-reach, reach + 1)]
    total = math.fsum(weights)

    def below(x: float) -> float:
        return 0.5 * math.erfc(-x / (sigma * math.sqrt(2)))

    rounded = [below(k + 0.5) - below(k - 0.5) for k in range(-reach, reach + 1)]
    distance = 0.5 * math.fsum(abs(w / total - r) for w, r in zip(weights, rounded, strict=True))
    assert distance * sigma**2 == pytest.approx(0.02016, rel=0.01)
    assert distance * sigma**2 <= TOTAL_VARIATION
    assert sigma < MIN_SIGMA


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 12.0, 700.0, 1e6, 1e12])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_concentrated_epsilon_and_mu_squared_are_inverse(epsilon: float, delta: float) -> None:
    mu_squared = concentrated_mu_squared(epsilon, delta)
    assert epsilon * (1 - 1e-6) <= concentrated_epsilon(mu_squared, delta) <= epsilon


def test_concentrated_privacy_pays_less_until_discreteness_is_dear() -> None:
    assert all(concentrated_mu_squared(epsilon, DELTA) < mu_squared_of(epsilon, DELTA) for epsilon in (0.1, 1.0, 8.0, 11.0))
    assert all(concentrated_mu_squared(epsilon, DELTA) > mu_squared_of(epsilon, DELTA) for epsilon in (13.0, 100.0, 700.0))
    assert concentrated_epsilon(Fraction(1), DELTA) > epsilon_of(Fraction(1), 0, DELTA)  # an upper bound of the exact one


def test_concentrated_epsilon_holds_for_a_small_discrete_gaussian() -> None:
    """σ = 1, where the rounded Gaussian is no help: δ at that ε, summed exactly, is within what was asked."""
    mu_squared, delta = Fraction(1), 1e-3
    epsilon = concentrated_epsilon(mu_squared, delta)
    mass = {k: math.exp(-k * k / 2) for k in range(-40, 41)}
    total = math.fsum(mass.values())
    gap = math.fsum(max(0.0, mass[k] - math.exp(epsilon) * mass.get(k - 1, 0.0)) for k in mass) / total
    assert 0 < gap <= delta


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, DELTA), (math.inf, DELTA), (math.nan, DELTA), (1.0, 0.0), (1.0, 1.0)])
def test_concentrated_requests_outside_the_range_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match="expected a finite ε > 0"):
        concentrated_mu_squared(epsilon, delta)
