"""`engine.estimators`: scikit-learn's contract at an ε that hides nothing, and at a real one a ledger that adds up and refuses."""

from __future__ import annotations

import pickle
import warnings
from fractions import Fraction

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_blobs, make_classification, make_regression
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

from engine.estimators import DPKMeans, DPLogisticRegression, DPPropensity, DPRegressor, PrivacyLeakWarning
from engine.private_estimator import LARGEST, affordable
from governance.accounting import mu_squared_of
from governance.door import BudgetError
from tests.fakes import SeededNoise

ANEW = "each fit draws noise anew, from the operating system, so that two fits differ; `random_state` does not feed noise"
FAILED = {
    "DPKMeans": {
        "check_clustering": ANEW + "; labels go by noisy size",
        "check_fit_idempotent": ANEW,
        "check_pipeline_consistency": ANEW,
        "check_transformer_data_not_an_array": ANEW,
        "check_transformer_general": ANEW,
    },
    "DPLogisticRegression": {"check_fit_idempotent": ANEW},
    "DPPropensity": {"check_fit_idempotent": ANEW},
    "DPRegressor": {
        "check_fit_idempotent": ANEW,
        "check_regressor_data_not_an_array": ANEW,
        "check_regressors_int": ANEW,
        "check_supervised_y_2d": ANEW,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [DPKMeans(epsilon=1e6), DPRegressor(epsilon=1e6), DPLogisticRegression(epsilon=1e6), DPPropensity("logistic", epsilon=1e6)],
    ids=repr,
)
def test_scikit_learn_finds_nothing_else_amiss(estimator: BaseEstimator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks mean to provoke them
        check_estimator(estimator, expected_failed_checks=FAILED[type(estimator).__name__], on_skip=None)


@pytest.fixture(autouse=True)
def quick_noise(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "scikit_learn" not in request.node.name:
        monkeypatch.setattr("engine.private_estimator.Private.noise", SeededNoise(1))


def test_clusters_are_found_at_a_real_epsilon() -> None:
    rows, truth = make_blobs(5000, 3, centers=4, cluster_std=0.5, center_box=(-8, 8), random_state=3)
    model = DPKMeans(4, epsilon=1.0, bounds=(-10, 10), random_state=0).fit(rows)
    assert adjusted_rand_score(truth, model.predict(rows)) > 0.95
    assert np.array_equal(model.predict(rows), model.labels_)
    assert model.transform(rows).shape == (5000, 4)
    assert np.array_equal(model.transform(rows).argmin(axis=1), model.labels_)
    assert model.sizes_.sum() == pytest.approx(5000, rel=0.05)
    assert list(model.get_feature_names_out()) == ["dpkmeans0", "dpkmeans1", "dpkmeans2", "dpkmeans3"]


@pytest.mark.parametrize("estimator", [DPLogisticRegression(bounds=(-6, 6), classes=(0, 1)), DPPropensity(bounds=(-6, 6), classes=(0, 1))])
def test_probabilities_rank_at_a_real_epsilon(estimator: DPPropensity) -> None:
    rows, label = make_classification(5000, 6, n_informative=4, class_sep=1.5, random_state=2)
    model = clone(estimator).fit(rows, label)
    assert roc_auc_score(label, model.predict_proba(rows)[:, 1]) > 0.85
    assert model.predict_proba(rows).sum(axis=1) == pytest.approx(1)
    assert model.score(rows, label) > 0.75


@pytest.mark.parametrize("target_bounds", [None, (-600, 600)])
def test_numbers_are_predicted_at_a_real_epsilon(target_bounds: tuple[float, float] | None) -> None:
    rows, target = make_regression(5000, 5, noise=10, random_state=1)
    model = DPRegressor(bounds=(-5, 5), target_bounds=target_bounds).fit(rows, target)
    assert model.score(rows, target) > 0.8
    assert model.budget_.epsilon == pytest.approx(1.0)
    low, high = model.target_bounds_
    assert low < model.predict(rows).min() < model.predict(rows).max() < high


def test_coefficients_are_those_of_the_probabilities() -> None:
    rows, label = make_classification(5000, 4, random_state=2)
    model = DPLogisticRegression(bounds=([-6, -7, -8, -9], 6), classes=(0, 1)).fit(rows, label)
    inside = rows[(np.abs(rows) < 5.9).all(axis=1)]
    logits = inside @ model.coef_[0] + model.intercept_
    assert model.predict_proba(inside)[:, 1] == pytest.approx(1 / (1 + np.exp(-logits)), abs=2e-3)


def test_a_second_fit_adds_up_and_the_cap_refuses_the_third() -> None:
    rows, _ = make_blobs(200, 2, random_state=0)
    model = DPKMeans(2, epsilon=1.0, bounds=(-12, 12), cap=1.6)
    assert model.budget_.epsilon == 0
    model.fit(rows)
    assert model.budget_.epsilon == pytest.approx(1.0)
    model.fit(rows)
    assert 1.4 < model.budget_.epsilon < 1.6
    assert model.budget_.mu_squared == 2 * mu_squared_of(1.0, 1e-5)
    spent, centres = model.budget_, model.cluster_centers_
    with pytest.raises(BudgetError, match=r"at most `cap` = 1\.6"):
        model.fit(rows)
    assert model.budget_ == spent
    assert model.cluster_centers_ is centres
    with pytest.raises(BudgetError, match="at most `cap` = nan"):
        model.set_params(cap=float("nan")).fit(rows)


def test_a_fit_that_fails_after_it_began_stays_spent() -> None:
    model = DPKMeans(2, epsilon=0.1)
    with pytest.raises(ValueError, match="noise hides where values lie"):
        model.fit(np.zeros((3, 2)))
    assert model.budget_.epsilon == pytest.approx(0.1)


def test_bounds_come_from_the_same_budget_or_are_given() -> None:
    rows, _ = make_blobs(20_000, 2, center_box=(-3, 3), random_state=0)
    estimated = DPKMeans(2, epsilon=1.0).fit(rows)
    assert estimated.budget_.epsilon == pytest.approx(1.0)
    low, high = estimated.bounds_
    assert (low < np.quantile(rows, 0.02, axis=0)).all() and (high > np.quantile(rows, 0.98, axis=0)).all()
    with pytest.raises(ValueError, match="`bounds` that ascend"):
        DPKMeans(2, bounds=(3, -3)).fit(rows)


def test_classes_that_are_not_given_leak_and_say_so() -> None:
    rows, label = make_classification(500, 4, random_state=2)
    with pytest.warns(PrivacyLeakWarning, match="give `classes`"):
        DPLogisticRegression(bounds=(-6, 6)).fit(rows, label)
    nobody = DPLogisticRegression(bounds=(-6, 6), classes=("no", "yes")).fit(rows, np.full(500, "no"))
    assert set(nobody.predict(rows)) <= {"no", "yes"}
    with pytest.raises(ValueError, match="not in `classes`"):
        DPLogisticRegression(bounds=(-6, 6), classes=(0, 2)).fit(rows, label)


def test_what_is_saved_holds_nothing_of_a_row() -> None:
    rows, _ = make_blobs(300, 2, random_state=0)
    model = DPKMeans(3, bounds=(-12, 12)).fit(rows)
    saved = pickle.loads(pickle.dumps(model))
    assert not hasattr(saved, "labels_")
    assert np.array_equal(saved.predict(rows), model.labels_)
    assert saved.budget_ == model.budget_
    kept = [value for value in vars(saved).values() if isinstance(value, np.ndarray)]
    assert all(len(value) != len(rows) for value in kept)


def test_what_a_huge_epsilon_buys_is_what_the_door_takes() -> None:
    bought = [affordable(epsilon, 1e-5) for epsilon in (0.5, 1.0, 12.0, 20.0, 700.0, 701.0, 1e6)]
    assert bought == sorted(bought)
    assert bought[-1] == LARGEST
    assert bought[1] == mu_squared_of(1.0, 1e-5)
    with pytest.raises(ValueError, match="expected a finite ε > 0"):
        affordable(0.0, 1e-5)
    rows, _ = make_blobs(200, 2, random_state=0)
    spent = DPKMeans(2, epsilon=1e6, bounds=(-12, 12)).fit(rows).budget_
    assert spent.mu_squared == LARGEST
    assert 32_768 < spent.epsilon < 1e6
    assert Fraction(0) < affordable(1e-3, 1e-5)
