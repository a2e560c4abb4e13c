"""What the coordinator sees: uniform vectors, and nothing that the written simulator could not have made out of the sum alone.

The simulator of federated/README.md, checked two ways. Exactly: modulo 4, over every value that uniform streams can take, the views of
real rounds are as frequent as simulated ones. And by rounds as they are, whose vectors pass tests of uniformity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from federated.masking import Ring, masked
from tests.collaborations import Seated, conducted, question, seated, sitting, terms

MODULUS = 4
"""Residues of Z/2^64 modulo 4 are a ring of their own: what holds of all streams there is looked at one by one."""

View = tuple[int, ...]


def simulated(total: int, honest: int) -> Iterator[View]:
    """Every view, once each: (1) vectors of all honest partners but the last are uniform, (2) the last is what gives the sum."""
    for free in product(range(MODULUS), repeat=honest - 1):
        yield (*free, (total - sum(free)) % MODULUS)


def real(values: Sequence[int], colluders: int = 0) -> Iterator[View]:
    """Every view of the honest partners' vectors, over all streams of their pairs; pairs with colluders are known, and taken away."""
    names = [f"p{place}" for place in range(len(values))]
    pairs = list(combinations(names, 2))
    honest = names[: len(values) - colluders]
    hidden = [pair for pair in pairs if pair[1] in honest]
    for streams in product(range(MODULUS), repeat=len(hidden)):
        drawn = dict(zip(hidden, streams, strict=True))
        view = []
        for name, value in zip(honest, values, strict=False):
            keys = [(a if b == name else b, bytes([drawn[a, b]])) for a, b in hidden if name in (a, b)]
            view.append(
                int(masked(np.array([value]), name, keys, None, lambda key, size: np.full(size, key[0], dtype=np.uint64))[0]) % MODULUS
            )
        yield tuple(view)


VALUES = [(0, 0, 0), (3, 1, 2), (1, 2, 1), (0, 1, 0, 3)]


@pytest.mark.parametrize(("values", "colluders"), [(each, c) for each in VALUES for c in range(len(each) - 1)], ids=str)
def test_views_are_exactly_those_of_the_simulator_given_the_sum(values: tuple[int, ...], colluders: int) -> None:
    honest = values[: len(values) - colluders]
    seen, made = Counter(real(values, colluders)), Counter(simulated(sum(honest) % MODULUS, len(honest)))
    assert seen.keys() == made.keys()
    assert len(set(seen.values())) == 1  # each of them as often


def test_the_simulator_is_told_from_rounds_that_leak() -> None:
    """Where one of three pairs has no mask, a partner's value shows: the test above can fail."""
    leaking = {view for view in real((3, 1, 2)) if view[0] == 3}
    assert leaking < set(simulated(6 % MODULUS, 3))


def with_dropouts(values: Sequence[int]) -> Iterator[View]:
    """Three shared, p2 is lost: vectors of all three (p2's came late), seeds of the living, pairs with the dead. Over all streams."""
    names = ["p0", "p1", "p2"]
    for ab, ac, bc, own0, own1, own2 in product(range(MODULUS), repeat=6):
        drawn, own = {"p0p1": ab, "p0p2": ac, "p1p2": bc}, dict(zip(names, (own0, own1, own2), strict=True))
        view = []
        for name, value in zip(names, values, strict=True):
            keys = [(other, bytes([drawn["".join(sorted((name, other)))]])) for other in names if other != name]
            vector = masked(np.array([value]), name, keys, bytes([own[name]]), lambda key, size: np.full(size, key[0], dtype=np.uint64))
            view.append(int(vector[0]) % MODULUS)
        yield (*view, own0, own1, ac, bc)


def test_with_a_dropout_views_are_exactly_those_of_the_simulator_given_the_sum_of_the_living() -> None:
    """(1) Opened streams are uniform, (2) the late vector is uniform, its own mask stays closed, (3) the first vector is uniform,
    (4) the second is what gives the sum of the living once opened streams are taken away."""

    def made(total: int) -> Iterator[View]:
        for own0, own1, ac, bc, late, first in product(range(MODULUS), repeat=6):
            yield (first, (total + own0 + own1 + ac + bc - first) % MODULUS, late, own0, own1, ac, bc)

    for values in [(0, 0, 0), (3, 2, 1), (1, 0, 3)]:
        seen = Counter(with_dropouts(values))
        simulated_views = Counter(made((values[0] + values[1]) % MODULUS))
        assert seen == simulated_views


class Watched(Seated):
    """Keeps the vector that it sent."""

    def vector(self, received: object) -> Ring:
        self.sent: Ring = super().vector(received)  # type: ignore[arg-type]
        return self.sent


def transcript(values: NDArray[np.int64], number: int, dropouts: bool) -> list[Ring]:
    """The vectors of a round as they are sent."""
    who = terms(3, 2, 1) if dropouts else terms(3)
    round = sitting(number, asked=question(values.shape[1]).digest())
    members = {name: Watched(each.seat, each.values) for name, each in seated(who, values, round).items()}
    conducted(who, members, values.shape[1], number)
    return [member.sent for member in members.values()]


@pytest.mark.parametrize("dropouts", [False, True])
@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1])
def test_masked_vectors_are_uniform_whatever_they_hide(value: int, dropouts: bool) -> None:
    """Bytes of each place, and differences of partners, by χ²; a false alarm below 1e-6 each."""
    values = np.full((3, 20_000), value)
    sent = transcript(values, 1, dropouts)
    for vector in [*sent, sent[0] - sent[1], sent[0] + sent[1]]:
        for place in vector.view(np.uint8).reshape(-1, 8).T:
            assert stats.chisquare(np.bincount(place, minlength=256)).pvalue > 1e-6
    assert stats.chisquare(np.bincount(np.full(20_000, value).view(np.uint8).reshape(-1, 8).T[0], minlength=256)).pvalue < 1e-6


def test_two_rounds_of_the_same_values_share_no_mask() -> None:
    values = np.full((3, 20_000), 5)
    for first, second in zip(transcript(values, 1, False), transcript(values, 2, False), strict=True):
        for place in (first - second).view(np.uint8).reshape(-1, 8).T:
            assert stats.chisquare(np.bincount(place, minlength=256)).pvalue > 1e-6


def test_a_transcript_of_uniform_streams_agrees_with_the_simulator() -> None:
    """Whole rounds with a random function in place of ChaCha20: sums agree, and vectors but the last are that function's alone."""
    drawn: dict[tuple[bytes, int], Ring] = {}
    generator = np.random.default_rng(5)

    def uniform(key: bytes, size: int) -> Ring:
        return drawn.setdefault((key, size), generator.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True))

    values = np.arange(3 * 1000).reshape(3, 1000)
    members = {name: Watched(each.seat, each.values) for name, each in seated(terms(3), values, stream=uniform).items()}
    assert np.array_equal(conducted(terms(3), members, 1000).values, values.sum(axis=0))
    sent = [member.sent for member in members.values()]
    last = values.sum(axis=0).view(np.uint64) - sent[0] - sent[1]  # the simulator's last vector, given the sum and the first two
    assert np.array_equal(last, sent[2])
    assert len(drawn) == 3
    for vector in sent:
        assert abs(np.corrcoef(vector.astype(float), values[0])[0, 1]) < 5 / np.sqrt(1000)
