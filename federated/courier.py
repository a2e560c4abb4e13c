"""Who carries messages between the coordinator and its partners: bytes there, bytes back, and nothing of what they say.

Not here: what messages hold (`federated.wire`), who carries them over a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Answerer = Callable[[bytes], bytes]
"""A partner's side: one request in, one reply out. Never raises, whatever comes in; an empty reply says nothing at all."""


class Courier(Protocol):
    """The coordinator's side."""

    def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """To each named partner (as in the contract) its request, all at once; replies by name. Who did not answer in time is missing."""
        ...


@dataclass(frozen=True)
class InProcess:
    """Partners in this process, one after the other: for tests, benchmarks, and simulations of many partners."""

    partners: Mapping[str, Answerer]

    def exchange(self, requests: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `Courier.exchange`; a partner that is not here did not answer."""
        return {name: self.partners[name](request) for name, request in requests.items() if name in self.partners}
