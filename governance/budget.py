"""The budget ledger: what was promised about a population, what is spent of it, and what is left.

Neighbours: add or remove one subject with all rows. A *cap account* per controller and subject namespace binds over a
lifetime, by a cap that no policy raises alone (`governance.caps`); *allocations*, one for each population, purpose and
period, lie within it. μ² of Gaussian DP and scalar draws add up exactly, as fractions and whole numbers, within an account
(`governance.accounting`: a valid filter for budgets chosen as one goes). Populations are taken to overlap, so that charges
within a namespace always add. What is no Gaussian draw is a *block*: a build whose mechanisms were composed beforehand to
one (ε, δ) (`governance.blocks`). Blocks add up by basic composition, on top: an account of (ε, δ) whose blocks have (ε', δ')
has room for Gaussian draws within (ε − ε', δ − δ').

A reservation counts as spent, whole, from its transaction on, until it is released; it can be released only while nothing
was drawn. Each draw is written down and sealed before its noise exists, so that a crash at any moment leaves at least what
was drawn as spent. Writers hold the database's lock, so that two builds cannot both take the last of it. Each entry in the
log repeats the cap account's running total. If the database was restored from a backup, it is behind what is kept outside
(`governance.outside`): the workspace is refused before this module is asked, and `carry` writes down what was spent since.

Not here: how μ² becomes ε (`governance.accounting`), the noise (`governance.noise`).
"""

from __future__ import annotations

import datetime as dt
import json
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from sqlmodel import Session, col, select

from governance.accounting import RESERVED_DRAWS, epsilon_of, holds, mu_squared_of
from governance.blocks import Block, Sampled
from governance.caps import NO_BLOCKS, Blocks, binding_cap, register_cap, registered_cap, rest, restore_cap
from governance.door import BudgetError, Grant, Query, ReservationId, check_path
from governance.sampling import PATH, SampledGrant
from governance.store import Store, Transaction, micros, moment
from governance.tables import DrawRow, ReservationRow
from policies.contract import Contract
from policies.policy import Allowance, Period, Policy

_STEP = 1e-6
"""ε that is left is told in these steps, rounded down."""

_NO_DELTA = "blocks add up in δ too, and theirs is used up: ask for a smaller `delta`, or build no deep model"


class Status(StrEnum):
    """Of a reservation; all but `released` count as spent."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"
    CARRIED = "carried"  # spent before an old backup was put back, as the record outside says


class BudgetExceeded(BudgetError):
    """A request does not fit; the ledger is as it was. `asked` and `left` are ε at the request's δ, `which` is cap or allocation.

    `note` says why, and what to do about it, where that isn't plain.
    """

    def __init__(self, asked: float, left: float, account: str, which: str, note: str | None = None) -> None:
        told = f"budget exhausted: asked for ε {asked:g}, {which} `{account}` has ε {left:g} left"
        super().__init__(told + (f"; {note}" if note else ""))
        self.asked, self.left, self.account, self.which, self.note = asked, left, account, which, note


@dataclass(frozen=True, slots=True)
class Accounts:
    """Whom a request is charged to. `since`: when the allocation's period began, microseconds; 0 for a lifetime."""

    cap: str
    population: str
    purpose: str
    since: int = 0

    @property
    def scope(self) -> str:
        """The allocation without its period."""
        return f"{self.cap}/{self.population}/{self.purpose}"

    @property
    def allocation(self) -> str:
        """The allocation's id: population × purpose × start of the period."""
        return f"{self.scope}/{moment(self.since).date().isoformat() if self.since else Period.LIFETIME}"


def accounts(contract: Contract, policy: Policy, purpose: str, now: dt.datetime) -> Accounts:
    """The accounts of a dataset and purpose at `now`; periods begin at midnight UTC."""
    cap = f"{contract.controller}/{contract.subject.namespace}"
    allowance = policy.budgets.purposes.get(purpose)
    return Accounts(cap, contract.name, purpose, _start(allowance.period, now) if allowance else 0)


def _start(period: Period, now: dt.datetime) -> int:
    day = now.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    match period:
        case Period.LIFETIME:
            return 0
        case Period.YEAR:
            return micros(day.replace(month=1))
        case Period.QUARTER:
            return micros(day.replace(month=day.month - (day.month - 1) % 3))
        case Period.MONTH:
            return micros(day)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Budget set aside for one build or snapshot, worth (`epsilon`, `delta`): μ² and scalar draws of its account, or a block."""

    id: ReservationId
    cap: str
    allocation: str
    purpose: str
    label: str
    mu_squared: Fraction
    draws: int
    epsilon: float
    delta: float
    status: Status
    principal: str
    created: dt.datetime
    block: Block | None = None

    def grant(self) -> Grant:
        """The right to spend all of its Gaussian draws."""
        return Grant(self.id, "all", self.block.mu_squared if self.block else self.mu_squared)

    @property
    def exact_draws(self) -> int:
        """Scalar Gaussian draws that may be made of the grant."""
        return RESERVED_DRAWS if self.block else self.draws

    def sampled(self) -> SampledGrant:
        """The right to train by samples. Raises BudgetError where none was reserved."""
        if self.block is None:
            raise BudgetError(f"reservation `{self.id}` holds no training by samples")
        return SampledGrant(self.id, self.block.sampled)


@dataclass(frozen=True, slots=True)
class Draw:
    """One line of the privacy transcript. `bound` and `sigma` in the query's units, `draws` scalar draws.

    `sampled`: all steps of training by samples are one line, without μ².
    """

    path: str
    step: str
    part: str
    mu_squared: Fraction
    bound: float
    sigma: float
    draws: int
    sampled: Sampled | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account may spend, has spent, and what largest request still fits (within the cap too), as ε at `delta`.

    `purpose` is None for the cap account. `lifetime` is the ε of everything ever spent, whatever the period; `blocks` what of `spent`
    are blocks. `note` says what to do about a registered cap that leaves less than policy and allocation would.
    """

    account: str
    purpose: str | None
    period: Period
    epsilon: float
    delta: float
    spent: float
    left: float
    lifetime: float
    blocks: float
    reservations: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an account, worth (`epsilon`, `delta`): Gaussian draws, `draws` of them at most, or a block."""

    epsilon: float
    delta: float
    draws: int = RESERVED_DRAWS
    block: bool = False

    def spending(self) -> _Spent:
        """What it adds to an account. Raises BudgetError for less than one step of μ²."""
        if self.block:
            return _Spent(Fraction(0), 0, Blocks(Fraction(self.epsilon), Fraction(self.delta)), 1)
        mu_squared = mu_squared_of(self.epsilon, self.delta, self.draws)
        if mu_squared == 0:
            raise BudgetError(f"ε {self.epsilon:g} at δ {self.delta:g} buys no draw; ask for more of either")
        return _Spent(mu_squared, self.draws, NO_BLOCKS, 1)


def afford(session: Session, to: Accounts, policy: Policy, asked: Request) -> None:
    """Raises BudgetExceeded if allocation or cap cannot hold it; nothing is written."""
    allowance = policy.budgets.purposes.get(to.purpose)
    if allowance is None:  # a purpose without a budget may spend nothing
        raise BudgetExceeded(asked.epsilon, 0.0, to.allocation, "allocation")
    history, more = _history(session, to.cap), asked.spending()
    total = _total(history)
    cap = binding_cap(session, to.cap, policy, (total + more).draws, (total + more).blocks)
    for which, account, limit, note, spent in (
        ("allocation", to.allocation, allowance, None, _total(_within(history, to))),
        ("cap", to.cap, cap.limit, cap.note, total),
    ):
        after = spent + more
        epsilon, delta = rest(limit, after.blocks)
        if epsilon < 0 or delta < 0 or not holds(epsilon, delta, after.mu_squared, after.draws):
            note = note or (_NO_DELTA if asked.block and delta <= 0 else None)
            raise BudgetExceeded(asked.epsilon, _left(limit, spent, asked), account, which, note)


def reserve(
    transaction: Transaction,
    to: Accounts,
    policy: Policy,
    epsilon: float,
    delta: float,
    label: str,
    draws: int = RESERVED_DRAWS,
    block: Block | None = None,
) -> Reservation:
    """Set aside what (`epsilon`, `delta`) buys for `draws` scalar draws, or `block`, which is worth as much instead.

    The first of an account registers the policy's cap. Raises BudgetExceeded if allocation or cap cannot hold it.
    """
    if block is not None:
        epsilon, delta = block.epsilon, block.delta
    asked = Request(epsilon, delta, draws, block is not None)
    afford(transaction.session, to, policy, asked)
    register_cap(transaction, to.cap, policy)
    spending = asked.spending()
    row = ReservationRow(
        id=secrets.token_hex(8),
        cap_account=to.cap,
        allocation=to.allocation,
        purpose=to.purpose,
        label=label,
        mu_squared=str(spending.mu_squared),
        draws=spending.draws,
        epsilon=epsilon,
        delta=delta,
        status=Status.RESERVED,
        principal=transaction.principal.name,
        created=transaction.micros,
    )
    if block is not None:
        row.block_epsilon, row.block_delta, row.block = str(spending.blocks.epsilon), str(spending.blocks.delta), block.dump()
    transaction.session.add(row)
    total = _total(_history(transaction.session, to.cap))
    transaction.record(
        "budget.reserved",
        reservation=row.id,
        cap=row.cap_account,
        allocation=row.allocation,
        label=label,
        epsilon=epsilon,
        delta=str(delta),
        mu_squared=row.mu_squared,
        draws=row.draws,
        **({"block": json.loads(row.block)} if row.block else {}),
        **_told(total),
    )
    transaction.keep_outside(to.cap)
    return _reservation(row)


def release(transaction: Transaction, reservation: ReservationId) -> None:
    """Give back a reservation that nothing was drawn from. Raises BudgetError if something was, or it is not open."""
    row = _open(transaction.session, reservation)
    if _draws(transaction.session, reservation):
        raise BudgetError(f"reservation `{reservation}` cannot be released: noise was drawn")
    row.status = Status.RELEASED
    transaction.session.add(row)
    total = _total(_history(transaction.session, row.cap_account))
    transaction.record(
        "budget.released",
        reservation=reservation,
        cap=row.cap_account,
        **_told(total),
    )
    transaction.keep_outside(row.cap_account)


def settle(transaction: Transaction, reservation: ReservationId) -> None:
    """Nothing more will be drawn; the whole stays spent. Raises BudgetError if it is not open."""
    row = _open(transaction.session, reservation)
    row.status = Status.SETTLED
    transaction.session.add(row)
    drawn = _draws(transaction.session, reservation)
    used = sum((Fraction(draw.mu_squared) for draw in drawn), Fraction(0))
    transaction.record(
        "budget.settled", reservation=reservation, queries=len(drawn), mu_squared=str(used), draws=sum(d.draws for d in drawn)
    )
    transaction.keep_outside(row.cap_account)


@dataclass(frozen=True, slots=True)
class LedgerMeter:
    """The durable meter of one reservation; see `governance.door.Meter`."""

    store: Store
    reservation: ReservationId

    def charge(self, grant: Grant, query: Query) -> None:
        """Write the draw down and seal it. Raises BudgetError, and then nothing changed; StoreError."""
        with self.store.transaction("draw") as transaction:
            row = _open(transaction.session, self.reservation)
            reserved = _reservation(row)
            if grant.reservation != self.reservation or grant.mu_squared <= 0:
                raise BudgetError(f"grant `{grant.path}` is not a part of reservation `{self.reservation}`")
            before = _draws(transaction.session, self.reservation)
            check_path(grant.path, (draw.path for draw in before))
            mu_squared = sum((Fraction(draw.mu_squared) for draw in before), grant.mu_squared)
            if mu_squared > reserved.grant().mu_squared:
                raise BudgetError(f"grant `{grant.path}` exceeds reservation `{self.reservation}`")
            exact = (draw.draws for draw in before if draw.sampled is None)
            if sum(exact, query.size) > reserved.exact_draws:
                raise BudgetError(f"grant `{grant.path}` asks for {query.size} draws, more than reservation `{self.reservation}` has left")
            transaction.session.add(
                DrawRow(
                    reservation=self.reservation,
                    path=grant.path,
                    step=query.step,
                    part=query.part.name.lower(),
                    mu_squared=str(grant.mu_squared),
                    bound=query.bound,
                    sigma=grant.sigma(query.bound),
                    draws=query.size,
                    created=transaction.micros,
                )
            )
            transaction.record(
                "budget.drawn",
                reservation=self.reservation,
                path=grant.path,
                step=query.step,
                part=query.part.name.lower(),
                mu_squared=str(grant.mu_squared),
                draws=query.size,
            )
            if not before:  # an older database would give back what was drawn from
                transaction.keep_outside(row.cap_account)

    def charge_sampled(self, grant: SampledGrant, query: Query) -> None:
        """Write all steps down as one draw and seal it (`governance.sampling.SampledMeter`). Raises BudgetError, StoreError."""
        with self.store.transaction("draw") as transaction:
            row = _open(transaction.session, self.reservation)
            if grant != _reservation(row).sampled() or query.size != grant.terms.size:
                raise BudgetError(f"training by samples is not what reservation `{self.reservation}` holds")
            before = _draws(transaction.session, self.reservation)
            check_path(PATH, (draw.path for draw in before))
            drawn = DrawRow(
                reservation=self.reservation,
                path=PATH,
                step=query.step,
                part=query.part.name.lower(),
                mu_squared="0",
                bound=query.bound,
                sigma=query.bound * grant.terms.noise,
                draws=grant.terms.draws,
                created=transaction.micros,
                sampled=grant.terms.dump(),
            )
            transaction.session.add(drawn)
            transaction.record(
                "budget.drawn",
                reservation=self.reservation,
                path=drawn.path,
                step=drawn.step,
                part=drawn.part,
                mu_squared=drawn.mu_squared,
                draws=drawn.draws,
                sampled=json.loads(grant.terms.dump()),
            )
            if not before:
                transaction.keep_outside(row.cap_account)


def find(session: Session, reservation: ReservationId) -> Reservation | None:
    """A reservation by its id."""
    row = session.get(ReservationRow, reservation)
    return _reservation(row) if row else None


def transcript(session: Session, reservation: ReservationId) -> tuple[Draw, ...]:
    """Everything that was drawn under a reservation, in order."""
    return tuple(
        Draw(
            row.path,
            row.step,
            row.part,
            Fraction(row.mu_squared),
            row.bound,
            row.sigma,
            row.draws,
            Sampled.parse(row.sampled) if row.sampled else None,
        )
        for row in _draws(session, reservation)
    )


def balances(session: Session, contract: Contract, policy: Policy, now: dt.datetime) -> tuple[Balance, ...]:
    """The cap account first, then the allocation of each purpose with a budget."""
    cap = accounts(contract, policy, "", now).cap
    history = _history(session, cap)
    total = _total(history)
    binding = binding_cap(session, cap, policy, total.draws + RESERVED_DRAWS, total.blocks)
    first = replace(_balance(cap, None, Period.LIFETIME, binding.limit, history, history), note=binding.note)
    rest = []
    for purpose, allowance in policy.budgets.purposes.items():
        of = accounts(contract, policy, purpose, now)
        ever = _within(history, Accounts(of.cap, of.population, of.purpose))
        balance = _balance(of.allocation, purpose, allowance.period, allowance, _within(history, of), ever)
        room = _left(binding.limit, total, Request(allowance.epsilon, allowance.delta))
        rest.append(balance if balance.left <= room else replace(balance, left=room, note=binding.note))
    return (first, *rest)


def _balance(
    account: str, purpose: str | None, period: Period, limit: Allowance, rows: Sequence[ReservationRow], ever: Sequence[ReservationRow]
) -> Balance:
    spent, always = _total(rows), _total(ever)
    return Balance(
        account,
        purpose,
        period,
        limit.epsilon,
        limit.delta,
        _worth(limit, spent),
        _left(limit, spent, Request(limit.epsilon, limit.delta)),
        _worth(limit, always),
        float(spent.blocks.epsilon),
        spent.reservations,
    )


@dataclass(frozen=True, slots=True)
class Spending:
    """All that one allocation spent; `latest`: when its newest reservation was made, microseconds."""

    purpose: str
    mu_squared: Fraction
    draws: int
    latest: int
    blocks: Blocks = NO_BLOCKS


@dataclass(frozen=True, slots=True)
class Standing:
    """What the record outside keeps of a cap account (`governance.outside`): the registered cap, and its allocations by id."""

    account: str
    limit: Allowance | None
    allocations: Mapping[str, Spending]


def standing(session: Session, cap: str) -> Standing:
    """A cap account as it is now."""
    history = [row for row in _history(session, cap) if row.status != Status.RELEASED]
    spent = {}
    for allocation in sorted({row.allocation for row in history}):
        rows = [row for row in history if row.allocation == allocation]
        total = _total(rows)
        spent[allocation] = Spending(rows[0].purpose, total.mu_squared, total.draws, max(row.created for row in rows), total.blocks)
    return Standing(cap, registered_cap(session, cap), spent)


def cap_accounts(session: Session) -> tuple[str, ...]:
    """Every cap account that something was ever reserved of."""
    return tuple(session.exec(select(ReservationRow.cap_account).distinct().order_by(ReservationRow.cap_account)))


def close_open(transaction: Transaction) -> None:
    """Close every reservation, before `carry`: one that an old backup brings back was perhaps given back since, and what replaced it
    was spent, so that neither may its budget be drawn from again, nor may giving it back later lower what was carried."""
    for row in transaction.session.exec(select(ReservationRow).where(ReservationRow.status == Status.RESERVED)).all():
        (settle if _draws(transaction.session, row.id) else release)(transaction, ReservationId(row.id))


def carry(transaction: Transaction, outside: Standing) -> int:
    """Write down what was spent beyond what this database knows, one row and entry an allocation, and the cap; gives how many.

    Of μ², of draws and of the ε and δ of blocks the larger counts, each by itself. A row is dated like the newest reservation that
    was lost, so that it lies in every period that any of them lies in, and is never below what was spent in one.
    """
    known = standing(transaction.session, outside.account)
    carried = 0
    for allocation, spent in outside.allocations.items():
        here = known.allocations.get(allocation, Spending(spent.purpose, Fraction(0), 0, 0))
        mu_squared, draws = max(Fraction(0), spent.mu_squared - here.mu_squared), max(0, spent.draws - here.draws)
        blocks = spent.blocks.beyond(here.blocks)
        if not mu_squared and not draws and blocks == NO_BLOCKS:
            continue
        delta = outside.limit.delta if outside.limit else 1.0
        row = ReservationRow(
            id=secrets.token_hex(8),
            cap_account=outside.account,
            allocation=allocation,
            purpose=spent.purpose,
            label="spent before a backup was put back",
            mu_squared=str(mu_squared),
            draws=draws,
            epsilon=epsilon_of(mu_squared, draws, delta),
            delta=delta,
            status=Status.CARRIED,
            principal=transaction.principal.name,
            created=spent.latest,
        )
        told = {}
        if blocks != NO_BLOCKS:
            row.block_epsilon, row.block_delta = str(blocks.epsilon), str(blocks.delta)
            told = {"block_epsilon": row.block_epsilon, "block_delta": row.block_delta}
        transaction.session.add(row)
        transaction.record(
            "budget.carried", reservation=row.id, cap=outside.account, allocation=allocation, mu_squared=row.mu_squared, draws=draws, **told
        )
        carried += 1
    if outside.limit is not None:
        restore_cap(transaction, outside.account, outside.limit)
    return carried


@dataclass(frozen=True, slots=True)
class _Spent:
    mu_squared: Fraction
    draws: int
    blocks: Blocks
    reservations: int

    def __add__(self, more: _Spent) -> _Spent:
        blocks = self.blocks + more.blocks
        return _Spent(self.mu_squared + more.mu_squared, self.draws + more.draws, blocks, self.reservations + more.reservations)


def _total(rows: Iterable[ReservationRow]) -> _Spent:
    counted = [row for row in rows if row.status != Status.RELEASED]
    blocks = (Blocks(Fraction(row.block_epsilon or 0), Fraction(row.block_delta or 0)) for row in counted)
    return _Spent(
        sum((Fraction(row.mu_squared) for row in counted), Fraction(0)),
        sum(row.draws for row in counted),
        sum(blocks, NO_BLOCKS),
        len(counted),
    )


def _told(total: _Spent) -> dict[str, str | int]:
    """The cap account's running total, for an entry of the log."""
    told: dict[str, str | int] = {"cap_mu_squared": str(total.mu_squared), "cap_reservations": total.reservations}
    if total.blocks != NO_BLOCKS:
        told |= {"cap_block_epsilon": str(total.blocks.epsilon), "cap_block_delta": str(total.blocks.delta)}
    return told


def _worth(limit: Allowance, spent: _Spent) -> float:
    """ε of what was spent, at the δ of `limit`; where blocks took so much of that that the rest holds nothing, at both δ together."""
    gaussian = epsilon_of(spent.mu_squared, spent.draws, max(0.0, rest(limit, spent.blocks)[1]))
    if gaussian == math.inf:
        gaussian = epsilon_of(spent.mu_squared, spent.draws, limit.delta)
    return gaussian + float(spent.blocks.epsilon)


def _left(limit: Allowance, spent: _Spent, asked: Request) -> float:
    """The largest ε, in steps of `_STEP`, for which a request at the same δ, for as many draws or a block, fits beside `spent`."""
    epsilon, delta = rest(limit, spent.blocks if not asked.block else spent.blocks + Blocks(Fraction(0), Fraction(asked.delta)))
    if epsilon <= 0 or delta <= 0:
        return 0.0
    if asked.block:
        room_left = epsilon - epsilon_of(spent.mu_squared, spent.draws, delta)  # -inf where δ is too little for what was drawn
        return math.floor(room_left / _STEP) * _STEP if room_left > 0 else 0.0
    room = mu_squared_of(epsilon, delta, spent.draws + asked.draws, spent.mu_squared)
    largest = min(epsilon_of(room, asked.draws, asked.delta), limit.epsilon)
    steps = math.floor(largest / _STEP + 1e-3)
    while steps > 0 and mu_squared_of(steps * _STEP, asked.delta, asked.draws) > room:
        steps -= 1
    return round(steps * _STEP, 6) if room > 0 else 0.0


def _history(session: Session, cap: str) -> list[ReservationRow]:
    session.flush()
    return list(session.exec(select(ReservationRow).where(ReservationRow.cap_account == cap)))


def _within(rows: Iterable[ReservationRow], to: Accounts) -> list[ReservationRow]:
    """Rows of the allocation since its period began; by time and not by id, so that a change of period forgives nothing."""
    return [row for row in rows if row.allocation.rpartition("/")[0] == to.scope and row.created >= to.since]


def _draws(session: Session, reservation: str) -> list[DrawRow]:
    return list(session.exec(select(DrawRow).where(DrawRow.reservation == reservation).order_by(col(DrawRow.id))))


def _open(session: Session, reservation: ReservationId) -> ReservationRow:
    row = session.get(ReservationRow, reservation)
    if row is None or row.status != Status.RESERVED:
        raise BudgetError(f"reservation `{reservation}` is {row.status if row else 'unknown'}, expected `{Status.RESERVED}`")
    return row


def _reservation(row: ReservationRow) -> Reservation:
    return Reservation(
        ReservationId(row.id),
        row.cap_account,
        row.allocation,
        row.purpose,
        row.label,
        Fraction(row.mu_squared),
        row.draws,
        row.epsilon,
        row.delta,
        Status(row.status),
        row.principal,
        moment(row.created),
        Block.parse(row.epsilon, row.delta, row.block) if row.block else None,
    )
