"""Prints what deep models bring and what privacy costs them: `python -m tests.benchmarks.deep [SEEDS]`. Needs the extra `deep`.

Propensity: AUC of the network on the hold-out, beside scikit-learn's network and our logistic model, all of ε for training. Wide behaviour:
how well clusters agree with the groups that made the counts (ARI), or how much they explain of what was not asked about (η²), for an
autoencoder's embedding, as many principal components, and the features themselves; everything paid, in the shares of a build.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT
from engine.trainers import clusters, projecting
from engine.trainers.deep import autoencoder, network, terms
from governance.accounting import mu_squared_of
from governance.blocks import Block
from governance.door import Column, LocalCohort, MemoryMeter, Part, ReservationId
from governance.noise import SystemNoise
from governance.sampling import LocalSampler, MemorySampledMeter, SampledGrant
from tests import wide
from tests.labelled import Labelled, adult, auc_of, auc_without_privacy, fitted, shoppers
from tests.wide import Wide

DELTA, ROOM = 1e-5, 1.25
"""A contract has room for a quarter more than there are."""

WIDTH = 4
"""Numbers of an embedding, and principal components beside it."""

EPSILONS = (1.0, 3.0, 8.0)

Labels = NDArray[np.int64]


def quiet(_said: str) -> None:
    """Nobody is told."""


def sampler(columns: dict[str, Column], block: Block) -> LocalSampler:
    """All that a block has for training by samples."""
    return LocalSampler(columns, SampledGrant(ReservationId("memory"), block.sampled), MemorySampledMeter())


def network_auc(population: Labelled, part: NDArray[np.int8], epsilon: float) -> float:
    """Of our network, with a tenth of μ² for the round before it."""
    columns: dict[str, Column] = {"features": population.features, "label": population.label, "part": part}
    shape = terms.network(population.features.shape[1])
    block = terms.terms(shape, epsilon, DELTA, 0.1, round(ROOM * len(part)))
    meter = MemoryMeter(block.mu_squared)
    cohort = LocalCohort(columns, meter)
    fit = network.fit(cohort, sampler(columns, block), shape, meter.grant(), SystemNoise(), quiet, seed=0)
    return auc_of(fit.score(population.features), population, part)


def plain_auc(population: Labelled, part: NDArray[np.int8]) -> float:
    """Of scikit-learn's network of the same shape."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    rows = StandardScaler().fit_transform(population.features / UNIT)
    train = part == Part.TRAIN
    fit = MLPClassifier((terms.HIDDEN["propensity"],), activation="tanh", early_stopping=True, max_iter=200, random_state=0)
    return auc_of(fit.fit(rows[train], population.label[train]).predict_proba(rows)[:, 1], population, part)


def private(population: Wide, k: int, epsilon: float, components: int | None, seed: int) -> Labels:
    """Our clusters, of principal components or of the features themselves."""
    meter = MemoryMeter(mu_squared_of(epsilon, DELTA))
    cohort = LocalCohort({"features": population.features, "part": np.zeros(len(population.features), np.int8)}, meter)
    seen, grant = projecting.prepared(cohort, None, components, meter.grant(), SystemNoise(), quiet)
    found = clusters.fit(seen, k, grant, SystemNoise(), quiet, seed)
    return projecting.of_features(found.model, seen).assign(population.features)


def embedded(population: Wide, k: int, epsilon: float, seed: int) -> Labels:
    """Our clusters, of an autoencoder's embedding, in the shares of a build."""
    columns: dict[str, Column] = {"features": population.features, "part": np.zeros(len(population.features), np.int8)}
    shape = terms.autoencoder(population.features.shape[1], WIDTH)
    block = terms.terms(shape, epsilon, DELTA, terms.EXACT["clusters"], round(ROOM * len(population.features)))
    meter = MemoryMeter(block.mu_squared)
    grants = meter.grant().split(embedding=20, clusters=80)
    fit = autoencoder.fit(LocalCohort(columns, meter), sampler(columns, block), shape, grants["embedding"], SystemNoise(), quiet, seed=seed)
    cohort = LocalCohort(columns | {"features": fit.apply(population.features)}, meter)
    found = clusters.fit(cohort, k, grants["clusters"], SystemNoise(), quiet, seed)
    return found.model.assign(fit.apply(population.features))


def plain(population: Wide, k: int, kind: str, seed: int) -> Labels:
    """Without privacy: k-means of the features, of principal components, or of what an autoencoder of the same shape makes of them."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    rows = StandardScaler().fit_transform(population.features / UNIT)
    match kind:
        case "components":
            rows = PCA(WIDTH, random_state=seed).fit_transform(rows)
        case "embedding":
            rows = trained(rows, seed)
    return np.asarray(KMeans(k, n_init=10, random_state=seed).fit_predict(rows), dtype=np.int64)


def trained(rows: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(n, WIDTH) embedding by an autoencoder of our shape, trained without privacy for 60 rounds over the rows."""
    import torch

    torch.manual_seed(seed)
    hidden, d = terms.HIDDEN["clusters"], rows.shape[1]
    encoder = torch.nn.Sequential(torch.nn.Linear(d, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, WIDTH), torch.nn.Tanh())
    net = torch.nn.Sequential(encoder, torch.nn.Linear(WIDTH, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, d))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    data = torch.from_numpy(np.clip(rows, -4, 4).astype(np.float32))
    for _ in range(60):
        for batch in torch.randperm(len(data)).split(512):
            optimiser.zero_grad()
            ((net(data[batch]) - data[batch]) ** 2).mean().backward()
            optimiser.step()
    with torch.no_grad():
        return np.asarray(encoder(data).numpy(), dtype=np.float64)


def quality(population: Wide, labels: Labels) -> float:
    """ARI with the hidden groups, or η² of what was not asked about."""
    from sklearn.metrics import adjusted_rand_score

    if population.group is not None:
        return float(adjusted_rand_score(population.group, labels))
    assert population.later is not None  # one of the two
    return wide.explained(labels, population.later)


def line(name: str, population: Wide, fit: Callable[[int], Labels], seeds: int) -> str:
    """Mean and worst of some seeds."""
    start = time.perf_counter()
    found = [quality(population, fit(seed)) for seed in range(seeds)]
    return f"{name:34} {np.mean(found):6.3f} {min(found):6.3f} {(time.perf_counter() - start) / seeds:6.1f} s"


def propensity(folder: Path, seeds: int) -> None:
    """Print the first table."""
    print(f"AUC on the hold-out, mean of {seeds} splits")
    print(f"{'population':12}    ε  our network  our logistic  logistic without  network without privacy")
    for name, population in {"shoppers": shoppers(folder), "adult": adult(folder)}.items():
        parts = [population.part(seed) for seed in range(seeds)]
        without = [np.mean([found(population, part) for part in parts]) for found in (auc_without_privacy, plain_auc)]
        for epsilon in (1.0, 3.0):
            deep = np.mean([network_auc(population, part, epsilon) for part in parts])
            mu_squared = mu_squared_of(epsilon, DELTA)
            scores = [fitted(population, part, mu_squared, SystemNoise()).score(population.features) for part in parts]
            logistic = np.mean([auc_of(score, population, part) for score, part in zip(scores, parts, strict=True)])
            print(f"{name:12} {epsilon:4} {deep:12.4f} {logistic:13.4f} {without[0]:17.4f} {without[1]:16.4f}", flush=True)


def behaviour(title: str, people: Wide, k: int, seeds: int) -> None:
    """Print one of the other tables."""
    print(f"\n{title}; width {WIDTH}, k {k}, {seeds} seeds")
    print(f"{'clusters of':34} {'mean':>6} {'worst':>6}")
    for kind in ("features", "components", "embedding"):
        print(line(f"{kind}, without privacy", people, partial(plain, people, k, kind), seeds), flush=True)
    for epsilon in EPSILONS:
        print(line(f"features, ε {epsilon:g}", people, partial(private, people, k, epsilon, None), seeds), flush=True)
        print(line(f"components, ε {epsilon:g}", people, partial(private, people, k, epsilon, WIDTH), seeds), flush=True)
        print(line(f"embedding, ε {epsilon:g}", people, partial(embedded, people, k, epsilon), seeds), flush=True)


def main() -> None:
    """Print all tables."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if lacking := terms.missing():
        raise SystemExit(f"needs {', '.join(lacking)}: pip install 'consentric[deep]'")
    behaviour("generated, 20,000 x 60, ARI", wide.generated(20_000, 0), 8, seeds)
    if found := wide.households():
        behaviour("households, 2,469 x 60, η² of later spend", found, 6, seeds)
    if folder := os.environ.get("CONSENTRIC_DATA_DIR"):
        propensity(Path(folder), seeds)


if __name__ == "__main__":
    main()
