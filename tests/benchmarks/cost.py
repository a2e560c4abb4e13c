"""What privacy costs each trainer: ours beside its non-private twin, as Markdown: `python -m tests.benchmarks.cost [SEEDS]`.

The twins are scikit-learn's, `engine.trainers.twins`; the whole ε goes into training, at δ = 1e-5, and everything is paid. Whom they
learn from: `people`. One split and one noise a seed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from engine.trainers import twins
from engine.trainers.learners import Learner
from governance.accounting import mu_squared_of
from governance.door import Part
from governance.noise import SystemNoise
from tests import populations, trials
from tests.benchmarks import others, ours, people
from tests.benchmarks.others import OPACUS
from tests.benchmarks.peers import SEEDS, here, ranked, table

EPSILON = 1.0

METHODS = ("hierarchy", "mixture", "map")
"""Other ways to make parts than centres, which inertia does not measure; scikit-learn's and ours differ without noise too."""

FEW = 5
"""Seeds of these, and of deep models, at most."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A trainer and its twin on the same people: a figure of each, by seed; the more the better, inertia aside."""

    trainer: str
    who: str
    figure: str
    ours: Sequence[float]
    twin: Sequence[float]


def costs(seeds: int) -> Iterator[Cost]:
    """Every trainer on everybody whom it can learn from."""
    for who, features, k in people.clustered():
        exact = populations.inertia(features, twins.kmeans(features, k))
        found = [populations.inertia(features, ours.clustered(features, k, EPSILON, seed)) / exact for seed in range(seeds)]
        yield Cost("clusters", who, "inertia ÷ the twin's", found, [1.0] * seeds)
        for method in METHODS:
            twin, few = twins.PARTITIONS[method](features, k), range(min(seeds, FEW))
            same, quiet = ([_agreement(twin, ours.parts(features, k, at, seed, method)) for seed in few] for at in (EPSILON, None))
            yield Cost(f"clusters, {method}", who, "ARI with scikit-learn's; twin: ours without noise", same, quiet)
    for who, population in people.ranked():
        for learner in get_args(Learner):
            mine, twin_ = (ranked(fit, population, EPSILON, seeds)[0] for fit in (ours.ranked(learner), others.twin(learner)))
            yield Cost(f"propensity, {learner}", who, "AUC", mine, twin_)
        if here(OPACUS):
            from tests.benchmarks.deep import network_auc

            twin_ = ranked(others.twin("network"), population, EPSILON, min(seeds, FEW))[0]
            mine = [network_auc(population, population.part(seed), EPSILON) for seed in range(min(seeds, FEW))]
            yield Cost("propensity, network (floating point)", who, "AUC", mine, twin_)
    yield from _amounts(seeds)
    yield from _trials(seeds)


def _amounts(seeds: int) -> Iterator[Cost]:
    for who, found in people.spending():
        mine, theirs = [], []
        for part in map(found.part, range(seeds)):
            train = part == Part.TRAIN
            twin = twins.regression(found.features[train], found.amount[train])(found.features)
            model = trials.valued(found, part, mu_squared_of(EPSILON, others.DELTA), SystemNoise()).model
            mine.append(trials.worth_of(found.predicted(model.score(found.features)), found, part)[1])
            theirs.append(trials.worth_of(twin, found, part)[1])
        yield Cost("value", who, "rank correlation (Spearman)", mine, theirs)


def _trials(seeds: int) -> Iterator[Cost]:
    for who, found in people.treated():
        mine, theirs = [], []
        for part in map(found.part, range(seeds)):
            train = part == Part.TRAIN
            twin = twins.uplift(found.features[train], found.outcome[train], found.treatment[train])(found.features)
            model = trials.tried(found, part, mu_squared_of(EPSILON, others.DELTA), SystemNoise()).model
            mine.append(1000 * trials.qini_of(model.score(found.features), found, part))
            theirs.append(1000 * trials.qini_of(twin, found, part))
        yield Cost("uplift", who, "Qini, outcomes won per 1,000", mine, theirs)


def _agreement(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(left, right))


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    seeds = int(arguments[0]) if arguments else SEEDS
    rows = []
    for cost in costs(seeds):
        gaps = np.subtract(cost.ours, cost.twin)
        rows.append(
            (
                cost.trainer,
                cost.who,
                cost.figure,
                f"{np.mean(cost.ours):.4f}",
                f"{np.mean(cost.twin):.4f}",
                f"{gaps.mean():+.4f} ± {gaps.std():.4f}",
                f"{gaps[np.argmax(np.abs(gaps))]:+.4f}",
            )
        )
        people.say(" | ".join(rows[-1]))
    print(f"{seeds} seeds, δ = {others.DELTA:g}")
    table(("trainer", "people", "figure", f"at ε {EPSILON:g}", "twin", "difference", "the farthest"), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
