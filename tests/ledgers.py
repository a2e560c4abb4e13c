"""A metadata database in a folder, a clock that tests turn, and the smallest contract and policy: for the tests of `governance`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from governance.accounting import mu_squared_of
from governance.blocks import Block, Sampled
from governance.principals import Principal
from governance.store import Seal, Store
from policies.contract import Contract
from policies.policy import Policy

START = dt.datetime(2026, 5, 20, 12, tzinfo=dt.UTC)
AS_OF = dt.date(2026, 5, 1)
ADS = "marketing.advertising"
CARE = "essential.service"

PLACES: list[Callable[[], str]] = []
"""What makes a new database, the last first; see `placed`."""


class MemorySeal:
    """Remembers the newest tree head; see `governance.store.Seal`."""

    def __init__(self) -> None:
        self.size = 0
        self.root = b""

    def publish(self, size: int, root: bytes) -> None:
        """See `Seal.publish`."""
        if size >= self.size:
            self.size, self.root = size, root

    def cover(self, size: int, root: bytes, newest: Callable[[], tuple[int, bytes]]) -> None:
        """See `Seal.cover`."""
        self.publish(*newest())
        assert self.size >= size


class Clock:
    """Stands still until told."""

    def __init__(self, now: dt.datetime = START) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now

    def tick(self, **delta: float) -> None:
        """Move on, by `days=1` and so forth."""
        self.now += dt.timedelta(**delta)


def store(folder: Path, clock: Clock | None = None, name: str = "ana", create: bool = True, seal: Seal | None = None) -> Store:
    """A store as `name`; several may share a folder. On SQLite in that folder, unless the test runs on PostgreSQL."""
    opened = Store(url(folder), seal or MemorySeal(), Principal(name), clock or Clock())
    if create:
        opened.create()
    return opened


def url(folder: Path) -> str:
    """Where the folder's database is; another process finds it too."""
    note = folder / ".database"
    if PLACES and not note.exists():
        note.write_text(PLACES[-1]())
    return note.read_text() if note.exists() else f"sqlite:///{folder / 'meta.db'}"


@contextmanager
def placed(make: Callable[[], str] | None) -> Iterator[None]:
    """New databases are where `make` says (None: on SQLite) until the block ends."""
    places = [make] if make else []
    PLACES.extend(places)
    try:
        yield
    finally:
        del PLACES[len(PLACES) - len(places) :]


def contract(**changes: Any) -> Contract:
    """One table of shoppers."""
    fields: dict[str, Any] = {
        "name": "shop",
        "controller": "Shop Ltd",
        "subject": {"key": "id", "namespace": "loyalty", "registered_in": "people"},
        "tables": {"people": {"source": "people.parquet", "columns": {"id": {"category": "user.unique_id"}}}},
    }
    return Contract.model_validate(fields | changes)


def block(epsilon: float, delta: float = 1e-6) -> Block:
    """A build with training by samples, as the ledger sees it."""
    sampled = Sampled(rate=Fraction(1, 16), noise=4.0, steps=20, size=3, rows=50)
    return Block(epsilon, delta, mu_squared_of(epsilon, delta) / 4, sampled)


def policy(cap: float = 3.0, ads: float = 2.0, period: str = "lifetime", snapshot: float = 0.1, **changes: Any) -> Policy:
    """Two purposes; δ is 1e-5 everywhere."""
    basis = {"basis": {"default": "consent"}}
    fields: dict[str, Any] = {
        "name": "rules",
        "purposes": {ADS: basis, CARE: basis},
        "rules": [{"id": "all", "effect": "permit", "categories": ["user.*"], "reason": "everything is allowed here"}],
        "budgets": {
            "cap": {"epsilon": cap},
            "purposes": {ADS: {"epsilon": ads, "period": period}, CARE: {"epsilon": ads, "period": period}},
            "snapshot": {"interval": "7d", "epsilon": snapshot},
        },
    }
    return Policy.model_validate(fields | changes)
