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


def skewed(n: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Six columns as bounds have to be found for: long tails, many zeros, both signs, small rates."""
    generator = np.random.default_rng(seed)
    return {
        "lognormal": generator.lognormal(3, 1.5, n),
        "pareto": 20 * generator.pareto(1.2, n),
        "mostly zero": np.where(generator.random(n) < 0.7, 0.0, generator.gamma(0.5, 200, n)),
        "days": np.floor(np.minimum(generator.exponential(60, n), 365)),
        "both signs": generator.normal(-10, 40, n),
        "rate": generator.beta(1, 30, n),
    }


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
    return _encoded(folder / "online_shoppers.parquet", scales)


def unlike(n: int, d: int, k: int, seed: int) -> Features:
    """Blobs of quite unlike sizes, each long in some directions and short in others: the largest holds about half of all."""
    generator = np.random.default_rng(seed)
    sizes = 0.5 ** np.arange(k)
    chosen = generator.choice(k, n, p=sizes / sizes.sum())
    centres = generator.uniform(-0.6, 0.6, (k, d))
    shapes = generator.normal(size=(k, d, d)) / np.sqrt(d) * generator.uniform(0.02, 0.3, (k, 1, d))
    points = centres[chosen] + np.einsum("ni,nij->nj", generator.normal(size=(n, d)), shapes[chosen])
    return np.rint(np.clip(points, -1, 1) * UNIT).astype(np.int32)


def counts(n: int, d: int, k: int, seed: int) -> Features:
    """Habits as counts with long tails, many of them zero, on a logarithmic scale: few distinct values a feature."""
    generator = np.random.default_rng(seed)
    rates = generator.gamma(0.6, 8.0, (k, d))[generator.choice(k, n, p=generator.dirichlet(np.full(k, 3.0)))]
    drawn = generator.poisson(rates * generator.gamma(2.0, 0.5, (n, 1)))
    return np.stack([Scale(0, 200, log=True).encode(column.astype(np.float64)) for column in drawn.T], axis=1)


def adult(folder: Path) -> Features:
    """Five numbers of 45,222 people, within public bounds."""
    scales = {
        "age": Scale(17, 90),
        "education-num": Scale(1, 16),
        "hours-per-week": Scale(0, 100),
        "capital-gain": Scale(0, 1e5, log=True),
        "capital-loss": Scale(0, 5e3, log=True),
    }
    return _encoded(folder / "adult.parquet", scales)


def credit(folder: Path) -> Features:
    """Eleven numbers of 30,000 holders of a credit card, within public bounds."""
    scales = {"LIMIT_BAL": Scale(0, 1e6, log=True), "AGE": Scale(20, 80)}
    scales |= {f"PAY_{month}": Scale(-2, 8) for month in (0, 2, 3)}
    scales |= {f"BILL_AMT{month}": Scale(0, 1e6, log=True) for month in (1, 2, 3)}
    scales |= {f"PAY_AMT{month}": Scale(0, 1e6, log=True) for month in (1, 2, 3)}
    return _encoded(folder / "credit_default.parquet", scales)


def hillstrom(folder: Path) -> Features:
    """Recency, spend, what was bought and newness of 64,000 customers of a campaign, within public bounds."""
    scales = {"recency": Scale(1, 12), "history": Scale(0, 3500, log=True)} | {name: Scale(0, 1) for name in ("mens", "womens", "newbie")}
    return _encoded(folder / "hillstrom.parquet", scales)


def retail(folder: Path) -> Features:
    """Recency, invoices, value and articles of 4,372 customers of a gift shop, within public bounds."""
    import duckdb

    query = f"""
        SELECT date_diff('day', max(InvoiceDate), TIMESTAMP '2011-12-10') AS recency, count(DISTINCT InvoiceNo) AS invoices,
               sum(Quantity * UnitPrice) AS spend, count(DISTINCT StockCode) AS articles
        FROM '{folder / "online_retail_2010_2011.parquet"}' WHERE CustomerID IS NOT NULL GROUP BY CustomerID ORDER BY CustomerID
    """
    with duckdb.connect() as connection:
        table = connection.sql(query).to_arrow_table()
    scales = {
        "recency": Scale(0, 375),
        "invoices": Scale(0, 100, log=True),
        "spend": Scale(0, 20000, log=True),
        "articles": Scale(0, 500, log=True),
    }
    return np.stack([scale.encode(table[name].to_numpy().astype(np.float64)) for name, scale in scales.items()], axis=1)


def _encoded(file: Path, scales: dict[str, Scale]) -> Features:
    """Columns of a table on their scales; rows with gaps are left out."""
    import pyarrow.parquet as pq

    table = pq.read_table(file, columns=list(scales))
    values = np.stack([column.to_numpy().astype(np.float64) for column in table.columns], axis=1)
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
