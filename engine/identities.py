"""Keys of one person on the command line: merged, split, and the files that follow."""

from __future__ import annotations

from engine.sweep import Swept, sweep
from engine.workspace import Workspace
from governance import identity
from governance.identity import identities, links


def merge(workspace: Workspace, subject: str, into: str) -> Swept:
    """Let one key stand for another, then sweep. Raises IdentityError."""
    with workspace.store.transaction("identity") as write:
        identity.merge(write, subject, into)
    return sweep(workspace, together(workspace, subject))


def split(workspace: Workspace, subject: str) -> None:
    """Let a merged key stand for itself again; nobody's verdict changes by it. Raises IdentityError."""
    with workspace.store.transaction("identity") as write:
        identity.split(write, subject)


def together(workspace: Workspace, subject: str) -> frozenset[str]:
    """Every key of the person behind one, now."""
    with workspace.store.read() as session:
        return identities(links(session)).together(subject)
