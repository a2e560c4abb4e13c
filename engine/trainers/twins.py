"""Non-private twins: what scikit-learn learns from the very rows, without noise, clip or budget. Nothing of it may be shown.

Two callers: `engine.exact`, which builds what a policy lets stay inside the controller, and the benchmarks, which measure
against them what privacy costs. A twin takes rows and no `Cohort`, because nothing it gives went through the door. It is
total, so that no row shows in an error or a warning: with nobody to learn from, or one answer alone, it predicts a constant.

Not here: what may be done with the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Features
from engine.scale import UNIT
from governance.door import Array

Labels = NDArray[np.generic]
"""(n_subjects,) of 0 and 1, or amounts."""

Predict = Callable[[Features], Array]
"""A probability or an amount for each subject, (n_subjects,)."""

STARTS = 10
"""Starts of k-means and of mixtures, of which the best is kept."""

PROTOTYPES = 400
"""K-means centres that a hierarchy is built on: between all rows there are too many distances."""

SAMPLE = 5_000
"""Subjects that the choice of k looks at."""


def kmeans(features: Features, k: int, starts: int = STARTS) -> Array:
    """Centres (at most k, d), in units of the grid; fewer where there are fewer subjects."""
    from sklearn.cluster import KMeans

    if not len(features):
        return np.zeros((1, features.shape[1]))
    with _silent():
        model = KMeans(min(k, len(features)), n_init=starts, random_state=0).fit(np.asarray(features, dtype=np.float64))
    return np.asarray(model.cluster_centers_)


def mixture(features: Features, k: int) -> NDArray[np.int64]:
    """The likeliest component of a Gaussian mixture with full covariances, (n_subjects,)."""
    from sklearn.mixture import GaussianMixture

    if len(features) < 2:
        return np.zeros(len(features), dtype=np.int64)
    with _silent():
        model = GaussianMixture(min(k, len(features)), n_init=1, random_state=0, reg_covar=1e-4)
        return np.asarray(model.fit_predict(_unit(features)), dtype=np.int64)


def hierarchy(features: Features, k: int) -> NDArray[np.int64]:
    """The part of each subject, (n_subjects,), where Ward's tree over k-means centres is cut into k."""
    from sklearn.cluster import AgglomerativeClustering

    prototypes = kmeans(features, PROTOTYPES, starts=1)
    if len(prototypes) <= k:
        return nearest(features, prototypes)
    with _silent():
        return np.asarray(AgglomerativeClustering(k).fit_predict(prototypes / UNIT), dtype=np.int64)[nearest(features, prototypes)]


def density(features: Features, most: int, least: int) -> NDArray[np.int64]:
    """The `most` largest of the dense regions of at least `least` subjects, (n_subjects,), and part `most` for whoever is in none
    of them (HDBSCAN; Campello, Moulavi and Sander 2013)."""
    from sklearn.cluster import HDBSCAN

    if len(features) < max(least, 2):
        return np.full(len(features), most, dtype=np.int64)
    with _silent():
        found = np.asarray(HDBSCAN(max(least, 2), copy=True).fit_predict(_unit(features)), dtype=np.int64)
    regions = np.argsort(-np.bincount(found[found >= 0], minlength=1), kind="stable")[:most]
    part = np.full(len(features), most, dtype=np.int64)
    for place, region in enumerate(regions):
        part[found == region] = place
    return part


def nearest(features: Features, centres: Array) -> NDArray[np.int64]:
    """Index of the nearest centre, (n_subjects,)."""
    from sklearn.metrics import pairwise_distances_argmin

    if not len(features):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(pairwise_distances_argmin(features.astype(np.float64), centres), dtype=np.int64)


def best_k(features: Features, least: int, most: int) -> int:
    """The number of k-means clusters with the best silhouette, on a sample; `least` where there is nothing to tell by."""
    from sklearn.metrics import silhouette_score

    sample = np.random.default_rng(0).permutation(len(features))[:SAMPLE]
    found = {}
    for k in range(least, most + 1):
        labels = nearest(features[sample], kmeans(features, k, starts=1))
        if 1 < len(np.unique(labels)) < len(sample):
            found[k] = float(silhouette_score(_unit(features[sample]), labels))
    return max(found, key=lambda k: found[k], default=least)


def logistic(features: Features, label: Labels) -> Predict:
    """A logistic regression, hardly regularised."""
    from sklearn.linear_model import LogisticRegression

    return _classifier(LogisticRegression(max_iter=500), features, label)


def boosting(features: Features, label: Labels) -> Predict:
    """Gradient boosting on histograms."""
    return _classifier(_boosted(), features, label)


def additive(features: Features, label: Labels) -> Predict:
    """The same without interactions: one curve a feature."""
    return _classifier(_boosted(interaction_cst="no_interactions"), features, label)


def hybrid(features: Features, label: Labels) -> Predict:
    """The mean of a logistic regression and gradient boosting."""
    linear, trees = logistic(features, label), boosting(features, label)
    return lambda asked: (linear(asked) + trees(asked)) / 2


def network(features: Features, label: Labels) -> Predict:
    """A network of one hidden layer."""
    from sklearn.neural_network import MLPClassifier

    return _classifier(MLPClassifier((64,), alpha=1e-2, max_iter=60, random_state=0), features, label)


def regression(features: Features, amount: Labels) -> Predict:
    """A ridge regression, in the amounts' unit."""
    from sklearn.linear_model import Ridge

    if not len(amount):
        return _constant(0.0)
    with _silent():
        model = Ridge(alpha=1.0).fit(_unit(features), np.asarray(amount, dtype=np.float64))
    return lambda asked: np.asarray(model.predict(_unit(asked))) if len(asked) else np.zeros(0)


def uplift(features: Features, outcome: Labels, treated: Labels) -> Predict:
    """What treatment adds to the probability of an outcome: one logistic regression an arm (T-learner; Künzel et al. 2019)."""
    with_it, without = (logistic(features[chosen], outcome[chosen]) for chosen in (treated == 1, treated != 1))
    return lambda asked: with_it(asked) - without(asked)


def _centres(features: Features, k: int) -> NDArray[np.int64]:
    return nearest(features, kmeans(features, k))


PARTITIONS: Mapping[str, Callable[[Features, int], NDArray[np.int64]]] = {
    "centres": _centres,
    "hierarchy": hierarchy,
    "mixture": mixture,
    "map": _centres,  # scikit-learn has no self-organising map, and k-means is what one tends to without neighbourhoods
}
"""The twin of each way to make k parts; `density` also has outliers."""

CLASSIFIERS: Mapping[str, Callable[[Features, Labels], Predict]] = {
    "auto": hybrid,
    "logistic": logistic,
    "boosting": boosting,
    "additive": additive,
    "hybrid": hybrid,
    "network": network,
}
"""The twin of each learner of probabilities."""


def _boosted(**more: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=0, early_stopping=False, max_iter=150, learning_rate=0.06, max_leaf_nodes=15, **more)


def _classifier(model: Any, features: Features, label: Labels) -> Predict:
    """The probability of a label of 1; that of everybody where all have the same."""
    truth = np.asarray(label) == 1
    if len(np.unique(truth)) < 2:
        return _constant(float(truth.mean()) if len(truth) else 0.0)
    with _silent():
        model.fit(_unit(features), truth)
    return lambda asked: np.asarray(model.predict_proba(_unit(asked))[:, 1]) if len(asked) else np.zeros(0)


def _constant(value: float) -> Predict:
    return lambda asked: np.full(len(asked), value)


def _unit(features: Features) -> Array:
    return np.asarray(features, dtype=np.float64) / UNIT


@contextmanager
def _silent() -> Iterator[None]:
    """A warning that something did not converge, or that rows are alike, would tell of the rows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
