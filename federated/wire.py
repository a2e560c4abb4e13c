"""Messages as bytes, and strictly back: garbage, oversized and differently spelled ones are a fixed word, never an exception's text.

    4 bytes: length of the header, big-endian
    header   canonical JSON (RFC 8785): contract digest, round, step, what is said, sizes of the parts
    parts    raw bytes, one after the other: keys, shares, signatures, little-endian numbers

One meaning has one spelling: whoever reads a header writes it again and compares, and there is nothing behind the last part. So a digest of
a message is one of what it says. Sizes are held against the bytes that are there, and against what a step may carry, before anything is
made of them. Everything here raises RefusedError alone, whatever comes in. Not here: what a step carries (`federated.payloads`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from itertools import accumulate, pairwise
from typing import Annotated, Any, ParamSpec, TypeVar

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from federated.messages import Step
from federated.replies import Code, RefusedError
from policies.documents import Digest

MOST = 1 << 24
"""Most bytes of a message. The longest are a question's parameters and model: 8 bytes for each number that a contract may draw, twice."""

HEADER = 1 << 16
"""Most bytes of a header: with a thousand partners, or a question of 64 parameters, it stays below."""

_LENGTH = 4

MOST_PARTS = MOST - HEADER - _LENGTH
"""Most bytes of all parts together."""

Given = ParamSpec("Given")
Read = TypeVar("Read")


def strictly(read: Callable[Given, Read]) -> Callable[Given, Read]:
    """What is not as it should be is `Code.MESSAGE`, without text or cause: either could repeat what came in."""

    @wraps(read)
    def reading(*given: Given.args, **named: Given.kwargs) -> Read:
        try:
            return read(*given, **named)
        except (ValueError, OverflowError, RecursionError):  # of JSON, pydantic, numbers, and of what is checked here
            raise RefusedError(Code.MESSAGE) from None

    return reading


def require(holds: bool) -> None:
    """Raises ValueError, for `strictly` to take."""
    if not holds:
        raise ValueError


_Size = Annotated[int, Field(ge=0, le=MOST)]


class Said(BaseModel):
    """What stands in a header: strict, and no more than is named."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Header(Said):
    contract: str = Field(max_length=80)
    round: int = Field(ge=0, le=1 << 32)
    said: dict[str, JsonValue]
    sizes: list[_Size] = Field(max_length=80)
    step: Step


class _Refusal(Said):
    code: Code


Spoken = TypeVar("Spoken", bound=Said)

Payload = tuple[Mapping[str, Any], Sequence[bytes | memoryview]]
"""What is said, as JSON, and the parts."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request, or the answer to it, which repeats contract, round and step."""

    contract: Digest
    round: int
    step: Step
    payload: Payload

    def encoded(self) -> bytes:
        """As it is sent."""
        said, parts = self.payload
        whole: dict[str, Any] = {"contract": self.contract, "round": self.round, "step": str(self.step)}
        header = rfc8785.dumps(whole | {"said": dict(said), "sizes": [len(part) for part in parts]})
        return b"".join((len(header).to_bytes(_LENGTH, "big"), header, *parts))

    def answer(self, payload: Payload) -> Message:
        """What is answered to this request."""
        return replace(self, payload=payload)


@strictly
def message(data: bytes) -> Message:
    """The message of some bytes; its parts are views of them."""
    header, rest = _split(data)
    read = _header(header)
    require(sum(read.sizes) == len(rest))
    parts = [rest[start:stop] for start, stop in pairwise(accumulate(read.sizes, initial=0))]
    return Message(Digest(read.contract), read.round, read.step, (read.said, parts))


@lru_cache(4)  # partners in one process are told the same, and say the same, one after the other
def _header(header: bytes) -> _Header:
    """For what is read `strictly`."""
    read = _Header.model_validate_json(header)
    require(rfc8785.dumps(read.model_dump(mode="json")) == header)
    return read


def refusal(code: Code) -> bytes:
    """A code and nothing else."""
    header = rfc8785.dumps({"code": str(code)})
    return len(header).to_bytes(_LENGTH, "big") + header


def answer(request: Message, data: bytes) -> Message:
    """What a partner answered to a request. Raises RefusedError: with the partner's code, or for what is no answer to it."""
    if (code := _refused(data)) is not None:
        raise RefusedError(code)
    read = message(data)
    if (read.contract, read.round, read.step) != (request.contract, request.round, request.step):
        raise RefusedError(Code.MESSAGE)
    return read


@strictly
def _refused(data: bytes) -> Code | None:
    header, rest = _split(data)
    if not header.startswith(b'{"code":'):
        return None
    code = _Refusal.model_validate_json(header).code
    require(refusal(code) == data and not rest)
    return code


def _split(data: bytes) -> tuple[bytes, memoryview]:
    require(_LENGTH <= len(data) <= MOST)
    length = int.from_bytes(data[:_LENGTH], "big")
    require(length <= min(HEADER, len(data) - _LENGTH))
    return data[_LENGTH : _LENGTH + length], memoryview(data)[_LENGTH + length :]


def spoken(kind: type[Spoken], read: Message, parts: int) -> Spoken:
    """What a message says, which has so many parts; for what is read `strictly`."""
    said, there = read.payload
    require(len(there) == parts)
    return kind.model_validate_json(to_json(said))
