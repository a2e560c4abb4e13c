"""The cap of an account: the most that may ever be promised about a population, whoever writes the next policy.

The first reservation of an account registers the cap of its policy. From then on the smaller of the two binds, that which
is registered and that of the policy asking, so that a second policy cannot raise it. An officer may accept another one.
Every step is an entry in the log, so that it names every account there is. Not here: who is an officer (`engine.roles`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from sqlmodel import Session

from governance.accounting import mu_squared_of
from governance.store import Transaction
from governance.tables import CapRow
from policies.policy import Allowance, Policy


@dataclass(frozen=True, slots=True)
class Blocks:
    """ε and δ of builds that were composed by themselves; they add up."""

    epsilon: Fraction
    delta: Fraction

    def __add__(self, more: Blocks) -> Blocks:
        return Blocks(self.epsilon + more.epsilon, self.delta + more.delta)

    def beyond(self, known: Blocks) -> Blocks:
        """What is more here than there, ε and δ each by itself."""
        return Blocks(max(Fraction(0), self.epsilon - known.epsilon), max(Fraction(0), self.delta - known.delta))


NO_BLOCKS = Blocks(Fraction(0), Fraction(0))


def rest(limit: Allowance, blocks: Blocks) -> tuple[float, float]:
    """(ε, δ) of `limit` that blocks leave to Gaussian draws, rounded down; below 0 where blocks alone are too much."""
    if blocks == NO_BLOCKS:
        return limit.epsilon, limit.delta
    left = Fraction(limit.epsilon) - blocks.epsilon, Fraction(limit.delta) - blocks.delta
    return _down(left[0]), _down(left[1])


@dataclass(frozen=True, slots=True)
class Binding:
    """The cap that binds an account. `note`: what to do about it, where it is not the policy's own."""

    limit: Allowance
    note: str | None


def registered_cap(session: Session, account: str) -> Allowance | None:
    """The cap that an account has whatever its policies say; None before its first reservation."""
    row = session.get(CapRow, account)
    return Allowance(epsilon=row.epsilon, delta=row.delta) if row else None


def binding_cap(session: Session, account: str, policy: Policy, draws: int, blocks: Blocks = NO_BLOCKS) -> Binding:
    """The smaller of what is registered and what `policy` says, as far as μ² goes over `draws` scalar draws beside `blocks`."""
    own, registered = policy.budgets.cap, registered_cap(session, account)
    if registered is None or registered == own or _room(own, draws, blocks) <= _room(registered, draws, blocks):
        return Binding(own, None)
    return Binding(
        registered,
        f"the cap registered for `{account}`, {_words(registered)}, binds and not the {_words(own)} of policy `{policy.name}`: "
        f"an officer may let that bind with `consentric budget --accept-cap {policy.name}`",
    )


def register_cap(transaction: Transaction, account: str, policy: Policy) -> None:
    """Keep the policy's cap for an account that has none yet."""
    if transaction.session.get(CapRow, account) is None:
        _keep(transaction, account, policy.budgets.cap)
        transaction.record("budget.cap_registered", cap=account, **_facts(policy.budgets.cap), policy=policy.digest())


def accept_cap(transaction: Transaction, account: str, policy: Policy) -> Allowance | None:
    """Let the policy's cap bind from now on, larger or smaller; returns the one before. For officers: the caller sees to it."""
    before = registered_cap(transaction.session, account)
    _keep(transaction, account, policy.budgets.cap)
    told = {f"{name}_before": value for name, value in _facts(before).items()} if before else {}
    transaction.record("budget.cap_accepted", cap=account, **_facts(policy.budgets.cap), **told, policy=policy.digest())
    transaction.keep_outside(account)
    return before


def restore_cap(transaction: Transaction, account: str, limit: Allowance) -> None:
    """Let the cap that the record outside has bind again, after an old backup was put back."""
    if registered_cap(transaction.session, account) != limit:
        _keep(transaction, account, limit)
        transaction.record("budget.cap_restored", cap=account, **_facts(limit))


def _keep(transaction: Transaction, account: str, limit: Allowance) -> None:
    row = transaction.session.get(CapRow, account) or CapRow(account=account, epsilon=0, delta=0, set_by="", created=0)
    row.epsilon, row.delta = limit.epsilon, limit.delta
    row.set_by, row.created = transaction.principal.name, transaction.micros
    transaction.session.add(row)


def _down(exact: Fraction) -> float:
    near = float(exact)
    return near if near <= exact else math.nextafter(near, -math.inf)


def _room(limit: Allowance, draws: int, blocks: Blocks) -> Fraction:
    epsilon, delta = rest(limit, blocks)
    return mu_squared_of(epsilon, delta, draws) if epsilon > 0 and delta > 0 else Fraction(-1)


def _words(limit: Allowance) -> str:
    return f"ε {limit.epsilon:g} at δ {limit.delta:g}"


def _facts(limit: Allowance) -> dict[str, float | str]:
    return {"epsilon": limit.epsilon, "delta": str(limit.delta)}
