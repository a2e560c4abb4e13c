"""A policy's versions, and who approved them: what a version changes against the one approved before it is written into the log.

An approval says that somebody answers for a version. It opens no gate: what a segment needs before its release stands in the policy
(`approvals`), and is asked anew under each version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.gates import refusal
from engine.prepared import contracts
from engine.workspace import Workspace
from governance import documents
from governance.documents import Approved
from policies.comparing import Change, Difference, compare
from policies.policy import Policy
from policies.rules import Reading

MOST = 100
"""Changes that an entry spells out; the texts of both versions are kept, so that all of them can be told again."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What was approved; `changes` against the version approved before, in words, None where it is the first."""

    approved: Approved
    changes: tuple[str, ...] | None


def approve(workspace: Workspace, name: str) -> Approval:
    """Approve a policy as it is now, as the acting principal.

    A version that came back after another may be approved again: what it changes then is told against the other. Raises Refused where
    it is the one that they approved last, DocumentError, WorkspaceError.
    """
    policy = workspace.policy(name)
    digest = policy.digest()
    with workspace.store.read() as session:
        earlier = documents.approvals(session, policy.name)
        others = [each.policy for each in earlier if each.policy != digest]
        last = documents.find(session, others[-1]) if others else None
    own = [each.policy for each in earlier if each.principal == workspace.principal.name]
    if own and own[-1] == digest:
        raise refusal(
            f"policy {name}",
            "approved-already",
            digest,
            "what one person says counts once",
            f"another version than the one that `{workspace.principal.name}` approved last",
            "ask somebody else to approve it too, or change it first",
        )
    changes = None if last is None else tuple(changed(workspace, parsed(last.text), policy))
    with workspace.store.transaction("policy-approval") as write:
        approved = documents.approve(write, policy, last.digest if last else None, changes)
    return Approval(approved, changes)


def parsed(text: str) -> Policy:
    """A policy that was kept, with the packs that were laid over it then."""
    return Policy.model_validate_json(text)


def changed(workspace: Workspace, before: Policy, after: Policy) -> list[str]:
    """What changes from one version to the other for the columns of the workspace's contracts, in words, at most `MOST`."""
    found = [*words(compare(before, after, contracts(workspace)))]
    return found if len(found) <= MOST else [*found[:MOST], f"and {len(found) - MOST} more changes"]


def words(found: Difference) -> Iterator[str]:
    """One line for each rule, figure, and column with a purpose."""
    yield from (f"rule `{rule}` {what}" for rule, what in found.rules)
    yield from (f"{figure}: {before} -> {after}" for figure, before, after in found.figures)
    for verb, changes in (("opens", found.opened), ("closes", found.closed), ("reads otherwise", found.reshaped)):
        yield from dict.fromkeys(f"{verb} {_column(change)}" for change in changes)


def _column(change: Change) -> str:
    case = change.case
    audit = ", in the fairness audit" if case.reading is Reading.FAIRNESS else ""
    return f"{case.contract}.{case.column} for {case.purpose}{audit}"
