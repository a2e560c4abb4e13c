"""A question as the coordinator asks it and as every partner hears it: a query of a registered step, and the noise of its sum.

Its digest is part of the round, so that partners who were asked different things do not add up. Not here: what steps compute.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import rfc8785
from numpy.typing import NDArray

from federated.contract import Agreed
from federated.masking import Round
from governance.door import DoorError, Grant, Query
from policies.documents import Digest, digest_of

NUMBERS = frozenset({"|b1", "|i1", "|u1", *(f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)), "<f4", "<f8"})
"""Types of numbers that parameters may hold, little-endian."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. `number`: of the round; `grant`: the noise that its sum has when nobody is lost (`federated.shares`); `model`:
    canonical JSON of a released model, where columns come of one (a segment, a score), which each partner works out at home."""

    number: int
    query: Query
    grant: Grant
    model: bytes = b""

    def digest(self) -> Digest:
        """Of everything that a partner's answer depends on: names, shapes and bytes of parameters among it."""
        query = self.query
        whole: dict[str, Any] = {
            "bound": float(query.bound),
            "model": hashlib.sha256(self.model).hexdigest(),
            "noise": [str(self.grant.mu_squared.numerator), str(self.grant.mu_squared.denominator)],
            "parameters": {name: _array(np.asarray(value)) for name, value in query.parameters.items()},
            "part": int(query.part),
            "path": self.grant.path,
            "shape": [int(each) for each in query.shape],
            "step": str(query.step),
        }
        return digest_of(rfc8785.dumps(whole))

    def round(self, agreed: Agreed) -> Round:
        """The round in which it is answered under a contract."""
        return Round(agreed.digest, self.number, self.digest())


def ordered(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in row order and little-endian, as they are digested and sent. Raises DoorError for what is not of numbers."""
    little = np.asarray(values).astype(values.dtype.newbyteorder("<"), order="C")
    if little.dtype.str not in NUMBERS:
        raise DoorError(f"expected parameters of numbers, got {values.dtype}")
    return little


def _array(values: NDArray[Any]) -> list[Any]:
    """Type, shape and digest of the bytes."""
    little = ordered(values)
    return [little.dtype.str, list(values.shape), hashlib.sha256(little.tobytes()).hexdigest()]
