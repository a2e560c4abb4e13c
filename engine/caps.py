"""An officer lets the cap of a policy bind, for every account that segments charge under it."""

from __future__ import annotations

from dataclasses import dataclass

from engine import prepared, roles
from engine.workspace import Workspace, WorkspaceError
from governance import caps
from governance.budget import accounts
from governance.roles import Action
from policies.policy import Allowance


@dataclass(frozen=True, slots=True)
class Accepted:
    """The cap of `account` from now on, and before (None: none was registered)."""

    account: str
    limit: Allowance
    before: Allowance | None


def accept(workspace: Workspace, name: str) -> tuple[Accepted, ...]:
    """Register the cap of policy `name`, larger or smaller, in one entry an account. Raises Refused, WorkspaceError."""
    policy = workspace.policy(name)
    roles.authorise(workspace, Action.ACCEPT_CAP)
    named, _ = prepared.pairs(workspace)
    now = workspace.store.clock()
    to = sorted({accounts(contract, each, "", now).cap for contract, each in named if each == policy})
    if not to:
        raise WorkspaceError(f"`--accept-cap`: no segment puts policy `{name}` to a contract, so that there is no account to accept it for")
    with workspace.store.transaction("cap") as write:
        return tuple(Accepted(account, policy.budgets.cap, caps.accept_cap(write, account, policy)) for account in to)
