"""The rounds of one contract, each in the log before it begins, and each answer durable before anybody uses it (`engine.answers`).

    number and question (log, then journal) ──> partners sign keys ──> journal: from here on partners charge ──> vectors ──> sum
    ──> log ──> answer (journal) ──> trainer

A coordinator that was killed, or whose partners did not answer, asks a round again from its first step, under its number: partners give
the same bytes, whether they were killed meanwhile or not, and the sum is the same. Some partner may refuse, by its rules of now. Where
nobody had been asked for a vector, nobody charged, and the question goes into a new round; where somebody had, the question is paid and its
answer lost: it cannot be asked a second time within the contract's budget, and the run is over. Nothing is ever drawn twice for one
charge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from audit import verify
from engine.answers import AnsweringCohort, Answers, digest
from engine.collaborations.result import Asked
from engine.workspace import Workspace
from federated import wire
from federated.contract import Agreed
from federated.courier import Courier
from federated.messages import Step, Terms
from federated.questions import Asked as Question
from federated.replies import LOST, AbortedError
from federated.rounds import conduct, greet
from federated.shares import Sharing
from governance.door import Array, Grant, Query, to_units
from governance.noise import NoiseSource


class CollaborationError(Exception):
    """The joint run cannot go on now; it can later, and the message says when."""


class OverError(Exception):
    """The joint run cannot go on at all: what partners paid for a question is spent, and its answer is lost."""


UNPAID = "nobody charged for it: run again once all are willing"
"""What is said of a round that partners would not sit in."""


@dataclass(frozen=True)
class Watched:
    """A courier that is watched: `paying` is called before the first request for a vector leaves, for whoever gets it may charge."""

    courier: Courier
    paying: Callable[[], None]

    def exchange(self, requests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """See `Courier.exchange`."""
        if any(wire.message(request).step is Step.VECTOR for request in requests.values()):
            self.paying()
        return self.courier.exchange(requests)


@dataclass
class Rounds:
    """Under one contract, for one process. `asked`: every question that has its answer, in order, also those that had it before."""

    workspace: Workspace
    agreed: Agreed
    courier: Courier
    answers: Answers
    asked: list[Asked] = field(default_factory=list)
    _first: int = 0

    def cohort(self, model: Mapping[str, object] | None = None) -> PartnersCohort:
        """Partners as a trainer sees them; with a released model, of which each works out columns at home."""
        return PartnersCohort(self, b"" if model is None else verify.canonical(model))

    def meet(self) -> None:
        """Ask every partner for its next round. Raises CollaborationError while too few are there."""
        there, silent = greet(self.agreed, self.courier)
        if len(there) < Terms.of(self.agreed).needed:
            raise CollaborationError(f"not all partners are there: {said(silent)}; run again when they are")
        self._first = max(there.values())

    def sum(self, query: Query, grant: Grant, model: bytes) -> Array:
        """What a new round gives, or one that a killed coordinator left open. Raises CollaborationError, OverError, DoorError."""
        Sharing.of(self.agreed.contract).share_sigma(grant)
        question = digest(query, grant)
        left = self._open(question)
        number = left or self._next()
        about = {"contract": self.agreed.digest, "round": number}
        with self.workspace.store.transaction("round-intent") as write:
            asked = {"path": grant.path, "step": str(query.step), "mu_squared": str(grant.mu_squared)}
            write.record("collaboration.round.intended", **about, **asked, again=left is not None)
        if left is None:
            self.answers.note(round=number, query=question, path=grant.path, charged=str(self._price(grant)))
        courier = Watched(self.courier, lambda: self._once(paying=number))
        try:
            summed = conduct(Terms.of(self.agreed), self.agreed.digest, Question(number, query, grant, model), courier)
        except AbortedError as error:
            paid, gone = number in self._noted("paying"), {*error.lost.values()} == {LOST}
            with self.workspace.store.transaction("round-outcome") as write:
                write.record("collaboration.round.aborted", **about, said=str(error), paid=paid)
            if gone:
                raise CollaborationError(f"{error}; run again when they are there: the round goes on where it was") from None
            self.answers.note(aborted=number, paid=int(paid), said=str(error))
            if paid:
                raise OverError(over(str(error))) from None
            if left is None:
                raise CollaborationError(f"{error}; {UNPAID}") from None
            return self.sum(query, grant, model)
        without = [verifier.name for verifier in self.agreed.contract.identities if verifier.name not in summed.alive]
        with self.workspace.store.transaction("round-outcome") as write:
            write.record("collaboration.round.answered", **about, without=without)
        self._once(without=number, names=",".join(without))
        return to_units(summed.values, query)

    def answered(self, query: Query, grant: Grant) -> None:
        """Note a question that has its answer."""
        question = digest(query, grant)
        number = max(note["round"] for note in self.answers.notes if note.get("query") == question)
        names = next(note["names"] for note in self.answers.notes if note.get("without") == number)
        said = (number, grant.path, str(query.step), query.part.name.lower(), str(grant.mu_squared), str(self._price(grant)))
        self.asked.append(Asked(*said, float(query.bound), query.size, tuple(names.split(",")) if names else ()))

    def _price(self, grant: Grant) -> Fraction:
        """μ² that each partner charges."""
        return Sharing.of(self.agreed.contract).factor * grant.mu_squared

    def _open(self, question: str) -> int | None:
        """The round in which a killed coordinator asked this."""
        numbers = {note["round"] for note in self.answers.notes if note.get("query") == question} - self._noted("aborted")
        return max(numbers, default=None)

    def _next(self) -> int:
        if not self._first:
            self.meet()
        number = max(self._first, 1 + max(self._noted("round"), default=0))
        if number > self.agreed.contract.rounds:
            raise OverError(f"the contract has {self.agreed.contract.rounds} rounds, and all were begun; sign another with more `rounds`")
        return number

    def _noted(self, what: str) -> set[int]:
        return {note[what] for note in self.answers.notes if what in note}

    def _once(self, **said: str | int) -> None:
        """Note it, unless it was noted before."""
        if said not in self.answers.notes:
            self.answers.note(**said)


@dataclass(frozen=True, slots=True)
class PartnersCohort:
    """See `governance.door.Cohort`: an answer is committed before it is handed out, and given again to whoever asks again."""

    rounds: Rounds
    model: bytes

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return len(self.rounds.agreed.contract.features)

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`; `noise` is not drawn from, each partner draws its own. Raises as `Rounds.sum` does."""
        values = AnsweringCohort(_Asking(self), self.rounds.answers).noisy_sum(query, grant, noise)
        self.rounds.answered(query, grant)
        return values


@dataclass(frozen=True, slots=True)
class _Asking:
    """What has no answer yet."""

    of: PartnersCohort

    @property
    def width(self) -> int:
        return self.of.width

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        return self.of.rounds.sum(query, grant, self.of.model)


def said(silent: Mapping[str, str]) -> str:
    """Who gave no answer, and why."""
    return ", ".join(f"`{name}`: {'did not answer' if why == LOST else why}" for name, why in sorted(silent.items()))


def over(said: str) -> str:
    """Why a run is over, and the way out."""
    return (
        f"{said}; partners may have charged for it, its answer is lost, and the contract's budget has no second one: "
        "what was charged stays charged; sign a new contract to begin anew"
    )
