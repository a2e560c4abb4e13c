"""`engine.privacy_audit`: the theorem's numbers, canaries that are heard, and an audit that tells true noise from a quarter of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import pytest

from engine.privacy_audit import Asked, Recorder, Shape, Verdict, added, audit, detect, guess, log_odds, lower_bound, p_value
from engine.scale import UNIT
from governance.door import (
    Array,
    Batch,
    Cohort,
    Contribution,
    Grant,
    LocalCohort,
    MemoryMeter,
    Query,
    Rows,
    StepName,
    exact_sum,
    register,
)
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise


@register("test.cells")
def _cells(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    """Two blocks: features where the first is positive, else nowhere; and everybody's arm in slot 1."""
    x = batch["features"]
    values = np.stack([x, np.broadcast_to(batch["treatment"][:, None], x.shape)], axis=1)
    return Contribution(values, np.stack([np.where(x[:, 0] > 0, 2, -1), np.ones(len(x))], axis=1).astype(np.int64))


@register("test.audited")
def _products(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    """Features and their products, of norm UNIT · √(d + d²) at a corner."""
    x = batch["features"]
    return Contribution(np.hstack([x, (x[:, :, None] * x[:, None, :] / UNIT).reshape(len(x), -1)]))


def products(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> object:
    """One round that wastes nothing of the bound on a canary."""
    d = cohort.width
    return cohort.noisy_sum(Query(StepName("test.audited"), {}, (1, 1, d + d * d), UNIT * np.sqrt(d + d * d)), grant, noise)


QUERY = Query(StepName("test.cells"), {}, (2, 3, 4), UNIT * 2.0 + 1)


def test_pure_privacy_gives_the_binomial_tail() -> None:
    assert p_value(100, 2, 2, 0.0, 0.0) == pytest.approx(0.25)
    assert p_value(100, 10, 9, 1.0, 0.0) == pytest.approx(10 * 0.731059**9 * 0.268941 + 0.731059**10, rel=1e-5)
    assert p_value(100, 10, 0, 1.0, 0.0) == 1.0


def test_delta_adds_what_theorem_5_2_says() -> None:
    """One guess, right: W < 1 only where it is 0, so the slack is 2 δ m (1 − q)."""
    assert p_value(50, 1, 1, 1.0, 1e-3) == pytest.approx(0.731059 + 2 * 1e-3 * 50 * 0.268941, rel=1e-5)
    assert p_value(10**6, 10, 9, 1.0, 0.5) == 1.0


def test_lower_bound_is_where_the_p_value_crosses() -> None:
    found = lower_bound(1000, 200, 190, 1e-5)
    assert p_value(1000, 200, 190, found - 1e-4, 1e-5) < 0.01 < p_value(1000, 200, 190, found + 1e-4, 1e-5)
    assert lower_bound(1000, 200, 101, 1e-5) == pytest.approx(0, abs=1e-5)
    assert lower_bound(1000, 200, 190, 1e-5, 0.95) > found
    assert lower_bound(1000, 200, 190, 1e-2) < found


def test_what_a_subject_adds_is_what_the_door_sums() -> None:
    people = Shape(4).others(np.random.default_rng(0), 40)
    each = added(QUERY, Rows(people, 0, 40))
    assert each.shape == (40, 24)
    assert np.array_equal(each.sum(axis=0).astype(np.int64), exact_sum(QUERY, iter([Rows(people, 0, 40)])))


def test_signals_in_noise_get_the_odds_of_a_gaussian() -> None:
    """Orthogonal signals of length a: log-odds of each are a·y − a²/2, and no iteration changes that."""
    received = np.random.default_rng(1).normal(size=4000) + np.append(2.0, np.zeros(3999))
    signals = np.zeros((2, 4000))
    signals[0, 0] = signals[1, 1] = 2.0
    noisy = float(np.clip(((received - signals.sum(axis=0) / 2) ** 2).sum() - 2, 0, 4000) / 4000)
    assert detect(signals, received) == pytest.approx([(2 * received[0] - 2) / noisy, (2 * received[1] - 2) / noisy], rel=1e-2)


def test_signals_that_overlap_are_told_apart() -> None:
    generator = np.random.default_rng(2)
    wrong = 0
    for _ in range(50):
        coins = generator.integers(0, 2, 6) == 1
        signals = 4 * generator.normal(size=(6, 12)) / np.sqrt(12) + 1.0  # each holds what all hold
        odds = detect(signals, coins @ signals + generator.normal(size=12))
        wrong += int(((odds > 0) != coins).sum())
    assert wrong < 0.15 * 300


def test_only_the_clearest_are_guessed() -> None:
    odds = np.array([5.0, -4.0, 0.1, -0.2, 0.3, 3.0, -0.1, 0.1, 0.1, 0.1])
    coins = np.array([True, True, False, True, False, True, False, False, False, False])
    assert guess(odds, coins) == (2, 3)


def test_without_noise_every_canary_is_heard() -> None:
    generator = np.random.default_rng(3)
    others, canaries = Shape(4).others(generator, 50), Shape(4).canaries(generator, 3)
    coin = np.array([True, False, True])
    everybody = {name: np.concatenate([column, canaries[name][coin]]) for name, column in others.items()}
    meter = MemoryMeter(Fraction(100))
    watched = Recorder(LocalCohort(everybody, meter))
    products(watched, meter.grant(), ZeroNoise(), lambda _: None)
    assert watched.width == 4
    assert [asked.grant for asked in watched.transcript] == [meter.grant()]
    assert np.array_equal(log_odds(watched.transcript, others, canaries) > 0, coin)
    silent = [Asked(asked.query, asked.grant, 0 * asked.released) for asked in watched.transcript]
    assert not np.array_equal(log_odds(silent, others, canaries) > 0, coin)


def test_a_query_is_kept_as_it_was_asked() -> None:
    """A trainer may go on with the same arrays."""
    parameters = {"weights": np.zeros(2)}
    watched = Recorder(LocalCohort(Shape(4).others(np.random.default_rng(5), 5), MemoryMeter(Fraction(1))))
    watched.noisy_sum(Query(QUERY.step, parameters, QUERY.shape, QUERY.bound), MemoryMeter(Fraction(1)).grant(), ZeroNoise())
    parameters["weights"][0] = 1.0
    parameters["more"] = np.ones(1)
    assert {name: array.tolist() for name, array in watched.transcript[0].query.parameters.items()} == {"weights": [0.0, 0.0]}


def test_made_up_subjects_have_every_column_and_canaries_lie_far_out() -> None:
    generator = np.random.default_rng(4)
    others, canaries = Shape(7, label=500).others(generator, 1000), Shape(7, label=500).canaries(generator, 8)
    assert set(others) == set(canaries) == {"features", "label", "treatment", "part"}
    assert set(np.unique(others["label"])) == {0} and set(np.unique(canaries["label"])) == {500}
    assert np.abs(others["features"]).max() <= UNIT // 2
    assert (np.abs(canaries["features"]) == UNIT).all()
    signs = canaries["features"].astype(np.int64) // UNIT
    assert np.abs(signs @ signs.T - 7 * np.eye(8)).max() == 1  # seven columns of eight: one short of right angles


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_noise_of_a_quarter_is_caught_and_true_noise_is_not(epsilon: float) -> None:
    told: list[str] = []
    found = {
        factor: audit(products, Shape(6), epsilon, 1e-5, SeededNoise(5, factor), np.random.default_rng(6), progress=told.append)
        for factor in (0.25, 1.0)
    }
    assert found[0.25].verdict is Verdict.TOO_LITTLE
    assert found[0.25].lower > epsilon
    assert found[1.0].verdict is Verdict.CONSISTENT
    assert found[1.0].claimed == epsilon
    assert told[0] == "fit 1 of 300"
    assert len(told) == 600


def test_no_canary_is_granted_more_than_the_claim() -> None:
    """The trainer gets a meter that holds (ε, δ) and nothing more: one that asks for more fails, and is not audited at another ε."""

    def greedy(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> object:
        return [cohort.noisy_sum(QUERY, Grant(grant.reservation, f"{i}", grant.mu_squared), noise) for i in range(2)]

    with pytest.raises(Exception, match="exceeds the limit"):
        audit(greedy, Shape(4), 1.0, 1e-5, SeededNoise(1), np.random.default_rng(1), 1)
