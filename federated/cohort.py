"""The cohort that a trainer sees where subjects are with several partners: the same questions, the same grants, one round for each.

What comes back has the noise that the grant says, when nobody is lost: partners add it in shares (`federated.shares`). With more of them
than the contract needs it is more than colluders leave, never less.

Neighbours, sensitivity and steps: as in `governance.door`, over all partners of a contract. Not here: messages (`federated.rounds`).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import count

from federated.contract import Agreed
from federated.courier import Courier
from federated.messages import Terms
from federated.questions import Asked
from federated.rounds import conduct
from federated.shares import Sharing, whole
from governance.door import Array, Grant, Query, to_units
from governance.noise import NoiseSource


class FederatedCohort:
    """A `governance.door.Cohort` over partners. `first`: number of the next round, above those that any of them remembers
    (`federated.rounds.greet`); a coordinator that was killed in a round asks the same question under its number again."""

    def __init__(self, agreed: Agreed, courier: Courier, first: int = 1) -> None:
        self._agreed, self._courier, self._terms = agreed, courier, Terms.of(agreed)
        self._numbers: Iterator[int] = count(first)
        self._model = b""

    def seeing(self, model: bytes) -> FederatedCohort:
        """The same partners, asked with a released model, canonical JSON, of which they work out columns at home; rounds go on counting."""
        other = copy(self)
        other._model = model
        return other

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return len(self._agreed.contract.features)

    def grant(self) -> Grant:
        """All that the contract allows, for a trainer to split."""
        return whole(self._agreed.contract)

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`. `noise` is not drawn from: each partner draws its share of its own, which nobody else knows.

        Raises DoorError for a grant that is too small or too large and a question that cannot be sent, and AbortedError, which is
        one, for a round without a sum.
        """
        Sharing.of(self._agreed.contract).share_sigma(grant)
        asked = Asked(next(self._numbers), query, grant, self._model)
        return to_units(conduct(self._terms, self._agreed.digest, asked, self._courier).values, query)
