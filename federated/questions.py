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
from policies.documents import Digest


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. `number`: of the round; `grant`: the noise that its sum has when nobody is lost (`federated.shares`)."""

    number: int
    query: Query
    grant: Grant

    def digest(self) -> Digest:
        """Of everything that a partner's answer depends on: names, shapes and bytes of parameters among it."""
        query = self.query
        whole: dict[str, Any] = {
            "bound": float(query.bound),
            "noise": [str(self.grant.mu_squared.numerator), str(self.grant.mu_squared.denominator)],
            "parameters": {name: _array(np.asarray(value)) for name, value in query.parameters.items()},
            "part": int(query.part),
            "path": self.grant.path,
            "shape": [int(each) for each in query.shape],
            "step": str(query.step),
        }
        return Digest("sha256:" + hashlib.sha256(rfc8785.dumps(whole)).hexdigest())

    def round(self, agreed: Agreed) -> Round:
        """The round in which it is answered under a contract."""
        return Round(agreed.digest, self.number, self.digest())


def _array(values: NDArray[Any]) -> list[Any]:
    """Type, shape and bytes, in little-endian order. Raises DoorError for what is not of numbers."""
    if values.dtype.kind not in "biuf":
        raise DoorError(f"expected parameters of numbers, got {values.dtype}")
    ordered = values.astype(values.dtype.newbyteorder("<"))
    return [ordered.dtype.str, list(values.shape), hashlib.sha256(ordered.tobytes()).hexdigest()]
