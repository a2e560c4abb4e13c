"""Threshold shares of a secret (Shamir 1979, "How to share a secret"), over the integers modulo a prime just above 2^256.

Any `threshold` shares give the secret, fewer say nothing about it: to each value of the secret belongs exactly one polynomial
through them. Ours because the libraries at hand share 16 bytes, or are kept by nobody. Not here: who may ask for a share.
Python's whole numbers do not take the same time for all values; secrets live for one round only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audit.commitments import Randomness

PRIME = 2**256 + 297
"""The least prime above 2^256, so that every secret of 32 bytes is a number below it."""

SECRET_BYTES, SHARE_BYTES = 32, 33

_RUN = 16
"""Steps of Horner's rule between two reductions: places are small, so that a number grows by little in so many."""

_WIDE = 64
"""Random bytes for a number modulo `PRIME`: what reducing them leaves of a bias is below 2^-254."""


def split(secret: bytes, threshold: int, places: Iterable[int], randomness: Randomness) -> dict[int, bytes]:
    """A share of `SHARE_BYTES` for each place (from 1). Raises ValueError for a secret of another length or places that do not serve."""
    wanted = list(places)
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(wanted) or len(set(wanted)) != len(wanted) or min(wanted) < 1:
        raise ValueError(f"expected {SECRET_BYTES} bytes and at least {threshold} places from 1, each once")
    higher = [int.from_bytes(randomness(_WIDE), "big") % PRIME for _ in range(threshold - 1)]
    polynomial = [*reversed(higher), int.from_bytes(secret, "big")]
    return {place: _at(polynomial, place).to_bytes(SHARE_BYTES, "big") for place in wanted}


def weights(places: Iterable[int]) -> dict[int, int]:
    """What each place's share is multiplied by to give the secret (Lagrange's interpolation at 0)."""
    wanted = list(places)
    found = {}
    for place in wanted:
        above, below = 1, 1
        for other in wanted:
            if other != place:
                above, below = above * other % PRIME, below * (other - place) % PRIME
        found[place] = above * pow(below, -1, PRIME) % PRIME
    return found


def join(shares: Mapping[int, bytes], weighing: Mapping[int, int]) -> bytes:
    """The secret out of as many shares as the threshold, with the `weights` of exactly their places.

    Raises ValueError where they do not belong together, if that shows: whoever asks holds what comes out against something known.
    """
    there = {place: int.from_bytes(share, "big") for place, share in shares.items() if place in weighing}
    secret = sum(share * weighing[place] for place, share in there.items()) % PRIME
    if not there.keys() == shares.keys() == weighing.keys() or secret >> (8 * SECRET_BYTES):
        raise ValueError("these shares are of no secret")
    return secret.to_bytes(SECRET_BYTES, "big")


def _at(polynomial: list[int], x: int) -> int:
    """Its value at `x`; highest coefficient first (Horner)."""
    value = 0
    for start in range(0, len(polynomial), _RUN):
        for coefficient in polynomial[start : start + _RUN]:
            value = value * x + coefficient
        value %= PRIME
    return value
