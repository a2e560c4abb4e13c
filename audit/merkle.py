"""The Merkle tree of RFC 6962, section 2.1, with SHA-256: hashes, proofs, and what is needed to extend a tree.

A tree over n leaves D[0:n] is a left-complete binary tree; `Node` names its complete subtrees: the one at (level l, index i)
covers the leaves [i·2^l, (i+1)·2^l). Pure: where hashes are kept is not decided here (`audit.log`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

EMPTY_ROOT = hashlib.sha256().digest()
"""MTH({}): the root of a tree without leaves."""

Range = tuple[int, int]
"""Leaves [start, stop)."""


class IntegrityError(Exception):
    """What is stored contradicts what was signed, or itself."""


class Place(NamedTuple):
    """Where a complete subtree stands."""

    level: int
    idx: int


class Node(NamedTuple):
    """A complete subtree and its hash."""

    level: int
    idx: int
    hash: bytes


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || body)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """Hashes one level up, of an even number of hashes."""
    sha256 = hashlib.sha256
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=True)]


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over adjacent complete subtrees, the largest first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """MTH over leaf hashes."""
    row, odd = list(leaves), list[bytes]()
    while row:
        if len(row) % 2:
            odd.append(row.pop())
        row = parents(row)
    return fold(odd[::-1])


def cover(start: int, stop: int) -> list[Place]:
    """The complete subtrees over the leaves [start, stop), the largest first; `start` is a multiple of the first one's size."""
    places = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        places.append(Place(level, start >> level))
        start += 1 << level
    return places


class CompactRange:
    """The complete subtrees over the first `size` leaves: all that is needed to append and to tell the root."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """`hashes`: those of `cover(0, size)`, in that order."""
        if len(hashes) != size.bit_count():
            raise IntegrityError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees, got {len(hashes)}")
        self.size = size
        self._hashes = list(hashes)

    def append(self, leaf: bytes) -> list[Node]:
        """Add a leaf hash; returns every subtree that it completes, itself first."""
        return self.extend([leaf])

    def extend(self, leaves: Sequence[bytes]) -> list[Node]:
        """Add leaf hashes; returns every subtree that they complete, lower levels first."""
        made, level, row, first, waiting = list[Node](), 0, list(leaves), self.size, self._hashes
        self.size, self._hashes = self.size + len(row), []
        while row or waiting:
            made += [Node(level, index, value) for index, value in enumerate(row, first)]
            if first % 2:  # the last complete subtree before waits for its sibling
                row.insert(0, waiting.pop())
            if len(row) % 2:
                self._hashes.insert(0, row.pop())
            row, first, level = parents(row), first // 2, level + 1
        return made

    def root(self) -> bytes:
        """MTH over the leaves so far."""
        return fold(self._hashes)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """PATH(index, D[size]) of section 2.1.1, as the ranges whose hashes it lists, lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"index must be in [0, {size}), got {index}")
    start, stop, path = 0, size, list[Range]()
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append((middle, stop))
            stop = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """PROOF(old, D[new]) of section 2.1.2, as the ranges whose hashes it lists, lowest first."""
    if not 0 < old <= new:
        raise ValueError(f"old size must be in [1, {new}], got {old}")
    start, stop, path = 0, new, list[Range]()
    while old < stop:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append((middle, stop))
            stop = middle
        else:
            path.append((start, middle))
            start = middle
    known = [] if start == 0 else [(start, stop)]  # the verifier holds the old root itself
    return known + path[::-1]


def hashes_of(ranges: Sequence[Range], nodes: Mapping[Place, bytes]) -> list[bytes]:
    """The hash of each range from those of its complete subtrees."""
    return [fold([nodes[place] for place in cover(*leaves)]) for leaves in ranges]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises IntegrityError unless `leaf` is leaf `index` of the tree of `size` leaves under `root`. RFC 9162, section 2.1.3.2."""
    # 1. the leaf must lie in the tree, and be a hash
    if not 0 <= index < size:
        raise IntegrityError(f"leaf index must be in [0, {size}), got {index}")
    if len(leaf) != 32:
        raise IntegrityError(f"a leaf hash has 32 bytes, got {len(leaf)}")
    # 2., 3.
    fn, sn, r = index, size - 1, leaf
    # 4. up the path
    for p in proof:
        if sn == 0:
            raise IntegrityError("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    # 5. the whole path was used and leads to the root
    if sn or r != root:
        raise IntegrityError(f"the inclusion proof of leaf {index} does not lead to the root of size {size}")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raises IntegrityError unless the `old` tree is a prefix of the `new` one. RFC 9162, section 2.1.4.2.

    Consistency with an empty tree says nothing about anything and is refused.
    """
    if not 0 < old <= new:
        raise IntegrityError(f"old size must be in [1, {new}], got {old}")
    if old == new:
        if proof or old_root != new_root:
            raise IntegrityError(f"two roots or a needless proof for one size {old}")
        return
    # 1. a proof is not empty
    if not proof:
        raise IntegrityError("the consistency proof is empty")
    # 2. a power of two is itself a complete subtree
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    # 3., 4.
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    # 5., 6. up the path, both roots at once
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise IntegrityError("the consistency proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    # 7. it was used up and leads to both
    if sn or fr != old_root or sr != new_root:
        raise IntegrityError(f"the consistency proof does not lead from size {old} to size {new}")


def _split(size: int) -> int:
    """k of section 2.1: the largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
