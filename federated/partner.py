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
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from audit.checkpoint import Signer
from audit.commitments import Randomness
from federated.contract import Agreed
from federated.masking import Ring
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

Gate = Callable[[Asked], bool]
"""A partner's own policy, consent and noisy floor: whether it takes part. It must not tell more than it paid for."""


def today() -> dt.date:
    """In UTC, where contracts expire."""
    return dt.datetime.now(dt.UTC).date()


def terms_of(agreed: Agreed) -> Terms:
    """Who sits in a round."""
    return Terms(agreed.contract.identities, agreed.contract.least_partners, agreed.contract.dropouts)


@dataclass(frozen=True, slots=True)
class Home:
    """What a partner brings: rows (as `governance.door.LocalCohort` takes them), a ledger with a reservation, noise, and its own rules."""

    columns: Mapping[str, Column]
    meter: Meter
    reservation: ReservationId
    noise: NoiseSource
    gate: Gate = lambda asked: True


class Partner:
    """One partner under one contract."""

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
        self._cohort = LocalCohort(home.columns, home.meter)
        if self._cohort.width != len(agreed.contract.features):
            raise DoorError(f"expected {len(agreed.contract.features)} features, got {self._cohort.width}")
        self._agreed, self._signer, self._home, self._memory = agreed, signer, home, memory
        self._clock, self._randomness = clock, randomness

    @property
    def name(self) -> str:
        """As in the contract."""
        return self._signer.origin

    def member(self, asked: Asked) -> Sitting:
        """Its seat in the round of one question; nothing happens before the first step."""
        return Sitting(self, asked)

    def seat(self, asked: Asked) -> Seat:
        """(1) The contract holds today and has the round; (2) the question is one that it allows, of a step that is registered here, and
        answers for a made-up subject; (3) the partner's own rules say yes; (4) the round is a new one."""
        contract = self._agreed.contract
        if self._clock() > contract.expires or not 1 <= asked.number <= contract.rounds:
            raise RefusedError(Code.CONTRACT)
        if asked.query.bound > contract.clip or asked.query.size > RESERVED_DRAWS:
            raise RefusedError(Code.QUESTION)
        try:
            rehearse(asked.query, {name: column.shape[1:] for name, column in self._home.columns.items()})
            Sharing.of(contract).share_sigma(asked.grant)
        except DoorError:
            raise RefusedError(Code.QUESTION) from None
        if not self._home.gate(asked):
            raise RefusedError(Code.REFUSED)
        return Seat(terms_of(self._agreed), asked.round(self._agreed), self._signer, self._memory, self._randomness)

    def contribution(self, asked: Asked) -> NDArray[np.int64]:
        """Inside the partner only: (1) charge, (2) sum exactly, (3) add this partner's share of noise, modulo 2^64."""
        sharing = Sharing.of(self._agreed.contract)
        try:
            self._home.meter.charge(sharing.price(asked.grant, self._home.reservation), asked.query)
        except BudgetError:
            raise RefusedError(Code.REFUSED) from None
        total = exact_sum(asked.query, self._cohort.batches())
        return add(total, self._home.noise.draw(sharing.share_sigma(asked.grant), asked.query.size))


class Sitting:
    """A partner in one round (`federated.rounds.Member`). Any fault is `Code.FAULT`, and ends the round for this partner."""

    def __init__(self, partner: Partner, asked: Asked) -> None:
        self._partner, self._asked = partner, asked
        self._seat: Seat | None = None
        self._begun = False

    def keys(self) -> Keys:
        """Step 1, once this partner is willing."""
        if self._begun:
            raise RefusedError(Code.ORDER)
        self._begun = True
        self._seat = self._answer(lambda: self._partner.seat(self._asked))
        return self._answer(self._there.keys)

    def shares(self, roster: Sequence[Keys]) -> Mapping[str, bytes]:
        """Step 2."""
        return self._answer(lambda: self._there.shares(roster))

    def vector(self, received: Sequence[Keys] | Mapping[str, bytes]) -> Ring:
        """Step 3; who is in the round is accepted before anything is charged, and all is charged before a row is read."""

        def answer() -> Ring:
            self._there.receive(received)
            return self._there.vector(self._partner.contribution(self._asked), self._asked.query.size)

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
        self._seat = None
        raise RefusedError(code)
