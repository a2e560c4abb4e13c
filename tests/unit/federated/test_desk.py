"""A partner's desk: what is asked again is answered the same, what is not in order is refused, and what leaves is written down first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.merkle import IntegrityError
from federated import acknowledgement, payloads, wire
from federated.acknowledgement import Acknowledgement
from federated.cohort import FederatedCohort
from federated.contract import Agreed
from federated.courier import Courier, InProcess
from federated.desk import Desk, Leaving, MemoryBook
from federated.messages import Step, Survivors
from federated.partner import Partner
from federated.questions import Asked
from federated.replies import AbortedError, Code, RefusedError
from federated.rounds import finish, greet
from federated.seat import ShortMemory
from governance.door import Contribution, Grant, MemoryMeter, Query, ReservationId, StepName, register
from policies.documents import Digest
from tests.collaborations import TODAY, signers
from tests.fakes import SeededNoise, ZeroNoise
from tests.partners import Household, agreement

THERE = ReservationId("there")


@register("tests.desk.features")
def features(batch: Any, parameters: Any) -> Contribution:
    """Every feature."""
    return Contribution(batch["features"])


@register("tests.desk.score")
def score(batch: Any, parameters: Any) -> Contribution:
    """A column that comes of a model."""
    return Contribution(batch["score"])


QUERY = Query(StepName("tests.desk.features"), {}, (1, 1, 2), 1e3)
MU = Fraction(1, 100)


@dataclass
class Counted:
    """Noise that notes how often it is drawn."""

    source: SeededNoise | ZeroNoise
    drawn: int = 0

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        self.drawn += 1
        return self.source.draw(sigma, size)


@dataclass
class House:
    """A partner with all that outlives its process: ledger, memory, book. `open` is its process."""

    agreed: Agreed
    place: int
    noise: Counted
    home: Any = None
    meter: MemoryMeter = field(default_factory=lambda: MemoryMeter(Fraction(10)))
    memory: ShortMemory = field(default_factory=ShortMemory)
    book: MemoryBook = field(default_factory=MemoryBook)
    told: list[bytes] = field(default_factory=list)

    def open(self) -> Desk:
        signer = signers(self.place + 1)[self.place]
        columns = {"features": np.array([[1.0, 10.0]]) * (self.place + 1)}
        home = self.home or Household(columns, self.meter, ReservationId("mine"), self.noise)
        partner = Partner(self.agreed, signer, home, self.memory, clock=lambda: TODAY)
        return Desk(partner, self.book, self.finished)

    def finished(self, outcome: bytes) -> bytes:
        self.told.append(outcome)
        if outcome == b"fails":
            raise ValueError("customer 4711")
        signer = signers(self.place + 1)[self.place]
        digest = Digest("sha256:" + hashlib.sha256(outcome).hexdigest())
        return Acknowledgement(self.agreed.digest, digest, Digest("sha256:" + "0" * 64), Fraction(1)).signed(signer)


def street(n: int = 3, noisy: bool = True, **changed: Any) -> dict[str, House]:
    agreed = agreement(n, 2, **changed)
    return {f"p{place}": House(agreed, place, Counted(SeededNoise(place) if noisy else ZeroNoise())) for place in range(n)}


def opened(houses: Mapping[str, House]) -> dict[str, Desk]:
    return {name: house.open() for name, house in houses.items()}


def reached(desks: Mapping[str, Desk]) -> InProcess:
    return InProcess({name: desk.answer for name, desk in desks.items()})


def summed(houses: Mapping[str, House], courier: Courier, first: int = 1, path: str = "all") -> bytes:
    agreed = next(iter(houses.values())).agreed
    return FederatedCohort(agreed, courier, first).noisy_sum(QUERY, Grant(THERE, path, MU), ZeroNoise()).tobytes()


@dataclass
class Recorded:
    """Keeps what was asked, step by step."""

    inner: Courier
    asked: list[dict[str, bytes]] = field(default_factory=list)
    heard: list[dict[str, bytes]] = field(default_factory=list)

    def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        self.asked.append(dict(requests))
        self.heard.append(dict(self.inner.exchange(requests)))
        return self.heard[-1]


class KilledError(Exception):
    pass


@dataclass
class Dies:
    """The coordinator ends at its n-th exchange: before anybody is asked, after some were, or after all answered."""

    inner: Courier
    at: int
    how: str

    def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        self.at -= 1
        if self.at:
            return self.inner.exchange(requests)
        some = {"before": 0, "between": 1, "after": len(requests)}[self.how]
        self.inner.exchange(dict(list(requests.items())[:some]))
        raise KilledError


@dataclass
class Restarting:
    """Another process of p1 answers from its n-th exchange on."""

    houses: Mapping[str, House]
    at: int

    def __post_init__(self) -> None:
        self.desks = opened(self.houses)

    def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        self.at -= 1
        if not self.at:
            self.desks["p1"] = self.houses["p1"].open()
        return reached(self.desks).exchange(requests)


MODES: Mapping[str, dict[str, int]] = {"none": {}, "one": {"dropouts": 1, "least_partners": 2}}


@pytest.mark.parametrize("how", ["before", "between", "after"])
@pytest.mark.parametrize(("mode", "at"), [(mode, at) for mode, steps in (("none", 2), ("one", 5)) for at in range(1, steps + 1)])
def test_a_coordinator_that_was_killed_asks_again_and_gets_the_same_sum(mode: str, at: int, how: str) -> None:
    expected = summed(undisturbed := street(**MODES[mode]), reached(opened(undisturbed)))
    houses = street(**MODES[mode])
    courier = reached(opened(houses))
    with pytest.raises(KilledError):
        summed(houses, Dies(courier, at, how))
    assert summed(houses, courier) == expected
    for name, house in houses.items():
        assert house.noise.drawn == 1 and house.meter.spent == undisturbed[name].meter.spent
        assert len(house.book.left) == len(undisturbed[name].book.left) == (2 if mode == "none" else 5)


@pytest.mark.parametrize("mode", MODES)
def test_every_request_again_gets_the_same_bytes_and_costs_nothing(mode: str) -> None:
    houses = street(**MODES[mode])
    recorded = Recorded(reached(opened(houses)))
    summed(houses, recorded)
    again = opened(houses)  # as other processes
    for asked, heard in zip(recorded.asked, recorded.heard, strict=True):
        assert {name: again[name].answer(request) for name, request in asked.items()} == heard
    assert all(house.noise.drawn == 1 and len(house.meter.spent) == 1 for house in houses.values())


@pytest.mark.parametrize(("mode", "at"), [(mode, at) for mode, steps in (("none", 2), ("one", 5)) for at in range(2, steps + 1)])
def test_a_partner_that_was_killed_takes_its_seat_again(mode: str, at: int) -> None:
    houses = street(noisy=False, **MODES[mode])
    recorded = Recorded(Restarting(houses, at))
    assert np.frombuffer(summed(houses, recorded)) == pytest.approx([6, 60], abs=1e-4)
    assert houses["p1"].meter.spent == houses["p0"].meter.spent != {}
    vectors = [leaving for leaving, _ in houses["p1"].book.left if leaving.mu_squared is not None]
    assert len(vectors) == 1 and all(leaving.code is None for leaving, _ in houses["p1"].book.left)
    assert np.frombuffer(summed(houses, reached(opened(houses)), 2, "other")) == pytest.approx([6, 60], abs=1e-4)


@pytest.mark.parametrize("step", ["vector", "attest", "opening"])
def test_what_a_partner_said_before_it_was_killed_it_does_not_say_otherwise_afterwards(step: str) -> None:
    """Another list would have seed and key of somebody opened; another roster would give a second vector."""
    houses = street(4, dropouts=1, least_partners=3)
    recorded = Recorded(reached(opened(houses)))
    summed(houses, recorded)
    at = ["keys", "shares", "vector", "attest", "opening"].index(step)
    message = wire.message(recorded.asked[at]["p1"])
    terms = houses["p1"].open()._partner.terms
    if step == "attest":
        other: wire.Payload = payloads.write_survivors(terms, Survivors(("p0", "p1", "p2"), ("p3",)))
    else:
        size = payloads.SEALED_BYTES if step == "vector" else payloads.SIGNATURE_BYTES
        records = payloads.read_records(message, terms, size)
        other = payloads.write_records(terms, {name: each for name, each in records.items() if name != "p3"})
    assert houses["p1"].open().answer(replace(message, payload=other).encoded()) == wire.refusal(Code.ORDER)


def test_a_seat_is_not_taken_again_in_a_round_where_something_was_refused() -> None:
    houses = street(dropouts=1, least_partners=2)
    recorded = Recorded(reached(opened(houses)))
    summed(houses, recorded)
    keys, shares = (wire.message(each["p1"]) for each in recorded.asked[:2])
    house = street(dropouts=1, least_partners=2)["p1"]
    first = house.open()
    assert wire.answer(keys, first.answer(keys.encoded()))
    forged = replace(shares, payload=payloads.write_keys(first._partner.terms, []))
    assert first.answer(forged.encoded()) == wire.refusal(Code.TOO_FEW)
    assert house.open().answer(shares.encoded()) == wire.refusal(Code.ORDER)


def test_a_secret_is_of_the_latest_round_and_its_question_alone() -> None:
    houses = street()
    first, second = (Recorded(reached(opened(houses))) for _ in range(2))
    summed(houses, first)
    summed(houses, second, 2, "other")
    assert houses["p1"].open().answer(first.asked[1]["p1"]) == wire.refusal(Code.ORDER)
    round = Asked(2, QUERY, Grant(THERE, "another", MU)).round(houses["p1"].agreed)
    with pytest.raises(RefusedError, match="order"):
        houses["p1"].memory.secret(round)


def test_what_cannot_be_written_down_does_not_leave_and_can_be_asked_again() -> None:
    houses = street()
    desks = opened(houses)

    class Full(MemoryBook):
        def keep(self, leaving: Leaving, request: bytes, reply: bytes) -> None:
            if leaving.step == "vector":
                raise OSError("no space left on device")
            super().keep(leaving, request, reply)

    houses["p1"].book = Full()
    desks["p1"] = houses["p1"].open()
    recorded = Recorded(reached(desks))
    with pytest.raises(AbortedError, match="`p1`: lost"):
        summed(houses, recorded)
    houses["p1"].book.__class__ = MemoryBook  # there is space again: what was charged stays, and this ledger has it once
    assert wire.refusal(Code.REFUSED) == desks["p1"].answer(recorded.asked[1]["p1"])
    assert houses["p1"].meter.spent == {"all": MU}


def test_what_leaves_is_written_down_with_what_it_cost() -> None:
    houses = street(presence=2)
    summed(houses, reached(opened(houses)))
    first, second = (leaving for leaving, _ in houses["p0"].book.left)
    assert (first.round, first.step, first.path, first.mu_squared, first.code) == (1, "keys", "all", None, None)
    assert (second.round, second.step, second.path, second.mu_squared, second.code) == (1, "vector", "all", 4 * MU, None)
    assert first.contract == houses["p0"].agreed.digest and first.request != second.request


def test_a_refusal_is_written_down_too_and_a_charge_beside_it() -> None:
    houses = street()
    mine = houses["p0"]

    class Torn(Household):
        def rows(self, asked: Asked) -> Any:
            raise ValueError("customer 4711")

    mine.home = Torn({"features": np.zeros((1, 2))}, mine.meter, ReservationId("mine"), mine.noise)
    with pytest.raises(AbortedError, match="`p0`: fault"):
        summed(houses, reached(opened(houses)))
    leaving, reply = mine.book.left[-1]
    assert (leaving.code, leaving.mu_squared, leaving.step) == (Code.FAULT, MU, "vector") and reply == wire.refusal(Code.FAULT)
    assert mine.meter.spent == {"all": MU}


def test_garbage_other_contracts_and_oversized_messages_are_refused_and_the_round_goes_on() -> None:
    houses = street()
    desk = houses["p0"].open()
    keys = message(houses, Step.KEYS, asked())
    first = desk.answer(keys)
    assert wire.message(first).step is Step.KEYS
    tried = {
        b"": Code.MESSAGE,
        b"GET / HTTP/1.1\r\n\r\n": Code.MESSAGE,
        keys[:-1]: Code.MESSAGE,
        keys + b"x": Code.MESSAGE,
        bytes(wire.MOST + 1): Code.MESSAGE,
        message(street(rounds=99), Step.KEYS, asked()): Code.CONTRACT,
    }
    for data, code in tried.items():
        assert desk.answer(data) == wire.refusal(code)
    assert [leaving.code for leaving, _ in houses["p0"].book.left] == [None, *tried.values()]
    assert not houses["p0"].meter.spent
    recorded = Recorded(reached(opened(houses) | {"p0": desk}))
    summed(houses, recorded)
    assert recorded.heard[0]["p0"] == first


def message(houses: Mapping[str, House], step: Step, payload: wire.Payload, number: int = 1) -> bytes:
    return wire.Message(next(iter(houses.values())).agreed.digest, number, step, payload).encoded()


def asked(number: int = 1, **query: Any) -> wire.Payload:
    return payloads.write_question(Asked(number, replace(QUERY, **query), Grant(THERE, "all", MU)))


RECORDS = {Step.SHARES: 160, Step.VECTOR: 82, Step.ATTEST: 0, Step.OPENING: 64}
"""Bytes for each partner, with dropouts."""


@pytest.mark.parametrize("step", RECORDS)
@pytest.mark.parametrize("mode", MODES)
def test_no_step_is_answered_before_its_time_or_in_another_round(step: Step, mode: str) -> None:
    houses = street(**MODES[mode])
    desk = houses["p0"].open()
    size = RECORDS[Step.SHARES if (mode, step) == ("none", Step.VECTOR) else step]

    def request(place: int, number: int = 1) -> bytes:
        said: wire.Payload = ({"partners": [place]}, [bytes(size)]) if step is not Step.ATTEST else ({"alive": [place], "dead": []}, [])
        return message(houses, step, said, number)

    assert desk.answer(request(1)) == wire.refusal(Code.ORDER)
    desk.answer(message(houses, Step.KEYS, asked()))
    assert desk.answer(request(1, 2)) == wire.refusal(Code.ORDER)
    is_next = step is (Step.SHARES if mode == "one" else Step.VECTOR)
    assert desk.answer(request(2)) == wire.refusal(Code.TOO_FEW if is_next else Code.ORDER)
    assert desk.answer(request(3)) == wire.refusal(Code.ORDER)
    assert not houses["p0"].meter.spent


def test_another_question_for_a_round_that_was_begun_is_refused_and_draws_nothing() -> None:
    houses = street()
    desk = houses["p0"].open()
    desk.answer(message(houses, Step.KEYS, asked()))
    assert desk.answer(message(houses, Step.KEYS, asked(bound=2e3))) == wire.refusal(Code.ORDER)
    assert houses["p0"].open().answer(message(houses, Step.KEYS, asked(bound=4e3))) == wire.refusal(Code.REPLAYED)
    desk.answer(message(houses, Step.KEYS, asked(2), 2))
    assert desk.answer(message(houses, Step.KEYS, asked(1, bound=3e3), 1)) == wire.refusal(Code.REPLAYED)
    assert houses["p0"].noise.drawn == 2


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("lost", [3, 4])
def test_30_percent_lost_at_any_step_give_the_right_sum_and_more_give_none(step: int, lost: int) -> None:
    houses = street(10, noisy=False, dropouts=3, least_partners=7)
    gone = [f"p{place}" for place in (1, 5, 9, 0)[:lost]]
    desks = reached(opened(houses))

    @dataclass
    class Loses:
        steps: int = 0

        def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
            self.steps += 1
            return desks.exchange({name: each for name, each in requests.items() if self.steps <= step or name not in gone})

    if lost == 4:
        with pytest.raises(AbortedError, match="`p9`: lost"):
            summed(houses, Loses())
        return
    rows = sum(place + 1 for place in range(10) if step > 2 or f"p{place}" not in gone)
    assert np.frombuffer(summed(houses, Loses())) == pytest.approx([rows, 10 * rows], abs=1e-3)


def test_hello_tells_the_next_round_and_does_not_repeat_itself() -> None:
    houses = street()
    desks = opened(houses)
    agreed = houses["p0"].agreed
    assert greet(agreed, reached(desks)) == ({"p0": 1, "p1": 1, "p2": 1}, {})
    summed(houses, reached(desks), 4)
    del desks["p2"]
    assert greet(agreed, reached(desks)) == ({"p0": 5, "p1": 5}, {"p2": "lost"})


def test_the_outcome_is_told_acknowledged_and_may_be_told_again() -> None:
    houses = street()
    courier, agreed = reached(opened(houses)), houses["p0"].agreed
    for _ in range(2):
        said, silent = finish(agreed, courier, b"{}")
        assert set(said) == {"p0", "p1", "p2"} and not silent
        assert said["p0"].head == "sha256:" + "0" * 64
    assert houses["p0"].told == [b"{}", b"{}"]
    assert finish(agreed, courier, b"fails") == ({}, dict.fromkeys(houses, "fault"))
    assert all("4711" not in reply.decode(errors="replace") for _, reply in houses["p0"].book.left)


@pytest.mark.parametrize("wrong", ["another's", "other outcome", "rubbish"])
def test_an_acknowledgement_of_another_partner_or_outcome_is_none(wrong: str) -> None:
    houses = street()
    right = houses["p0"].finished

    def lying(outcome: bytes) -> bytes:
        return {"another's": houses["p1"].finished(outcome), "other outcome": right(b"[]"), "rubbish": b"{}"}[wrong]

    houses["p0"].finished = lying  # type: ignore[method-assign]
    said, silent = finish(houses["p0"].agreed, reached(opened(houses)), b"{}")
    assert set(said) == {"p1", "p2"} and silent == {"p0": "signature"}
    with pytest.raises(IntegrityError):
        acknowledgement.read(lying(b"{}") if wrong != "other outcome" else b"", signers(1)[0].verifier)


class Scoring(Household):
    """Works out a column by the model that it is shown; the people who are there come and go."""

    def shapes(self, model: bytes) -> dict[str, tuple[int, ...]]:
        return {"features": (2,)} | ({"score": ()} if model else {})

    def rows(self, asked: Asked) -> Any:
        rows = self.columns["features"]
        return {"features": rows} | ({"score": rows[:, 0] * int(asked.model)} if asked.model else {})


def test_columns_of_a_model_are_worked_out_at_home_for_those_who_are_there_now() -> None:
    houses = street(noisy=False)
    people = {name: {"features": np.array([[1.0, 10.0]])} for name in houses}
    for name, house in houses.items():
        house.home = Scoring(people[name], house.meter, ReservationId("mine"), house.noise)
    cohort = FederatedCohort(houses["p0"].agreed, reached(opened(houses)))
    query = Query(StepName("tests.desk.score"), {}, (1, 1, 1), 1e3)
    with pytest.raises(AbortedError, match="question"):
        cohort.noisy_sum(query, Grant(THERE, "plain", MU), ZeroNoise())
    seen = cohort.seeing(b"7")
    assert seen.noisy_sum(query, Grant(THERE, "seen", MU), ZeroNoise()).ravel() == pytest.approx([21], abs=1e-4)
    people["p1"]["features"] = np.zeros((0, 2))  # withdrew
    assert seen.noisy_sum(query, Grant(THERE, "later", MU), ZeroNoise()).ravel() == pytest.approx([14], abs=1e-4)
    assert cohort.noisy_sum(QUERY, Grant(THERE, "again", MU), ZeroNoise()).ravel() == pytest.approx([2, 20], abs=1e-4)
    assert [leaving.round for leaving, _ in houses["p0"].book.left] == [1, 2, 2, 3, 3, 4, 4]


def test_rows_of_other_shapes_than_announced_are_a_fault() -> None:
    houses = street()

    class Wider(Household):
        def rows(self, asked: Asked) -> Any:
            return {"features": np.zeros((1, 3))}

    houses["p0"].home = Wider({"features": np.zeros((1, 2))}, houses["p0"].meter, ReservationId("mine"), houses["p0"].noise)
    with pytest.raises(AbortedError, match="`p0`: fault"):
        summed(houses, reached(opened(houses)))
