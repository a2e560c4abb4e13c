"""Mechanisms that μ² cannot hold: pinned beforehand, composed by `dp-accounting`, and charged as one block of (ε, δ).

Training by stochastic gradients takes a Poisson sample at each step: every subject with probability `rate`, independently.
What that costs less than looking at everybody is no Gaussian DP, so that the whole build is composed numerically (privacy loss
distributions, Koskela, Jälkö, Honkela 2020, as `dp-accounting` computes them, pessimistically rounded), its exact Gaussian
draws included. Such a composition is no filter: it holds for mechanisms that were fixed before the first of them ran. That is why
a block is worked out of documents alone, and why an account adds its ε and δ on top of everything else (`governance.budget`).

Neighbours: add or remove one subject. Two things are paid in δ beside the loss distribution, each (1 + e^ε) times its total
variation as `governance.accounting` derives it: that noise is discrete, and that a sample of more than `Sampled.rows` subjects
takes longer. Rows are the same number at each step, so that time and memory do not tell how many were sampled.

Not here: the sampling itself (`governance.sampling`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from governance.accounting import RESERVED_DRAWS, discreteness, mu_squared_of

RATES = 1 << 32
"""Rates are multiples of 1 / RATES, so that a coin of that rate is 32 random bits."""

DELTA_SHARE = 0.1
"""A block takes this share of the δ that a build may have: blocks add up in δ too, and Gaussian draws need some of the same cap."""

OVERFLOW = 2.0**-44
"""Probability, at each step, that more subjects are sampled than there are rows."""

INTERVAL = 2e-4
"""Width of the steps that privacy losses are rounded up to, as a share of ε."""

PRECISION = 1e-3
"""Relative precision of the noise that a block is given; it is rounded up."""

MOST_NOISE = 1e6
"""Noise multiplier beyond which nothing would be learned."""


class BlockError(Exception):
    """What is asked cannot be had at any noise."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """The public terms of training by samples: `steps` sums of `size` numbers, each over a Poisson sample of `rate`.

    `noise`: standard deviation of the noise over the query's bound (the noise multiplier).
    `rows`: subjects that a step has room for, whoever was sampled.
    """

    rate: Fraction
    noise: float
    steps: int
    size: int
    rows: int

    @property
    def draws(self) -> int:
        """Scalar draws of noise, all steps together."""
        return self.steps * self.size

    def dump(self) -> str:
        """As JSON."""
        return json.dumps({"rate": str(self.rate), "noise": self.noise, "steps": self.steps, "size": self.size, "rows": self.rows})

    @classmethod
    def parse(cls, text: str) -> Sampled:
        """The inverse of `dump`."""
        facts = json.loads(text)
        return cls(Fraction(facts.pop("rate")), **facts)


@dataclass(frozen=True, slots=True)
class Block:
    """A whole build of (`epsilon`, `delta`): `sampled`, beside exact Gaussian draws of `mu_squared` altogether."""

    epsilon: float
    delta: float
    mu_squared: Fraction
    sampled: Sampled

    def dump(self) -> str:
        """Its mechanisms, as JSON."""
        return json.dumps({"mu_squared": str(self.mu_squared), "sampled": self.sampled.dump()})

    @classmethod
    def parse(cls, epsilon: float, delta: float, text: str) -> Block:
        """The inverse of `dump`."""
        facts = json.loads(text)
        return cls(epsilon, delta, Fraction(facts["mu_squared"]), Sampled.parse(facts["sampled"]))


def rows_for(rate: Fraction, subjects: int) -> int:
    """Rows that a sample of at most `subjects` exceeds with probability `OVERFLOW` at most (Bernstein's inequality)."""
    mean, surprise = float(rate) * subjects, -math.log(OVERFLOW)
    return min(subjects, math.ceil(mean + surprise / 3 + math.sqrt(surprise**2 / 9 + 2 * surprise * mean)))


@lru_cache(64)  # a plan and its build ask the same
def block(epsilon: float, delta: float, share: float, rate: Fraction, steps: int, size: int, subjects: int) -> Block:
    """The block that (`epsilon`, `delta`) buys for `steps` sampled sums of `size` numbers, `share` of μ² kept for exact draws.

    `delta` is what the build asks; the block has `DELTA_SHARE` of it. `subjects`: public, at most so many. Raises BlockError.
    """
    if not 0 < rate < 1 or rate.denominator > RATES or RATES % rate.denominator:
        raise BlockError(f"expected a rate below 1 in steps of 1/2^32, got {rate}")
    kept = delta * DELTA_SHARE
    mu_squared = mu_squared_of(epsilon, kept) * Fraction(share)
    low = high = (
        0.8 * float(rate) * math.sqrt(steps / (mu_squared_of(epsilon, kept) * (1 - Fraction(share))))
    )  # as if all steps were Gaussian
    while not _holds(epsilon, kept, mu_squared, rate, high, steps, size):
        low, high = high, 1.4 * high
        if high > MOST_NOISE:
            raise BlockError(f"ε {epsilon:g} at δ {delta:g} buys no training by samples; ask for more of either")
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _holds(epsilon, kept, mu_squared, rate, middle, steps, size) else (middle, high)
    return Block(epsilon, kept, mu_squared, Sampled(rate, high, steps, size, rows_for(rate, subjects)))


def _holds(epsilon: float, delta: float, mu_squared: Fraction, rate: Fraction, noise: float, steps: int, size: int) -> bool:
    return delta_of(epsilon, mu_squared, rate, noise, steps, size) <= delta


def delta_of(epsilon: float, mu_squared: Fraction, rate: Fraction, noise: float, steps: int, size: int) -> float:
    """δ at `epsilon` of all mechanisms of a block, those of `RESERVED_DRAWS` exact draws included."""
    from dp_accounting import dp_event  # 1.5 s to import, so only where a block is worked out
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=INTERVAL * epsilon)
    once = dp_event.PoissonSampledDpEvent(float(rate), dp_event.GaussianDpEvent(noise))
    accountant.compose(dp_event.SelfComposedDpEvent(once, steps))
    if mu_squared:
        accountant.compose(dp_event.GaussianDpEvent(1 / math.sqrt(mu_squared)))
    longer = (1 + math.exp(epsilon)) * steps * OVERFLOW
    return float(accountant.get_delta(epsilon)) + discreteness(epsilon, steps * size + RESERVED_DRAWS) + longer
