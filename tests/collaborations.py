"""Partners with keys, and contracts among them: shared by the tests of `federated`."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from audit.checkpoint import Signer
from federated import wire
from federated.contract import Agreed, Collaboration, agreed, join, sign
from federated.courier import Answerer, InProcess
from federated.desk import Member, answered
from federated.masking import KEY_BYTES, Ring, Round, Stream, chacha20
from federated.messages import Keys, Opening, Survivors, Terms
from federated.questions import Asked
from federated.replies import LostError, RefusedError
from federated.rounds import Summed, conduct
from federated.seat import Memory, Seat, ShortMemory
from governance.door import Grant, Query, ReservationId, StepName
from policies.documents import Digest

TODAY = dt.date(2026, 11, 22)
PURPOSE = "marketing.advertising.first_party.targeted"


def signers(n: int) -> list[Signer]:
    """Partners `p0`, `p1`, …, always with the same keys."""
    return [Signer(Ed25519PrivateKey.from_private_bytes(bytes([place + 1]) * 32), f"p{place}") for place in range(n)]


def fields(n: int, **changed: Any) -> dict[str, Any]:
    """A valid contract of `n` partners without dropouts, as YAML would hold it; fields can be changed."""
    return {
        "name": "joint",
        "purpose": PURPOSE,
        "partners": [str(signer.verifier) for signer in signers(n)],
        "features": {"spend": {"meaning": "euros spent in the last 90 days", "bounds": ["0", "5000"], "scale": "log"}},
        "model": {"type": "clusters", "k": 4},
        "clip": 1e12,
        "privacy": {"epsilon": 1.0, "delta": 1e-5},
        "rounds": 20,
        "max_subjects": 100_000,
        "least_partners": n,
        "expires": "2026-12-31",
    } | changed


def contract(n: int = 3, **changed: Any) -> Collaboration:
    """The same as a model."""
    return Collaboration.model_validate_json(json.dumps(fields(n, **changed)), strict=True)


def signed(n: int = 3, **changed: Any) -> Agreed:
    """The same with every signature."""
    made = contract(n, **changed)
    return agreed(join(sign(made, signer) for signer in signers(n)), made.digest())


CONTRACT = Digest("sha256:contract")


def question(size: int, number: int = 1) -> Asked:
    """So many numbers, of a step that nobody here runs."""
    query = Query(StepName("tests.nothing"), {}, (1, 1, size), 1.0)
    return Asked(number, query, Grant(ReservationId("there"), "all", Fraction(1, 100)))


ASKED = question(2).digest()


def terms(n: int, least: int = 0, dropouts: int = 0) -> Terms:
    """Of `n` partners; all of them are needed where nothing else is said."""
    return Terms(tuple(signer.verifier for signer in signers(n)), least or n, dropouts)


def sitting(number: int = 1, contract: str = CONTRACT, asked: Digest = ASKED) -> Round:
    """A round."""
    return Round(Digest(contract), number, asked)


@dataclass
class Seated:
    """A seat with what its partner holds; it is lost before step `leaves`. Remembers what it was asked."""

    seat: Seat
    values: NDArray[np.int64]
    leaves: str = ""
    asked: dict[str, Any] = field(default_factory=dict)

    def _there(self, step: str, given: object = None) -> None:
        if step == self.leaves:
            raise LostError
        self.asked[step] = given

    def keys(self) -> Keys:
        self._there("keys")
        return self.seat.keys()

    def shares(self, roster: Sequence[Keys]) -> Mapping[str, bytes]:
        self._there("shares", roster)
        return self.seat.shares(roster)

    def vector(self, received: Sequence[Keys] | Mapping[str, bytes]) -> Ring:
        self._there("vector", received)
        self.seat.receive(received)
        return self.seat.vector(self.values, len(self.values))

    def attest(self, survivors: Survivors) -> bytes:
        self._there("attest", survivors)
        return self.seat.attest(survivors)

    def opening(self, signatures: Mapping[str, bytes]) -> Opening:
        self._there("opening", signatures)
        return self.seat.opening(signatures)


def seated(
    who: Terms,
    values: NDArray[np.int64],
    round: Round | None = None,
    leaving: Mapping[str, str] = MappingProxyType({}),
    memories: Mapping[str, Memory] = MappingProxyType({}),
    stream: Stream = chacha20,
) -> dict[str, Seated]:
    """Every partner of a round; row i of `values` is what partner i holds. `leaving`: who is lost before which step."""
    of = round or sitting(asked=question(values.shape[1]).digest())
    seats = {
        signer.origin: Seat(who, of, signer, memories.get(signer.origin) or ShortMemory(), os.urandom(KEY_BYTES), stream)
        for signer in signers(len(values))
    }
    return {name: Seated(seat, values[place], leaving.get(name, "")) for place, (name, seat) in enumerate(seats.items())}


def reached(who: Terms, members: Mapping[str, Member]) -> InProcess:
    """Members that are reached by the bytes that a network would carry; who is lost does not answer."""

    def answerer(name: str, member: Member) -> Answerer:
        def answer(request: bytes) -> bytes:
            read = wire.message(request)
            try:
                return read.answer(answered(read, who, name, member)).encoded()
            except RefusedError as refused:
                return wire.refusal(refused.code)
            except LostError:
                return b""

        return answer

    return InProcess({name: answerer(name, member) for name, member in members.items()})


def conducted(who: Terms, members: Mapping[str, Member], size: int, number: int = 1) -> Summed:
    """A round of `question(size, number)` among them."""
    return conduct(who, CONTRACT, question(size, number), reached(who, members))
