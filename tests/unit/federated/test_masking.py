"""Masks: the stream of RFC 8439, keys bound to everything, and channels that open for one reader in one round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from federated.masking import ChannelError, End, Round, agree, chacha20, commitment, mask_key, masked, opened, own_key, sealed
from policies.documents import Digest
from tests.collaborations import sitting

A, B, C = (X25519PrivateKey.from_private_bytes(bytes([place]) * 32) for place in (1, 2, 3))
ENDS = [End(name, secret.public_key().public_bytes_raw()) for name, secret in zip("abc", (A, B, C), strict=True)]
OTHERS = [replace(sitting(), number=2), replace(sitting(), contract=Digest("sha256:x")), replace(sitting(), asked=Digest("sha256:y"))]


def test_the_stream_is_chacha20_s() -> None:
    """RFC 8439, appendix A.1, test vectors 1 and 2: zero key, counters 0 and 1."""
    first = (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    second = (
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    assert chacha20(bytes(32), 16).astype("<u8").tobytes().hex() == first + second


@pytest.mark.parametrize("other", OTHERS, ids=["round", "contract", "question"])
def test_keys_are_bound_to_contract_round_and_question(other: Round) -> None:
    assert mask_key(sitting(), agree(A, ENDS[1]), ENDS[0], ENDS[1]) != mask_key(other, agree(A, ENDS[1]), ENDS[0], ENDS[1])
    assert own_key(sitting(), "a", bytes(32)) != own_key(other, "a", bytes(32))
    assert commitment(sitting(), "a", bytes(32)) != commitment(other, "a", bytes(32))
    with pytest.raises(ChannelError):
        opened(other, agree(B, ENDS[0]), ENDS[1], ENDS[0], sealed(sitting(), agree(A, ENDS[1]), ENDS[0], ENDS[1], b"share"))


def test_both_ends_of_a_pair_have_one_key_and_nobody_else_has() -> None:
    keys = {mask_key(sitting(), agree(A, ENDS[1]), ENDS[0], ENDS[1]), mask_key(sitting(), agree(B, ENDS[0]), ENDS[1], ENDS[0])}
    assert len(keys) == 1
    assert mask_key(sitting(), agree(A, ENDS[2]), ENDS[0], ENDS[2]) not in keys
    assert mask_key(sitting(), agree(A, ENDS[1]), replace(ENDS[0], name="x"), ENDS[1]) not in keys  # names count, not the secret alone


def test_a_channel_has_one_reader_one_writer_and_one_direction() -> None:
    message = sealed(sitting(), agree(A, ENDS[1]), ENDS[0], ENDS[1], b"share")
    assert opened(sitting(), agree(B, ENDS[0]), ENDS[1], ENDS[0], message) == b"share"
    for secret, mine, theirs in [(C, ENDS[2], ENDS[0]), (B, ENDS[1], ENDS[2]), (A, ENDS[0], ENDS[1])]:
        with pytest.raises(ChannelError):
            opened(sitting(), agree(secret, theirs), mine, theirs, message)
    with pytest.raises(ChannelError):
        opened(sitting(), agree(B, ENDS[0]), ENDS[1], ENDS[0], message[:-1] + bytes([message[-1] ^ 1]))


def test_a_key_of_small_order_is_refused() -> None:
    with pytest.raises(ValueError):
        agree(A, End("b", bytes(32)))


def test_pairs_cancel_and_own_streams_do_not() -> None:
    values = np.array([2**63 - 1, -(2**63), -1, 0])
    key = bytes(range(32))
    both = masked(values, "a", [("b", key)], None) + masked(np.zeros(4, dtype=np.int64), "b", [("a", key)], None)
    assert np.array_equal(both.view(np.int64), values)
    own = masked(values, "a", [], key)
    assert np.array_equal((own - chacha20(key, 4)).view(np.int64), values) and not np.array_equal(own.view(np.int64), values)
