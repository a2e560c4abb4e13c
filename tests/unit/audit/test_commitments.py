import hashlib

import pytest

from audit.commitments import SALT, TooManyError, check_opening, collect, commit
from audit.merkle import IntegrityError, leaf_hash, root_of

SALTS = [bytes([number]) * SALT for number in range(20)]


def test_the_preimage_is_unambiguous() -> None:
    tag = b"consentric.dev/commitment/v1"
    parts = [tag, SALTS[1], "größe".encode()]
    expected = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    assert commit("größe", SALTS[1]) == expected


def test_value_and_salt_both_matter() -> None:
    assert len({commit(value, salt) for value in ("", "in", "out") for salt in SALTS}) == 3 * len(SALTS)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_short_salts_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a salt has 32 bytes"):
        commit("in", bytes(size))
    with pytest.raises(IntegrityError, match="a salt has 32 bytes"):
        check_opening("in", bytes(size), 0, [], 1, bytes(32))


@pytest.mark.parametrize("size", [20, 21, 32, 57])
def test_everyone_can_open_their_own_leaf_and_no_other(size: int) -> None:
    values = [f"{number}:in" for number in range(20)]
    tree = collect([commit(value, salt) for value, salt in zip(values, SALTS, strict=True)], size)
    assert tree.size == size
    for index, (value, salt) in enumerate(zip(values, SALTS, strict=True)):
        check_opening(value, salt, index, tree.proof(index), size, tree.root)
        for wrong in (
            (f"{index}:out", salt, index, tree.proof(index), size),
            (value, SALTS[index - 1], index, tree.proof(index), size),
            (value, salt, index ^ 1, tree.proof(index), size),
            (value, salt, index, tree.proof(index ^ 1), size),
        ):
            with pytest.raises(IntegrityError):
                check_opening(*wrong, tree.root)


def test_padding_is_random_leaves_under_one_rfc_6962_root() -> None:
    first = [commit("in", SALTS[0]), None, commit("out", SALTS[2])]
    tree = collect(first, 5, lambda size: b"r" * size)
    leaves = [first[0], b"r" * 32, first[2], b"r" * 32, b"r" * 32]
    assert tree.root == root_of(leaf_hash(leaf) for leaf in leaves if leaf)
    assert collect(first, 5).root != collect(first, 5).root


def test_without_a_public_size_nothing_is_added() -> None:
    assert collect([commit("in", salt) for salt in SALTS]).size == 20


def test_too_many_tell_the_public_number_only() -> None:
    with pytest.raises(TooManyError) as caught:
        collect([commit("in", salt) for salt in SALTS], 19)
    assert "19" in str(caught.value) and "20" not in str(caught.value)
