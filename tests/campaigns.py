"""Campaigns for tests: a randomised trial and what people spend afterwards, as columns of a cohort and as tables of the shop."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.scenes import AS_OF, CONTRACT, CUSTOMERS, GROUPS, SUBJECTS, Shop

NOT_IN_TRIAL = frozenset(SUBJECTS[::10])
"""One in ten was neither mailed nor kept as control."""

_PLAIN = {"category": "user.behavior.purchase_history"}
_KEY = {"category": "user.unique_id.pseudonymous", "sensitivity": "pseudonymous"}

WORTH: dict[str, Any] = {
    **GROUPS,
    "name": "worth",
    "label": {"table": "replies", "agg": "sum(amount)", "after": "60d", "bounds": [0, 400], "scale": "log", "why": "who is worth a call"},
    "model": {"type": "value", "top": 0.3},
    "fairness": [{"table": "people", "column": "age"}],
}
PERSUADABLE: dict[str, Any] = {
    **GROUPS,
    "name": "persuadable",
    "label": {"table": "replies", "agg": "count(*) > 0", "after": "60d"},
    "treatment": {"table": "mailings", "agg": "bool_or(arm = 'letter')", "window": "30d", "why": "letters go to whom they persuade"},
    "model": {"type": "uplift", "top": 0.3},
    "fairness": [{"table": "people", "column": "age"}],
}


def contract() -> dict[str, Any]:
    """The shop's, with mailings and replies."""
    found = copy.deepcopy(CONTRACT)
    found["tables"]["mailings"] = {
        "source": "data/mailings.parquet",
        "event_time": "sent_on",
        "columns": {"customer": {**_KEY}, "sent_on": {**_PLAIN, "type": "date"}, "arm": {**_PLAIN, "domain": ["letter", "none"]}},
    }
    found["tables"]["replies"] = {
        "source": "data/replies.parquet",
        "event_time": "on",
        "columns": {
            "customer": {**_KEY},
            "on": {**_PLAIN, "type": "date"},
            "amount": {**_PLAIN, "type": "decimal(10,2)", "bounds": [0, 500], "unit": "EUR"},
        },
    }
    return found


def launch(shop: Shop, seed: int = 3, random: bool = True) -> None:
    """Write a campaign into a shop: letters persuade whoever buys often; where not `random`, these get most of them, too."""
    draw = np.random.default_rng(seed)
    habit = np.arange(CUSTOMERS) % 3
    chance = np.full(CUSTOMERS, 0.5) if random else np.array([0.05, 0.3, 0.95])[habit]
    letter = draw.random(CUSTOMERS) < chance
    replied = draw.random(CUSTOMERS) < 0.15 + np.where(letter, np.array([0.0, 0.05, 0.6])[habit], 0.0)
    spent = np.round(draw.gamma(4, np.array([5, 20, 40])[habit]), 2).clip(0, 500)
    trial = [i for i in range(CUSTOMERS) if SUBJECTS[i] not in NOT_IN_TRIAL]
    mailed = {
        "customer": [SUBJECTS[i] for i in trial],
        "sent_on": [AS_OF - dt.timedelta(days=3)] * len(trial),
        "arm": ["letter" if letter[i] else "none" for i in trial],
    }
    who = np.flatnonzero(replied)
    replies = {
        "customer": [SUBJECTS[i] for i in who],
        "on": [AS_OF + dt.timedelta(days=int(day)) for day in draw.integers(1, 50, len(who))],
        "amount": pa.array([f"{spent[i]:.2f}" for i in who]).cast(pa.decimal128(10, 2)),
    }
    pq.write_table(pa.table(mailed), shop.root / "data" / "mailings.parquet")
    pq.write_table(pa.table(replies), shop.root / "data" / "replies.parquet")
    shop.write("contracts", contract())
    shop.write("segments", WORTH)
    shop.write("segments", PERSUADABLE)
