"""One round from the coordinator's side: asks every partner each step, and ends in a sum or is aborted.

A partner that refuses or does not answer is lost for the rest of the round. Without dropouts that aborts it; with them it goes on while
`least` are there. Members are behind a protocol: in this process, or whatever carries messages. Nothing here is secret: the coordinator
could do as it likes, and what keeps it from more than the sum is what partners refuse (`federated.seat`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.masking import Ring, Round
from federated.messages import Keys, Opening, Survivors, Terms
from federated.opening import total, unmasked
from federated.replies import AbortedError, Code, LostError, RefusedError


class Member(Protocol):
    """A partner in one round (`federated.seat`). Each raises RefusedError, or LostError where no answer came."""

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


Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Summed:
    """What a round gave: the sum over partners, int64, and whose vectors are in it."""

    values: NDArray[np.int64]
    alive: tuple[str, ...]


class _Table:
    """Who is still there, and why others are not."""

    def __init__(self, terms: Terms, round: Round, members: Mapping[str, Member]) -> None:
        self.terms, self.round = terms, round
        self.there = dict(members)
        self.lost: dict[str, str] = {}

    def ask(self, question: Callable[[str, Member], Answer]) -> dict[str, Answer]:
        """Everybody who is there. Raises AbortedError where too few answer."""
        answers: dict[str, Answer] = {}
        for name, member in sorted(self.there.items()):
            try:
                answers[name] = question(name, member)
            except RefusedError as refused:
                self.lost[name] = str(refused.code)
            except LostError:
                self.lost[name] = "lost"
        self.there = {name: self.there[name] for name in answers}
        if len(answers) < self.terms.needed:
            self.abort()
        return answers

    def abort(self) -> NoReturn:
        """Says who was lost, and the fixed word of each."""
        said = ", ".join(f"`{name}`: {why}" for name, why in sorted(self.lost.items())) or "too few partners"
        raise AbortedError(f"round {self.round.number} was aborted, {said}")


def conduct(terms: Terms, round: Round, members: Mapping[str, Member], size: int) -> Summed:
    """The sum of `size` numbers over the partners. Raises AbortedError; a wrong sum is never given, unless a partner's vector is wrong."""
    table = _Table(terms, round, members)

    def signed(name: str, keys: Keys) -> Keys:
        if keys.name != name:
            raise RefusedError(Code.SIGNATURE)
        terms.verify(name, keys.statement(round), keys.signature)
        return keys

    def shaped(vector: Ring) -> Ring:
        if vector.dtype != np.uint64 or vector.shape != (size,):
            raise RefusedError(Code.SHAPE)
        return vector

    roster = table.ask(lambda name, member: signed(name, member.keys()))
    met = tuple(roster.values())
    if not terms.dropouts:
        vectors = table.ask(lambda name, member: shaped(member.vector(met)))
        return Summed(total(vectors), tuple(vectors))
    sealed = table.ask(lambda name, member: dict(member.shares(met)))
    inbox = {name: {sender: each[name] for sender, each in sealed.items() if name in each} for name in sealed}
    vectors = table.ask(lambda name, member: shaped(member.vector(inbox[name])))
    survivors = Survivors(tuple(sorted(vectors)), tuple(sorted(sealed.keys() - vectors.keys())))

    statement = survivors.statement(round)

    def attested(name: str, signature: bytes) -> bytes:
        terms.verify(name, statement, signature)
        return signature

    signatures = table.ask(lambda name, member: attested(name, member.attest(survivors)))
    openings = table.ask(lambda name, member: member.opening(signatures))
    try:
        return Summed(unmasked(terms, round, roster, vectors, survivors, openings), survivors.alive)
    except RefusedError as refused:
        table.lost["shares"] = str(refused.code)
        table.abort()
