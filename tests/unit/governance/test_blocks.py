"""What training by samples costs: composed by another's accountant, and no looser or tighter than it says."""

from __future__ import annotations

import math
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest

from governance.accounting import epsilon_of, mu_squared_of
from governance.blocks import DELTA_SHARE, OVERFLOW, RATES, Block, BlockError, Sampled, block, delta_of, rows_for

pytestmark = pytest.mark.skipif(find_spec("dp_accounting") is None, reason="the extra `deep` is not installed")

RATE = Fraction(1, 16)


@pytest.mark.slow
def test_a_block_holds_and_little_less_noise_does_not() -> None:
    found = block(1.0, 1e-5, 0.4, RATE, 40, 100, 20_000)
    assert (found.epsilon, found.delta) == (1.0, 1e-5 * DELTA_SHARE)
    drawn = found.sampled
    assert delta_of(1.0, found.mu_squared, RATE, drawn.noise, 40, 100) <= found.delta
    assert delta_of(1.0, found.mu_squared, RATE, drawn.noise * 0.995, 40, 100) > found.delta
    assert epsilon_of(found.mu_squared, 1 << 20, found.delta) < 1.0


@pytest.mark.slow
def test_everybody_at_every_step_is_the_gaussian_mechanism() -> None:
    """At a rate next to 1 the composition must agree with the exact formula, within half a per cent and on the safe side."""
    mu_squared = mu_squared_of(1.0, 1e-6)
    noise = math.sqrt(40 / (mu_squared / 2))
    found = delta_of(1.0, mu_squared / 2, Fraction(RATES - 1, RATES), noise, 40, 1)
    assert 1e-6 <= found <= 1e-6 * 1.02


def test_a_block_is_the_same_after_it_was_written_down() -> None:
    made = Block(1.5, 1e-6, Fraction(3, 1 << 40), Sampled(Fraction(123, RATES), 3.25, 7, 11, 13))
    assert Block.parse(made.epsilon, made.delta, made.dump()) == made


@pytest.mark.parametrize("rate", [Fraction(0), Fraction(1), Fraction(1, 3), Fraction(1, 2 * RATES)])
def test_a_coin_that_32_bits_cannot_throw_is_refused(rate: Fraction) -> None:
    with pytest.raises(BlockError, match="expected a rate below 1"):
        block(1.0, 1e-5, 0.4, rate, 40, 100, 20_000)


@pytest.mark.parametrize("subjects", [3, 400, 20_000, 5_000_000])
def test_samples_exceed_their_rows_as_rarely_as_promised(subjects: int) -> None:
    from scipy.stats import binom

    rows = rows_for(RATE, subjects)
    assert rows <= subjects
    assert binom.sf(rows, subjects, float(RATE)) <= OVERFLOW
    assert rows < subjects / 16 + 12 * np.sqrt(subjects) + 30
