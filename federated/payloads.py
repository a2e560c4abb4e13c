"""What each step carries: written by whoever says it, and read back strictly (`federated.wire`).

Partners are numbers on the wire, their places in the contract, from 1 and ascending: none is there twice, none is a stranger. What
belongs to each has a fixed size and lies in that order. The coordinator's question goes with the arrays of its parameters, and its noise as
an exact fraction. Not here: who may say what when (`federated.desk`, `federated.seat`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from audit.commitments import Randomness
from federated import shamir
from federated.contract import MAX_PARTNERS
from federated.masking import KEY_BYTES, SEAL_BYTES, Ring
from federated.messages import Keys, Opening, Survivors, Terms
from federated.questions import NUMBERS, Asked, ordered
from federated.replies import Code, RefusedError
from federated.wire import MOST_PARTS, Message, Payload, Said, require, spoken, strictly
from governance.accounting import RESERVED_DRAWS
from governance.door import DoorError, Grant, Part, Query, ReservationId, StepName

SIGNATURE_BYTES = 64
SEALED_BYTES = 2 * shamir.SHARE_BYTES + SEAL_BYTES
"""A share of a mask key and one of a seed, sealed."""

_Whole = Annotated[str, Field(pattern="^(0|[1-9a-f][0-9a-f]*)$", max_length=4000)]
_Size = Annotated[int, Field(ge=0, le=RESERVED_DRAWS)]
_Place = Annotated[int, Field(ge=1, le=MAX_PARTNERS)]


class _Question(Said):
    bound: str = Field(max_length=40, description="hexadecimal, as `float.hex` writes it")
    noise: tuple[_Whole, _Whole] = Field(description="numerator and denominator of μ², hexadecimal, reduced")
    parameters: dict[Annotated[str, Field(pattern="^[A-Za-z0-9_.]{1,64}$")], tuple[str, list[_Size]]] = Field(max_length=64)
    part: int = Field(ge=0, le=2)
    path: str = Field(pattern="^[A-Za-z0-9_./:-]{1,1000}$")
    shape: tuple[_Size, _Size, _Size]
    step: str = Field(pattern="^[A-Za-z0-9_./]{1,200}$")


class _Places(Said):
    partners: list[_Place]


class _Survivors(Said):
    alive: list[_Place]
    dead: list[_Place]


class _Next(Said):
    next: int = Field(ge=1, le=1 << 32)


class _Once(Said):
    once: str = Field(pattern="^[0-9a-f]{32}$", description="so that what is asked twice is another message, and answered afresh")


class _Nothing(Said):
    pass


# Outside of rounds.


def write_once(randomness: Randomness) -> dict[str, str]:
    """What makes a message unlike all others."""
    return {"once": randomness(16).hex()}


@strictly
def read_hello(read: Message) -> None:
    """A partner is asked which round it would sit in next."""
    spoken(_Once, read, 0)


@strictly
def read_next(read: Message) -> int:
    """What it answers."""
    return spoken(_Next, read, 0).next


@strictly
def read_outcome(read: Message) -> bytes:
    """A partner is told what came of the contract."""
    spoken(_Once, read, 1)
    return bytes(read.payload[1][0])


@strictly
def read_acknowledgement(read: Message) -> bytes:
    """It has it, and says so over its signature (`federated.acknowledgement`)."""
    spoken(_Nothing, read, 1)
    return bytes(read.payload[1][0])


# Step 1 of a round.


def write_question(asked: Asked) -> Payload:
    """Query, noise, parameters and model. Raises DoorError for a question that cannot be sent."""
    query, noise = asked.query, asked.grant.mu_squared
    arrays = {name: ordered(np.asarray(value)) for name, value in sorted(query.parameters.items())}
    said = {
        "bound": float(query.bound).hex(),
        "noise": _fraction(noise),
        "parameters": {name: (array.dtype.str, list(array.shape)) for name, array in arrays.items()},
        "part": int(query.part),
        "path": asked.grant.path,
        "shape": tuple(map(int, query.shape)),
        "step": str(query.step),
    }
    parts = [*(array.tobytes() for array in arrays.values()), asked.model]
    try:
        said = _Question.model_validate(said).model_dump(mode="json")
    except ValidationError as error:
        raise DoorError(f"query `{query.step}` cannot be sent: its {error.errors()[0]['loc'][0]} are more than a message holds") from None
    if (size := sum(map(len, parts))) > MOST_PARTS:
        raise DoorError(f"query `{query.step}` cannot be sent: got {size} bytes, expected at most {MOST_PARTS}")
    return said, parts


@strictly
def read_question(read: Message) -> Asked:
    """The same. Raises RefusedError, with `QUESTION` for what the door does not know."""
    *arrays, model = read.payload[1]
    told = spoken(_Question, read, len(arrays) + 1)
    above, below = (int(each, 16) for each in told.noise)
    noise, bound = Fraction(above, max(1, below)), float.fromhex(told.bound)
    require(told.noise == _fraction(noise) and bound.hex() == told.bound)
    named = zip(sorted(told.parameters.items()), arrays, strict=True)
    parameters = {name: _array(kind, shape, part) for (name, (kind, shape)), part in named}
    try:
        query = Query(StepName(told.step), parameters, told.shape, bound, Part(told.part))
    except DoorError:
        raise RefusedError(Code.QUESTION) from None
    return Asked(read.round, query, Grant(ReservationId(read.contract), told.path, noise), bytes(model))


def _fraction(value: Fraction) -> tuple[str, str]:
    return f"{value.numerator:x}", f"{value.denominator:x}"


def _array(kind: str, shape: Sequence[int], part: bytes | memoryview) -> NDArray[Any]:
    """In memory of its own, as much as came in."""
    require(kind in NUMBERS and len(shape) <= 8 and math.prod(shape) * np.dtype(kind).itemsize == len(part))
    require(math.prod(max(each, 1) for each in shape) * np.dtype(kind).itemsize <= MOST_PARTS)  # nothing, of rows that no message holds
    values = np.frombuffer(part, dtype=kind).reshape(shape).copy()
    require(kind != "|b1" or bool(np.all(values.view(np.uint8) < 2)))
    return values


# Steps 1 to 5: so many bytes for each partner, in the order of the contract.


def write_keys(terms: Terms, roster: Iterable[Keys]) -> Payload:
    """Keys of one partner, which are its answer to step 1, or of all, in steps 2 and 3."""
    return write_records(terms, {each.name: each.channel + each.mask + bytes.fromhex(each.seed) + each.signature for each in roster})


@strictly
def read_keys(read: Message, terms: Terms) -> tuple[Keys, ...]:
    """The same."""
    k = KEY_BYTES
    return tuple(
        Keys(name, record[:k], record[k : 2 * k], record[2 * k : 3 * k].hex(), record[3 * k :])
        for name, record in read_records(read, terms, 3 * k + SIGNATURE_BYTES).items()
    )


def write_records(terms: Terms, records: Mapping[str, bytes]) -> Payload:
    """Sealed shares, or signatures, by partner."""
    places = _places(terms, records)
    return {"partners": places}, [_joined(terms, places, records)]


@strictly
def read_records(read: Message, terms: Terms, size: int) -> dict[str, bytes]:
    """The same, each of `size` bytes."""
    told = spoken(_Places, read, 1)
    return _apart(terms, told.partners, read.payload[1][0], size)


def write_vector(vector: Ring) -> Payload:
    """Numbers, 8 bytes each."""
    return {}, [vector.astype("<u8").tobytes()]


@strictly
def read_vector(read: Message, size: int) -> Ring:
    """The same, of `size` numbers. Raises RefusedError, with `SHAPE` for any other."""
    spoken(_Nothing, read, 1)
    part = read.payload[1][0]
    if len(part) != 8 * size:
        raise RefusedError(Code.SHAPE)
    return np.frombuffer(part, dtype="<u8").astype(np.uint64)


def write_survivors(terms: Terms, survivors: Survivors) -> Payload:
    """Who is alive and who is dead."""
    return {"alive": _places(terms, survivors.alive), "dead": _places(terms, survivors.dead)}, []


@strictly
def read_survivors(read: Message, terms: Terms) -> Survivors:
    """The same."""
    told = spoken(_Survivors, read, 0)
    return Survivors(_names(terms, told.alive), _names(terms, told.dead))


def write_opening(terms: Terms, opening: Opening) -> Payload:
    """Shares of seeds of the living, and of keys of the dead."""
    alive, dead = _places(terms, opening.seeds), _places(terms, opening.keys)
    return {"alive": alive, "dead": dead}, [_joined(terms, alive, opening.seeds), _joined(terms, dead, opening.keys)]


@strictly
def read_opening(read: Message, terms: Terms) -> Opening:
    """The same."""
    told, (seeds, keys) = spoken(_Survivors, read, 2), read.payload[1]
    return Opening(_apart(terms, told.alive, seeds, shamir.SHARE_BYTES), _apart(terms, told.dead, keys, shamir.SHARE_BYTES))


def _joined(terms: Terms, places: Sequence[int], records: Mapping[str, bytes]) -> bytes:
    return b"".join(records[name] for name in _names(terms, places))


def _apart(terms: Terms, places: Sequence[int], part: bytes | memoryview, size: int) -> dict[str, bytes]:
    names = _names(terms, places)
    require(len(part) == size * len(names))
    return {name: bytes(part[size * at : size * (at + 1)]) for at, name in enumerate(names)}


def _places(terms: Terms, names: Iterable[str]) -> list[int]:
    return sorted(map(terms.place, names))


def _names(terms: Terms, places: Sequence[int]) -> tuple[str, ...]:
    require(all(one < other for one, other in pairwise(places)) and (not places or places[-1] <= len(terms.partners)))
    return tuple(terms.partners[place - 1].name for place in places)
