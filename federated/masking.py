"""Masks: streams of ChaCha20 in Z/2^64, which cancel in the sum of all partners and in no other.

Each pair of partners has a secret that only they can work out (X25519, RFC 7748); HKDF-SHA256 (RFC 5869) derives a key of
it that is bound to the round, to both partners and to their public keys. The round names the contract's digest and what is asked:
whoever holds another contract, another round or another question derives other masks, and the sum is noise instead of a sum.
A key makes one stream and is then gone, so a stream needs no nonce of its own. Not here: who is in a round (`federated.seat`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from audit.commitments import Randomness
from policies.documents import Digest

Ring = NDArray[np.uint64]
"""A vector of Z/2^64; sums of it wrap around."""

Stream = Callable[[bytes, int], Ring]
"""A key (32 bytes) and a length to that many numbers that nobody without the key can tell from uniform ones."""

KEY_BYTES = 32

SEAL_BYTES = 16
"""What a sealed message is longer than its content."""

_TAG = b"consentric.dev/federated/v1"
_ZERO = bytes(16)
_NONCE = bytes(12)


class ChannelError(Exception):
    """What was sent over a channel is not from whom it should be, or not for this round."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one contract. `number` rises from 1 and none comes twice; `asked` is the digest of the question."""

    contract: Digest
    number: int
    asked: Digest

    def info(self, use: str, *parts: bytes) -> bytes:
        """What a key for this use alone is derived with; lengths stand in front, so that no two lists of parts are the same bytes."""
        return b"".join([_beginning(self, use), *map(_framed, parts)])


@lru_cache(64)  # every key of a round for the same use begins with it
def _beginning(round: Round, use: str) -> bytes:
    said = rfc8785.dumps({"asked": round.asked, "contract": round.contract, "round": round.number})
    return b"".join(map(_framed, (_TAG, hashlib.sha256(said).digest(), use.encode())))


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def chacha20(key: bytes, size: int) -> Ring:
    """The stream that the product uses (RFC 8439, section 2.4)."""
    stream = Cipher(algorithms.ChaCha20(key, _ZERO), mode=None).encryptor().update(bytes(8 * size))
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64, copy=False)


def drawn_from(secret: bytes) -> Randomness:
    """As many bytes as are asked for, each time others, the same ones for the same secret, `KEY_BYTES` that are used for nothing else."""
    stream = Cipher(algorithms.ChaCha20(secret, _ZERO), mode=None).encryptor()
    return lambda size: stream.update(bytes(size))


@dataclass(frozen=True, slots=True)
class End:
    """One end of a pair: a partner's name and its X25519 public key of this round."""

    name: str
    public: bytes


def agree(secret: X25519PrivateKey, theirs: End) -> bytes:
    """The secret of a pair, the same from either end. Raises ValueError for a public key of small order, with which everybody would
    know it (RFC 7748, section 6.1), and for what is no key."""
    return secret.exchange(X25519PublicKey.from_public_bytes(theirs.public))


def _derived(round: Round, use: str, shared: bytes, first: End, second: End) -> bytes:
    info = round.info(use, first.name.encode(), first.public, second.name.encode(), second.public)
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(shared)


def mask_key(round: Round, shared: bytes, mine: End, theirs: End) -> bytes:
    """The key of a pair's stream, the same from either end."""
    first, second = sorted((mine, theirs), key=lambda end: end.name)
    return _derived(round, "mask", shared, first, second)


def own_key(round: Round, name: str, seed: bytes) -> bytes:
    """The key of a partner's own mask, out of the seed that it shared."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=round.info("own", name.encode())).derive(seed)


def commitment(round: Round, name: str, seed: bytes) -> str:
    """To the seed of a partner's own mask, 32 random bytes: whoever joins shares of it can tell that they were the right ones."""
    return hashlib.sha256(round.info("seed", name.encode(), seed)).hexdigest()


def sealed(round: Round, shared: bytes, mine: End, theirs: End, message: bytes) -> bytes:
    """`message` from `mine` to `theirs`, for nobody else to read. Once a round: the key has a direction, and one nonce."""
    return ChaCha20Poly1305(_derived(round, "channel", shared, mine, theirs)).encrypt(_NONCE, message, None)


def opened(round: Round, shared: bytes, mine: End, theirs: End, message: bytes) -> bytes:
    """What `theirs` sealed for `mine`. Raises ChannelError."""
    try:
        return ChaCha20Poly1305(_derived(round, "channel", shared, theirs, mine)).decrypt(_NONCE, message, None)
    except InvalidTag:
        raise ChannelError("not sealed by this partner for this round") from None


def masked(values: NDArray[np.int64], name: str, pairs: Iterable[tuple[str, bytes]], own: bytes | None, stream: Stream = chacha20) -> Ring:
    """(1) The values in the ring, (2) plus the stream of each pair where the other's name is later, minus where it is earlier,
    (3) plus the partner's own stream, where there may be dropouts. `pairs`: the other's name and the pair's key."""
    total = values.view(np.uint64).copy()
    for other, key in pairs:
        (np.add if name < other else np.subtract)(total, stream(key, len(total)), out=total)
    return total if own is None else total + stream(own, len(total))
