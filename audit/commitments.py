"""Salted commitments: the log vouches for personal data that it does not hold.

A commitment is SHA-256 over a domain tag, 32 random bytes and the value, each with its length in front, so that no two
triples spell the same bytes. Without the salt it says nothing about the value, however few values are possible; and once
salt and value are erased it says nothing to anybody, while every proof over it stays valid. Many commitments are the
leaves of one RFC 6962 tree, filled up to a public number with random leaves, which nobody can tell from commitments.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from audit.merkle import (
    IntegrityError,
    Place,
    cover,
    fold,
    hashes_of,
    inclusion_ranges,
    leaf_hash,
    parents,
    verify_inclusion,
)

SALT = 32
"""Bytes of a salt."""

_TAG = b"consentric.dev/commitment/v1"

Randomness = Callable[[int], bytes]
"""Gives that many random bytes, as `os.urandom` does."""


class TooManyError(Exception):
    """More leaves than the public number. The message does not say how many: that is private."""


def commit(value: str, salt: bytes) -> bytes:
    """The commitment to `value` (32 bytes)."""
    if len(salt) != SALT:
        raise ValueError(f"a salt has {SALT} bytes, got {len(salt)}")
    raw = value.encode()
    return hashlib.sha256(_PREFIX + salt + len(raw).to_bytes(8, "big") + raw).digest()


@dataclass(frozen=True, slots=True)
class Commitments:
    """A tree over commitments. `levels[l]` holds the complete subtrees of level l, 32 bytes each, one after the other."""

    size: int
    levels: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """What is published, with `size`."""
        return fold([self._node(place) for place in cover(0, self.size)])

    def proof(self, index: int) -> list[bytes]:
        """Hashes that lead from leaf `index` to the root."""
        ranges = inclusion_ranges(index, self.size)
        return hashes_of(ranges, {place: self._node(place) for leaves in ranges for place in cover(*leaves)})

    def _node(self, place: Place) -> bytes:
        return self.levels[place.level][32 * place.idx : 32 * (place.idx + 1)]


def collect(commitments: Iterable[bytes | None], size: int | None = None, randomness: Randomness = os.urandom) -> Commitments:
    """The tree over commitments in this order; None, and what is missing up to `size`, becomes a random leaf.

    `size` is public and must not depend on a row (a policy's `max_subjects`); None makes the number of commitments the
    size, where that number may be known. About 2 µs a leaf. Raises TooManyError.
    """
    leaves = [randomness(SALT) if commitment is None else commitment for commitment in commitments]
    if size is not None:
        if len(leaves) > size:
            raise TooManyError(f"more commitments than the public number of leaves, which is {size}")
        missing = size - len(leaves)
        filling = randomness(SALT * missing)
        leaves += [filling[start : start + SALT] for start in range(0, SALT * missing, SALT)]
    levels, row = [], [leaf_hash(leaf) for leaf in leaves]
    while row:
        levels.append(b"".join(row))
        row = parents(row[: len(row) & ~1])
    return Commitments(len(leaves), tuple(levels))


def check_opening(value: str, salt: bytes, index: int, proof: Sequence[bytes], size: int, root: bytes) -> None:
    """Raises IntegrityError unless `value` is what leaf `index` of the published tree commits to."""
    if len(salt) != SALT:
        raise IntegrityError(f"a salt has {SALT} bytes, got {len(salt)}")
    verify_inclusion(index, size, leaf_hash(commit(value, salt)), proof, root)


_PREFIX = len(_TAG).to_bytes(8, "big") + _TAG + SALT.to_bytes(8, "big")
