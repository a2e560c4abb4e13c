"""Admission snapshots: the one noisy histogram of admission reasons that anybody outside the door sees of a population.

Under add/remove neighbours n is private, and exact counts around one withdrawal would isolate a person. So a snapshot
is numbered by the policy's public interval and never taken per event: number = floor(now / interval), for each population
(a contract as of a day), purpose and policy. Whoever needs the number first pays for it, everybody after reads it. L2
sensitivity 1, one query.

Taking one: (1) under the writer's lock, reserve budget and put down a pending row, which decides the winner before any
noise exists; (2) draw, through the door; (3) fill the row in, if it still names our reservation. Whoever finds another's
pending row waits for it, and after `PATIENCE` takes it over with budget of its own: a crash costs budget, never an answer.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlmodel import Session

from governance.admission import Admission, Reason, reasons_query
from governance.budget import Accounts, LedgerMeter, Reservation, accounts, reserve, settle
from governance.door import LocalCohort, ReservationId
from governance.noise import NoiseSource
from governance.store import Store, Transaction, micros, moment
from governance.tables import SnapshotRow
from policies.contract import Contract
from policies.documents import Digest
from policies.policy import Policy

PATIENCE = 30.0
"""Seconds after which a pending snapshot counts as abandoned."""

DRAWS = 1 << 8
"""Scalar draws reserved for one snapshot."""

FLOOR_DEVIATIONS = 3
"""Standard deviations that the cohort floor stays below the noisy count."""

_PENDING = ""
_POLL = 0.1
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Key:
    """Which snapshot: the `number`-th interval since 1970 of a dataset as of a day (which is a population), purpose and policy.

    Contract and day say who is registered, so that another population is another snapshot, paid for by itself.
    """

    dataset: str
    contract: Digest
    as_of: dt.date
    purpose: str
    policy: Digest
    number: int
    interval: dt.timedelta

    def __str__(self) -> str:
        return f"{self.dataset}/{self.contract}/{self.as_of}/{self.purpose}/{self.policy}/{self.number}"


def key_at(contract: Contract, policy: Policy, purpose: str, as_of: dt.date, now: dt.datetime) -> Key:
    """The snapshot that `now` falls into."""
    interval = policy.budgets.snapshot.interval
    return Key(contract.name, contract.digest(), as_of, purpose, policy.digest(), micros(now) // (interval // _MICROSECOND), interval)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A noisy histogram of reasons, in subjects. `sigma`: standard deviation of each count; `next_at`: when the next may be taken."""

    id: str
    number: int
    taken: dt.datetime
    next_at: dt.datetime
    values: Mapping[Reason, float]
    sigma: float
    reservation: ReservationId

    @property
    def shown(self) -> Mapping[Reason, int]:
        """Whole and not negative, for people; biased, so never for arithmetic."""
        return {reason: max(0, round(value)) for reason, value in self.values.items()}

    @property
    def admitted(self) -> float:
        """Noisy number of admitted subjects, give or take `sigma`."""
        return self.values[Reason.ADMITTED]

    @property
    def admitted_low(self) -> float:
        """What the cohort floor is held against: the noisy count less three standard deviations."""
        return self.admitted - FLOOR_DEVIATIONS * self.sigma

    @property
    def n(self) -> float:
        """Noisy number of subjects in the population."""
        return math.fsum(self.values.values())

    @property
    def n_sigma(self) -> float:
        """Standard deviation of `n`."""
        return self.sigma * math.sqrt(len(self.values))


def current(session: Session, contract: Contract, policy: Policy, purpose: str, as_of: dt.date, now: dt.datetime) -> Snapshot | None:
    """The snapshot of `now`, if it was taken."""
    key = key_at(contract, policy, purpose, as_of, now)
    row = session.get(SnapshotRow, str(key))
    return _snapshot(row, key.number, key.interval) if row and row.histogram != _PENDING else None


def find(session: Session, snapshot: str, interval: dt.timedelta) -> Snapshot | None:
    """One that was taken, by its id. `interval`: the policy's, which tells when the next may be."""
    row = session.get(SnapshotRow, snapshot)
    return _snapshot(row, row.interval, interval) if row and row.histogram != _PENDING else None


def take(
    store: Store,
    contract: Contract,
    policy: Policy,
    purpose: str,
    as_of: dt.date,
    admission: Callable[[], Admission],
    noise: NoiseSource,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """The snapshot of the store's clock, drawn and paid for now if nobody did yet.

    `admission` is called after the intent is in the log, and only if nobody else has taken it. Raises BudgetExceeded if it
    cannot be paid, and then nothing was read and nothing changed.
    """
    key = key_at(contract, policy, purpose, as_of, store.clock())
    waited = 0.0
    while True:
        with store.transaction("snapshot-claim") as transaction:
            claim = _claim(transaction, key, accounts(contract, policy, purpose, transaction.now), policy, patience, waited)
        match claim:
            case Snapshot():
                return claim
            case Reservation():
                query = reasons_query()
                try:
                    cohort = LocalCohort(admission().histogram_columns(), LedgerMeter(store, claim.id))
                    counts = cohort.noisy_sum(query, claim.grant(), noise).ravel()
                except Exception:
                    with store.transaction("snapshot-failed") as transaction:
                        _abandon(transaction, key, claim)
                    raise
                values = {reason: float(counts[reason]) for reason in Reason}
                with store.transaction("snapshot-result") as transaction:
                    _fill(transaction, key, claim, values, claim.grant().sigma(query.bound))
            case None:
                sleep(_POLL)
                waited += _POLL


def _claim(
    transaction: Transaction, key: Key, to: Accounts, policy: Policy, patience: float, waited: float
) -> Snapshot | Reservation | None:
    """The snapshot if it is there, the budget to take it if that fell to us, None while somebody else takes it."""
    row = transaction.session.get(SnapshotRow, str(key))
    if row and row.histogram != _PENDING:
        return _snapshot(row, key.number, key.interval)
    if row and max(waited, (transaction.micros - row.taken) / 1e6) < patience:
        return None
    budgets = policy.budgets
    reservation = reserve(transaction, to, policy, budgets.snapshot.epsilon, budgets.cap.delta, f"snapshot {key.number}", DRAWS)
    row = row or SnapshotRow(
        id=str(key),
        dataset=key.dataset,
        purpose=key.purpose,
        policy=key.policy,
        interval=key.number,
        taken=0,
        reservation="",
        sigma=0.0,
        histogram=_PENDING,
    )
    row.taken, row.reservation = transaction.micros, reservation.id
    transaction.session.add(row)
    transaction.record("snapshot.intended", snapshot=row.id, reservation=reservation.id)
    return reservation


def _fill(transaction: Transaction, key: Key, claim: Reservation, values: Mapping[Reason, float], sigma: float) -> None:
    """Write the result, unless it took so long that somebody else took over; then ours is never shown to anybody."""
    row = transaction.session.get_one(SnapshotRow, str(key))
    settle(transaction, claim.id)
    if row.reservation == claim.id:
        row.histogram, row.sigma = json.dumps({reason.name.lower(): value for reason, value in values.items()}), sigma
        transaction.session.add(row)
        shown = {reason.name.lower(): round(value) for reason, value in values.items()}
        transaction.record("snapshot.taken", snapshot=row.id, reservation=claim.id, histogram=shown, sigma=str(sigma))


def _abandon(transaction: Transaction, key: Key, claim: Reservation) -> None:
    """A fault ended it: what was reserved stays spent, and the next need begins anew without waiting."""
    row = transaction.session.get(SnapshotRow, str(key))
    settle(transaction, claim.id)
    if row and row.reservation == claim.id:
        transaction.session.delete(row)
    transaction.record("snapshot.failed", snapshot=str(key), reservation=claim.id)


def _snapshot(row: SnapshotRow, number: int, interval: dt.timedelta) -> Snapshot:
    counts = json.loads(row.histogram)
    return Snapshot(
        row.id,
        number,
        moment(row.taken),
        moment((number + 1) * (interval // _MICROSECOND)),
        {reason: counts.get(reason.name.lower(), 0.0) for reason in Reason},  # one taken before a reason existed counted none
        row.sigma,
        ReservationId(row.reservation),
    )
