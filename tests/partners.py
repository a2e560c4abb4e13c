"""Partners in this process, with rows and ledgers: shared by the tests of `federated`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.cohort import FederatedCohort
from federated.contract import Agreed
from federated.courier import InProcess
from federated.desk import Desk, MemoryBook
from federated.partner import Partner
from federated.questions import Asked
from federated.seat import ShortMemory
from federated.shares import Sharing
from governance.door import Grant, MemoryMeter, Meter, ReservationId
from governance.noise import NoiseSource
from tests.collaborations import TODAY, signed, signers
from tests.fakes import SeededNoise

Columns = Mapping[str, NDArray[Any]]


def parted(columns: Columns, sizes: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    """Rows of the first partner, of the second, …; the last has the rest."""
    ends = np.cumsum([0, *sizes])
    stops = [*ends[1:], len(next(iter(columns.values())))]
    return [{name: column[start:stop] for name, column in columns.items()} for start, stop in zip(ends, stops, strict=True)]


def noises(n: int) -> list[SeededNoise]:
    """Fast noise of each partner, the same each time."""
    return [SeededNoise(place) for place in range(n)]


class Pooled:
    """The noise of all partners as one source, for a cohort at one place: the same draws, added up."""

    def __init__(self, sources: Sequence[NoiseSource]) -> None:
        self._sources = sources

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `NoiseSource.draw`; the shares are those of `Sharing.share_sigma`."""
        share = math.nextafter(math.nextafter(sigma / math.sqrt(len(self._sources)), math.inf), math.inf)
        return np.sum([source.draw(share, size) for source in self._sources], axis=0)


def agreement(n: int, features: int, **changed: Any) -> Agreed:
    """A contract over so many features, about which partners say nothing in particular."""
    schema = {f"f{place}": {"meaning": "a number", "bounds": ["0", "1"]} for place in range(features)}
    return signed(n, **({"features": schema, "rounds": 100, "clip": 1e30} | changed))


def limit(agreed: Agreed, mu_squared: Fraction) -> MemoryMeter:
    """A ledger that has what questions of `mu_squared` together cost a partner."""
    free = Grant(ReservationId("free"), "all", mu_squared)
    return MemoryMeter(Sharing.of(agreed.contract).price(free, ReservationId("memory")).mu_squared)


@dataclass(frozen=True)
class Household:
    """A partner's home in memory: always the same people, and `gate` for its rules."""

    columns: Columns
    meter: Meter
    reservation: ReservationId
    noise: NoiseSource
    gate: Callable[[Asked], bool] = lambda asked: True

    def shapes(self, model: bytes) -> dict[str, tuple[int, ...]]:
        """See `Home.shapes`."""
        return {name: column.shape[1:] for name, column in self.columns.items()}

    def willing(self, asked: Asked) -> bool:
        """See `Home.willing`."""
        return self.gate(asked)

    def rows(self, asked: Asked) -> Columns:
        """See `Home.rows`."""
        return self.columns


def partners(
    agreed: Agreed, rows: Sequence[Columns], meters: Sequence[MemoryMeter], sources: Sequence[NoiseSource], **home: Any
) -> list[Partner]:
    """One for each rows."""
    reservation = ReservationId("memory")
    return [
        Partner(agreed, signer, replace(Household(each, meter, reservation, source), **home), ShortMemory(), clock=lambda: TODAY)
        for signer, each, meter, source in zip(signers(len(rows)), rows, meters, sources, strict=True)
    ]


def desks(sites: Iterable[Partner]) -> dict[str, Desk]:
    """Each partner's desk, with a book in memory."""
    return {site.name: Desk(site, MemoryBook(), lambda outcome: b"") for site in sites}


def courier(sites: Iterable[Partner]) -> InProcess:
    """Partners that are reached in this process, by the bytes that a network would carry."""
    return InProcess({name: desk.answer for name, desk in desks(sites).items()})


def cohort(
    agreed: Agreed, rows: Sequence[Columns], mu_squared: Fraction = Fraction(1, 10)
) -> tuple[FederatedCohort, Grant, list[MemoryMeter]]:
    """Partners with fast noise and ledgers for `mu_squared`, a grant of it, and the ledgers."""
    meters = [limit(agreed, mu_squared) for _ in rows]
    sites = partners(agreed, rows, meters, noises(len(rows)))
    return FederatedCohort(agreed, courier(sites)), Grant(ReservationId("there"), "all", mu_squared), meters
