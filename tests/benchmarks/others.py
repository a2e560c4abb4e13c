"""What other libraries make of the same people: private peers and non-private twins, each a function of the same arguments.

Peers get the same public knowledge as ours: bounds of every feature, which columns are one category in several, δ = 1e-5; and
the whole ε for training. Nothing that they would read off the data unpaid is left to them (bounds, norms, category lists), the
number of training subjects aside, which Opacus takes for granted and ours has to ask for. Settings are those of their
documentation, or better ones where we knew any; none is tuned to a data set.

Needs the extras `bench` (diffprivlib, interpret-core) and `deep` (torch, opacus); what is missing is left out, and said.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT
from engine.trainers import twins
from governance.door import Part
from tests.labelled import Labelled

Features = NDArray[np.int32]
Centres = NDArray[np.float64]
Scores = NDArray[np.float64]

DELTA = 1e-5

Clusterer = Callable[[Features, int, float, int], Centres]
"""Centres on the grid, from features, k, ε and a seed."""

Ranker = Callable[[Labelled, NDArray[np.int8], float, int], Scores]
"""Scores of everybody, learned from the training part, with an ε and a seed."""

REGULARISED = 0.01
"""diffprivlib's logistic regression at its default of C = 1 is far worse."""

EPOCHS, RATE = 40, 1e-2
"""Of Opacus: the best of five settings that were tried on online shoppers, telco churn and grocery coupons."""


@dataclass(frozen=True, slots=True)
class Other:
    """Something that may be missing here: its name, and the modules and the extra that bring it."""

    name: str
    modules: tuple[str, ...]
    extra: str

    @property
    def missing(self) -> str | None:
        """What to say where it is not installed."""
        lacking = [module for module in self.modules if importlib.util.find_spec(module) is None]
        if not lacking:
            return None
        return f"{self.name} is left out, for want of `{'`, `'.join(lacking)}`: pip install -e '.[{self.extra}]'"


DIFFPRIVLIB = Other("diffprivlib", ("diffprivlib",), "bench")
DP_EBM = Other("DP-EBM", ("interpret",), "bench")
OPACUS = Other("Opacus", ("torch", "opacus"), "deep")


def diffprivlib_clusters(features: Features, k: int, epsilon: float, seed: int) -> Centres:
    """Its KMeans: Laplace noise on the sums of a few Lloyd steps from random starts."""
    from diffprivlib.models import KMeans

    d = features.shape[1]
    with quiet():
        model = KMeans(k, epsilon=epsilon, bounds=([-1.0] * d, [1.0] * d), random_state=seed).fit(features / UNIT)
    return np.asarray(model.cluster_centers_) * UNIT


def one_start(features: Features, k: int, epsilon: float, seed: int) -> Centres:
    """Non-private k-means from one start."""
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(k, n_init=1, random_state=seed).fit(features.astype(np.float64)).cluster_centers_)


def diffprivlib_logistic(population: Labelled, part: NDArray[np.int8], epsilon: float, seed: int) -> Scores:
    """Its logistic regression: a perturbed objective. Categories are 0 and 1, so that norms are short; their bound is public."""
    from diffprivlib.models import LogisticRegression

    x, longest = _short_rows(population.features)
    train = part == Part.TRAIN
    with quiet():
        model = LogisticRegression(epsilon=epsilon, data_norm=longest, C=REGULARISED, max_iter=500, random_state=seed)
        model.fit(x[train], population.label[train])
        return np.asarray(model.decision_function(x))


def dp_ebm(population: Labelled, part: NDArray[np.int8], epsilon: float, seed: int) -> Scores:
    """DP-EBM: an additive model by cyclic boosting on private histograms; each category is one nominal feature."""
    from interpret.privacy import DPExplainableBoostingClassifier

    numbers, categories = _columns(population.features)
    x = np.empty((len(numbers), numbers.shape[1] + categories.shape[1]), dtype=object)
    x[:, : numbers.shape[1]], x[:, numbers.shape[1] :] = numbers, categories.astype(str)
    bounds = {place: (-1.0, 1.0) for place in range(numbers.shape[1])}
    kinds = ["continuous"] * numbers.shape[1] + ["nominal"] * categories.shape[1]
    train = part == Part.TRAIN
    with quiet():
        model = DPExplainableBoostingClassifier(
            feature_types=kinds, privacy_bounds=bounds, epsilon=epsilon, delta=DELTA, random_state=seed, n_jobs=-1
        )
        model.fit(x[train], population.label[train].astype(int))
        return np.asarray(model.predict_proba(x)[:, 1])


def opacus_network(population: Labelled, part: NDArray[np.int8], epsilon: float, seed: int) -> Scores:
    """DP-SGD on a network with one hidden layer, in Poisson batches of 512, with the library's own accountant."""
    import torch
    from opacus import PrivacyEngine

    torch.manual_seed(seed)
    x, _ = _short_rows(population.features)
    train = part == Part.TRAIN
    everybody = torch.tensor(x, dtype=torch.float32)
    data = torch.utils.data.TensorDataset(everybody[train], torch.tensor(population.label[train], dtype=torch.float32))
    model: Any = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer: Any = torch.optim.Adam(model.parameters(), lr=RATE)
    loader: Any = torch.utils.data.DataLoader(data, batch_size=512)
    with quiet():
        model, optimizer, loader = PrivacyEngine(accountant="prv").make_private_with_epsilon(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            target_epsilon=epsilon,
            target_delta=DELTA,
            epochs=EPOCHS,
            max_grad_norm=1.0,
        )
        loss = torch.nn.BCEWithLogitsLoss()
        for _ in range(EPOCHS):
            for rows, label in loader:
                optimizer.zero_grad()
                if len(rows):
                    loss(model(rows)[:, 0], label).backward()
                    optimizer.step()
        with torch.no_grad():
            return np.asarray(model(everybody)[:, 0].numpy(), dtype=np.float64)


def twin(learner: str) -> Ranker:
    """The non-private twin of one of our learners."""

    def rank(population: Labelled, part: NDArray[np.int8], epsilon: float, seed: int) -> Scores:
        train = part == Part.TRAIN
        return twins.CLASSIFIERS[learner](population.features[train], population.label[train])(population.features)

    return rank


def _columns(features: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Numbers in -1..1, and one column of codes for each category that was spread over several columns."""
    binary = np.asarray(np.isin(features, (-UNIT, UNIT)).all(axis=0))
    numbers, waiting, codes = [], np.zeros((len(features), 0), dtype=np.int64), []
    for place, column in enumerate(features.T):
        if not binary[place]:
            numbers.append(column / UNIT)
            continue
        waiting = np.column_stack([waiting, column > 0])
        if (waiting.sum(axis=1) == 1).all():
            codes.append(waiting.argmax(axis=1))
            waiting = waiting[:, :0]
    codes += [column.astype(np.int64) for column in waiting.T]
    empty = np.zeros((len(features), 0))
    return np.column_stack([empty, *numbers]), np.column_stack([empty.astype(np.int64), *codes])


def _short_rows(features: Features) -> tuple[NDArray[np.float64], float]:
    """Numbers in -1..1 and categories of 0 and 1, and how long a row is at most: one category is one 1, whatever its value."""
    binary = np.asarray(np.isin(features, (-UNIT, UNIT)).all(axis=0))
    numbers, categories = _columns(features)
    rows = np.where(binary, (features / UNIT + 1) / 2, features / UNIT)
    return rows, math.sqrt(numbers.shape[1] + categories.shape[1])


@contextmanager
def quiet() -> Iterator[None]:
    """Peers warn of many things: of bounds that they were given, and of releases to come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
