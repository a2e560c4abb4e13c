"""A partner: what it refuses before it reads a row, what it charges and when, and that its refusals say nothing."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.cohort import FederatedCohort
from federated.contract import Agreed
from federated.messages import Keys
from federated.partner import Partner
from federated.questions import Asked
from federated.replies import AbortedError, Code, RefusedError
from federated.seat import ShortMemory
from federated.shares import Sharing
from governance.accounting import RESERVED_DRAWS
from governance.door import (
    BudgetError,
    Contribution,
    DoorError,
    Grant,
    LocalCohort,
    MemoryMeter,
    Part,
    Query,
    ReservationId,
    StepName,
    register,
)
from governance.grid import GRID
from tests.collaborations import TODAY, signed, signers
from tests.fakes import SeededNoise, ZeroNoise
from tests.partners import Household, agreement, cohort, courier, limit, noises, partners

THERE = ReservationId("there")


@register("tests.federated.features")
def features(batch: Any, parameters: Any) -> Contribution:
    """Every feature, times a parameter."""
    return Contribution(batch["features"] * parameters["times"])


@register("tests.federated.fragile")
def fragile(batch: Any, parameters: Any) -> Contribution:
    """Raises on somebody, and says who."""
    if (batch["features"] == 13).any():
        raise ValueError("somebody here has 13")
    return Contribution(batch["features"])


@register("tests.federated.greedy")
def greedy(batch: Any, parameters: Any) -> Contribution:
    """Runs out of memory wherever there is more than one subject."""
    if len(batch["features"]) > 1:
        raise MemoryError(f"{len(batch['features'])} subjects")
    return Contribution(batch["features"])


QUERY = Query(StepName("tests.federated.features"), {"times": np.array(1.0)}, (1, 1, 2), 1e3)
ROWS = [{"features": np.array([[1.0, 2.0], [3.0, 4.0]])}, {"features": np.array([[5.0, 6.0]])}, {"features": np.zeros((0, 2))}]


def asked(number: int = 1, query: Query = QUERY, mu_squared: Fraction = Fraction(1, 100), path: str = "all") -> Asked:
    return Asked(number, query, Grant(THERE, path, mu_squared))


@dataclass
class Happened:
    """A ledger, noise and rows that note when they are used, in one list."""

    order: list[str] = field(default_factory=list)
    left: bool = True

    def charge(self, grant: Grant, query: Query) -> None:
        self.order.append(f"charged {grant.mu_squared} under {grant.reservation}")
        if not self.left:
            raise BudgetError("12 subjects are left")

    def draw(self, sigma: float, size: int) -> NDArray[np.int64]:
        self.order.append("noise")
        return np.zeros(size, dtype=np.int64)


class Noticing(np.ndarray):  # type: ignore[type-arg]
    """Rows that notice when values are read."""

    order: list[str]

    def __getitem__(self, key: Any) -> Any:
        self.order.append("rows")
        return np.asarray(self)[key]


def watched(agreed: Agreed, happened: Happened, **home: Any) -> Partner:
    rows = np.array([[1.0, 2.0], [3.0, 4.0]]).view(Noticing)
    rows.order = happened.order
    whole = Household({"features": rows}, happened, ReservationId("mine"), happened)
    return Partner(agreed, signers(2)[0], replace(whole, **home), ShortMemory(), clock=lambda: TODAY)


def other(agreed: Agreed, question: Asked) -> Any:
    meter = limit(agreed, Fraction(1))
    return partners(agreed, ROWS[:2], [meter, meter], noises(2))[1].member(question)


def code_of(attempt: Any) -> Code:
    with pytest.raises(RefusedError) as refused:
        attempt()
    return refused.value.code


def test_the_sum_over_partners_with_their_noise() -> None:
    joint, grant, meters = cohort(agreement(3, 2), ROWS)
    released = joint.noisy_sum(QUERY, grant, ZeroNoise())
    share = Sharing(3, 3, 1).share_sigma(grant)
    noise = sum(source.draw(share, 2) for source in noises(3))
    exact = np.trunc(np.array([[1, 2], [3, 4], [5, 6]]) * (GRID / 1e3)).sum(axis=0)
    assert np.array_equal(released.ravel(), (exact + noise) * (1e3 / GRID))
    assert [meter.spent for meter in meters] == [{"all": Fraction(1, 10)}] * 3
    assert joint.width == 2


def test_noise_before_the_round_opens_then_what_can_be_refused_then_the_charge_then_rows() -> None:
    agreed, happened = agreement(2, 2, presence=2), Happened()
    question = asked()
    mine, theirs = watched(agreed, happened).member(question), other(agreed, question)
    happened.order.clear()
    roster = [mine.keys(), theirs.keys()]
    assert happened.order == ["noise"]
    mine.vector(roster)
    assert happened.order[:2] == ["noise", "charged 1/25 under mine"]  # 2² · 1/100
    assert set(happened.order[2:]) == {"rows"}


@pytest.mark.parametrize("wrong", ["roster", "budget"])
def test_nothing_is_read_where_the_roster_or_the_ledger_says_no(wrong: str) -> None:
    agreed, happened = agreement(2, 2), Happened(left=wrong != "budget")
    question = asked()
    mine, theirs = watched(agreed, happened).member(question), other(agreed, question)
    happened.order.clear()
    roster: list[Keys] = [mine.keys(), theirs.keys()]
    if wrong == "roster":
        assert code_of(lambda: mine.vector(roster[:1])) is Code.TOO_FEW
        assert happened.order == ["noise"]
    else:
        assert code_of(lambda: mine.vector(roster)) is Code.REFUSED
        assert [each.split()[0] for each in happened.order] == ["noise", "charged"]
    assert code_of(lambda: mine.vector(roster)) is Code.ORDER


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (asked(0), Code.CONTRACT),
        (asked(101), Code.CONTRACT),
        (asked(query=replace(QUERY, bound=2e30)), Code.QUESTION),
        (asked(query=replace(QUERY, step=StepName("os.system"))), Code.QUESTION),
        (asked(query=replace(QUERY, shape=(1, 1, 3))), Code.QUESTION),
        (asked(query=replace(QUERY, shape=(1, 1, RESERVED_DRAWS + 1))), Code.QUESTION),
        (asked(query=replace(QUERY, parameters={})), Code.QUESTION),
        (asked(mu_squared=Fraction(2**60)), Code.QUESTION),
        (asked(mu_squared=Fraction(0)), Code.QUESTION),
    ],
    ids=["no round", "beyond the rounds", "beyond the clip", "no step", "shape", "size", "parameters", "no noise", "nothing"],
)
def test_a_question_outside_of_the_contract_is_refused_unread(question: Asked, code: Code) -> None:
    happened = Happened()
    partner = watched(agreement(2, 2), happened)
    happened.order.clear()
    assert code_of(partner.member(question).keys) is code
    assert happened.order == []


def test_an_expired_contract_is_refused() -> None:
    agreed = agreement(2, 2)
    home = Household(ROWS[0], MemoryMeter(Fraction(1)), THERE, SeededNoise(1))
    for days, refused in ((0, False), (1, True)):
        day = agreed.contract.expires + dt.timedelta(days=days)
        sitting = Partner(agreed, signers(2)[0], home, ShortMemory(), clock=lambda day=day: day).member(asked())
        if refused:
            assert code_of(sitting.keys) is Code.CONTRACT
        else:
            sitting.keys()


def test_a_partner_with_rules_of_its_own_gives_the_same_word_for_each() -> None:
    happened = Happened()
    partner = watched(agreement(2, 2), happened, gate=lambda question: False)
    happened.order.clear()
    assert code_of(partner.member(asked()).keys) is Code.REFUSED
    assert happened.order == []


@pytest.mark.parametrize("step", ["fragile", "greedy"])
@pytest.mark.parametrize("broken", ["step", "gate", "meter", "noise"])
def test_a_refusal_is_one_word_without_text_cause_or_trace_of_data(step: str, broken: str) -> None:
    def fails(*_: object) -> Any:
        raise ValueError("customer 4711 spent 13")

    class Failing:
        charge = draw = staticmethod(fails)

    rows = {"features": np.array([[13.0, 1.0], [2.0, 3.0]])}
    home = Household(rows, MemoryMeter(Fraction(1)), THERE, SeededNoise(1))
    changed = {"gate": {"gate": fails}, "meter": {"meter": Failing()}, "noise": {"noise": Failing()}}.get(broken, {})
    agreed = agreement(2, 2)
    partner = Partner(agreed, signers(2)[0], replace(home, **changed), ShortMemory(), clock=lambda: TODAY)
    question = asked(query=Query(StepName(f"tests.federated.{step}"), {}, (1, 1, 2), 1e3))
    mine, theirs = partner.member(question), other(agreed, question)

    def go() -> None:
        mine.vector([mine.keys(), theirs.keys()])

    if (step, broken) == ("fragile", "step"):
        go()  # whoever makes a step raise adds zero, and nobody notices
        return
    with pytest.raises(RefusedError) as refused:
        go()
    code = Code.QUESTION if step == "greedy" else Code.FAULT  # refused before a row is read, however many there are
    assert str(refused.value) == code and refused.value.args == (str(code),)
    assert refused.value.__cause__ is None and refused.value.__context__ is None
    told = "".join(traceback.format_exception(refused.value))
    assert "4711" not in told and "subjects" not in told


def test_a_round_that_was_aborted_stays_charged_and_its_path_is_spent() -> None:
    agreed = agreement(3, 2)
    meters = [limit(agreed, Fraction(1)), limit(agreed, Fraction(1)), MemoryMeter(Fraction(0))]
    joint = FederatedCohort(agreed, courier(partners(agreed, ROWS, meters, noises(3))))
    grant = Grant(THERE, "all", Fraction(1, 10))
    with pytest.raises(AbortedError, match="round 1 was aborted, `p2`: refused"):
        joint.noisy_sum(QUERY, grant, ZeroNoise())
    assert [sum(meter.spent.values()) for meter in meters] == [Fraction(1, 10), Fraction(1, 10), 0]
    with pytest.raises(AbortedError, match="`p0`: refused, `p1`: refused, `p2`: refused"):
        joint.noisy_sum(QUERY, grant, ZeroNoise())
    assert [sum(meter.spent.values()) for meter in meters] == [Fraction(1, 10), Fraction(1, 10), 0]


def test_with_dropouts_the_sum_of_those_who_are_left_is_given() -> None:
    agreed = agreement(3, 2, dropouts=1, least_partners=2)
    meters = [MemoryMeter(Fraction(0)), *(limit(agreed, Fraction(1, 10)) for _ in range(2))]
    sites = partners(agreed, ROWS, meters, [ZeroNoise()] * 3)
    grant = Grant(THERE, "all", Fraction(1, 10))
    released = FederatedCohort(agreed, courier(sites)).noisy_sum(QUERY, grant, ZeroNoise())
    assert released.ravel() == pytest.approx([5, 6], abs=1e-5)
    assert meters[1].spent == {"all": Fraction(1, 10) * Fraction(3, 2)}  # two of three shares have to hide a subject


def test_a_partner_that_nobody_reaches_aborts_the_round() -> None:
    agreed = agreement(3, 2)
    meters = [limit(agreed, Fraction(1)) for _ in range(3)]
    sites = partners(agreed, ROWS, meters, noises(3))
    with pytest.raises(AbortedError, match="`p2`: lost"):
        FederatedCohort(agreed, courier(sites[:2])).noisy_sum(QUERY, Grant(THERE, "all", Fraction(1, 10)), ZeroNoise())
    assert all(not meter.spent for meter in meters)


GARBAGE = np.array([[np.nan, 1], [np.inf, -np.inf], [1e300, 1e300], [-0.0, 5e-324], [1, 2]])


def test_what_is_no_number_or_too_large_becomes_what_it_does_at_one_place() -> None:
    rows = [{"features": GARBAGE}, *ROWS[1:]]
    agreed = agreement(3, 2)
    meters = [limit(agreed, Fraction(1, 10)) for _ in range(3)]
    joint = FederatedCohort(agreed, courier(partners(agreed, rows, meters, [ZeroNoise()] * 3)))
    grant = Grant(THERE, "all", Fraction(1, 10))
    alone = LocalCohort({"features": np.concatenate([each["features"] for each in rows])}, MemoryMeter(Fraction(1)))
    expected = alone.noisy_sum(QUERY, grant, ZeroNoise())
    assert joint.noisy_sum(QUERY, grant, ZeroNoise()).tobytes() == expected.tobytes()
    assert np.abs(expected).max() < 3e3


def test_a_partner_moves_a_sum_by_no_more_than_its_subjects_times_the_bound() -> None:
    """Whatever its rows hold. (One that does not run this encoder can send any vector: README.md, "What is not promised".)"""
    wild = np.random.default_rng(1).choice(GARBAGE.ravel(), (1000, 2))
    sums = []
    for first in (np.zeros((0, 2)), wild):
        agreed = agreement(2, 2)
        meters = [limit(agreed, Fraction(1, 10)) for _ in range(2)]
        joint = FederatedCohort(agreed, courier(partners(agreed, [{"features": first}, ROWS[1]], meters, [ZeroNoise()] * 2)))
        sums.append(joint.noisy_sum(QUERY, Grant(THERE, "all", Fraction(1, 10)), ZeroNoise()))
    assert np.linalg.norm(sums[1] - sums[0]) <= 1000 * QUERY.bound


def test_rows_of_another_width_are_refused_before_a_round() -> None:
    with pytest.raises(DoorError, match="expected 3 features, got 2"):
        Partner(agreement(2, 3), signers(2)[0], Household(ROWS[0], MemoryMeter(Fraction(1)), THERE, ZeroNoise()), ShortMemory())


def test_grants_that_cannot_be_accounted_for_begin_no_round() -> None:
    joint, _, meters = cohort(agreement(3, 2), ROWS)
    with pytest.raises(DoorError, match="too large"):
        joint.noisy_sum(QUERY, Grant(THERE, "all", Fraction(2**60)), ZeroNoise())
    assert joint.noisy_sum(QUERY, Grant(THERE, "all", Fraction(1, 10)), ZeroNoise()).shape == (1, 1, 2)
    assert [len(meter.spent) for meter in meters] == [1, 1, 1]


DIFFERENT: Mapping[str, Asked] = {
    "step": asked(query=replace(QUERY, step=StepName("tests.federated.fragile"))),
    "parameters": asked(query=replace(QUERY, parameters={"times": np.array(2.0)})),
    "type": asked(query=replace(QUERY, parameters={"times": np.array(1)})),
    "form": asked(query=replace(QUERY, parameters={"times": np.array([1.0])})),
    "name": asked(query=replace(QUERY, parameters={"other": np.array(1.0)})),
    "shape": asked(query=replace(QUERY, shape=(1, 2, 1))),
    "bound": asked(query=replace(QUERY, bound=1e3 + 1e-9)),
    "part": asked(query=replace(QUERY, part=Part.TRAIN)),
    "noise": asked(mu_squared=Fraction(1, 101)),
    "path": asked(path="other"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_part_of_a_question_is_in_its_digest(name: str) -> None:
    assert asked().digest() != DIFFERENT[name].digest()
    assert asked().digest() == asked(2).digest()  # the number is in the round


def test_how_an_array_lies_in_memory_is_not_in_a_digest_and_what_holds_no_numbers_has_none() -> None:
    values = np.arange(12.0).reshape(3, 4)
    first, second = (asked(query=replace(QUERY, parameters={"times": each})) for each in (values, np.asfortranarray(values).astype(">f8")))
    assert first.digest() == second.digest()
    with pytest.raises(DoorError, match="expected parameters of numbers"):
        asked(query=replace(QUERY, parameters={"times": np.array([object()])})).digest()


@pytest.mark.parametrize("name", ["parameters", "noise", "path"])
def test_partners_who_were_asked_different_things_do_not_add_up(name: str) -> None:
    agreed = agreement(2, 2)
    meters = [limit(agreed, Fraction(1)) for _ in range(2)]
    sites = partners(agreed, ROWS[:2], meters, noises(2))
    sittings = [sites[0].member(asked()), sites[1].member(DIFFERENT[name])]
    roster = [each.keys() for each in sittings]
    assert {code_of(lambda each=each: each.vector(roster)) for each in sittings} == {Code.SIGNATURE}
    assert all(not meter.spent for meter in meters)


def test_partners_under_another_contract_do_not_add_up() -> None:
    meters = [MemoryMeter(Fraction(1)) for _ in range(2)]
    first, second = (partners(agreement(2, 2, rounds=rounds), ROWS[:2], meters, noises(2)) for rounds in (100, 99))
    sittings = [first[0].member(asked()), second[1].member(asked())]
    roster = [each.keys() for each in sittings]
    assert {code_of(lambda each=each: each.vector(roster)) for each in sittings} == {Code.SIGNATURE}
    assert all(not meter.spent for meter in meters)


def test_one_round_is_answered_once_even_under_another_question() -> None:
    """Otherwise the same pair would mask two vectors."""
    agreed = agreement(2, 2)
    partner = partners(agreed, ROWS[:2], [limit(agreed, Fraction(1))] * 2, noises(2))[0]
    partner.member(asked(3)).keys()
    assert code_of(partner.member(asked(3, path="other")).keys) is Code.REPLAYED
    assert code_of(partner.member(asked(2, path="other")).keys) is Code.REPLAYED
    again = partner.member(asked(4))
    again.keys()
    assert code_of(again.keys) is Code.ORDER


def test_a_digest_of_the_contract_is_what_rounds_are_bound_to() -> None:
    assert asked().round(signed(3)) != asked().round(signed(3, rounds=21))
