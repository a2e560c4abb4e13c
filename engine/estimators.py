"""Private estimators on arrays, for people who know scikit-learn: the trainers of `engine.trainers` behind fit, predict and transform.

Neighbours: add or remove one row of `X` (and of `y`). What `fit` stores and `predict` uses went through the door at (ε, δ), all of it
paid. An estimator keeps a ledger of its own: each further `fit` adds up in `budget_`, and `cap` refuses what would go beyond it.
Copies (`clone`, and with it `cross_val_score` or `GridSearchCV`) have ledgers of their own; whoever fits several to the same rows
spends the sum.

What is public: the number of features, `bounds`, `classes`, and every other parameter. Without `bounds`, they are estimated through
the door, from the same ε. Without `classes`, they are read from `y`, which a `PrivacyLeakWarning` says. Rows' own labels (`labels_`)
are there for whoever fitted, and are left out of what is pickled.

No consent, policy or log here: for data of people that a controller answers for, build a segment.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, ClusterMixin, RegressorMixin, TransformerMixin
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import validate_data

from engine.models import ONE, Scorer
from engine.private_estimator import Private
from engine.scale import UNIT, Scale
from engine.trainers import clusters, learners, logistic, regression
from engine.trainers.learners import Learner
from governance.door import Array, Cohort, Grant, LocalCohort, Part


class PrivacyLeakWarning(UserWarning):
    """Something was read from the data that no budget was spent on."""


class DPKMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, Private):  # type: ignore[misc]
    """Private k-means, `engine.trainers.clusters`, in the shape of `sklearn.cluster.KMeans`.

    `n_clusters`: how many, or (least, most) to have it chosen at no further cost. `epsilon`, `delta`: of each fit. `bounds`: public
    (low, high) of features, each a number or (d,); None: estimated through the door. `cap`: ε of all fits together. `random_state`
    feeds steps on released values, never the noise.

    After `fit`: `cluster_centers_` (k, d), `sizes_` (k,) noisy rows of each, `labels_` (n,), `bounds_`, `budget_`.
    """

    def __init__(
        self,
        n_clusters: int | tuple[int, int] = 8,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        cap: float | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.cap = cap
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn centres from rows (n, d). Raises BudgetError, ValueError."""
        rows = np.asarray(validate_data(self, X, dtype=np.float64))
        meter, grant = self.open(bounds=rows)
        features = self.on_grid(rows)
        seed = 0 if self.random_state is None else int(self.random_state)
        found = clusters.fit(LocalCohort({"features": features}, meter), self.n_clusters, grant, self.noise, lambda _: None, seed)
        self.model_ = found.model
        low, high = self.bounds_
        self.cluster_centers_ = low + (found.model.centres / UNIT + 1) / 2 * (high - low)
        self.sizes_ = found.sizes
        self.labels_ = found.model.assign(features)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The cluster of each row, (n,)."""
        rows = self.checked(X)
        return self.model_.assign(self.on_grid(rows))

    def transform(self, X: ArrayLike) -> Array:
        """Distance of each row to each centre, (n, k), in units of the features."""
        return np.asarray(euclidean_distances(self.checked(X), self.cluster_centers_))

    def __getstate__(self) -> dict[str, Any]:
        """Without what is of single rows."""
        return {name: value for name, value in super().__getstate__().items() if name != "labels_"}

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)


class DPRegressor(RegressorMixin, Private):  # type: ignore[misc]
    """Private regression of a number, `engine.trainers.regression`: a line with a rising curve over it.

    `target_bounds`: public (low, high) of the target; None: estimated through the door. `log_target`: the target has a long tail.
    `epsilon`, `delta`, `bounds`, `cap`: as for `DPKMeans`. After `fit`: `model_`, `bounds_`, `target_bounds_`, `budget_`.
    """

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        target_bounds: tuple[float, float] | None = None,
        log_target: bool = False,
        cap: float | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.target_bounds = target_bounds
        self.log_target = log_target
        self.cap = cap

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the number `y` (n,) of rows (n, d). Raises BudgetError, ValueError."""
        rows, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        meter, grant = self.open(bounds=rows, target_bounds=np.asarray(target, dtype=np.float64)[:, None])
        scale = self._scale()
        columns = {"features": self.on_grid(rows), "label": scale.encode(np.asarray(target, dtype=np.float64)) + UNIT}
        columns["part"] = np.full(len(rows), Part.TRAIN, dtype=np.int8)
        self.model_ = regression.fit(LocalCohort(columns, meter), scale, grant, self.noise, lambda _: None).model
        return self

    def predict(self, X: ArrayLike) -> Array:
        """The expected number of each row, (n,)."""
        rows = self.checked(X)
        return self._scale().decode(self.model_.score(self.on_grid(rows)).astype(np.float64) - UNIT)

    def _scale(self) -> Scale:
        low, high = self.target_bounds_
        return Scale(float(low[0]), float(high[0]), self.log_target)


class _Classifier(ClassifierMixin, Private):  # type: ignore[misc]
    """Two classes by a released score."""

    classes: Sequence[Any] | None

    def _train(self, cohort: Cohort, grant: Grant) -> Scorer:
        raise NotImplementedError

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the probability of `classes_[1]` from rows (n, d) and their labels (n,). Raises BudgetError, ValueError."""
        rows, labels = validate_data(self, X, y, dtype=(np.float64,))
        self.classes_, label = self._encoded(labels)
        meter, grant = self.open(bounds=rows)
        part = np.full(len(rows), Part.TRAIN, dtype=np.int8)
        self.model_ = self._train(LocalCohort({"features": self.on_grid(rows), "label": label, "part": part}, meter), grant)
        return self

    def _encoded(self, labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int8]]:
        """The two classes, and labels as 0 and 1."""
        if self.classes is not None:
            classes = np.unique(np.asarray(self.classes))
        else:
            check_classification_targets(labels)
            classes = np.unique(labels)
            if (kind := type_of_target(labels, input_name="y", raise_unknown=True)) != "binary":
                raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
            warnings.warn("classes were read from `y`; give `classes`, which are public, to keep them private", PrivacyLeakWarning, 3)
        if len(classes) != 2:
            raise ValueError(f"expected two classes, got {len(classes)} class")
        if not np.isin(labels, classes).all():
            raise ValueError("`y` has labels that are not in `classes`")
        return classes, (labels == classes[1]).astype(np.int8)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probability of each class, (n, 2)."""
        rows = self.checked(X)
        positive = self.model_.score(self.on_grid(rows)) / ONE
        return np.column_stack([1 - positive, positive])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likelier class of each row, (n,)."""
        chosen = self.predict_proba(X)[:, 1] > 0.5
        return np.asarray(self.classes_[chosen.astype(np.int64)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class DPPropensity(_Classifier):
    """Private probabilities of one of two classes, by any learner of `engine.trainers.learners`.

    `learner`: `logistic`, `additive`, `boosting` or `hybrid`. `classes`: the two labels, public; None: read from `y`, with a
    `PrivacyLeakWarning`. `epsilon`, `delta`, `bounds`, `cap`: as for `DPKMeans`. After `fit`: `classes_`, `model_`, `bounds_`, `budget_`.
    """

    def __init__(
        self,
        learner: Learner = "hybrid",
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        classes: Sequence[Any] | None = None,
        cap: float | None = None,
    ) -> None:
        self.learner = learner
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.classes = classes
        self.cap = cap

    def _train(self, cohort: Cohort, grant: Grant) -> Scorer:
        return learners.fit(self.learner, cohort, grant, self.noise, lambda _: None)


class DPLogisticRegression(_Classifier):
    """Private logistic regression, `engine.trainers.logistic`, in the shape of `sklearn.linear_model.LogisticRegression`.

    Parameters as for `DPPropensity`. After `fit` also `coef_` (1, d) and `intercept_` (1,), in units of the features.
    """

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        classes: Sequence[Any] | None = None,
        cap: float | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.classes = classes
        self.cap = cap

    def _train(self, cohort: Cohort, grant: Grant) -> Scorer:
        model = logistic.fit(cohort, grant, self.noise, lambda _: None)
        low, high = self.bounds_
        slope = model.coefficients[:-1] / ((high - low) / 2)
        self.coef_ = slope[None, :]
        self.intercept_ = np.array([model.coefficients[-1] - slope @ (low + high) / 2])
        return model
