"""No bytes make whoever reads a message do anything but give a value or a fixed word, and none make it take more memory than came in."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated import payloads, wire
from federated.desk import Desk, MemoryBook
from federated.messages import Keys, Opening, Step, Survivors
from federated.questions import Asked
from federated.replies import Code, RefusedError
from governance.door import Contribution, Grant, MemoryMeter, Query, ReservationId, StepName, register
from policies.documents import Digest
from tests.collaborations import CONTRACT, terms
from tests.fakes import ZeroNoise
from tests.partners import agreement, partners


@register("tests.wire")
def features(batch: Any, parameters: Any) -> Contribution:
    """Every feature."""
    return Contribution(batch["features"])


FIVE = terms(5, 4, 1)
READ: tuple[Callable[[wire.Message], object], ...] = (
    payloads.read_hello,
    payloads.read_next,
    payloads.read_outcome,
    payloads.read_acknowledgement,
    payloads.read_question,
    lambda read: payloads.read_keys(read, FIVE),
    lambda read: payloads.read_records(read, FIVE, payloads.SEALED_BYTES),
    lambda read: payloads.read_vector(read, 3),
    lambda read: payloads.read_survivors(read, FIVE),
    lambda read: payloads.read_opening(read, FIVE),
)
QUERY = Query(StepName("tests.wire"), {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True])}, (1, 1, 3), 1.5)
ASKED = Asked(1, QUERY, Grant(ReservationId("there"), "all", Fraction(1, 3)), b"{}")
PAYLOADS: tuple[wire.Payload, ...] = (
    (payloads.write_once(bytes), []),
    ({"next": 3}, []),
    (payloads.write_once(bytes), [b"{}"]),
    payloads.write_question(ASKED),
    payloads.write_keys(FIVE, [Keys(f"p{place}", bytes(32), bytes(32), "00" * 32, bytes(64)) for place in range(3)]),
    payloads.write_records(FIVE, {"p1": bytes(payloads.SEALED_BYTES)}),
    payloads.write_vector(np.zeros(3, dtype=np.uint64)),
    payloads.write_survivors(FIVE, Survivors(("p0", "p1"), ("p2",))),
    payloads.write_opening(FIVE, Opening({"p0": bytes(33)}, {"p1": bytes(33)})),
)
GOOD = [wire.Message(CONTRACT, 1, step, payload).encoded() for step in Step for payload in PAYLOADS]
REQUEST = wire.Message(CONTRACT, 1, Step.VECTOR, ({}, []))


def words(data: bytes) -> set[Code]:
    """Whatever may be made of it, by either side; nothing but RefusedError comes out."""
    found = set()
    for read in (lambda: wire.message(data), lambda: wire.answer(REQUEST, data)):
        try:
            message = read()
        except RefusedError as refused:
            found.add(refused.code)
            continue
        assert message.encoded() == data  # one meaning, one spelling
        for each in READ:
            try:
                each(message)
            except RefusedError as refused:
                found.add(refused.code)
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.tuples(st.binary(max_size=60), st.binary(max_size=60)).map(lambda two: len(two[0]).to_bytes(4, "big") + two[0] + two[1])
)
def test_any_bytes_are_a_word(data: bytes) -> None:
    assert words(data) <= {Code.MESSAGE}


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(list(Step)),
    st.sampled_from(PAYLOADS),
    st.dictionaries(
        st.sampled_from(["bound", "next", "noise", "parameters", "partners", "alive", "dead", "part", "path", "shape", "step", "once"]),
        JSON,
        max_size=3,
    ),
    st.binary(max_size=40),
)
def test_any_header_is_a_word_or_a_value(step: Step, payload: wire.Payload, changed: dict[str, Any], part: bytes) -> None:
    said, parts = payload
    header = {"contract": CONTRACT, "round": 1, "said": {**said, **changed}, "sizes": [*map(len, parts), len(part)], "step": str(step)}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    words(len(text).to_bytes(4, "big") + text + b"".join(parts) + part)


def spoilt(generator: random.Random, contract: Digest = CONTRACT) -> bytes:
    """A message with bytes changed, put in, taken out or from another; every other one in a frame that is right."""
    if generator.random() < 0.5:
        return _with(generator, generator.choice(GOOD), generator.choice(GOOD))
    said, parts = generator.choice(PAYLOADS)
    other = generator.choice(PAYLOADS)
    mixed = generator.choice([said, other[0]]), [_with(generator, bytes(part), bytes(part)) for part in generator.choice([parts, other[1]])]
    return wire.Message(contract, generator.randint(0, 3), generator.choice(list(Step)), mixed).encoded()


def _with(generator: random.Random, good: bytes, other: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(generator.randint(0, 3)):
        at = generator.randrange(len(data) + 1)
        match generator.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << generator.randrange(8)
            case 1:
                data[at:at] = generator.randbytes(generator.randint(1, 16))
            case 2:
                del data[at : at + generator.randint(1, 16)]
            case _:
                data[at:] = other[at:]
    return bytes(data)


def test_spoilt_messages_are_words_or_values_and_take_no_more_memory_than_came_in() -> None:
    generator, seen = random.Random(6), set()
    for data in (spoilt(generator) for _ in range(4_000)):
        seen |= words(data)
    assert {Code.MESSAGE, Code.SHAPE} == seen
    for _ in range(100):
        data = spoilt(generator)
        tracemalloc.start()
        words(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000 + 50 * len(data)
        tracemalloc.stop()


@pytest.mark.parametrize("dropouts", [0, 1])
def test_a_desk_answers_whatever_comes_and_charges_nothing_for_it(dropouts: int) -> None:
    """Messages of its contract among them: of some it draws noise and opens a round, and no further than to keys does any lead."""
    agreed = agreement(5, 3, dropouts=dropouts, least_partners=5 - dropouts)
    meter = MemoryMeter(Fraction(1))
    (site, *_) = partners(agreed, [{"features": np.zeros((1, 3))}] * 5, [meter] * 5, [ZeroNoise()] * 5)
    book = MemoryBook()
    desk, generator = Desk(site, book, lambda outcome: b""), random.Random(7)
    refusals = {wire.refusal(code) for code in Code}
    for data in (spoilt(generator, agreed.digest) for _ in range(1_500)):
        reply = desk.answer(data)
        assert reply in refusals or wire.message(reply).step in (Step.HELLO, Step.KEYS, Step.FINISH)
    codes = {leaving.code for leaving, _ in book.left}
    assert {None, Code.MESSAGE, Code.CONTRACT, Code.ORDER} <= codes and Code.FAULT not in codes
    assert not meter.spent
