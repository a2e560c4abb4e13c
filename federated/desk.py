"""A partner's desk: one request in, one reply out, whatever comes in; and nothing leaves that is not written down.

    1. a request that was answered gets the same reply again: nothing is charged, nothing drawn
    2. what is no message of this contract is refused
    3. the partner answers, or its refusal is a fixed word (`federated.partner`)
    4. what leaves is written down, durably, and then it leaves

A coordinator that was killed asks a round again from its first step, gets the same replies, and so the same sum. A partner that was killed
takes its seat again, by the secret of the round and what it had been asked in it, and goes on with the step that comes: whatever it had
not written down never left. Where it refused something in that round, or its own rules say no today, it does not. Where the desk
cannot write down, it says nothing at all: the reply is empty. Requests are answered one after the other.

Not here: what a partner keeps on disk (`Book`, `federated.seat.Memory`), who carries messages (`federated.courier`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from threading import Lock
from typing import Protocol

from federated import payloads, wire
from federated.masking import Ring
from federated.messages import Keys, Opening, Step, Survivors, Terms
from federated.partner import Partner, Sitting
from federated.replies import Code, RefusedError
from policies.documents import Digest, digest_of


@dataclass(frozen=True, slots=True)
class Leaving:
    """One reply that is about to leave. `request`: its digest; `step` is empty and `round` 0 where it was no message of this contract;
    `code`: of a refusal; `path`: of the grant that was asked under, where the round has begun; `mu_squared`: what was charged for it."""

    contract: Digest
    round: int
    step: str
    request: Digest
    code: Code | None = None
    path: str | None = None
    mu_squared: Fraction | None = None


class Book(Protocol):
    """What a partner wrote down of what left."""

    def answered(self, request: Digest) -> bytes | None:
        """The reply that these very bytes got before."""
        ...

    def keep(self, leaving: Leaving, request: bytes, reply: bytes) -> None:
        """Durable on return; called before the reply leaves the process, once for each request."""
        ...

    def round(self, number: int) -> Sequence[tuple[bytes, bytes]]:
        """Every request of the latest round with its reply, in order; none of another round, and none where one was refused or lost."""
        ...


@dataclass
class MemoryBook:
    """What is forgotten with the process: for tests and benchmarks."""

    left: list[tuple[Leaving, bytes]] = field(default_factory=list)
    said: dict[Digest, tuple[bytes, bytes]] = field(default_factory=dict)

    def answered(self, request: Digest) -> bytes | None:
        """See `Book.answered`."""
        found = self.said.get(request)
        return None if found is None else found[1]

    def keep(self, leaving: Leaving, request: bytes, reply: bytes) -> None:
        """See `Book.keep`."""
        self.left.append((leaving, reply))
        if leaving.step == Step.KEYS and leaving.code is None:
            self.said.clear()
        self.said[leaving.request] = request, reply

    def round(self, number: int) -> Sequence[tuple[bytes, bytes]]:
        """See `Book.round`."""
        there = [leaving for leaving, _ in self.left if leaving.round == number]
        whole = all(leaving.code is None and leaving.request in self.said for leaving in there)
        return [self.said[leaving.request] for leaving in there] if whole else ()


class Member(Protocol):
    """A partner in one round. Each step raises RefusedError where it is refused."""

    def keys(self) -> Keys:
        """Step 1."""
        ...

    def shares(self, roster: Sequence[Keys]) -> Mapping[str, bytes]:
        """Step 2, with dropouts alone."""
        ...

    def vector(self, received: Sequence[Keys] | Mapping[str, bytes]) -> Ring:
        """Step 3."""
        ...

    def attest(self, survivors: Survivors) -> bytes:
        """Step 4, with dropouts alone."""
        ...

    def opening(self, signatures: Mapping[str, bytes]) -> Opening:
        """Step 5, with dropouts alone."""
        ...


def answered(request: wire.Message, terms: Terms, name: str, member: Member) -> wire.Payload:
    """What a member answers to a step of its round. Raises RefusedError."""
    match request.step:
        case Step.KEYS:
            return payloads.write_keys(terms, [member.keys()])
        case Step.SHARES:
            return payloads.write_records(terms, member.shares(payloads.read_keys(request, terms)))
        case Step.VECTOR if terms.dropouts:
            return payloads.write_vector(member.vector(payloads.read_records(request, terms, payloads.SEALED_BYTES)))
        case Step.VECTOR:
            return payloads.write_vector(member.vector(payloads.read_keys(request, terms)))
        case Step.ATTEST:
            return payloads.write_records(terms, {name: member.attest(payloads.read_survivors(request, terms))})
        case Step.OPENING:
            signatures = payloads.read_records(request, terms, payloads.SIGNATURE_BYTES)
            return payloads.write_opening(terms, member.opening(signatures))
    raise RefusedError(Code.ORDER)


class Desk:
    """Of one partner under one contract. `finished`: takes the outcome, and gives what acknowledges it (`federated.acknowledgement`);
    the outcome may come again, and then nothing more is done."""

    def __init__(self, partner: Partner, book: Book, finished: Callable[[bytes], bytes]) -> None:
        self._partner, self._book, self._finished = partner, book, finished
        self._sitting: Sitting | None = None
        self._turn = Lock()

    def answer(self, request: bytes) -> bytes:
        """See above; never raises."""
        with self._turn:
            try:
                digest = digest_of(request)
                known = self._book.answered(digest)
                if known is not None:
                    return known
                leaving, reply = self._reply(request, digest)
                self._book.keep(leaving, request, reply)
                return reply
            except Exception:  # noqa: BLE001 (a disk that is full, and whatever else could not be written down)
                self._sitting = None
                return b""

    def _reply(self, request: bytes, digest: Digest) -> tuple[Leaving, bytes]:
        leaving = Leaving(self._partner.agreed.digest, 0, "", digest)
        try:
            message = wire.message(request)
            if message.contract != leaving.contract:
                raise RefusedError(Code.CONTRACT)
        except RefusedError as refused:
            return replace(leaving, code=refused.code), wire.refusal(refused.code)
        leaving = replace(leaving, round=message.round, step=str(message.step))
        try:
            if message.step in (Step.HELLO, Step.FINISH):
                return leaving, message.answer(self._outside(message)).encoded()
            sitting = self._sitting_of(message)
        except RefusedError as refused:
            return replace(leaving, code=refused.code), wire.refusal(refused.code)
        leaving, before = replace(leaving, path=sitting.asked.grant.path), sitting.charged
        code: Code | None = None
        try:
            reply = message.answer(answered(message, self._partner.terms, self._partner.name, sitting)).encoded()
            self._sitting = sitting
        except RefusedError as refused:
            code, reply = refused.code, wire.refusal(refused.code)
        return replace(leaving, code=code, mu_squared=sitting.charged if before is None else None), reply

    def _sitting_of(self, message: wire.Message) -> Sitting:
        """A new one for step 1; for others that of the round, which this process began, or one before it."""
        there = self._sitting if self._sitting is not None and self._sitting.asked.number == message.round else None
        if message.step is Step.KEYS and there is None:
            return self._partner.member(payloads.read_question(message))
        if there is None:
            there = self._sitting = self._again(message.round)
        return there

    def _again(self, number: int) -> Sitting:
        """The seat that a process before this one had, every step taken once more. Raises RefusedError where it cannot be the same."""
        there: Sitting | None = None
        for request, reply in self._book.round(number):
            message = wire.message(request)
            there = there or self._partner.member(payloads.read_question(message), again=True)
            said = message.answer(answered(message, self._partner.terms, self._partner.name, there)).encoded()
            if said != reply and message.step is not Step.VECTOR:  # which has noise of its own, and is not said here
                raise RefusedError(Code.ORDER)
        if there is None:
            raise RefusedError(Code.ORDER)
        there.again = False
        return there

    def _outside(self, message: wire.Message) -> wire.Payload:
        """What stands outside of rounds."""
        if message.step is Step.HELLO:
            payloads.read_hello(message)
            return {"next": self._partner.next}, []
        outcome = payloads.read_outcome(message)
        try:
            return {}, [self._finished(outcome)]
        except RefusedError:
            raise
        except Exception:  # noqa: BLE001 (its text could hold what a row holds)
            raise RefusedError(Code.FAULT) from None
