"""A partner's side of the rounds: its own rules, its own ledger, its own rows, and one masked vector a round that leaves.

In the order of DESIGN section 10: whatever can be refused without a row is refused first, then the question is charged, and only then are
rows read. Answers are those of a seat (`federated.seat`) or a word of `federated.replies`; no text of an exception leaves, and no
number that depends on a row, head counts among them. A partner runs registered steps, never code that somebody sent.

Not here: how rows came here (the pipeline up to the door runs at home), who carries messages, and what is kept on disk.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from audit.checkpoint import Signer
from audit.commitments import Randomness
from federated.contract import Agreed
from federated.masking import KEY_BYTES, Ring
from federated.messages import Keys, Opening, Survivors, Terms
from federated.questions import Asked
from federated.replies import Code, RefusedError
from federated.seat import Memory, Seat
from federated.shares import Sharing
from governance.accounting import RESERVED_DRAWS
from governance.door import BudgetError, Column, DoorError, LocalCohort, Meter, ReservationId, exact_sum, rehearse
from governance.grid import add
from governance.noise import NoiseSource

Answer = TypeVar("Answer")


def today() -> dt.date:
    """In UTC, where contracts expire."""
    return dt.datetime.now(dt.UTC).date()


class Home(Protocol):
    """What a partner brings: rows, a ledger with a reservation, noise, and its own rules."""

    @property
    def meter(self) -> Meter:
        """Its ledger."""
        ...

    @property
    def reservation(self) -> ReservationId:
        """What questions of the contract are charged to."""
        ...

    @property
    def noise(self) -> NoiseSource:
        """Where its share of noise comes from."""
        ...

    def shapes(self, model: bytes) -> Mapping[str, tuple[int, ...]]:
        """Of each column, without the subjects; public. `model`: as in `Asked`. Raises DoorError for one that gives no columns here."""
        ...

    def willing(self, asked: Asked) -> bool:
        """Its own policy, consent and noisy floor: whether it takes part. It must not tell more than it paid for."""
        ...

    def rows(self, asked: Asked) -> Mapping[str, Column]:
        """The people who are admitted now, as `governance.door.LocalCohort` takes them; read in every round anew, after the charge."""
        ...


class Partner:
    """One partner under one contract, `agreed`, whose `terms` say who sits in a round."""

    def __init__(
        self,
        agreed: Agreed,
        signer: Signer,
        home: Home,
        memory: Memory,
        clock: Callable[[], dt.date] = today,
        randomness: Randomness = os.urandom,
    ) -> None:
        """Raises DoorError where the columns are not what the contract says."""
        expected, shape = len(agreed.contract.features), home.shapes(b"")["features"]
        if shape != (expected,):
            raise DoorError(f"expected {expected} features, got {', '.join(map(str, shape)) or 'one number'}")
        self._signer, self._home, self._memory = signer, home, memory
        self._clock, self._randomness = clock, randomness
        self.agreed, self.terms = agreed, Terms.of(agreed)

    @property
    def name(self) -> str:
        """As in the contract."""
        return self._signer.origin

    @property
    def next(self) -> int:
        """Number of the next round that it would sit in."""
        return self._memory.last + 1

    def member(self, asked: Asked, again: bool = False) -> Sitting:
        """Its seat in the round of one question; nothing happens before the first step. `again`: one that a process before this one had."""
        return Sitting(self, asked, again)

    def seat(self, asked: Asked, again: bool = False) -> Seat:
        """(1) The contract holds today and has the round; (2) the question is one that it allows, of a step that is registered here, and
        answers for as many made-up subjects as it is ever asked about at once; (3) the partner's own rules say yes; (4) the round is
        a new one, or the latest, to sit in `again`."""
        contract = self.agreed.contract
        if self._clock() > contract.expires or not 1 <= asked.number <= contract.rounds:
            raise RefusedError(Code.CONTRACT)
        if asked.query.bound > contract.clip or asked.query.size > RESERVED_DRAWS:
            raise RefusedError(Code.QUESTION)
        try:
            rehearse(asked.query, self._home.shapes(asked.model), steady=True)
            Sharing.of(contract).share_sigma(asked.grant)
        except (DoorError, ArithmeticError):  # noise beyond what a float holds is too large or too small, too
            raise RefusedError(Code.QUESTION) from None
        if not self._home.willing(asked):
            raise RefusedError(Code.REFUSED)
        secret = None if again else self._randomness(KEY_BYTES)
        return Seat(self.terms, asked.round(self.agreed), self._signer, self._memory, secret)

    def noise(self, asked: Asked) -> NDArray[np.int64]:
        """This partner's share, drawn before the round opens, for one sum."""
        return self._home.noise.draw(Sharing.of(self.agreed.contract).share_sigma(asked.grant), asked.query.size)

    def charge(self, asked: Asked) -> Fraction:
        """Writes down what the question costs, and gives it as μ². Raises RefusedError where the ledger has less."""
        price = Sharing.of(self.agreed.contract).price(asked.grant, self._home.reservation)
        try:
            self._home.meter.charge(price, asked.query)
        except BudgetError:
            raise RefusedError(Code.REFUSED) from None
        return price.mu_squared

    def contribution(self, asked: Asked, noise: NDArray[np.int64]) -> NDArray[np.int64]:
        """Inside the partner only, once it was charged: (1) read rows, (2) sum exactly, (3) add noise, modulo 2^64."""
        rows = self._home.rows(asked)
        if {name: column.shape[1:] for name, column in rows.items()} != self._home.shapes(asked.model):
            raise DoorError("rows are not of the announced shapes")
        return add(exact_sum(asked.query, LocalCohort(rows, self._home.meter).batches(), steady=True), noise)


class Sitting:
    """A partner in one round (`federated.desk.Member`). Any fault is `Code.FAULT`, and ends the round for this partner. `charged`: μ² that
    its ledger wrote down for the question, or None so far. `again`: the steps so far are taken once more, after a process that was
    killed; what was charged for a vector that left is not charged again, and no such vector is made."""

    def __init__(self, partner: Partner, asked: Asked, again: bool = False) -> None:
        self._partner, self.asked, self.again = partner, asked, again
        self.charged: Fraction | None = None
        self._seat: Seat | None = None
        self._noise: list[NDArray[np.int64]] = []
        self._begun = False

    def keys(self) -> Keys:
        """Step 1, once this partner is willing; its noise is drawn before anybody waits for it."""

        def answer() -> Keys:
            self._seat = self._partner.seat(self.asked, self.again)
            self._noise = [self._partner.noise(self.asked)]
            return self._seat.keys()

        if self._begun:
            raise RefusedError(Code.ORDER)
        self._begun = True
        return self._answer(answer)

    def shares(self, roster: Sequence[Keys]) -> Mapping[str, bytes]:
        """Step 2."""
        return self._answer(lambda: self._there.shares(roster))

    def vector(self, received: Sequence[Keys] | Mapping[str, bytes]) -> Ring:
        """Step 3; who is in the round is accepted before anything is charged, and all is charged before a row is read."""

        def answer() -> Ring:
            self._there.receive(received)
            noise, size = self._noise.pop(), self.asked.query.size  # gone with this: no sum has the noise of another
            if self.again:
                return self._there.vector(np.zeros(size, dtype=np.int64), size)
            self.charged = self._partner.charge(self.asked)
            return self._there.vector(self._partner.contribution(self.asked, noise), size)

        return self._answer(answer)

    def attest(self, survivors: Survivors) -> bytes:
        """Step 4."""
        return self._answer(lambda: self._there.attest(survivors))

    def opening(self, signatures: Mapping[str, bytes]) -> Opening:
        """Step 5."""
        return self._answer(lambda: self._there.opening(signatures))

    @property
    def _there(self) -> Seat:
        if self._seat is None:
            raise RefusedError(Code.ORDER)
        return self._seat

    def _answer(self, answer: Callable[[], Answer]) -> Answer:
        """The answer, or a fixed word: no exception's text, cause or traceback goes on."""
        try:
            return answer()
        except RefusedError as refused:
            code = refused.code
        except Exception:  # noqa: BLE001 (its text could hold what a row holds)
            code = Code.FAULT
        self._seat, self._noise = None, []
        raise RefusedError(code)
