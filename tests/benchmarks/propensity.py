"""Prints what privacy costs a propensity in AUC, learner by learner, everything paid: `python -m tests.benchmarks.propensity [SEEDS] [ε]`.

Losses are against scikit-learn's logistic regression on the same split, mean and worst of all seeds, so that a learner that finds more
than a weighted sum gains; the whole ε is for training, as in the figures of peers. `auto` marks the learner that the forecast takes
at these figures. Calibration is the mean gap between prediction and rate in tenths of the hold-out; beside it that of the non-private
model. Goals: DESIGN section 13. Whom they learn from: `people`; other libraries: `peers`.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from engine.forecast_scores import chosen
from engine.models import ONE
from engine.scale import UNIT
from engine.trainers.learners import ROUNDS, Learner
from governance.accounting import mu_squared_of
from governance.door import Part
from governance.noise import SystemNoise
from tests.benchmarks import people
from tests.labelled import Labelled, auc_of, learned

LEARNERS: tuple[Learner, ...] = ("logistic", "additive", "boosting", "hybrid")


def without(population: Labelled, part: NDArray[np.int8]) -> NDArray[np.float64]:
    """Probabilities of the non-private model, (n,)."""
    x, train = population.features / UNIT, part == Part.TRAIN
    fitted = LogisticRegression(max_iter=500).fit(x[train], population.label[train])
    return np.asarray(fitted.predict_proba(x)[:, 1])


def gap(probability: NDArray[np.float64], population: Labelled, part: NDArray[np.int8]) -> float:
    """Expected calibration error on the hold-out, in ten bins of as many subjects."""
    held = part == Part.HOLDOUT
    order = np.argsort(probability[held], kind="stable")
    tenths = np.array_split(order, 10)
    p, y = probability[held], population.label[held]
    return float(sum(abs(p[t].mean() - y[t].mean()) * len(t) for t in tenths) / len(order))


def measure(name: str, population: Labelled, epsilon: float, seeds: int) -> None:
    """Lines of the table, one a learner."""
    parts = [population.part(seed) for seed in range(seeds)]
    exact = [without(population, part) for part in parts]
    aucs = [auc_of(scores, population, part) for scores, part in zip(exact, parts, strict=True)]
    gaps = np.mean([gap(scores, population, part) for scores, part in zip(exact, parts, strict=True)])
    n, d = population.features.shape
    mu_squared: Fraction = mu_squared_of(epsilon, 1e-5)
    auto = chosen("auto", n, d, mu_squared).learner
    for learner in LEARNERS:
        losses, found, start = [], [], time.perf_counter()
        for part, auc in zip(parts, aucs, strict=True):
            scores = learned(learner, population, part, mu_squared, SystemNoise()).score(population.features)
            losses.append(auc - auc_of(scores, population, part))
            found.append(gap(scores / ONE, population, part))
        seconds = (time.perf_counter() - start) / seeds
        print(
            f"{name:20} {n:6} x {d:2} {epsilon:4} {np.mean(aucs):8.4f}  {learner:9}{'*' if learner == auto else ' '} {ROUNDS[learner]:3} "
            f"{np.mean(losses):+8.4f} {np.max(losses):+8.4f} {np.mean(found):8.4f} ({gaps:.4f}) {seconds:6.2f} s",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    epsilons = [float(each) for each in sys.argv[2:]] or [0.5, 1.0]
    print(f"{'population':20} {'n x d':>11}    ε  without  learner (* auto), rounds, loss: mean, worst; calibration   ({seeds} seeds)")
    for name, population in people.ranked():
        for epsilon in epsilons:
            measure(name, population, epsilon, seeds)


if __name__ == "__main__":
    main()
