"""No text makes a decoder do anything but give a value or a SignalError, and none makes it work for long."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.signals.bits import LONGEST, Bits, Fault, SignalError
from governance.signals.events import Kind, read, says
from governance.signals.meaning import settle
from governance.signals.purposes import Controller, needs
from governance.signals.vendors import Vendors, vendors

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
EMPTY = "CPSG_8APSG_8ANwAAAENAwCgAAAAAAAAAAAAAAAAAAAA.IAAA.YAAAAAAAAAAA"
CANADA = "BPSG_8APSG_8AAyACAENGdCgf_gfgAfgfgBhADVqxGAD0AILVgAA.fHHHA4444ao"
HEADER = '"header":{"schema_version":"1","record_id":"r"}'
EVENT = '{"event_time":"2026-01-01T00:00:00Z","event_state":"given","validity_duration":"P1Y"}'
SEEDS = {
    Kind.TCF: (
        "CPTtLAAPTtLAAAKAAAENAAFgALwAAEAAAAAAAOgAgABgAAAA.IAoAAgABgAAEAQAAEAAA.d4AACEAAAAAA",
        "COv_eg6Ov_eg6AOADBENAaCgAP_AAH_AACiQAVEUQQoAIQAqIoghAAQgAA.YAAAAAAAAAAAAAAAAAA",
        "COwBOpCOwBOpCLqAAAENAPCAAAAAAAAAAAAAFfwAYFfAV-BVkAGBVYFWAAA",
    ),
    Kind.GPP: (
        "DBABLA~CVVVkkkkkpFY.YA",
        f"DBACOeA~{EMPTY}~{CANADA}~1YNN",
        "DBABzMA~BVWSSSVY.YA",
    ),
    Kind.USP: ("1YNN", "1---"),
    Kind.GPC: ("1", "0"),
    Kind.RECORD: (f'{{{HEADER},"pii_processing":{{"purposes":[{{"purpose":"analytics"}}]}},"events":[{EVENT}]}}',),
}
WHO = Controller(12, needs())


def outcome(kind: Kind, text: str) -> Fault | None:
    """What became of a text: everything that reads it, through to what it says."""
    try:
        signal = read(kind, text)
    except SignalError as error:
        assert 0 <= error.offset <= max(len(text), 0)
        return error.fault
    for vendor in (WHO, Controller(None, WHO.needs)):
        settle(says(signal, vendor))
    return None


def mutated(draw: random.Random, text: str) -> str:
    """A text with a few characters changed, cut, doubled or put in."""
    letters = [*text]
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(letters) + 1)
        match draw.randrange(5):
            case 0 if place < len(letters):
                letters[place] = draw.choice(ALPHABET)
            case 1:
                letters.insert(place, draw.choice(ALPHABET + '.~={"}é\x00'))
            case 2:
                del letters[place : place + draw.randint(1, 8)]
            case 3:
                letters[place:place] = letters[place : place + draw.randint(1, 30)]
            case _:
                letters = letters[:place] or ["C"]
    return "".join(letters)


@pytest.mark.slow
def test_100_000_random_and_mutated_texts() -> None:
    draw, outcomes = random.Random(20261122), Counter[Fault | None]()
    for number in range(100_000):
        kind = draw.choice([Kind.TCF, Kind.TCF, Kind.GPP, Kind.GPP, Kind.USP, Kind.GPC, Kind.RECORD])
        if number % 4:
            text = mutated(draw, draw.choice(SEEDS[kind]))
        else:
            start = draw.choice(["", "C", "CP", "DBA", "DBABLA~", "DBABMA~C", "1", "{"])
            text = start + "".join(draw.choices(ALPHABET + ".~", k=draw.randint(0, 120)))
        outcomes[outcome(kind, text)] += 1
    assert sum(outcomes.values()) == 100_000
    assert outcomes[None] > 1000 and len(outcomes) > 12  # both ways out are taken, and for many reasons


@given(st.sampled_from([*Kind]), st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_at_all(kind: Kind, text: str) -> None:
    outcome(kind, text)


@pytest.mark.parametrize("kind", [Kind.TCF, Kind.GPP])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_text_that_was_cut_is_refused_or_read_whole(kind: Kind, data: st.DataObject) -> None:
    """Bits that are missing are never taken for zeros: a cut inside the core of a TC string is a fault."""
    text = SEEDS[kind][0]
    cut = data.draw(st.integers(1, len(text) - 1))
    if kind is Kind.TCF and cut < text.index(".") - 1:
        assert outcome(kind, text[:cut]) is Fault.SHORT
    else:
        outcome(kind, text[:cut])


def bits_of(*fields: tuple[int, int]) -> str:
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[place : place + 6], 2)] for place in range(0, len(bits), 6))


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 4000)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_ranges_hold_what_was_written(spans: list[tuple[int, int]]) -> None:
    whole = [(first, min(first + more, 65535)) for first, more in spans]
    fields = [(65535, 16), (1, 1), (len(whole), 12)]
    for first, last in whole:
        fields += [(1, 1), (first, 16), (last, 16)]
    read = vendors(Bits(bits_of(*fields)))
    expected = {vendor for first, last in whole for vendor in range(first, last + 1)}
    assert {*read} == expected and len(read) == len(expected)
    assert all((vendor in read) == (vendor in expected) for vendor in (0, 1, 2, 700, 65535, 65536))


@given(st.sets(st.integers(1, 500)))
def test_bits_hold_what_was_written(chosen: set[int]) -> None:
    largest = max(chosen, default=0)
    fields = [(largest, 16), (0, 1), *((int(vendor in chosen), 1) for vendor in range(1, largest + 1))]
    assert {*vendors(Bits(bits_of(*fields)))} == chosen


def test_the_worst_texts_take_no_time_and_no_room() -> None:
    """4,095 ranges of all 65,535 vendors; restrictions without end; the longest text of each kind, and one longer."""
    everybody = [(1, 1), (1, 16), (65535, 16)]
    core = [
        (2, 6),
        (0, 36),
        (0, 36),
        (0, 12),
        (0, 12),
        (0, 6),
        (0, 12),
        (0, 12),
        (4, 6),
        (1, 1),
        (0, 1),
        (0, 12),
        (0, 24),
        (0, 24),
        (0, 1),
        (0, 12),
    ]
    consent = [(65535, 16), (1, 1), (4095, 12), *(everybody * 4095)]
    restrictions = [(4095, 12), *([(1, 6), (1, 2), (1, 12), *everybody] * 4095)]
    begun = time.perf_counter()
    assert outcome(Kind.TCF, bits_of(*core, *consent, (0, 17), (0, 12))) is None
    assert outcome(Kind.TCF, bits_of(*core, (0, 17), (0, 17), *restrictions)) is None
    assert outcome(Kind.GPP, "DBD" + "_" * (LONGEST - 3)) is not None
    assert outcome(Kind.GPP, "DBAA" + "~" * (LONGEST - 4)) is not None
    assert outcome(Kind.TCF, "." * LONGEST) is not None
    assert outcome(Kind.RECORD, "[" * LONGEST) is Fault.RECORD
    assert outcome(Kind.TCF, "C" * (LONGEST + 1)) is Fault.TOO_LONG
    assert time.perf_counter() - begun < 5
    assert len(Vendors(((1, 65535),))) == 65535
