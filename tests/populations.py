"""Populations on the feature grid for tests: generated blobs, and real tables where `CONSENTRIC_DATA_DIR` has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT, Scale

Features = NDArray[np.int32]


def blobs(n: int, d: int, k: int, spread: float, seed: int) -> tuple[Features, NDArray[np.float64]]:
    """Features (n, d) and the true centres (k, d), both on the grid; `spread` is the deviation within a blob, of UNIT."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(-0.6, 0.6, (k, d))
    chosen = generator.choice(k, n, p=generator.dirichlet(np.full(k, 3.0)))
    points = np.clip(centres[chosen] + generator.normal(0, spread, (n, d)), -1, 1)
    return np.rint(points * UNIT).astype(np.int32), centres * UNIT


def cdnow(folder: Path) -> Features:
    """Recency, frequency, mean spend, quantity and tenure of 23,570 customers, within public bounds."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "cdnow_master.parquet", columns=["customer_id", "date", "cds", "dollars"])
    _, who = np.unique(table["customer_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    day = table["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    n = int(who.max()) + 1
    first, last = np.full(n, day.max()), np.full(n, day.min())
    np.minimum.at(first, who, day)
    np.maximum.at(last, who, day)
    often = np.bincount(who)
    spent, bought = np.bincount(who, table["dollars"].to_numpy()), np.bincount(who, table["cds"].to_numpy())
    long, short, lately = Scale(0, 60, log=True), Scale(0, 300, log=True), Scale(0, 550)
    columns = (lately, day.max() - last), (long, often), (short, spent / often), (Scale(0, 200, log=True), bought), (lately, last - first)
    return np.stack([scale.encode(np.asarray(values, dtype=np.float64)) for scale, values in columns], axis=1)


def shoppers(folder: Path) -> Features:
    """Ten numbers of 12,316 visits to a shop, within public bounds."""
    import pyarrow.parquet as pq

    scales = {
        "Administrative": Scale(0, 30, log=True),
        "Administrative_Duration": Scale(0, 3500, log=True),
        "Informational": Scale(0, 25, log=True),
        "Informational_Duration": Scale(0, 2600, log=True),
        "ProductRelated": Scale(0, 700, log=True),
        "ProductRelated_Duration": Scale(0, 64000, log=True),
        "BounceRates": Scale(0, 0.2),
        "ExitRates": Scale(0, 0.2),
        "PageValues": Scale(0, 400, log=True),
        "SpecialDay": Scale(0, 1),
    }
    table = pq.read_table(folder / "online_shoppers.parquet", columns=list(scales))
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    values = values[~np.isnan(values).any(axis=1)]
    return np.stack([scale.encode(values[:, place]) for place, scale in enumerate(scales.values())], axis=1)


def inertia(features: Features, centres: NDArray[np.float64]) -> float:
    """Sum of square distances to the nearest centre."""
    total = 0.0
    for start in range(0, len(features), 1 << 13):
        rows = features[start : start + (1 << 13), None, :].astype(np.float64)
        total += float(((rows - centres) ** 2).sum(axis=2).min(axis=1).sum())
    return total


def best_inertia(features: Features, k: int, restarts: int = 10) -> float:
    """Inertia of the best non-private k-means of some restarts."""
    from sklearn.cluster import KMeans

    return inertia(features, KMeans(k, n_init=restarts, random_state=0).fit(features.astype(np.float64)).cluster_centers_)
