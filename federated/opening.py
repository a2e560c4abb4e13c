"""What the coordinator does with the vectors of a round: their sum, and no sum where anything is missing or wrong.

Pure functions. What it learns on the way is in README.md, "What the coordinator sees".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from federated import shamir
from federated.masking import End, Ring, Round, Stream, agree, chacha20, commitment, mask_key, masked, own_key
from federated.messages import Keys, Opening, Survivors, Terms
from federated.replies import Code, RefusedError


def total(vectors: Mapping[str, Ring]) -> NDArray[np.int64]:
    """The coordinator, without dropouts: masks of all partners cancel."""
    return _sum(vectors).view(np.int64)


def unmasked(
    terms: Terms,
    round: Round,
    roster: Mapping[str, Keys],
    vectors: Mapping[str, Ring],
    survivors: Survivors,
    openings: Mapping[str, Opening],
    stream: Stream = chacha20,
) -> NDArray[np.int64]:
    """The coordinator, with dropouts: (1) join shares of `least` partners, (2) hold each seed against its commitment and each key against
    its public half, (3) take the own masks of the living out of the sum, and the masks that they share with the dead.

    `roster`: keys of who shared; `vectors`: of the living. Raises RefusedError where shares are missing or wrong: no sum rather than
    a wrong one.
    """
    if len(openings) < terms.least:
        raise RefusedError(Code.TOO_FEW)
    chosen = {terms.place(name): openings[name] for name in sorted(openings)[: terms.least]}
    weighing = shamir.weights(chosen)
    sum_ = _sum({name: vectors[name] for name in survivors.alive})
    size = len(sum_)
    for name in survivors.alive:
        seed = _joined({place: opening.seeds.get(name) for place, opening in chosen.items()}, weighing)
        if commitment(round, name, seed) != roster[name].seed:
            raise RefusedError(Code.SHARES)
        sum_ = sum_ - stream(own_key(round, name, seed), size)
    for name in survivors.dead:
        secret = X25519PrivateKey.from_private_bytes(
            _joined({place: opening.keys.get(name) for place, opening in chosen.items()}, weighing)
        )
        if secret.public_key().public_bytes_raw() != roster[name].mask:
            raise RefusedError(Code.SHARES)
        dead, living = _end(roster[name]), [_end(roster[other]) for other in survivors.alive]
        pairs = [(other.name, mask_key(round, agree(secret, other), dead, other)) for other in living]
        sum_ = masked(sum_.view(np.int64), name, pairs, None, stream)  # what the dead would have added takes away what the living did
    return sum_.view(np.int64)


def _end(keys: Keys) -> End:
    return End(keys.name, keys.mask)


def _joined(shares: Mapping[int, bytes | None], weighing: Mapping[int, int]) -> bytes:
    there = {place: share for place, share in shares.items() if share is not None}
    if there.keys() != shares.keys():
        raise RefusedError(Code.SHARES)
    try:
        return shamir.join(there, weighing)
    except ValueError:
        raise RefusedError(Code.SHARES) from None


def _sum(vectors: Mapping[str, Ring]) -> Ring:
    """In the ring. Raises RefusedError where vectors differ in shape."""
    if len({(vector.shape, vector.dtype) for vector in vectors.values()}) != 1:
        raise RefusedError(Code.SHAPE)
    return np.asarray(np.sum(np.stack(list(vectors.values())), axis=0, dtype=np.uint64))
