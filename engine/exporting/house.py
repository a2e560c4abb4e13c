"""What a workspace says of itself at one moment: documents, builds, deliveries and settings, as values; no row of a source is read.

A document that cannot be read hides nothing else: it is named among the problems. Where a segment's document is gone or broken and its
release lives on, or a list of it was ever handed over, the spec is the one that it was built by.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlmodel import Session

from audit.record import Chapter, Document
from engine.policy_approvals import parsed
from engine.prepared import Prepared, decided
from engine.workspace import Workspace, WorkspaceError
from governance import builds, documents, exports
from governance.budget import Balance, balances
from governance.builds import Build, Status
from governance.exports import Export, ExportId, Notice
from governance.reads import ExpressionError, MinimisationError
from policies.contract import Contract
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class House:
    """The workspace. `segments` by name, with the columns that a build of each reads and what the policy of today finds; `books` by
    contract and policy; `builds` and `exports` the newest first; `handed_under`: the policy, as its build pinned it, of each export whose
    policy was kept; `problems`: documents that could not be read."""

    name: str
    notes: tuple[str, ...]
    controllers: Mapping[str, Mapping[str, tuple[str, ...]]]
    segments: Mapping[str, Prepared]
    contracts: tuple[Contract, ...]
    policies: tuple[Policy, ...]
    builds: tuple[Build, ...]
    exports: tuple[Export, ...]
    notices: tuple[Notice, ...]
    handed_under: Mapping[ExportId, Policy]
    books: Mapping[tuple[str, str], tuple[Balance, ...]]
    problems: tuple[str, ...]
    made_at: dt.datetime
    made_by: str
    log: str

    def newest(self, segment: str) -> Build | None:
        """The newest build of a segment that trained a model of its own and kept what it found."""
        own = (build for build in self.builds if build.segment == segment and build.model is None)
        return next((build for build in own if "spec" in build.facts), None)

    def delivered(self, segment: str) -> tuple[Export, ...]:
        """Lists of a segment that were handed over, the newest first."""
        of = {build.id for build in self.builds if build.segment == segment}
        return tuple(export for export in self.exports if export.build in of and export.finished is not None)

    def policy_of(self, export: Export) -> str:
        """The name of the policy by which the build of a list was made: a destination is one of that policy, not of all that name it."""
        return next(str(build.facts["spec"]["policy"]) for build in self.builds if build.id == export.build)

    def document(self, title: str, legal: str, chapters: tuple[Chapter, ...]) -> Document:
        """With what is the same in all of them."""
        notes = (*self.notes, *(f"not in this document, because it cannot be read: {problem}" for problem in self.problems))
        return Document(title, legal, self.made_at, self.made_by, self.log, notes, chapters)


def look(workspace: Workspace) -> House:
    """All of it, of one moment. Raises StoreError."""
    problems: list[str] = []
    contracts = _documents(workspace, "contracts", workspace.contract, problems)
    policies = _documents(workspace, "policies", workspace.policy, problems)
    written = _documents(workspace, "segments", workspace.segment, problems)
    now, checkpoint = workspace.store.clock(), workspace.checkpoint()
    with workspace.store.read() as session:
        built = builds.builds(session)
        handed, notices = exports.exports(session), exports.notices(session)
        under = {each.id: policy for each in handed if (policy := _pinned(session, built, each)) is not None}
        specs = _as_built(built, handed) | written
        put = dict(_put(specs, contracts, policies, problems))
        pairs = {(each.contract.name, each.policy.name): each for each in put.values()}
        books = {names: balances(session, each.contract, each.policy, now) for names, each in pairs.items()}
    return House(
        name=workspace.settings.name,
        notes=workspace.settings.notes,
        controllers=workspace.settings.controllers,
        segments=put,
        contracts=tuple(contracts.values()),
        policies=tuple(policies.values()),
        builds=built,
        exports=handed,
        notices=notices,
        handed_under=under,
        books=books,
        problems=tuple(problems),
        made_at=now,
        made_by=workspace.principal.name,
        log=f"{checkpoint.size} entries, root {checkpoint.root.hex()}" if checkpoint else "no checkpoint",
    )


def _documents(workspace: Workspace, folder: str, read: Callable[[str], Read], problems: list[str]) -> dict[str, Read]:
    found = {}
    for name in workspace.documents(folder):
        try:
            found[name] = read(name)
        except (DocumentError, WorkspaceError) as error:
            problems.append(str(error).splitlines()[0])
    return found


def _pinned(session: Session, built: tuple[Build, ...], export: Export) -> Policy | None:
    """The policy that the build of a list was planned under; None where nobody kept its text."""
    plan = next((builds.find_plan(session, build.plan) for build in built if build.id == export.build), None)
    kept = documents.find(session, plan.policy) if plan else None
    return parsed(kept.text) if kept else None


def _as_built(built: tuple[Build, ...], handed: tuple[Export, ...]) -> dict[str, Segment]:
    """Specs of segments that wait, are released or were handed over: of each the newest that lives, or else the newest that was built."""
    of = {export.build for export in handed}
    exported = {build.segment for build in built if build.id in of}
    kept = [build for build in reversed(built) if "spec" in build.facts and (_lives(build) or build.segment in exported)]
    return {build.segment: Segment.model_validate_json(json.dumps(build.facts["spec"])) for build in sorted(kept, key=_lives)}


def _lives(build: Build) -> bool:
    return build.status in (Status.QUARANTINED, Status.RELEASED)


def _put(
    specs: Mapping[str, Segment], contracts: Mapping[str, Contract], policies: Mapping[str, Policy], problems: list[str]
) -> Iterator[tuple[str, Prepared]]:
    for name, spec in sorted(specs.items()):
        contract, policy = contracts.get(spec.dataset), policies.get(spec.policy)
        if contract is None or policy is None:
            folder, other = ("contracts", spec.dataset) if contract is None else ("policies", spec.policy)
            problems.append(f"segment `{name}`: there is no `{folder}/{other}.yaml` that can be read")
            continue
        try:
            yield name, decided(contract, policy, spec)
        except (ExpressionError, MinimisationError, WorkspaceError) as error:
            problems.append(f"segment `{name}`: {error}")
