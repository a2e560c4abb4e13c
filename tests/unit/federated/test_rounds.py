"""Rounds: the sum is the plain one bit for bit, whoever is lost, or there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.masking import Ring
from federated.messages import Keys, Opening
from federated.replies import AbortedError, Code, RefusedError
from federated.seat import ShortMemory
from tests.collaborations import Seated, conducted, seated, sitting, terms

STEPS = ("keys", "shares", "vector", "attest", "opening")
WIDE = 50
"""Cases that one round sums side by side: each column is a case of its own."""


def held(generator: np.random.Generator, n: int) -> NDArray[np.int64]:
    """(n, WIDE): small numbers, whole ranges, both ends of int64, zeros."""
    ends = generator.choice(np.array([-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 1]), (n, WIDE))
    whole = generator.integers(-(2**63), 2**63 - 1, (n, WIDE), endpoint=True)
    small = generator.integers(-(2**40), 2**40, (n, WIDE))
    return np.choose(generator.integers(0, 4, WIDE), [ends, whole, small, np.zeros((n, WIDE), dtype=np.int64)])


def plain(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum over partners in whole numbers of any size, wrapped into int64 at the end."""
    sums = [sum(int(value) for value in column) for column in values.T]
    return np.array([(each + 2**63) % 2**64 - 2**63 for each in sums], dtype=np.int64)


def one_round(generator: np.random.Generator) -> None:
    """Of two to seven partners, with or without dropouts, some of them lost before random steps."""
    n = int(generator.integers(2, 8))
    dropouts = int(generator.integers(0, (n + 1) // 2)) if n > 2 else 0
    least = int(generator.integers(n // 2 + 1, n - dropouts + 1)) if dropouts else n
    lost = generator.choice(n, int(generator.integers(0, dropouts + 1)), replace=False)
    leaving = {f"p{place}": str(generator.choice(STEPS)) for place in lost}
    values = held(generator, n)
    summed = conducted(terms(n, least, dropouts), seated(terms(n, least, dropouts), values, leaving=leaving), WIDE)
    assert set(summed.alive) == {f"p{place}" for place in range(n)} - {name for name, step in leaving.items() if step in STEPS[:3]}
    assert np.array_equal(summed.values, plain(values[[int(name[1:]) for name in summed.alive]]))


def test_250_random_cases_are_the_plain_sum_bit_for_bit() -> None:
    generator = np.random.default_rng(6)
    for _ in range(250 // WIDE):
        one_round(generator)


@pytest.mark.slow
def test_10000_random_cases_are_the_plain_sum_bit_for_bit() -> None:
    generator = np.random.default_rng(60)
    for _ in range(10_000 // WIDE):
        one_round(generator)


@pytest.mark.parametrize("step", ["keys", "vector"])
def test_without_dropouts_any_loss_aborts(step: str) -> None:
    values = np.arange(6).reshape(3, 2)
    with pytest.raises(AbortedError, match="round 1 was aborted, `p1`: lost"):
        conducted(terms(3), seated(terms(3), values, leaving={"p1": step}), 2)


@pytest.mark.parametrize("step", STEPS)
def test_a_third_is_lost_before_each_step_and_the_sum_is_right(step: str) -> None:
    who = terms(10, 7, 3)
    values = held(np.random.default_rng(1), 10)
    leaving = dict.fromkeys(["p1", "p5", "p9"], step)
    summed = conducted(who, seated(who, values, leaving=leaving), WIDE)
    in_it = [place for place in range(10) if step in STEPS[3:] or f"p{place}" not in leaving]
    assert np.array_equal(summed.values, plain(values[in_it]))


@pytest.mark.parametrize("step", STEPS)
def test_more_than_the_contract_bears_are_lost_and_there_is_no_sum(step: str) -> None:
    who = terms(10, 7, 3)
    leaving = dict.fromkeys(["p1", "p5", "p8", "p9"], step)
    with pytest.raises(AbortedError, match="`p9`: lost"):
        conducted(who, seated(who, np.zeros((10, 2), dtype=np.int64), leaving=leaving), 2)


def test_without_dropouts_nothing_is_shared() -> None:
    members = seated(terms(3), np.ones((3, 2), dtype=np.int64))
    conducted(terms(3), members, 2)
    assert all(set(member.asked) == {"keys", "vector"} for member in members.values())
    with pytest.raises(RefusedError) as refused:
        members["p0"].seat.shares([])
    assert refused.value.code is Code.ORDER


@pytest.mark.parametrize(
    "values",
    [np.zeros(3, dtype=np.int64), np.zeros((1, 2), dtype=np.int64), np.array([np.nan, np.inf]), np.zeros(2, dtype=np.int32)],
    ids=str,
)
def test_a_seat_masks_nothing_but_a_vector_of_the_size_asked_for(values: NDArray[Any]) -> None:
    members = seated(terms(2), np.zeros((2, 2), dtype=np.int64))
    roster = [member.keys() for member in members.values()]
    members["p0"].seat.receive(roster)
    with pytest.raises(RefusedError) as refused:
        members["p0"].seat.vector(values, 2)
    assert refused.value.code is Code.SHAPE
    with pytest.raises(RefusedError):
        members["p0"].seat.vector(np.zeros(2, dtype=np.int64), 2)  # and then nothing at all


class Bad(Seated):
    """A partner that sends rubbish in one step."""

    spoils = ""

    def keys(self) -> Keys:
        keys = super().keys()
        return replace(keys, signature=bytes(64)) if self.spoils == "keys" else keys

    def vector(self, received: Any) -> Ring:
        vector = super().vector(received)
        return {"long": np.append(vector, vector), "short": vector[:1], "none": vector[:0]}.get(self.spoils, vector)

    def attest(self, survivors: Any) -> bytes:
        signature = super().attest(survivors)
        return bytes(64) if self.spoils == "attest" else signature

    def opening(self, signatures: Any) -> Opening:
        right = super().opening(signatures)
        wrong = {name: bytes(33) for name in right.seeds}
        key = {name: bytes(33) for name in right.keys}
        return {"seeds": Opening(wrong, right.keys), "mask keys": Opening(right.seeds, key), "nothing": Opening({}, {})}.get(
            self.spoils, right
        )


@pytest.mark.parametrize("spoils", ["keys", "long", "short", "none", "attest"])
def test_rubbish_of_one_partner_is_seen_and_the_others_go_on(spoils: str) -> None:
    who = terms(4, 3, 1)
    members = seated(who, np.arange(8).reshape(4, 2))
    members["p0"].__class__ = Bad
    members["p0"].spoils = spoils
    summed = conducted(who, members, 2)
    assert summed.values.tolist() == ([12, 16] if spoils == "attest" else [12, 15])  # without the vector of p0, [0, 1], or with it
    with pytest.raises(AbortedError):
        alone = seated(terms(4), np.arange(8).reshape(4, 2))
        alone["p0"].__class__ = Bad
        alone["p0"].spoils = "long"
        conducted(terms(4), alone, 2)


@pytest.mark.parametrize("spoils", ["seeds", "mask keys", "nothing"])
def test_wrong_shares_give_no_sum_and_never_a_wrong_one(spoils: str) -> None:
    who = terms(4, 3, 1)
    members = seated(who, np.arange(8).reshape(4, 2), leaving={"p3": "vector"})
    members["p0"].__class__ = Bad
    members["p0"].spoils = spoils
    with pytest.raises(AbortedError, match="`shares`: shares"):
        conducted(who, members, 2)


def test_ten_rounds_one_after_the_other_with_the_same_partners() -> None:
    memories = {f"p{place}": ShortMemory() for place in range(3)}
    for number in range(1, 11):
        members = seated(terms(3), np.full((3, 2), number), sitting(number), memories=memories)
        summed = conducted(terms(3), members, 2, number)
        assert summed.values.tolist() == [3 * number] * 2
