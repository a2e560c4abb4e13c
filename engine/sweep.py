"""The sweep: what the clock ended is deleted, and whoever may not be used any more leaves every list and file.

Read paths need no sweep: each judges time and consent by itself. The sweep is what makes files follow.

1. *Expire*: releases and builds in quarantine whose time has passed, or their model's has, and lists whose time has; what was
   handed over is recalled.
2. *Clear*: files of builds that are neither in quarantine nor released, and what crashes left.
3. *Leave*: everybody in a membership, an export or a model's training is put to admission again, in one set operation for each
   purpose; who is not admitted leaves memberships, release files and exports' lists, with a notice for each export, and models
   that were trained on them are marked.

Each step may be done again: a crash anywhere leaves work for the next sweep and loses nothing. The log has one entry for a sweep,
which names builds and nobody; that a notice was opened or a model marked are entries of their own. Whoever was considered
stays on record (`engine.considered`): that somebody withdrew is no reason to forget that they were left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from engine import answers, copies, reports
from engine.admitting import admitted_among, keep_up, told_now
from engine.considered import CONSIDERED
from engine.copies import Kind
from engine.files import abandoned, delete
from engine.prepared import decided
from engine.workspace import Workspace, WorkspaceError
from governance import builds, exports
from governance.builds import LIVE, Build, BuildId, Status
from governance.consent import judged_at
from governance.exports import Export, NoticeId
from governance.room import ExtractionError
from governance.sources import SourceError
from policies.contract import Contract
from policies.deciding import decide
from policies.decisions import Allow
from policies.documents import Digest
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment

STEPS = 3
"""Steps that a sweep reports."""

_BUSY = (*LIVE, Status.BUILDING)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, or would do. `cleared`: leftovers; `left`: the exact number of people who left, for the officer's role alone.

    `problems`: builds that could not be judged, because documents cannot be read or no longer know the purpose; nobody reads
    these either.
    """

    expired: tuple[BuildId, ...] = ()
    cleared: int = 0
    left: int = 0
    notices: tuple[NoticeId, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class _Found:
    """What one sweep has found so far."""

    workspace: Workspace
    dry_run: bool
    expired: list[BuildId] = field(default_factory=list)
    cleared: int = 0
    left: set[str] = field(default_factory=set)
    notices: list[NoticeId] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def sweep(
    workspace: Workspace,
    subjects: Collection[str] | None = None,
    progress: Callable[[str], None] = lambda _step: None,
    dry_run: bool = False,
) -> Swept:
    """Let files follow time and consent; durable on return. `subjects`: the only ones whose consent can have changed since.

    A dry run looks and changes nothing.
    """
    found = _Found(workspace, dry_run)
    progress("expire")
    _expire(found)
    progress("clear")
    _clear(found)
    progress("leave")
    live = _builds(workspace, LIVE)
    if live and (subjects is None or subjects):
        if subjects is None:
            keep_up(workspace)
        _leave(found, [build for build in live if build.id not in found.expired], subjects)
    if not dry_run and (live or found.expired or found.cleared):
        with workspace.store.transaction("sweep") as write:
            write.record("sweep.done", expired=found.expired, unjudged=len(found.problems))
    return Swept(tuple(found.expired), found.cleared, len(found.left), tuple(found.notices), tuple(found.problems))


def _expire(found: _Found) -> None:
    workspace = found.workspace
    with workspace.store.read() as session:
        now = judged_at(session, workspace.store.clock())
    for build in _builds(workspace, LIVE):
        with workspace.store.read() as session:
            ended = builds.ended(session, build, now)
        if ended:
            if not found.dry_run:
                with workspace.store.transaction("expire") as write:
                    if not builds.expire(write, build.id):
                        continue
                found.notices += copies.clear(workspace, build.id)
                reports.refresh(workspace, build)
            found.expired.append(build.id)
        elif not build.listed(now):
            found.cleared += len(copies.lists(workspace, build.id))
            if not found.dry_run:
                found.notices += copies.unlist(workspace, build.id)


def _clear(found: _Found) -> None:
    """Files of builds that are over or never were, and drafts that nobody writes."""
    workspace = found.workspace
    kinds = ("builds", "releases", copies.ROUNDS, answers.PLACE)
    names = {path.name for kind in kinds for path in (workspace.hidden / kind).glob("*") if "." not in path.name}
    with workspace.store.read() as session:
        names |= {export.build for export in exports.exports(session) if copies.export_list(workspace, export.id).exists()}
    busy = {build.id for build in _builds(workspace, _BUSY)}  # read after the names: a row is there before its files are
    over = [BuildId(name) for name in sorted(names - busy)]
    found.cleared += len(over) + abandoned(workspace.hidden, clear=not found.dry_run) + _strays(found)
    if not found.dry_run:
        for name in over:
            found.notices += copies.clear(workspace, name)
            with workspace.store.read() as session:
                build = builds.find_build(session, name)
            if build:  # a crash may have come between its end and its page
                reports.refresh(workspace, build)


def _strays(found: _Found) -> int:
    """Files of notices that a crash kept from being opened, or that were acknowledged; placed under the writer's lock, and so told."""
    workspace = found.workspace
    files = [copy for copy in copies.copies(workspace) if copy.kind is Kind.NOTICE]
    if not files:
        return 0
    with workspace.store.transaction("strays") as write:
        waiting = {notice.id for notice in exports.notices(write.session, waiting=True)}
        strays = [copy.path for copy in files if copy.of not in waiting]
        if not found.dry_run:
            for path in strays:
                delete(path, "stray")
    return len(strays)


def _leave(found: _Found, live: Iterable[Build], subjects: Collection[str] | None) -> None:
    workspace = found.workspace
    groups: dict[tuple[str, Digest, str], list[Build]] = {}
    asked: dict[tuple[str, Digest, str], tuple[Contract, Policy]] = {}
    listed: dict[BuildId, list[pa.Array]] = {}
    with workspace.store.read() as session:
        handed = {build.id: exports.exports(session, build.id) for build in live}
    for build in live:
        try:
            contract, rules = _rules(workspace, build)
            listed[build.id] = _listed(workspace, build, handed[build.id])
        except (DocumentError, WorkspaceError) as error:  # what is damaged holds up its own build alone
            found.problems.append(f"`{build.segment}`, build {build.id}: {error}")
            continue
        key = contract.name, rules.digest(), build.purpose
        asked[key] = contract, rules
        groups.setdefault(key, []).append(build)
    for key, group in groups.items():
        known = pc.unique(pa.concat_arrays([part for build in group for part in listed[build.id]]))
        if subjects is not None:
            known = known.filter(pc.is_in(known, pa.array(sorted(subjects), pa.string())))
        gone, problem = _gone(workspace, *asked[key], key[-1], known)
        if problem:
            found.problems += [f"`{build.segment}`, build {build.id}: {problem}" for build in group]
        if not len(gone):
            continue
        found.left.update(gone.to_pylist())
        if not found.dry_run:
            _part(found, group, handed, gone)


def _part(found: _Found, group: Iterable[Build], handed: Mapping[BuildId, Iterable[Export]], gone: pa.Array) -> None:
    """Let `gone` leave every list of `group`."""
    workspace = found.workspace
    for build in group:
        copies.leave(workspace, build.id, gone)
        for export in handed[build.id]:
            if notice := copies.recall(workspace, export, gone):
                found.notices.append(notice)
    copies.mark_models(workspace, {build.id: gone for build in group})


def _listed(workspace: Workspace, build: Build, handed: Iterable[Export]) -> list[pa.Array]:
    """Everybody in what is kept of a build or was handed over of it. Raises WorkspaceError."""
    folder = copies.folder(workspace, build.id)
    found = [copies.subjects_in(copies.export_list(workspace, export.id)) for export in handed]
    if build.retrain_by is None:
        found.append(copies.subjects_in(folder / CONSIDERED, "trained"))
    return [copies.subjects_in(folder / copies.MEMBERSHIP), *found]


def _rules(workspace: Workspace, build: Build) -> tuple[Contract, Policy]:
    """By what people of a build are admitted today. Raises DocumentError, WorkspaceError.

    Documents that end all reads of it, because they deny it or have lost its purpose, are taken for a mistake that may be mended:
    nobody leaves for that alone, but whoever withdraws does.
    """
    spec = Segment.model_validate_json(json.dumps(build.facts["spec"]))
    contract, policy = workspace.contract(spec.dataset), workspace.policy(spec.policy)
    if build.purpose not in policy.purposes:
        raise WorkspaceError(f"policy `{spec.policy}` no longer has the purpose `{build.purpose}`")
    if contract.digest() != build.facts["digests"]["contract"]:
        return contract, policy
    prepared = decided(contract, policy, spec)
    return contract, prepared.rules if isinstance(decide(policy, prepared.request), Allow) else policy


def _gone(workspace: Workspace, contract: Contract, rules: Policy, purpose: str, known: pa.Array) -> tuple[pa.Array, str]:
    """Who of `known` may not be used any more, and what is wrong with the source that tells of children: reads fail meanwhile,
    and people leave for what they said themselves."""
    if not len(known):
        return known, ""
    told, problem = None, ""
    try:
        told = told_now(workspace, contract, rules)
    except (SourceError, ExtractionError) as error:
        rules, problem = rules.model_copy(update={"children": {}}), str(error)
    allowed = admitted_among(workspace, contract, rules, purpose, pa.table({"subject": known}), told=told)
    gone = known.filter(pc.invert(pc.is_in(known, allowed.combine_chunks() if isinstance(allowed, pa.ChunkedArray) else allowed)))
    return gone, problem


def _builds(workspace: Workspace, states: Iterable[Status]) -> list[Build]:
    with workspace.store.read() as session:
        return [build for status in states for build in builds.builds(session, status=status)]
