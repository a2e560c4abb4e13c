"""Threshold shares: a published example, an independent reckoning, and what too few shares say."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from itertools import combinations

import pytest

from federated import shamir
from federated.shamir import PRIME, SHARE_BYTES, join, split, weights


def test_the_prime_is_prime_and_the_least_above_two_to_the_256() -> None:
    """Miller and Rabin, to forty bases: a composite passes with probability below 4^-40."""

    def probably(number: int) -> bool:
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 42):
            power = pow(base, odd, number)
            if power not in (1, number - 1) and not any((power := power * power % number) == number - 1 for _ in range(twos - 1)):
                return False
        return True

    assert probably(PRIME)
    assert not any(probably(number) for number in range(2**256 + 1, PRIME, 2))


def test_the_example_of_wikipedia() -> None:
    """1234 + 166 x + 94 x², in "Shamir's secret sharing", holds over whole numbers and so modulo any larger prime."""
    points = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414, 6: 5614}
    for chosen in combinations(points, 3):
        shares = {place: points[place].to_bytes(SHARE_BYTES, "big") for place in chosen}
        assert join(shares, weights(chosen)) == (1234).to_bytes(32, "big")
    numbers = iter([166, 94])
    assert split((1234).to_bytes(32, "big"), 3, points, lambda n: next(numbers).to_bytes(n, "big")) == {
        place: value.to_bytes(SHARE_BYTES, "big") for place, value in points.items()
    }


@pytest.mark.parametrize(("n", "threshold"), [(1, 1), (3, 2), (7, 5), (12, 12), (40, 27)])
def test_any_threshold_of_shares_gives_the_secret_and_others_do_not(n: int, threshold: int) -> None:
    for secret in (bytes(32), b"\xff" * 32, os.urandom(32)):
        shares = split(secret, threshold, range(1, n + 1), os.urandom)
        assert {len(share) for share in shares.values()} == {SHARE_BYTES}
        for start in {0, n - threshold, (n - threshold) // 2}:
            chosen = {place: shares[place] for place in range(start + 1, start + threshold + 1)}
            assert join(chosen, weights(chosen)) == secret
            if threshold > 1:
                fewer = dict(list(chosen.items())[1:])
                with suppress(ValueError):
                    assert join(fewer, weights(fewer)) != secret


def test_the_weights_are_those_of_lagrange() -> None:
    places = [2, 3, 11, 40]
    for place, weight in weights(places).items():
        exact = Fraction(1)
        for other in places:
            if other != place:
                exact *= Fraction(other, other - place)
        assert weight * exact.denominator % PRIME == exact.numerator % PRIME


def test_fewer_shares_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modulo 7, over all polynomials: whatever the secret, two of three shares take every pair of values equally often."""
    monkeypatch.setattr(shamir, "PRIME", 7)
    seen = []
    for secret in range(7):
        views = Counter()
        for a in range(7):
            for b in range(7):
                numbers = iter([a, b])
                shares = split(secret.to_bytes(32, "big"), 3, [1, 2, 3], lambda n, numbers=numbers: next(numbers).to_bytes(n, "big"))
                views[shares[1], shares[3]] += 1
        seen.append(views)
    assert all(views == seen[0] and len(views) == 49 for views in seen)


@pytest.mark.parametrize(
    ("secret", "threshold", "places"),
    [(bytes(31), 1, [1]), (bytes(32), 3, [1, 2]), (bytes(32), 1, [1, 1]), (bytes(32), 1, [0, 1]), (bytes(32), 0, [1])],
)
def test_what_is_refused(secret: bytes, threshold: int, places: list[int]) -> None:
    with pytest.raises(ValueError):
        split(secret, threshold, places, os.urandom)


def test_shares_of_another_secret_do_not_pass_as_one() -> None:
    with pytest.raises(ValueError):
        join({1: (PRIME - 1).to_bytes(SHARE_BYTES, "big")}, {1: 1})
    with pytest.raises(ValueError):
        join({1: bytes(SHARE_BYTES)}, {2: 1})
