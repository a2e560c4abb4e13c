import hashlib

import pytest

from audit.merkle import (
    EMPTY_ROOT,
    CompactRange,
    IntegrityError,
    Place,
    consistency_ranges,
    cover,
    hashes_of,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

BODIES = [bytes([number]) * number for number in range(70)]
LEAVES = [leaf_hash(body) for body in BODIES]


def definition(leaves: list[bytes]) -> bytes:
    """MTH, word for word from RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(definition(leaves[:k]), definition(leaves[k:]))


def test_domains_of_leaves_and_nodes_are_apart() -> None:
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert node_hash(b"a", b"b") == hashlib.sha256(b"\x01ab").digest()


@pytest.mark.parametrize("size", range(70))
def test_all_ways_to_a_root_agree(size: int) -> None:
    tree = CompactRange()
    nodes = {Place(node.level, node.idx): node.hash for leaf in LEAVES[:size] for node in tree.append(leaf)}
    resumed = CompactRange(size, [nodes[place] for place in cover(0, size)])
    assert tree.root() == resumed.root() == root_of(LEAVES[:size]) == definition(LEAVES[:size])
    assert len(nodes) == 2 * size - size.bit_count()
    for (level, index), value in nodes.items():
        assert value == definition(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33, 70])
def test_proofs_verify_and_name_one_leaf_only(size: int) -> None:
    tree = CompactRange()
    nodes = {Place(node.level, node.idx): node.hash for leaf in LEAVES[:size] for node in tree.append(leaf)}
    for index in range(size):
        proof = hashes_of(inclusion_ranges(index, size), nodes)
        verify_inclusion(index, size, LEAVES[index], proof, tree.root())
        for wrong in (index - 1, index + 1):
            with pytest.raises(IntegrityError):
                verify_inclusion(wrong, size, LEAVES[index], proof, tree.root())
    for old in range(1, size + 1):
        proof = hashes_of(consistency_ranges(old, size), nodes)
        verify_consistency(old, size, proof, definition(LEAVES[:old]), tree.root())
        with pytest.raises(IntegrityError):
            verify_consistency(old, size, proof, definition([*LEAVES[:old], b"x" * 32]), tree.root())


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="index must be in"):
        inclusion_ranges(3, 3)
    with pytest.raises(ValueError, match="old size must be in"):
        consistency_ranges(0, 3)
    with pytest.raises(IntegrityError, match="3 leaves has 2 complete subtrees, got 1"):
        CompactRange(3, [EMPTY_ROOT])
