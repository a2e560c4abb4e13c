"""Tables by score: what is read from them is right without noise, and intervals hold with it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.intervals import Interval
from engine import delta, ranked, uplift_curves, value_curves
from engine.assess import Noisy
from engine.models import ONE
from engine.ranked import Ranked
from engine.scale import Scale
from engine.trainers.regression import worth_of
from governance.door import Grant, LocalCohort, MemoryMeter, Part
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise

EDGES = np.linspace(30_000, 36_000, 41)


def asked(n: int, seed: int, **more: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], np.random.Generator]:
    """Scores of `n` subjects, about normal between the edges."""
    generator = np.random.default_rng(seed)
    score = np.clip(generator.normal(33_000, 800, n), 0, ONE).astype(np.int64)
    return {"features": np.zeros((n, 1)), "score": score, "part": generator.choice([1, 2], n, p=[0.7, 0.3]), **more}, generator


def door(columns: dict[str, NDArray[Any]], mu_squared: Fraction = Fraction(1)) -> tuple[LocalCohort, Grant]:
    meter = MemoryMeter(mu_squared)
    return LocalCohort(columns, meter), meter.grant()


def everybody(columns: dict[str, NDArray[Any]], noise: NoiseSource) -> Ranked:
    cohort, grant = door(columns)
    return ranked.ranked(cohort, EDGES, grant, noise)


@pytest.mark.parametrize("top", [0.01, 0.1, 0.3, 0.9])
def test_a_threshold_selects_the_share_that_was_asked_for(top: float) -> None:
    columns, _ = asked(20_000, 1)
    found = everybody(columns, SeededNoise(1))
    threshold = found.threshold(top)
    assert np.mean(columns["score"] >= threshold) == pytest.approx(top, abs=0.006)
    assert found.share_above(threshold) == pytest.approx(top, abs=0.006)


def test_bands_are_even_and_the_threshold_is_between_two() -> None:
    columns, _ = asked(20_000, 2)
    found = everybody(columns, SeededNoise(2))
    cuts = found.cuts(33_333, 1.0)
    assert 33_333.0 in cuts
    shares = np.bincount(np.searchsorted(cuts, columns["score"], side="right")) / 20_000
    assert 9 <= len(shares) <= 11
    assert shares.min() > 0.03
    assert len(found.cuts(33_333, 20.0)) < 7


def test_means_of_bands_are_those_of_their_subjects() -> None:
    columns, _ = asked(50_000, 3)
    found = everybody(columns, ZeroNoise())
    cuts = found.cuts(33_000, 1.0)
    band = np.searchsorted(cuts, columns["score"], side="right")
    true = [columns["score"][band == place].mean() for place in range(len(cuts) + 1)]
    assert found.means(cuts, (EDGES[1:] + EDGES[:-1]) / 2) == pytest.approx(true, abs=60)


def trial(n: int, seed: int, noise: NoiseSource, mu_squared: Fraction = Fraction(1)) -> tuple[uplift_curves.Table, dict[str, NDArray[Any]]]:
    """An uplift from 0 to 0.4 by score."""
    columns, generator = asked(n, seed)
    treatment = generator.choice([-1, 0, 1], n, p=[0.2, 0.3, 0.5])
    chance = 0.2 + (treatment == 1) * np.clip((columns["score"] - 31_000) / 10_000, 0, 0.4)
    columns |= {"treatment": treatment, "label": (generator.random(n) < chance).astype(np.int64)}
    found = everybody(columns, noise)
    cohort, grant = door(columns, mu_squared)
    return uplift_curves.table(cohort, found, found.threshold(0.3), grant, noise), columns


def test_a_trial_is_counted_as_it_is() -> None:
    found, columns = trial(5_000, 4, ZeroNoise())
    held = (columns["part"] == Part.HOLDOUT) & (columns["treatment"] >= 0)
    assert found.part is Part.HOLDOUT
    assert found.counts.values.sum() == pytest.approx(held.sum())
    rates = [columns["label"][held & (columns["treatment"] == arm)].mean() for arm in (0, 1)]
    assert uplift_curves.average(found).value == pytest.approx(rates[1] - rates[0])
    assert uplift_curves.gains(found.counts.values)[-1] == pytest.approx([1.0, rates[1] - rates[0]])
    chosen = held & (columns["score"] >= found.cuts[found.first - 1])
    rates = [columns["label"][chosen & (columns["treatment"] == arm)].mean() for arm in (0, 1)]
    assert uplift_curves.selected(found).value == pytest.approx(rates[1] - rates[0])


def test_a_score_that_finds_them_has_a_qini_above_zero_and_its_reverse_below() -> None:
    found, _ = trial(40_000, 5, SeededNoise(5))
    assert uplift_curves.qini(found).low > 0
    turned = uplift_curves.Table(Noisy(found.counts.values[::-1], found.counts.sigma), found.cuts, found.part, found.first)
    assert uplift_curves.qini(turned).high < 0


def coverage(intervals: list[Interval], true: float) -> float:
    return float(np.mean([each.low <= true <= each.high for each in intervals]))


@pytest.mark.slow
def test_intervals_of_trials_hold_in_about_95_of_100() -> None:
    whole, _ = trial(1_500_000, 6, ZeroNoise())
    found = [trial(4_000, seed, SeededNoise(seed), Fraction(1, 40))[0] for seed in range(100)]
    assert coverage([uplift_curves.qini(each) for each in found], uplift_curves.qini(whole).value) >= 0.88
    assert coverage([uplift_curves.average(each) for each in found], uplift_curves.average(whole).value) >= 0.88
    widths = [each.high - each.low for each in (uplift_curves.qini(table) for table in found)]
    errors = np.std([uplift_curves.qini(each).value for each in found])
    assert 2 < np.mean(widths) / errors < 6


def test_nothing_is_told_of_an_arm_that_noise_hides() -> None:
    found, _ = trial(60, 7, SeededNoise(7), Fraction(1, 1_000))
    assert (uplift_curves.qini(found).low, uplift_curves.qini(found).high) == (-1.0, 1.0)


def spending(
    n: int, seed: int, noise: NoiseSource, mu_squared: Fraction = Fraction(1)
) -> tuple[value_curves.Table, dict[str, NDArray[Any]]]:
    """Spending that rises with the score, on a linear grid of 0 to 100."""
    columns, generator = asked(n, seed)
    amount = np.clip(generator.gamma(2, np.clip((columns["score"] - 30_000) / 300, 0, None)), 0, 100)
    columns["label"] = np.where(generator.random(n) < 0.5, np.rint(amount / 100 * ONE), 0).astype(np.int64)
    found = everybody(columns, noise)
    cohort, grant = door(columns, mu_squared)
    edges = np.array([1.0, 0.08 * ONE, 0.15 * ONE, 0.3 * ONE])
    worth = worth_of(Scale(0, 100))
    return value_curves.table(cohort, found, found.threshold(0.3), edges, worth, round(0.5 * ONE), grant, noise), columns


def test_what_was_spent_is_summed_as_it_is_up_to_the_cap() -> None:
    found, columns = spending(5_000, 8, ZeroNoise())
    held = columns["part"] == Part.HOLDOUT
    amounts = np.minimum(columns["label"][held], 0.5 * ONE) / (0.5 * ONE)
    assert value_curves.overall(found).value == pytest.approx(amounts.mean(), rel=1e-3)
    chosen = columns["score"][held] >= found.cuts[found.first - 1]
    assert value_curves.brought(found).value == pytest.approx(amounts[chosen].sum() / amounts.sum(), rel=1e-3)
    level = np.searchsorted([1.0, 0.08 * ONE, 0.15 * ONE, 0.3 * ONE], columns["label"][held], side="right")
    band = np.searchsorted(found.cuts, columns["score"][held], side="right")
    higher, better = level[:, None] > level[None, :], np.sign(band[:, None] - band[None, :])
    assert value_curves.concordance(found).value == pytest.approx((1 + better[higher]).mean() / 2, rel=1e-6)


@pytest.mark.slow
def test_intervals_of_spending_hold_in_about_95_of_100() -> None:
    whole, _ = spending(1_000_000, 9, ZeroNoise())
    found = [spending(4_000, seed, SeededNoise(seed), Fraction(1, 40))[0] for seed in range(100)]
    for figure in (value_curves.concordance, value_curves.overall, value_curves.brought):
        held = coverage([figure(each) for each in found], figure(whole).value)
        assert held >= 0.88, figure.__name__
        assert np.mean([figure(each).high - figure(each).low for each in found]) < 8 * np.std([figure(each).value for each in found])


def test_nothing_is_told_of_spending_that_noise_hides() -> None:
    found, _ = spending(30, 10, SeededNoise(10), Fraction(1, 1_000))
    assert (value_curves.concordance(found).low, value_curves.concordance(found).high) == (0.0, 1.0)


def test_the_delta_method_agrees_with_what_is_known_of_a_rate() -> None:
    table = Noisy(np.array([300.0, 700.0]), 5.0)
    found = delta.interval(lambda counts: float(counts[0] / counts.sum()), table)
    sampling, noise = 0.3 * 0.7 / 1000, 25 * (0.7**2 + 0.3**2) / 1000**2
    assert found.value == pytest.approx(0.3)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(sampling + noise), rel=1e-3)
