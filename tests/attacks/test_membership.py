"""Membership inference by the released model alone: what (ε, δ) allows and no more, where the same attack unmasks an overfitted twin.

The attack is a likelihood ratio with shadow models (Carlini, Chien, Nasr, Song, Terzis, Tramèr 2022, "Membership inference attacks from
first principles"): half of the models show how the target's score is distributed with and without the target, and the other half is
attacked. Under (ε, δ)-DP the advantage is at most (e^ε − 1 + 2δ) / (e^ε + 1) (Humphries et al. 2023, "Investigating membership
inference attacks under data dependencies", Theorem 1, of Kairouz, Oh, Viswanath 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.tree import DecisionTreeClassifier

from engine.models import ONE
from engine.scale import UNIT
from engine.trainers import logistic
from governance.accounting import mu_squared_of
from governance.door import Array, LocalCohort, MemoryMeter, Part
from tests.fakes import SeededNoise

EPSILON, DELTA = 0.5, 1e-5
ALLOWED = (math.exp(EPSILON) - 1 + 2 * DELTA) / (math.exp(EPSILON) + 1)

MODELS = 120
"""Of each kind, with and without the target; half of them shadows."""

Score = Callable[[NDArray[np.int32], NDArray[np.int8], int], float]
"""How a model of features (n, 2) and labels (n,) judges the target; the number seeds its noise."""

TARGET, LABEL = np.array([[UNIT, -UNIT]], dtype=np.int32), 1
"""Far from all others, and unlike them."""


def trained(score: Score, member: bool, seed: int) -> float:
    """The target's score by a model of a hundred others in the middle of the grid, labelled by a rule, and the target if it is a member."""
    generator = np.random.default_rng([seed, member])
    features = generator.integers(-UNIT // 2, UNIT // 2, (100, 2)).astype(np.int32)
    label = (features[:, 0] < 0).astype(np.int8)
    if member:
        features, label = np.concatenate([features, TARGET]), np.append(label, np.int8(LABEL))
    return score(features, label, 2 * seed + member)


def advantage(score: Score) -> float:
    """True less false positives of the attack."""
    with_it, without = (np.array([trained(score, member, seed) for seed in range(MODELS)]) for member in (True, False))
    shadow, attacked = slice(0, MODELS // 2), slice(MODELS // 2, None)

    def says_member(scores: Array) -> float:
        return float((likelihood(scores, with_it[shadow]) > likelihood(scores, without[shadow])).mean())

    return says_member(with_it[attacked]) - says_member(without[attacked])


def likelihood(scores: Array, shadows: Array) -> Array:
    """Log-density of a normal distribution with the shadows' mean and deviation."""
    return np.asarray(norm.logpdf(scores, shadows.mean(), max(shadows.std(), 1e-6)))


def private_logistic(features: NDArray[np.int32], label: NDArray[np.int8], seed: int) -> float:
    """Probability of the target's label."""
    meter = MemoryMeter(mu_squared_of(EPSILON, DELTA))
    cohort = LocalCohort({"features": features, "label": label, "part": np.full(len(label), Part.TRAIN, dtype=np.int8)}, meter)
    model = logistic.fit(cohort, meter.grant(), SeededNoise(seed), lambda _: None)
    return float(model.score(TARGET)[0]) / ONE


def overfitted_tree(features: NDArray[np.int32], label: NDArray[np.int8], seed: int) -> float:
    """Non-private: a leaf for everybody."""
    return float(DecisionTreeClassifier(random_state=seed).fit(features, label).predict_proba(TARGET)[0, LABEL])


CHANCE = 3 * math.sqrt(2 * 0.25 / (MODELS / 2))
"""Three standard errors of an advantage."""


@pytest.mark.slow
def test_the_advantage_is_within_what_privacy_allows() -> None:
    assert advantage(private_logistic) <= ALLOWED + CHANCE


def test_the_same_attack_unmasks_an_overfitted_twin() -> None:
    assert advantage(overfitted_tree) > ALLOWED + CHANCE
