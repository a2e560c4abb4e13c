"""One round from the coordinator's side: asks every partner each step, all at once, and ends in a sum or is aborted.

A partner that refuses or does not answer is lost for the rest of the round. Without dropouts that aborts it; with them it goes on while
`least` are there. Requests follow from the question and from replies alone, so that a coordinator that was killed asks the same again, and
gets the same. Nothing here is secret: the coordinator could do as it likes, and what keeps it from more than the sum is what
partners refuse (`federated.seat`). Not here: who carries messages (`federated.courier`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from audit.commitments import Randomness
from audit.merkle import IntegrityError
from federated import acknowledgement, payloads, wire
from federated.acknowledgement import Acknowledgement
from federated.contract import Agreed
from federated.courier import Courier
from federated.masking import Ring, Round
from federated.messages import Keys, Step, Survivors, Terms
from federated.opening import total, unmasked
from federated.payloads import SEALED_BYTES, SIGNATURE_BYTES
from federated.questions import Asked
from federated.replies import LOST, AbortedError, Code, RefusedError
from federated.shares import possible
from policies.documents import Digest, digest_of

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Summed:
    """What a round gave: the sum over partners, int64, and whose vectors are in it, in the order of the contract."""

    values: NDArray[np.int64]
    alive: tuple[str, ...]


def ask(
    courier: Courier, requests: Mapping[str, wire.Message], read: Callable[[str, wire.Message], Answer]
) -> tuple[dict[str, Answer], dict[str, str]]:
    """(1) Ask all at once; (2) take each reply apart: `read` raises RefusedError for one that is not as it should be. Gives answers, and of
    those who gave none the word why: a code, or `lost`."""
    spelled = {id(request): request.encoded() for request in {id(each): each for each in requests.values()}.values()}  # each once
    replies = courier.exchange({name: spelled[id(request)] for name, request in requests.items()})
    answers: dict[str, Answer] = {}
    silent: dict[str, str] = {}
    for name, request in requests.items():
        if not (reply := replies.get(name)):
            silent[name] = LOST
            continue
        try:
            answers[name] = read(name, wire.answer(request, reply))
        except RefusedError as refused:
            silent[name] = str(refused.code)
    return answers, silent


class _Table:
    """Who is still there, and why others are not."""

    def __init__(self, terms: Terms, round: Round, courier: Courier) -> None:
        self.terms, self.round, self._courier = terms, round, courier
        self.there = [verifier.name for verifier in terms.partners]
        self.lost: dict[str, str] = {}

    def all(self, step: Step, payload: wire.Payload, read: Callable[[str, wire.Message], Answer]) -> dict[str, Answer]:
        """Ask everybody who is there the same. Raises AbortedError where too few answer."""
        return self._ask(dict.fromkeys(self.there, self._message(step, payload)), read)

    def each(self, step: Step, said: Mapping[str, wire.Payload], read: Callable[[str, wire.Message], Answer]) -> dict[str, Answer]:
        """Tell each something else."""
        return self._ask({name: self._message(step, payload) for name, payload in said.items()}, read)

    def abort(self) -> NoReturn:
        """Says who was lost, and the fixed word of each."""
        said = ", ".join(f"`{name}`: {why}" for name, why in sorted(self.lost.items())) or "too few partners"
        raise AbortedError(f"round {self.round.number} was aborted, {said}", self.lost)

    def summed(self, asked: Asked, values: NDArray[np.int64], alive: tuple[str, ...]) -> Summed:
        """What came out, if it can be."""
        if self.terms.subjects is not None and not possible(values, self.terms.subjects, asked.grant):
            raise AbortedError(f"round {self.round.number} was aborted, its sum is larger than what all partners together may hold")
        return Summed(values, alive)

    def _message(self, step: Step, payload: wire.Payload) -> wire.Message:
        return wire.Message(self.round.contract, self.round.number, step, payload)

    def _ask(self, requests: Mapping[str, wire.Message], read: Callable[[str, wire.Message], Answer]) -> dict[str, Answer]:
        answers, silent = ask(self._courier, requests, read)
        self.lost |= silent
        self.there = list(answers)
        if len(answers) < self.terms.needed:
            self.abort()
        return answers


def conduct(terms: Terms, contract: Digest, asked: Asked, courier: Courier) -> Summed:
    """The sum over the partners. Raises AbortedError, also for a sum that their subjects cannot make: some vector was out of range, and no
    mask tells whose. A wrong sum is never given, unless a partner's vector is wrong within that."""
    round, size = Round(contract, asked.number, asked.digest()), asked.query.size
    table = _Table(terms, round, courier)

    def signed(name: str, reply: wire.Message) -> Keys:
        keys = _only(name, {keys.name: keys for keys in payloads.read_keys(reply, terms)})
        terms.verify(name, keys.statement(round), keys.signature)
        return keys

    def vector(name: str, reply: wire.Message) -> Ring:
        return payloads.read_vector(reply, size)

    roster = table.all(Step.KEYS, payloads.write_question(asked), signed)
    met = payloads.write_keys(terms, roster.values())
    if not terms.dropouts:
        vectors = table.all(Step.VECTOR, met, vector)
        return table.summed(asked, total(vectors), tuple(vectors))
    sealed = table.all(Step.SHARES, met, lambda name, reply: payloads.read_records(reply, terms, SEALED_BYTES))
    inbox = {name: {sender: each[name] for sender, each in sealed.items() if name in each} for name in sealed}
    vectors = table.each(Step.VECTOR, {name: payloads.write_records(terms, each) for name, each in inbox.items()}, vector)
    survivors = Survivors(tuple(vectors), tuple(name for name in sealed if name not in vectors))
    statement = survivors.statement(round)

    def attested(name: str, reply: wire.Message) -> bytes:
        signature = _only(name, payloads.read_records(reply, terms, SIGNATURE_BYTES))
        terms.verify(name, statement, signature)
        return signature

    signatures = table.all(Step.ATTEST, payloads.write_survivors(terms, survivors), attested)
    signed_by = payloads.write_records(terms, signatures)
    openings = table.all(Step.OPENING, signed_by, lambda name, reply: payloads.read_opening(reply, terms))
    try:
        opened = unmasked(terms, round, roster, vectors, survivors, openings)
    except RefusedError as refused:
        table.lost["shares"] = str(refused.code)
        table.abort()
    return table.summed(asked, opened, survivors.alive)


def _only(name: str, given: Mapping[str, Answer]) -> Answer:
    """What a partner says of itself, and of nobody else."""
    if given.keys() != {name}:
        raise RefusedError(Code.SIGNATURE)
    return given[name]


def greet(agreed: Agreed, courier: Courier, randomness: Randomness = os.urandom) -> tuple[dict[str, int], dict[str, str]]:
    """Number of the next round that each partner would sit in, and why others did not say. A new round has the largest, or a larger one."""
    request = wire.Message(agreed.digest, 0, Step.HELLO, (payloads.write_once(randomness), []))
    return ask(courier, _to_all(agreed, request), lambda name, reply: payloads.read_next(reply))


def finish(
    agreed: Agreed, courier: Courier, outcome: bytes, randomness: Randomness = os.urandom
) -> tuple[dict[str, Acknowledgement], dict[str, str]]:
    """Tell every partner what came of it: the released joint model, as canonical JSON. Gives what each signed that it got, and why others
    did not, who may be told again."""
    request = wire.Message(agreed.digest, 0, Step.FINISH, (payloads.write_once(randomness), [outcome]))
    expected = agreed.digest, digest_of(outcome)
    verifiers = {verifier.name: verifier for verifier in agreed.contract.identities}

    def signed(name: str, reply: wire.Message) -> Acknowledgement:
        try:
            said = acknowledgement.read(payloads.read_acknowledgement(reply), verifiers[name])
        except IntegrityError:
            raise RefusedError(Code.SIGNATURE) from None
        if (said.contract, said.outcome) != expected:
            raise RefusedError(Code.SIGNATURE)
        return said

    return ask(courier, _to_all(agreed, request), signed)


def _to_all(agreed: Agreed, request: wire.Message) -> dict[str, wire.Message]:
    return {verifier.name: request for verifier in agreed.contract.identities}
