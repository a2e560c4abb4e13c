"""A partner's agent in a process of its own: `python -m tests.agents ADDRESS CA NODE NAME echo|desk [PARTNERS SIZE]`, until SIGTERM.

`echo` gives back what it got. `desk` sits at a desk in rounds whose sums have SIZE numbers, with the same contract and keys in every
process; its noise is OpenDP's, drawn before a round on a request that begins in `draw`, so that rounds can be timed without. `rss` is
answered with the megabytes that the process has.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federated.contract import Agreed
from federated.courier import Answerer
from federated.desk import Desk, Leaving
from federated.flower.agent import Agent
from federated.shares import Sharing, whole
from governance.door import Array, Batch, Contribution, Grant, Query, StepName, register
from governance.noise import SystemNoise
from policies.documents import Digest
from tests.collaborations import signers
from tests.partners import agreement, limit, partners

SUBJECTS, ROUNDS = 200, 100


@register("test.shelves")
def _shelves(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    """Each subject stands at one of many places."""
    return Contribution(np.ones((len(batch["features"]), 1)), batch["features"][:, 0].astype(np.int64))


def contract(n: int) -> Agreed:
    """The same in every process."""
    return agreement(n, 1, rounds=ROUNDS)


def question(size: int) -> Query:
    """How many subjects there are at each of `size` places."""
    return Query(StepName("test.shelves"), {}, (1, size, 1), 1.0)


def subjects(place: int, size: int) -> NDArray[np.int64]:
    """Of a partner."""
    return np.random.default_rng(place).integers(0, size, (SUBJECTS, 1))


class Ahead:
    """Noise that was drawn before it was asked for; without any, it is drawn at once."""

    def __init__(self) -> None:
        self._drawn: deque[NDArray[np.int64]] = deque()
        self._seconds: dict[bytes, float] = {}

    def prepare(self, request: bytes, agreed: Agreed, grant: Grant, size: int) -> float:
        """For one round more, once for each request. Gives the seconds that it took."""
        if request not in self._seconds:
            began = time.perf_counter()
            self._drawn.append(SystemNoise().draw(Sharing.of(agreed.contract).share_sigma(grant), size))
            self._seconds[request] = time.perf_counter() - began
        return self._seconds[request]

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        """See `NoiseSource.draw`."""
        return self._drawn.popleft() if self._drawn else SystemNoise().draw(sigma, size)


class Latest:
    """A book of one page, as a partner's is on disk."""

    def __init__(self) -> None:
        self._page: dict[Digest, bytes] = {}

    def answered(self, request: Digest) -> bytes | None:
        """See `Book.answered`."""
        return self._page.get(request)

    def keep(self, leaving: Leaving, request: bytes, reply: bytes) -> None:
        """See `Book.keep`."""
        self._page = {leaving.request: reply}

    def round(self, number: int) -> Sequence[tuple[bytes, bytes]]:
        """See `Book.round`."""
        return ()


def grant_of(agreed: Agreed, number: int = 1) -> Grant:
    """For one of all rounds."""
    every = whole(agreed.contract)
    return Grant(every.reservation, f"{every.path}/{number}", every.mu_squared / ROUNDS)


def at_desk(name: str, n: int, size: int) -> Answerer:
    """A partner of the contract."""
    agreed, noise = contract(n), Ahead()
    place = [signer.origin for signer in signers(n)].index(name)
    rows = [{"features": subjects(each, size)} for each in range(n)]
    sites = partners(agreed, rows, [limit(agreed, Fraction(1)) for _ in rows], [noise] * n)
    desk = Desk(sites[place], Latest(), lambda outcome: b"")

    def answer(request: bytes) -> bytes:
        if not request.startswith(b"draw"):
            return desk.answer(request)
        return str(noise.prepare(request, agreed, grant_of(agreed), size)).encode()

    return answer


def resident() -> bytes:
    """MB of this process."""
    return str(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20).encode()


def main() -> None:
    address, ca, node, name, kind, *numbers = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    answerer = at_desk(name, *map(int, numbers)) if kind == "desk" else lambda request: request

    def answer(request: bytes) -> bytes:
        return resident() if request == b"rss" else answerer(request)

    Agent(address, Path(ca).read_bytes(), Path(node).read_bytes(), answer, lambda said: print(said, flush=True)).run(stop)


if __name__ == "__main__":
    main()
