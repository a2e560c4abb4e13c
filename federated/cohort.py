"""The cohort that a trainer sees where subjects are with several partners: the same questions, the same grants, one round for each.

What comes back has the noise that the grant says, when nobody is lost: partners add it in shares (`federated.shares`). With more of them
than the contract needs it is more than colluders leave, never less.

Neighbours, sensitivity and steps: as in `governance.door`, over all partners of a contract. Not here: messages (`federated.rounds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Protocol

from federated.contract import Agreed
from federated.partner import terms_of
from federated.questions import Asked
from federated.rounds import Member, conduct
from federated.shares import Sharing, whole
from governance.door import Array, Grant, Query, to_units
from governance.noise import NoiseSource


class Site(Protocol):
    """A partner that can be reached, in this process or elsewhere."""

    @property
    def name(self) -> str:
        """As in the contract."""
        ...

    def member(self, asked: Asked) -> Member:
        """Its seat in the round of one question."""
        ...


class FederatedCohort:
    """A `governance.door.Cohort` over partners. `first`: number of the next round, above those that any of them remembers."""

    def __init__(self, agreed: Agreed, sites: Sequence[Site], first: int = 1) -> None:
        self._agreed, self._sites = agreed, tuple(sites)
        self._numbers: Iterator[int] = count(first)

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return len(self._agreed.contract.features)

    def grant(self) -> Grant:
        """All that the contract allows, for a trainer to split."""
        return whole(self._agreed.contract)

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`. `noise` is not drawn from: each partner draws its share of its own, which nobody else knows.

        Raises DoorError for a grant that is too small or too large, and AbortedError, which is one, for a round without a sum.
        """
        Sharing.of(self._agreed.contract).share_sigma(grant)
        asked = Asked(next(self._numbers), query, grant)
        members = {site.name: site.member(asked) for site in self._sites}
        summed = conduct(terms_of(self._agreed), asked.round(self._agreed), members, query.size)
        return to_units(summed.values, query)
