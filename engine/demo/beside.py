"""A joint model beside a central one, exactly and on everybody, as only a demo can: from files that anyone can get, outside any workspace.

Not here: what may be known of a segment where data is somebody's. That comes through the door, and stands in reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import Scorer, parts_of, released
from engine.scale import UNIT, Scale
from federated.contract import Collaboration

Facts = Mapping[str, Any]
"""A released model, as JSON."""

CUSTOMERS = """
    SELECT date_diff('day', max(bought_on), DATE '1998-07-01') AS recency, count(*) AS frequency, avg(amount) AS spend,
           sum(quantity) AS items, date_diff('day', min(bought_on), max(bought_on)) AS tenure
    FROM (SELECT DISTINCT * FROM '{0}/purchases.parquet') WHERE bought_on < '1998-07-01' GROUP BY customer_id ORDER BY customer_id
"""

HOUSEHOLDS = """
    WITH bought AS (SELECT t.*, p.brand FROM '{0}/transactions.parquet' AS t LEFT JOIN '{0}/products.parquet' AS p USING (product_id)
                    WHERE quantity >= 1),
         seen AS (SELECT household_id, sum(sales_value) AS spend,
                         sum(sales_value) FILTER (transaction_timestamp >= TIMESTAMP '2017-10-01' - INTERVAL 90 DAY) AS spend_90d,
                         date_diff('day', max(transaction_timestamp), TIMESTAMP '2017-10-01') AS recency,
                         count(DISTINCT basket_id) AS baskets, count(DISTINCT product_id) AS variety, sum(coupon_disc) AS coupon_savings,
                         sum(sales_value) FILTER (brand = 'Private') AS private_label
                  FROM bought WHERE transaction_timestamp < '2017-10-01' GROUP BY household_id),
         used AS (SELECT household_id, count(*) FILTER (redemption_date < '2017-10-01') AS redemptions,
                         count(*) FILTER (redemption_date >= '2017-10-01' AND redemption_date < DATE '2017-10-01' + 92) > 0 AS label
                  FROM '{0}/coupon_redemptions.parquet' GROUP BY household_id)
    SELECT * EXCLUDE (household_id) FROM (SELECT DISTINCT household_id FROM '{0}/transactions.parquet')
    LEFT JOIN seen USING (household_id) LEFT JOIN used USING (household_id) ORDER BY household_id
"""


@dataclass(frozen=True, slots=True, eq=False)
class Everybody:
    """`features` (n, d) on the grid; `label` (n,) where there is one."""

    features: NDArray[np.int32]
    label: NDArray[np.int8] | None


def everybody(folder: Path, query: str, contract: Collaboration) -> Everybody:
    """Out of the files of a demo, whoever consented and whoever did not; what is missing is 0."""
    import duckdb

    with duckdb.connect() as connection:
        table = connection.sql(query.format(folder)).to_arrow_table()
    columns = []
    for name, measured in contract.features.items():
        values = np.array([0.0 if value is None else float(value) for value in table[name].to_pylist()])
        columns.append(Scale(float(measured.bounds[0]), float(measured.bounds[1]), log=measured.scale == "log").encode(values))
    label = np.array(table["label"].to_pylist(), dtype=bool).astype(np.int8) if "label" in table.column_names else None
    return Everybody(np.stack(columns, axis=1), label)


def agreement(everybody: Everybody, joint: Facts, central: Facts) -> float:
    """Adjusted Rand index of the parts in which both put everybody: 1 where they are the same, 0 as by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*(parts_of(model, everybody.features) for model in (joint, central))))


def auc(everybody: Everybody, model: Facts) -> float:
    """How well a score ranks whom the label is true of."""
    from sklearn.metrics import roc_auc_score

    scorer = released(model)
    assert isinstance(scorer, Scorer)
    return float(roc_auc_score(everybody.label, scorer.score(everybody.features)))


def pairs(joint: Facts, central: Facts) -> list[tuple[int, int, float]]:
    """Each central part with the joint one that is nearest to it, every one once, and how far apart their centres are: in the feature
    where it is most, as a share of its range."""
    from scipy.optimize import linear_sum_assignment

    here, there = (np.array(model["centres"], dtype=np.float64) for model in (central, joint))
    apart = np.abs(here[:, None, :] - there).max(axis=2) / (2 * UNIT)
    return [(int(one), int(other), float(apart[one, other])) for one, other in zip(*linear_sum_assignment(apart), strict=True)]
