"""`engine.forecast`: refuses what would be noise, and follows population, features and budget the right way."""

from __future__ import annotations

import math

import pytest

from engine.forecast import Forecast, forecast_clusters
from engine.forecast_scores import AUTOMATIC, Choice, chosen, forecast_propensity
from engine.trainers.learners import ROUNDS
from governance.accounting import mu_squared_of


def clusters(n: float, d: int, k: int, epsilon: float, sigma: float = 5.0) -> Forecast:
    return forecast_clusters(n, sigma, d, k, mu_squared_of(epsilon, 1e-5))


def propensity(n: float, d: int, epsilon: float) -> Forecast:
    mu_squared = mu_squared_of(epsilon, 1e-5)
    return forecast_propensity(n, d, mu_squared, chosen("logistic", n, d, mu_squared))


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (clusters(23_570, 5, 6, 1.0), "good"),
        (clusters(100_000, 10, 8, 0.1), "good"),
        (clusters(1_500, 8, 5, 1.0), "fair"),
        (clusters(440, 8, 5, 0.5), "noise"),
        (clusters(1_797, 64, 10, 1.0), "noise"),
        (clusters(0, 5, 5, 1.0), "noise"),
        (clusters(-20, 5, 5, 1.0), "noise"),
        (propensity(12_000, 17, 1.0), "good"),
        (propensity(1_500, 8, 1.0), "fair"),
        (propensity(440, 8, 0.5), "noise"),
        (propensity(0, 8, 1.0), "noise"),
    ],
)
def test_verdicts(asked: Forecast, verdict: str) -> None:
    assert asked.verdict == verdict


@pytest.mark.parametrize("made", [clusters, propensity])
def test_more_people_and_more_budget_help(made: object) -> None:
    def expected(n: float, epsilon: float) -> float:
        return (clusters(n, 6, 4, epsilon) if made is clusters else propensity(n, 6, epsilon)).expected

    assert expected(2_000, 1.0) > expected(4_000, 1.0) > expected(4_000, 2.0)


def test_more_features_and_clusters_cost() -> None:
    assert clusters(3_000, 12, 4, 1.0).expected > clusters(3_000, 6, 4, 1.0).expected < clusters(3_000, 6, 8, 1.0).expected
    assert propensity(3_000, 12, 1.0).expected > propensity(3_000, 6, 1.0).expected


def test_intervals_hold_the_expectation_and_widen_with_an_unsure_count() -> None:
    sure, unsure = clusters(3_000, 6, 5, 1.0, sigma=0.0), clusters(3_000, 6, 5, 1.0, sigma=300.0)
    assert unsure.interval[0] < sure.interval[0] < sure.expected < sure.interval[1] < unsure.interval[1]
    least, most = propensity(500, 8, 1.0).interval
    assert least < propensity(500, 8, 1.0).expected < most <= 0.5


def test_words_say_what_to_expect() -> None:
    assert "0.1% looser" in clusters(23_570, 5, 6, 1.0).words
    assert "over 100%" in clusters(440, 8, 5, 0.5).words and "noise" in clusters(440, 8, 5, 0.5).words
    assert "AUC" in propensity(1_500, 8, 1.0).words


def test_nothing_is_infinite_whatever_is_asked() -> None:
    for asked in (forecast_clusters(0.0, 1e9, 64, 30, mu_squared_of(1e-6, 1e-9)), propensity(-1e9, 64, 1e-6)):
        assert all(math.isfinite(figure) for figure in (asked.expected, *asked.interval))


def test_a_learner_is_taken_by_public_figures_and_what_is_asked_for_stands() -> None:
    """More people and more budget carry more than a weighted sum; more features need more people."""
    one = mu_squared_of(1.0, 1e-5)
    assert chosen("auto", 45_000, 46, one).learner == "hybrid"
    assert chosen("auto", 7_000, 44, one).learner == chosen("auto", 2_500, 8, one).learner == "logistic"
    assert chosen("auto", 45_000, 46, mu_squared_of(0.1, 1e-5)).learner == "logistic"
    assert chosen("auto", 17_000, 64, one).learner == "hybrid" != chosen("auto", 14_000, 64, one).learner
    assert chosen("auto", -20, 8, one).learner == "logistic"
    for learner in ROUNDS:
        assert chosen(learner, 0, 64, one).learner == learner  # type: ignore[arg-type]  # a key of the table, each a learner
    assert all(ROUNDS[learner] <= 30 for learner in ROUNDS) and ROUNDS["logistic"] <= 9
    assert set(AUTOMATIC) <= set(ROUNDS)


def test_what_is_more_than_a_weighted_sum_may_gain() -> None:
    mu_squared = mu_squared_of(1.0, 1e-5)
    hybrid, line = (forecast_propensity(30_000, 20, mu_squared, Choice(learner, "so")) for learner in ("hybrid", "logistic"))
    assert hybrid.interval[0] < line.interval[0] < 0 < line.expected
    assert "learner: hybrid, as so" in hybrid.words
