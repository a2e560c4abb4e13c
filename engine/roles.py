"""Who may do what beyond writing the workspace: so far compliance officers, named in consentric.toml and nowhere else.

What an officer looks at is an entry in the log before it is shown, and so is a look that is refused.
"""

from __future__ import annotations

from engine.gates import Refused, refusal
from engine.workspace import FILE, Workspace


def is_officer(workspace: Workspace) -> bool:
    """Whether the acting principal is one."""
    return workspace.principal.name in workspace.settings.officers


def refused(workspace: Workspace, action: str, rule: str, reason: str, remedy: str) -> Refused:
    """What to raise where only an officer may do `action`; it is in the log when this returns."""
    with workspace.store.transaction("look") as write:
        write.record("look.denied", wanted=action)
    condition = f"`{workspace.principal.name}` is not among `roles.officers` of {FILE}"
    return refusal(action, rule, "-", reason, condition, remedy)


def look(workspace: Workspace, action: str) -> None:
    """Let an officer look at exact figures, with an entry in the log first; anybody else is refused. Raises Refused."""
    if not is_officer(workspace):
        reason = "exact counts and a subject's record are for compliance officers"
        remedy = "ask an officer, or read the noisy counts that `consentric plan` shows"
        raise refused(workspace, action, "exact-figures-are-the-officers", reason, remedy)
    with workspace.store.transaction("look") as write:
        write.record(action)
