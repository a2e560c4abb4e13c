"""`engine.assess`, `engine.group_tables`, `engine.curves`: each counts whom it says, at its price, with the same bits in any batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from engine import assess, curves, group_tables
from engine.models import ONE
from engine.scale import UNIT
from governance.door import Array, Cohort, Grant, LocalCohort, MemoryMeter, Part, Query, exact_sum
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise

N, D, K = 4000, 3, 4
GROUPS = (3, 2)
BLOCKS = ((0,), (1,), (0, 1))


def columns(seed: int = 0, n: int = N) -> dict[str, np.ndarray]:
    """Subjects in K clusters, or in none; scores that carry the label; two fairness attributes, partly unknown."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1.5, 1.2, n)
    probability = 1 / (1 + np.exp(-logits))
    people = {
        "features": generator.integers(-UNIT, UNIT + 1, (n, D)).astype(np.int32),
        "label": (generator.random(n) < probability).astype(np.int8),
        "part": np.where(generator.random(n) < 0.7, Part.TRAIN, Part.HOLDOUT).astype(np.int8),
        "segment": generator.integers(-1, K, n),
        "score": np.rint(probability * ONE).astype(np.int64),
        "groups": np.stack([generator.integers(-1, size, n) for size in GROUPS], axis=1).astype(np.int8),
        "flags": (generator.random((n, 4)) < 0.2).astype(np.int8),
    }
    people["features"][0], people["score"][0], people["groups"][0], people["part"][0] = UNIT, ONE, 0, Part.HOLDOUT  # as far out as can be
    return people


def selection(seed: int = 0) -> dict[str, np.ndarray]:
    """As a propensity has it: part 0 is selected, −1 is not."""
    people = columns(seed)
    return people | {"segment": np.where(people["score"] >= 20_000, 0, -1)}


def sizes(cohort: Cohort, grant: Grant, noise: NoiseSource) -> assess.Noisy:
    return assess.sizes(cohort, K, grant, noise)


def profiles(cohort: Cohort, grant: Grant, noise: NoiseSource) -> assess.Noisy:
    return assess.profiles(cohort, K, grant, noise)


def flags(cohort: Cohort, grant: Grant, noise: NoiseSource) -> assess.Noisy:
    return assess.flags(cohort, 4, grant, noise)


def parts_by_group(cohort: Cohort, grant: Grant, noise: NoiseSource) -> tuple[group_tables.Table, ...]:
    return group_tables.tables(cohort, group_tables.Asked(GROUPS, BLOCKS, K), grant, noise)


def outcomes_by_group(cohort: Cohort, grant: Grant, noise: NoiseSource) -> tuple[group_tables.Table, ...]:
    return group_tables.tables(cohort, group_tables.Asked(GROUPS, BLOCKS, 2, Part.HOLDOUT), grant, noise)


def means_by_group(cohort: Cohort, grant: Grant, noise: NoiseSource) -> assess.Noisy:
    return group_tables.means(cohort, GROUPS, grant, noise)


def guesses(cohort: Cohort, grant: Grant, noise: NoiseSource) -> tuple[assess.Noisy, ...]:
    """By rules that look at the first feature alone: the higher it is, the later the group."""
    rules = [group_tables.Rule(np.outer(np.arange(size), [group_tables.STEPS, 0, 0]), *np.zeros((4, size))) for size in GROUPS]
    return group_tables.guesses(cohort, rules, grant, noise)


def curve(cohort: Cohort, grant: Grant, noise: NoiseSource) -> curves.Curve:
    return curves.curve(cohort, assess.Noisy(np.full(curves.SCORE_BINS, N / curves.SCORE_BINS), 1.0), grant, noise)


Question = Callable[[Cohort, Grant, NoiseSource], object]
QUESTIONS: dict[Question, float] = {
    sizes: 1.0,
    profiles: math.sqrt(D),
    curves.scores: 1.0,
    curve: 1.0,
    flags: 2.0,
    parts_by_group: math.sqrt(2.25),
    outcomes_by_group: math.sqrt(2.25 * 1.25),
    means_by_group: math.sqrt(2 * (1 + D)),
    guesses: math.sqrt(2),
}
"""What is asked, with its L2 sensitivity."""


class Recording:
    """A cohort that remembers what it was asked."""

    def __init__(self, inner: Cohort) -> None:
        self._inner = inner
        self.width = inner.width
        self.queries: list[Query] = []

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`."""
        self.queries.append(query)
        return self._inner.noisy_sum(query, grant, noise)


def ask(question: Question, people: dict[str, np.ndarray], noise: NoiseSource, mu_squared: Fraction = Fraction(1, 4)) -> object:
    meter = MemoryMeter(mu_squared)
    return question(LocalCohort(people, meter), meter.grant(), noise)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_each_is_one_query_of_the_sensitivity_it_claims_and_has_the_same_bits_in_any_batches(question: Question) -> None:
    meter = MemoryMeter(Fraction(1, 4))
    people = selection() if question is outcomes_by_group else columns()
    cohort = Recording(LocalCohort(people, meter))
    question(cohort, meter.grant(), SeededNoise(0))
    (query,) = cohort.queries
    assert query.bound == pytest.approx(QUESTIONS[question])
    assert sum(meter.spent.values()) == Fraction(1, 4)
    whole = exact_sum(query, LocalCohort(people, meter).batches())
    for rows in (1, 999):
        assert np.array_equal(exact_sum(query, reversed(list(LocalCohort(people, meter, rows).batches()))), whole)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_one_subject_moves_the_answer_by_no_more_than_the_sensitivity(question: Question) -> None:
    """Subjects fill the bound where they can: a bound that is too small would clip them, one that is too large would waste budget."""
    people = selection() if question is outcomes_by_group else columns()
    meter = MemoryMeter(Fraction(1, 4))
    cohort = Recording(LocalCohort(people, meter))
    question(cohort, meter.grant(), ZeroNoise())
    (query,) = cohort.queries
    lone = [exact_sum(query, [{name: column[i : i + 1].astype(np.float64) for name, column in people.items()}]) for i in range(300)]
    norms = np.sqrt([((each / 2.0**32) ** 2).sum() for each in lone])
    assert norms.max() <= 1
    assert norms.max() == pytest.approx(1) or question is flags  # four flags on one subject are rare


def test_sizes_and_profiles_count_each_part() -> None:
    people = columns()
    counted = ask(sizes, people, ZeroNoise())
    assert isinstance(counted, assess.Noisy)
    assert counted.values == pytest.approx(np.bincount(people["segment"][people["segment"] >= 0], minlength=K), abs=1e-3)
    assert counted.sigma == pytest.approx(2.0)
    shapes = ask(profiles, people, ZeroNoise())
    assert isinstance(shapes, assess.Noisy)
    ends = np.linspace(-UNIT, UNIT, assess.PROFILE_BINS + 1)
    for part in range(K):
        for feature in range(D):
            exact, _ = np.histogram(people["features"][people["segment"] == part, feature], ends)
            assert shapes.values[part, feature] == pytest.approx(exact, abs=1e-3)
    assert shapes.sigma == pytest.approx(2 * math.sqrt(D))


@pytest.mark.parametrize(("mu_squared", "part"), [(Fraction(10**4), Part.HOLDOUT), (Fraction(1, 100), Part.ALL)])
def test_curve_counts_by_label_and_score_whom_the_noise_leaves_visible(mu_squared: Fraction, part: Part) -> None:
    people = columns()
    found = ask(curve, people, ZeroNoise(), mu_squared)
    assert isinstance(found, curves.Curve)
    assert found.part is part
    edges = np.concatenate([[-1.0], found.edges, [ONE + 1.0]])
    for label in (0, 1):
        inside = (people["label"] == label) & (people["part"] == Part.HOLDOUT if part is Part.HOLDOUT else True)
        exact = [np.count_nonzero((people["score"][inside] >= a) & (people["score"][inside] < b)) for a, b in pairwise(edges)]
        assert found.counts.values[label] == pytest.approx(exact, abs=1e-3)


def test_bins_of_a_curve_hold_fewer_towards_the_top_and_predict_their_mean() -> None:
    people = columns(n=100_000)
    cohort, meter = LocalCohort(people, MemoryMeter(Fraction(1))), MemoryMeter(Fraction(1))
    histogram = curves.scores(cohort, meter.grant(), ZeroNoise())
    found = curves.curve(LocalCohort(people, MemoryMeter(Fraction(1))), histogram, meter.grant(), ZeroNoise())
    place = np.searchsorted(found.edges, people["score"], side="right")
    held = np.bincount(place, minlength=len(found.predicted))
    assert len(held) == curves.CURVE_BINS[1]
    assert held[-1] < held[len(held) // 2] < held[0]
    exact = np.bincount(place, people["score"] / ONE) / held
    assert found.predicted == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("top", [0.01, 0.1, 0.5, 0.9])
def test_threshold_selects_the_top_share(top: float) -> None:
    people = columns()
    meter = MemoryMeter(Fraction(1))
    chosen = curves.threshold(curves.scores(LocalCohort(people, meter), meter.grant(), ZeroNoise()), top)
    assert np.mean(people["score"] >= chosen) == pytest.approx(top, abs=0.01)


@pytest.mark.parametrize("top", [0.1, 0.3])
def test_noise_moves_the_threshold_to_either_side_alike(top: float) -> None:
    """A histogram whose negative counts are set to zero selects 3 % here where 10 % were asked for."""
    people = columns(n=2500)
    selected = []
    for seed in range(100):
        meter = MemoryMeter(Fraction(1, 18**2))
        chosen = curves.threshold(curves.scores(LocalCohort(people, meter), meter.grant(), SeededNoise(seed)), top)
        selected.append(np.mean(people["score"] >= chosen))
    assert np.mean(selected) == pytest.approx(top, abs=0.012)
    assert np.std(selected) < 0.04


@pytest.mark.parametrize("mu_squared", [Fraction(1, 10**6), Fraction(1)])
def test_threshold_of_nobody_is_still_a_score(mu_squared: Fraction) -> None:
    for seed in range(20):
        meter = MemoryMeter(mu_squared)
        chosen = curves.threshold(curves.scores(LocalCohort(columns(n=1), meter), meter.grant(), SeededNoise(seed)), 0.2)
        assert 0 <= chosen <= ONE


def test_parts_by_group_count_everybody_once_for_each_attribute_and_crossing() -> None:
    people = columns()
    people["segment"] = np.maximum(people["segment"], 0)
    counted = ask(parts_by_group, people, ZeroNoise())
    assert isinstance(counted, tuple)
    first, second = people["groups"].T
    places = (first, second, np.where((first >= 0) & (second >= 0), first * GROUPS[1] + second, -1))
    for table, place, size in zip(counted, places, (3, 2, 6), strict=True):
        exact = [[np.count_nonzero((place == g) & (people["segment"] == part)) for part in range(K)] for g in range(size)]
        assert table.counts[:, :, 0] == pytest.approx(np.array(exact), abs=1e-3)
        assert table.unknown == pytest.approx(np.count_nonzero(place == -1), abs=1e-3)
    assert [table.sigma for table in counted] == pytest.approx([3.0, 3.0, 6.0])  # a crossing has half the weight


@pytest.mark.parametrize("part", [Part.HOLDOUT, Part.ALL])
def test_outcomes_by_group_add_labels_and_scores_of_whom_errors_are_counted_on(part: Part) -> None:
    people = selection()
    meter = MemoryMeter(Fraction(1, 4))
    asked = group_tables.Asked(GROUPS, BLOCKS, 2, part)
    counted = group_tables.tables(LocalCohort(people, meter), asked, meter.grant(), ZeroNoise())
    looked_at = (people["part"] == Part.HOLDOUT) | (part is Part.ALL)
    excess = people["score"] / ONE - 0.5
    for attribute, size in enumerate(GROUPS):
        for group in range(size):
            for outcome, segment in enumerate((0, -1)):
                inside = (people["groups"][:, attribute] == group) & (people["segment"] == segment)
                states = [inside & looked_at & (people["label"] == label) for label in (0, 1)] + [inside & ~looked_at] * (asked.states == 3)
                assert counted[attribute].counts[group, outcome] == pytest.approx([np.count_nonzero(s) for s in states], abs=1e-3)
                sums = [excess[s].sum() * (place < 2) for place, s in enumerate(states)]
                assert counted[attribute].excess[group, outcome] == pytest.approx(sums, abs=1e-2)


def test_means_by_group_sum_features_within_one() -> None:
    people = columns()
    counted = ask(means_by_group, people, ZeroNoise())
    assert isinstance(counted, assess.Noisy)
    for attribute, size in enumerate(GROUPS):
        for group in range(size):
            inside = people["groups"][:, attribute] == group
            exact = [np.count_nonzero(inside), *(people["features"][inside] / UNIT).sum(axis=0)]
            assert counted.values[attribute, group] == pytest.approx(exact, abs=1e-3)


def test_guesses_count_members_by_the_group_that_is_named() -> None:
    people = columns()
    counted = ask(guesses, people, ZeroNoise())
    assert isinstance(counted, tuple)
    high = people["features"][:, 0] > 0
    for attribute, size in enumerate(GROUPS):
        groups = people["groups"][:, attribute]
        exact = np.zeros((size, size))
        for group in range(size):
            exact[group, -1], exact[group, 0] = np.count_nonzero((groups == group) & high), np.count_nonzero((groups == group) & ~high)
        assert counted[attribute].values == pytest.approx(exact, abs=1e-3)


def test_a_rule_finds_the_feature_that_stands_for_a_group_and_names_no_group_that_is_too_small() -> None:
    people = columns(n=20_000)
    people["groups"][:, 1] = np.where(people["features"][:, 2] > 0, 1, 0)
    people["groups"][:, 0] = np.where(np.arange(20_000) < 25, 2, np.arange(20_000) % 2)
    meter = MemoryMeter(Fraction(1))
    released = group_tables.means(LocalCohort(people, meter), GROUPS, meter.grant(), SeededNoise(0))
    first, second = group_tables.rules(released, GROUPS, np.full(D, 1 / 3))
    assert second.differences[:, 2] == pytest.approx([-0.866, 0.866], abs=0.05)
    assert np.abs(second.differences[:, :2]).max() < 4 * second.errors[:, :2].max() < 0.1
    assert np.isinf(first.errors[2]).all() and first.starts[2] == group_tables.NEVER
    meter = MemoryMeter(Fraction(1))
    named = group_tables.guesses(LocalCohort(people, meter), (first, second), meter.grant(), ZeroNoise())
    assert named[0].values[:, 2] == pytest.approx(0, abs=1e-3)
    assert np.trace(named[1].values) / named[1].values.sum() > 0.97
    for rule in (first, second):
        assert np.array_equal(rule.weights, np.rint(rule.weights)) and np.abs(rule.weights).max() <= group_tables.STEPS


def test_flags_count_subjects() -> None:
    people = columns()
    counted = ask(flags, people, ZeroNoise())
    assert isinstance(counted, assess.Noisy)
    assert counted.values == pytest.approx(people["flags"].sum(axis=0), abs=1e-3)
    assert counted.sigma == pytest.approx(4.0)


def test_odd_values_in_columns_hurt_nobody() -> None:
    people = {name: column.astype(np.float64) for name, column in selection().items()}
    clean = {name: column.copy() for name, column in people.items()}
    for column, value in (("score", np.nan), ("label", np.inf), ("label", 7.0), ("features", -np.inf), ("groups", 99.0), ("flags", np.nan)):
        people[column][:5] = value
        for question in QUESTIONS:
            meter = MemoryMeter(Fraction(1, 4))
            cohort, reference = Recording(LocalCohort(people, meter)), LocalCohort(clean, MemoryMeter(Fraction(1, 4)))
            question(cohort, meter.grant(), ZeroNoise())
            (query,) = cohort.queries
            change = exact_sum(query, LocalCohort(people, meter).batches()) - exact_sum(query, reference.batches())
            assert np.abs(change).max() <= 5 * 2.0**32
        people[column][:5] = clean[column][:5]
