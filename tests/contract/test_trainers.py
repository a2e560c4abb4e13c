"""What every trainer owes: it learns through the door alone, within its grant and its rounds, with the same bits anywhere."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from engine.scale import UNIT
from governance.door import GRID, LocalCohort, MemoryMeter, exact_sum
from tests.fakes import SeededNoise, ZeroNoise
from tests.trainers import Trainer, every_trainer, population, subject, trained


@every_trainer
def test_the_grant_is_spent_once_and_in_full(trainer: Trainer) -> None:
    _, watched, _ = trained(trainer, population(800), SeededNoise(1))
    assert sum(watched.meter.spent.values()) == watched.meter.limit
    assert [grant.path for _, grant in watched.asked] == list(watched.meter.spent)


@every_trainer
def test_rounds_are_few_and_all_shown(trainer: Trainer) -> None:
    _, watched, said = trained(trainer, population(800), SeededNoise(1))
    assert len(watched.asked) <= trainer.rounds
    assert len(said) >= len(watched.asked)


@every_trainer
def test_progress_does_not_depend_on_the_population(trainer: Trainer) -> None:
    said = [trained(trainer, population(n, seed=n), SeededNoise(1))[2] for n in (0, 1, 900)]
    assert said[0] == said[1] == said[2]


@every_trainer
def test_bits_agree_whatever_the_batches_and_the_order(trainer: Trainer) -> None:
    columns = population(3_000)
    shuffled = {name: column[np.random.default_rng(5).permutation(3_000)] for name, column in columns.items()}
    parameters, watched, _ = trained(trainer, columns, SeededNoise(2))
    for given, batch_rows in ((columns, 1 << 16), (columns, 701), (columns, 64), (shuffled, 997)):
        if given is columns:
            assert np.array_equal(trained(trainer, given, SeededNoise(2), batch_rows)[0], parameters)
        for query, _ in watched.asked:
            batches = LocalCohort(given, MemoryMeter(Fraction(1)), batch_rows).batches()
            whole = LocalCohort(columns, MemoryMeter(Fraction(1))).batches()
            assert np.array_equal(exact_sum(query, batches), exact_sum(query, whole)), query.step


@every_trainer
def test_one_subject_moves_no_sum_by_more_than_the_bound(trainer: Trainer) -> None:
    columns = population(400)
    _, watched, _ = trained(trainer, columns, SeededNoise(3))
    for corner in (UNIT, -UNIT, 1):
        extreme = subject(corner)
        more = {name: np.concatenate([column, extreme[name]]) for name, column in columns.items()}
        for query, _ in watched.asked:
            without, with_one = (exact_sum(query, LocalCohort(given, MemoryMeter(Fraction(1))).batches()) for given in (columns, more))
            moved = [int(change) for change in with_one - without]
            assert 0 < sum(change * change for change in moved) <= GRID**2, query.step


@every_trainer
def test_noise_has_the_scale_of_each_share(trainer: Trainer) -> None:
    noise = ZeroNoise()
    _, watched, _ = trained(trainer, population(200), noise)
    expected = [GRID / float(grant.mu_squared) ** 0.5 for _, grant in watched.asked]
    assert noise.sigmas == pytest.approx(expected, rel=1e-12)


@every_trainer
@pytest.mark.parametrize("value", [None, UNIT, 0])
def test_odd_populations_are_no_error(trainer: Trainer, value: int | None) -> None:
    """Nobody at all, and everybody the same: an exception would show it."""
    columns = population(0 if value is None else 50)
    if value is not None:
        columns["features"] = np.full((50, 6), value, dtype=np.int32)
    for noise in (SeededNoise(4), ZeroNoise()):
        assert np.isfinite(trained(trainer, columns, noise)[0]).all()
