"""Messages: what is written is read, and what is not written so is one fixed word."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from federated import payloads, wire
from federated.messages import Keys, Opening, Step, Survivors
from federated.questions import NUMBERS, Asked
from federated.replies import Code, RefusedError
from governance.door import DoorError, Grant, Part, Query, ReservationId, StepName
from tests.collaborations import CONTRACT, question, terms

FIVE = terms(5, 4, 1)
PARAMETERS = {
    "centres": np.arange(6.0).reshape(2, 3),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3)),
    "one": np.array(np.nan),
    "edges": np.array([-np.inf, -0.0, 5e-324, np.inf]),
}
QUERY = Query(StepName("tests.wire"), PARAMETERS, (1, 2, 3), 1 / 3, Part.TRAIN)
ASKED = Asked(7, QUERY, Grant(ReservationId("there"), "all/train/step-1", Fraction(10**30 + 1, 3**70)), b'{"kind":"clusters"}')
KEYS = [Keys(f"p{place}", bytes([place]) * 32, bytes([place + 10]) * 32, "ab" * 32, bytes([place]) * 64) for place in range(5)]


def sent(step: Step, payload: wire.Payload) -> bytes:
    return wire.Message(CONTRACT, 7, step, payload).encoded()


def code_of(attempt: Callable[[], object]) -> Code:
    with pytest.raises(RefusedError) as refused:
        attempt()
    assert refused.value.args == (str(refused.value.code),) and refused.value.__cause__ is None
    return refused.value.code


def test_a_question_arrives_as_it_was_asked() -> None:
    read = payloads.read_question(wire.message(sent(Step.KEYS, payloads.write_question(ASKED))))
    assert read.digest() == ASKED.digest() and read.number == 7 and read.model == ASKED.model
    assert read.grant.mu_squared == ASKED.grant.mu_squared and read.query.bound == 1 / 3
    for name, value in PARAMETERS.items():
        got = read.query.parameters[name]
        assert got.dtype == value.dtype and got.shape == value.shape and got.tobytes() == value.tobytes()
        assert got.flags.owndata and got.flags.aligned


@pytest.mark.parametrize("kind", sorted(NUMBERS))
def test_every_type_of_number_arrives_and_big_endian_ones_in_the_other_order(kind: str) -> None:
    values = np.array([[0, 1], [1, 0]], dtype=np.dtype(kind).newbyteorder(">"), order="F")
    asked = replace(ASKED, query=replace(QUERY, parameters={"x": values}))
    read = payloads.read_question(wire.message(sent(Step.KEYS, payloads.write_question(asked))))
    assert read.digest() == asked.digest() and np.array_equal(read.query.parameters["x"], values)


def test_what_partners_say_arrives_as_it_was_said() -> None:
    assert payloads.read_keys(wire.message(sent(Step.SHARES, payloads.write_keys(FIVE, reversed(KEYS)))), FIVE) == tuple(KEYS)
    sealed = {"p3": bytes(82), "p0": b"x" * 82}
    assert payloads.read_records(wire.message(sent(Step.VECTOR, payloads.write_records(FIVE, sealed))), FIVE, 82) == sealed
    vector = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    assert np.array_equal(payloads.read_vector(wire.message(sent(Step.VECTOR, payloads.write_vector(vector))), 3), vector)
    survivors = Survivors(("p0", "p1", "p3", "p4"), ("p2",))
    assert payloads.read_survivors(wire.message(sent(Step.ATTEST, payloads.write_survivors(FIVE, survivors))), FIVE) == survivors
    opening = Opening({"p0": bytes(33), "p4": b"y" * 33}, {"p2": b"z" * 33})
    assert payloads.read_opening(wire.message(sent(Step.OPENING, payloads.write_opening(FIVE, opening))), FIVE) == opening


def test_numbers_lie_little_endian_behind_the_header() -> None:
    data = sent(Step.VECTOR, payloads.write_vector(np.array([1, 258], dtype=np.uint64)))
    assert data.endswith(b"\x01" + bytes(7) + b"\x02\x01" + bytes(6))
    assert int.from_bytes(data[:4], "big") == len(data) - 4 - 16


def spoilt(change: Mapping[str, Any], parts: bytes = b"", **written: Any) -> bytes:
    """A message whose header is another; `written`: how JSON is written."""
    header = {"contract": CONTRACT, "round": 1, "said": {}, "sizes": [], "step": "vector"} | change
    text = json.dumps(header, **({"sort_keys": True, "separators": (",", ":")} | written)).encode()
    return len(text).to_bytes(4, "big") + text + parts


GOOD = spoilt({})
SPOILT: Mapping[str, bytes] = {
    "nothing": b"",
    "short": b"\0\0\0",
    "length beyond the end": (2**32 - 1).to_bytes(4, "big") + GOOD[4:],
    "length short of the end": (len(GOOD) - 5).to_bytes(4, "big") + GOOD[4:],
    "no JSON": b"\0\0\0\x04\xff\xfe\0\1",
    "cut": GOOD[:-1],
    "more": GOOD + b"x",
    "spaces": spoilt({}, separators=(", ", ":")),
    "unsorted": spoilt({"sizes": []}, sort_keys=False).replace(b'{"contract"', b'{"x":1,"contract"'),
    "escaped": spoilt({"contract": "é"}),
    "two keys": GOOD[:4].replace(GOOD[3:4], bytes([GOOD[3] + 10])) + GOOD[4:].replace(b'"round":1', b'"round":1,"round":1'),
    "another field": spoilt({"more": 1}),
    "no step": spoilt({"step": "exec"}),
    "round below 0": spoilt({"round": -1}),
    "round as text": spoilt({"round": "1"}),
    "round as a float": spoilt({"round": 1.0}),
    "a large round": spoilt({"round": 1 << 60}),
    "a number that no float is": spoilt({"said": {"x": 10**20}}),
    "a number of many digits": spoilt({"said": {"x": 10**4000}}),
    "no number": spoilt({"said": {"x": float("nan")}}),
    "infinite": spoilt({"said": {"x": float("inf")}}),
    "surrogate": spoilt({"said": {"x": "\ud800"}}),
    "deep": GOOD[:2] + (len(GOOD) - 4 + 4000).to_bytes(2, "big") + GOOD[4:].replace(b"{}", b'{"x":' + b"[" * 1997 + b"]" * 1997 + b"}"),
    "sizes below 0": spoilt({"sizes": [-1, 1]}),
    "sizes beyond": spoilt({"sizes": [1 << 62]}),
    "sizes that are not there": spoilt({"sizes": [8]}),
    "sizes without end": spoilt({"sizes": [0] * 1000}),
    "what has no size": spoilt({}, b"12345678"),
    "a header too long": spoilt({"said": {"x": "x" * wire.HEADER}}),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_message_is_one_word(name: str) -> None:
    assert code_of(lambda: wire.message(SPOILT[name])) is Code.MESSAGE
    assert wire.message(GOOD).step is Step.VECTOR


def changed(step: Step, payload: wire.Payload, fields: Mapping[str, Any]) -> wire.Message:
    said, parts = payload
    return wire.message(sent(step, ({**said, **fields}, parts)))


QUESTIONS: Mapping[str, tuple[dict[str, Any], Code]] = {
    "bound of another spelling": ({"bound": "0x1.8p+0"}, Code.MESSAGE),
    "bound with zeros": ({"bound": "0x1.0000000000000p+0 "}, Code.MESSAGE),
    "bound as a number": ({"bound": 1}, Code.MESSAGE),
    "no bound": ({"bound": "nan"}, Code.QUESTION),
    "infinite bound": ({"bound": "inf"}, Code.QUESTION),
    "beyond floats": ({"bound": "0x1p99999999"}, Code.MESSAGE),
    "noise not reduced": ({"noise": ["2", "4"]}, Code.MESSAGE),
    "no noise": ({"noise": ["1", "0"]}, Code.MESSAGE),
    "noise below 0": ({"noise": ["-1", "4"]}, Code.MESSAGE),
    "noise without end": ({"noise": ["1" * 5000, "4"]}, Code.MESSAGE),
    "noise in other digits": ({"noise": ["١", "4"]}, Code.MESSAGE),
    "no such part": ({"part": 3}, Code.MESSAGE),
    "a path that is text": ({"path": "<script>"}, Code.MESSAGE),
    "a path over lines": ({"path": "all\n"}, Code.MESSAGE),
    "a step that is a path": ({"step": "../x y"}, Code.MESSAGE),
    "shape of none": ({"shape": [0, 1, 1]}, Code.QUESTION),
    "shape of two": ({"shape": [1, 1]}, Code.MESSAGE),
    "huge shape": ({"shape": [1, 1, 1 << 40]}, Code.MESSAGE),
    "objects": ({"parameters": {"x": ["|O", [1]]}}, Code.MESSAGE),
    "more than is there": ({"parameters": {"x": ["<f8", [1 << 20, 1 << 20]]}}, Code.MESSAGE),
    "as much in another shape": ({"parameters": {"x": ["<f8", [2]]}}, Code.MESSAGE),
    "nothing of a huge shape": ({"parameters": {"x": ["<f8", [0, 1 << 40]]}}, Code.MESSAGE),
    "nothing of many rows": ({"parameters": {"x": ["<f8", [0, 1 << 11, 1 << 11]]}}, Code.MESSAGE),
    "many dimensions": ({"parameters": {"x": ["<f8", [1] * 65]}}, Code.MESSAGE),
    "text": ({"parameters": {"x": ["<U2", [1]]}}, Code.MESSAGE),
    "two": ({"parameters": {"x": ["<f8", [1]], "y": ["<f8", [1]]}}, Code.MESSAGE),
    "none": ({"parameters": {}}, Code.MESSAGE),
    "more": ({"code": "import os"}, Code.MESSAGE),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_that_is_not_spelled_so_is_one_word(name: str) -> None:
    fields, code = QUESTIONS[name]
    asked = replace(ASKED, query=replace(QUERY, parameters={"x": np.array([1.0])}), model=b"")
    payloads.read_question(changed(Step.KEYS, payloads.write_question(asked), {}))
    assert code_of(lambda: payloads.read_question(changed(Step.KEYS, payloads.write_question(asked), fields))) is code


def test_bytes_that_are_no_truth_values_are_refused() -> None:
    said, _ = payloads.write_question(replace(ASKED, query=replace(QUERY, parameters={"x": np.array([True])}), model=b""))
    assert code_of(lambda: payloads.read_question(wire.message(sent(Step.KEYS, (said, [b"\2", b""]))))) is Code.MESSAGE


@pytest.mark.parametrize("places", [[1, 1], [2, 1], [0, 1], [1, 6], [-1, 1], ["1", 2], [1, 2, 3], [1], [True, 2]], ids=str)
def test_partners_stand_once_and_in_order_and_each_has_its_bytes(places: list[Any]) -> None:
    good = payloads.write_records(FIVE, {"p0": bytes(64), "p1": bytes(64)})
    assert set(payloads.read_records(changed(Step.OPENING, good, {"partners": [1, 2]}), FIVE, 64)) == {"p0", "p1"}
    assert code_of(lambda: payloads.read_records(changed(Step.OPENING, good, {"partners": places}), FIVE, 64)) is Code.MESSAGE
    survivors = payloads.write_survivors(FIVE, Survivors(("p0",), ("p1",)))
    if len(places) == 2:
        assert code_of(lambda: payloads.read_survivors(changed(Step.ATTEST, survivors, {"dead": places}), FIVE)) is Code.MESSAGE


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_vector_of_another_size_is_no_vector(size: int) -> None:
    data = sent(Step.VECTOR, payloads.write_vector(np.zeros(2, dtype=np.uint64)))
    assert code_of(lambda: payloads.read_vector(wire.message(data), size)) is Code.SHAPE
    odd = sent(Step.VECTOR, ({}, [bytes(15)]))
    assert code_of(lambda: payloads.read_vector(wire.message(odd), 2)) is Code.SHAPE


def test_a_refusal_is_a_code_and_nothing_else() -> None:
    request = wire.message(sent(Step.VECTOR, ({}, [])))
    for code in Code:
        assert code_of(lambda code=code: wire.answer(request, wire.refusal(code))) is code  # type: ignore[misc]
    for more in (wire.refusal(Code.FAULT) + b"13", wire.refusal(Code.FAULT).replace(b"fault", b"texts")):
        assert code_of(lambda more=more: wire.answer(request, more)) is Code.MESSAGE  # type: ignore[misc]
    assert wire.refusal(Code.FAULT) == b'\0\0\0\x10{"code":"fault"}'


@pytest.mark.parametrize("field", ["contract", "round", "step"])
def test_an_answer_to_another_request_is_none(field: str) -> None:
    request = wire.message(sent(Step.VECTOR, ({}, [])))
    other = replace(request, **{field: {"contract": "sha256:other", "round": 8, "step": Step.SHARES}[field]})
    assert wire.answer(request, request.answer(({}, [b"x"])).encoded()).payload[1] == [b"x"]
    assert code_of(lambda: wire.answer(request, other.answer(({}, [])).encoded())) is Code.MESSAGE


@pytest.mark.parametrize(
    "asked",
    [
        replace(question(1), grant=Grant(ReservationId("x"), "a path", Fraction(1))),
        replace(question(1), grant=Grant(ReservationId("x"), "all", Fraction(1, 10**5000))),
        replace(question(1), query=replace(QUERY, parameters={"a name": np.zeros(1)})),
        replace(question(1), query=replace(QUERY, parameters={f"x{i}": np.zeros(1) for i in range(65)})),
        replace(question(1), query=replace(QUERY, parameters={"x": np.array(["text"])})),
        replace(question(1), model=bytes(wire.MOST_PARTS + 1)),
    ],
    ids=["path", "noise", "name", "parameters", "text", "size"],
)
def test_what_cannot_be_sent_is_said_before_it_is_sent(asked: Asked) -> None:
    with pytest.raises(DoorError, match=r"cannot be sent|expected parameters of numbers"):
        payloads.write_question(asked)


def test_a_message_that_is_too_long_is_not_looked_at() -> None:
    header = GOOD[4:].replace(b'"sizes":[]', b'"sizes":[%d]' % wire.MOST)
    data = len(header).to_bytes(4, "big") + header + bytes(wire.MOST)
    tracemalloc.start()
    assert code_of(lambda: wire.message(data)) is Code.MESSAGE
    assert tracemalloc.get_traced_memory()[1] < 10_000
    tracemalloc.stop()
