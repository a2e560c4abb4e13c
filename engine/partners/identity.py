"""Who this workspace is to its partners: a key that contracts name, and one that a transport knows."""

from __future__ import annotations

from audit.checkpoint import Signer, Verifier
from engine.workspace import Workspace, WorkspaceError
from governance.partner_keys import PartnerKeys


def keys(workspace: Workspace) -> PartnerKeys:
    """In the workspace's key folder."""
    return PartnerKeys(workspace.keys.folder)


def signer(workspace: Workspace) -> Signer:
    """What contracts, rounds and the transcript are signed by. Raises KeyFault, which says how they are made."""
    return keys(workspace).signer


def make(workspace: Workspace, name: str | None = None) -> PartnerKeys:
    """The keys, made now if there are none; `name`: what contracts call this partner, by default the workspace's own.

    With an entry each time, so that none can be made without one. Raises WorkspaceError for another name than they have.
    """
    there = keys(workspace)
    called = name or Verifier.parse(workspace.keys.verifier_key).name.rpartition("/")[2]
    with workspace.store.transaction("partner-keys") as write:
        if not there.there:
            try:
                there.create(called)
            except ValueError as error:
                raise WorkspaceError(f"`--name`: got `{called}`, expected one without spaces and plus signs ({error})") from None
        elif name not in (None, there.verifier.name):
            raise WorkspaceError(f"`--name`: got `{name}`, but this partner is `{there.verifier.name}`: keys are made once")
        write.record("partner.identity", verifier_key=str(there.verifier), node_key=there.node_public)
    return there
