"""Who may do what in an opened workspace: asked of Cedar, and recorded where the answer is no.

Before anybody acts, a change of who may do what is an entry in the log; so is a denial; and so is what only some may look at,
before it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.gates import gate
from engine.workspace import Workspace
from governance import access
from governance.authorisation import Built, Request
from governance.roles import Action, Role, held
from policies.decisions import Allow, Deny


def own(workspace: Workspace) -> frozenset[Role]:
    """Those of the acting principal."""
    return held(workspace.principal.name, workspace.settings.roles, workspace.principal.roles)


def decide(workspace: Workspace, action: Action, build: Built | None = None, **facts: str | bool) -> Allow | Deny:
    """Whether the acting principal may do `action`, to `build` if one is named; `facts` as the schema knows them. Nothing is recorded."""
    return workspace.authoriser.decide(Request(workspace.principal, action, workspace.settings.demo, build, facts))


def may(workspace: Workspace, action: Action, build: Built | None = None, **facts: str | bool) -> bool:
    """Whether `decide` allows; for what is done differently, and not refused."""
    return isinstance(decide(workspace, action, build, **facts), Allow)


def authorise(workspace: Workspace, action: Action, build: Built | None = None, **facts: str | bool) -> None:
    """Go on only if the acting principal may; a refusal is in the log when this raises. Raises Refused."""
    acknowledge(workspace)
    decision = decide(workspace, action, build, **facts)
    if isinstance(decision, Deny):
        about = {"build": build.id} if build else {}
        with workspace.store.transaction("access") as write:
            write.record("access.denied", wanted=action.value, rules=[finding.rule for finding in decision.because], **about)
    gate(decision)


def acknowledge(workspace: Workspace) -> None:
    """Record who is what, where consentric.toml or roles.cedar says otherwise than at the last command."""
    settings = workspace.settings
    with workspace.store.read() as session:
        known = access.recorded(session)
    if known != settings.access_digest:
        with workspace.store.transaction("access") as write:
            access.record(write, settings.access, settings.access_digest)


def matrix(workspace: Workspace) -> Mapping[Action, frozenset[Role]]:
    """Which role may do what here, the house's policies included; conditions on a build aside."""
    return workspace.authoriser.matrix()


def look(workspace: Workspace, entry: str, action: Action, **facts: str | int) -> None:
    """Let somebody who may see what `action` covers look, with `entry` in the log first. Raises Refused."""
    authorise(workspace, action)
    with workspace.store.transaction("look") as write:
        write.record(entry, **facts)
