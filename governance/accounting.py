"""What a sum of Gaussian draws costs: exact Gaussian DP, with the discreteness of the noise paid in δ.

Neighbours: add or remove one data subject with all of its rows. A draw with L2 sensitivity B and noise σ is
μ-GDP with μ = B/σ, and an adaptive sequence is √(Σ μ²)-GDP (Dong, Roth, Su 2022, Corollary 3.3; as a filter for
adaptively chosen budgets: Smith and Thakurta 2022, Theorem 2.2). μ-GDP holds (ε, δ(ε))-DP with

    δ(ε) = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2)                                (Dong, Roth, Su 2022, Corollary 2.13).

The discrete Gaussian is not the Gaussian. Where the sum is an integer, a Gaussian draw rounded to the nearest integer
is post-processing of the Gaussian mechanism, so it suffices to bound the total variation τ between the discrete and
the rounded Gaussian. The rounded Gaussian has mass φσ(k) + φσ''(k)/24 + O(σ⁻⁵) at k, and φσ''(k) = φσ(k)(z² − 1)/σ²
with z = k/σ; the normalisation of the discrete Gaussian differs from 1 by about e^(−2π²σ²) only. Hence

    τ = ½ Σ |φσ''(k)|/24 = E|z² − 1| / (48 σ²) = 0.02016/σ² a draw.

With M within τ of G on every input: P[M(D) ∈ S] ≤ P[G(D) ∈ S] + τ ≤ e^ε P[G(D') ∈ S] + δ + τ
≤ e^ε P[M(D') ∈ S] + δ + (1 + e^ε) τ, and τ adds up over draws. Every draw here has σ ≥ `MIN_SIGMA`.

Beyond an ε of about 11 that last term outgrows any δ. There the other proof is the better one: a discrete Gaussian of any σ is
μ²/2-zCDP exactly (Canonne, Kamath, Steinke 2020, Theorem 14), which adds up too, so `concentrated_epsilon` needs no term for draws.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

TOTAL_VARIATION = 0.0202
"""σ² times the total variation between the discrete and the rounded Gaussian, a little rounded up."""

MIN_SIGMA = 2.0**24
"""Least standard deviation of a draw, in grid units."""

RESERVED_DRAWS = 1 << 20
"""Scalar draws that a reservation of one build may make; they are paid for whether or not they are made."""

_GRID = 1 << 40
_ROUNDING = 2.0**-36
"""Relative error allowed to floating point in either term of δ(ε): that of erfc at x is about x² 2^-52, below 2^-41 down to Φ = 1e-300."""


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def gaussian_delta(epsilon: float, mu: float) -> float:
    """δ of μ-GDP at `epsilon`, rounded up; 0 for μ = 0."""
    if mu <= 0:
        return 0.0
    first = _phi(-epsilon / mu + mu / 2)
    second = _phi(-epsilon / mu - mu / 2)
    scaled = math.exp(epsilon + math.log(second)) if second > 0 else 0.0
    return max(0.0, first * (1 + _ROUNDING) - scaled * (1 - _ROUNDING))


def discreteness(epsilon: float, draws: int) -> float:
    """What `draws` scalar draws of discrete Gaussian noise, each with σ ≥ `MIN_SIGMA`, add to δ."""
    return (1 + math.exp(epsilon)) * draws * TOTAL_VARIATION / MIN_SIGMA**2


def delta_of(epsilon: float, mu_squared: Fraction, draws: int) -> float:
    """δ at `epsilon` of a total of `mu_squared` over `draws` scalar draws. Convex in ε; discreteness makes it rise again."""
    return gaussian_delta(epsilon, math.sqrt(mu_squared)) + discreteness(epsilon, draws)


@lru_cache(1024)  # a plan and a build ask the same again and again
def epsilon_of(mu_squared: Fraction, draws: int, delta: float) -> float:
    """The least ε at which `mu_squared` over `draws` holds (ε, δ)-DP, rounded up by at most 1e-12; inf if none up to 700."""
    if mu_squared == 0 and draws == 0:
        return 0.0
    low, high = 0.0, 700.0
    while delta_of(high, mu_squared, draws) > delta:  # convex in ε: narrow towards its minimum until a point fits
        left, right = low + (high - low) / 3, high - (high - low) / 3
        at_left, at_right = delta_of(left, mu_squared, draws), delta_of(right, mu_squared, draws)
        if at_left <= delta or at_left <= at_right:
            high = left if at_left <= delta else right
        else:
            low = left
        if high - low < 1e-9:
            return math.inf
    low = 0.0
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu_squared, draws) > delta else (low, middle)
    return high


def holds(epsilon: float, delta: float, mu_squared: Fraction, draws: int) -> bool:
    """Whether `mu_squared` over `draws` is (ε, δ)-DP: at ε itself, or at a smaller ε, which implies it."""
    return delta_of(epsilon, mu_squared, draws) <= delta or epsilon_of(mu_squared, draws, delta) <= epsilon


@lru_cache(1024)
def mu_squared_of(epsilon: float, delta: float, draws: int = RESERVED_DRAWS, spent: Fraction = Fraction(0)) -> Fraction:
    """The largest μ² (in steps of 2^-40) that fits into (ε, δ) beside `spent`, all over `draws` scalar draws. Zero if nothing fits."""
    if not (0 < epsilon <= 700 and 0 < delta < 1):
        raise ValueError(f"expected 0 < ε <= 700 and 0 < δ < 1, got ε = {epsilon} and δ = {delta}")
    low, high = 0, 1
    while holds(epsilon, delta, spent + Fraction(high, _GRID), draws):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(epsilon, delta, spent + Fraction(middle, _GRID), draws) else (low, middle)
    return Fraction(low, _GRID)


def concentrated_epsilon(mu_squared: Fraction, delta: float) -> float:
    """An ε at which a total of `mu_squared` holds (ε, δ)-DP, however many draws: ρ + 2√(ρ ln 1/δ) (Bun, Steinke 2016, Proposition 1.3)."""
    rho = float(mu_squared) / 2
    return (rho + 2 * math.sqrt(rho * -math.log(delta))) * (1 + _ROUNDING)


def concentrated_mu_squared(epsilon: float, delta: float) -> Fraction:
    """The μ² (in steps of 2^-40) that `concentrated_epsilon` fits into any ε; more than `mu_squared_of` from about ε = 12 on."""
    if not (0 < epsilon < math.inf and 0 < delta < 1):
        raise ValueError(f"expected a finite ε > 0 and 0 < δ < 1, got ε = {epsilon} and δ = {delta}")
    slack = -math.log(delta)
    root = epsilon / (math.sqrt(epsilon + slack) + math.sqrt(slack))  # √ρ, of ρ + 2√(ρ · slack) = ε
    return Fraction(math.floor(2 * root**2 * (1 - 2 * _ROUNDING) * _GRID), _GRID)
