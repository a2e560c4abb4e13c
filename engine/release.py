"""From quarantine to the outside: approval, the second look at consent, pseudonyms, passport; reads, exports, recall.

A release happens in this order, so that a crash at any point leaves nothing half released: (1) approvals suffice,
(2) the intent in the log, (3) the policy of today and who may still be used, (4) files beside, flushed, (5) under the writer's
lock: consent again, the status with the passport's digest, and the files renamed, (6) the passport, against that entry.
Until (5) every read path answers that nothing is released, and no passport of it can exist; none answers without (6).
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection
from sqlmodel import Session

from audit import log as audit_log
from audit import passport as passports
from audit.passport import Approval as SignedApproval
from audit.verify import RELEASED
from engine import reports
from engine.admitting import admitted_among
from engine.files import draft_file, draft_folder, flush_folder, place_file, place_folder, whole_file
from engine.gates import gate, refusal
from engine.planning import uses_of
from engine.workspace import Workspace, WorkspaceError
from governance import builds
from governance.builds import Build, Status, required_approvals
from governance.pseudonyms import ensure_key, pseudonyms, purpose_key
from governance.store import stamp
from policies.contract import Contract
from policies.deciding import Request, decide, decide_destination
from policies.decisions import Allow
from policies.policy import Policy
from policies.segment import Segment

MEMBERSHIP = "membership.parquet"
"""In a build's folder: subject, segment, score. Never leaves as it is."""

PASSPORT = "passport.json"
"""In a release's folder."""


def folder(workspace: Workspace, build: builds.BuildId) -> Path:
    """Where a build's membership is kept, out of everybody's reach."""
    return workspace.hidden / "builds" / build


def released(workspace: Workspace, build: builds.BuildId) -> Path:
    """Where a release's files are kept."""
    return workspace.hidden / "releases" / build


def approve(workspace: Workspace, name: str, comment: str = "") -> Build:
    """Say yes to a build in quarantine; with the last yes it is released. Raises Refused, IntegrityError."""
    build = find(workspace, name, Status.QUARANTINED)
    lawful = permit(workspace, build)
    if _missing(workspace, lawful):  # a release that a crash cut short needs no further yes
        with workspace.store.transaction("approve") as write:
            decision = builds.approve(write, build.id, lawful.policy.digest(), comment)
        gate(decision)
    return reports.refresh(workspace, build) if _missing(workspace, lawful) else release(workspace, build)


def reject(workspace: Workspace, name: str, comment: str = "") -> Build:
    """Say no to a build in quarantine; its membership is deleted. Raises Refused."""
    build = find(workspace, name, Status.QUARANTINED)
    with workspace.store.transaction("reject") as write:
        decision = builds.reject(write, build.id, build.facts["digests"]["policy"], comment)
    gate(decision)
    _delete(workspace, build)
    return reports.refresh(workspace, build)


def release(workspace: Workspace, build: Build) -> Build:
    """Steps (2) to (6) of the module. Raises Refused if approvals are missing or the policy of today says no."""
    target = released(workspace, build.id)
    with workspace.store.transaction("release-intent") as write:
        write.record("release.intended", build=build.id, segment=build.segment)
        ensure_key(write, workspace.keys, build.purpose)
    while True:
        lawful = permit(workspace, build)
        members = _lawful(workspace, lawful)
        with draft_folder(target) as partial:
            _write(_pseudonymous(workspace, build, members), partial / f"membership.{build.facts['format']}")
            flush_folder(partial, "release-files")
            with workspace.store.transaction("release") as write:
                if not _lawful(workspace, lawful, write.session).equals(members):
                    continue  # somebody withdrew while the files were written
                digest = passports.digest(_passport(write.session, build))
                decision = builds.release(write, build.id, lawful.policy.digest(), lawful.required, passport=digest)
                if isinstance(decision, Allow):  # of two releases at once the second is denied, and leaves the first alone
                    place_folder(partial, target, "release-files")
        gate(decision)
        passport(workspace, build)
        return reports.refresh(workspace, build)


def passport(workspace: Workspace, build: Build) -> Path:
    """The passport of a released build; issued now, against its entry in the log, if a crash came before it was."""
    path = released(workspace, build.id) / PASSPORT
    if not path.exists():
        checkpoint = workspace.checkpoint()
        with workspace.store.read() as session:
            connection = session.connection()
            signed = _passport(session, build)
            wanted = {"build": build.id, "passport": passports.digest(signed)}
            index = next(
                e.index for e in _backwards(connection) if e.parsed["action"] == RELEASED and wanted.items() <= e.parsed["facts"].items()
            )
            assert checkpoint is not None and checkpoint.size > index  # sealed with the release, or when the workspace was opened
            proof = passports.prove(connection, index, checkpoint)
        with whole_file(path, "passport") as partial:
            partial.write_bytes(passports.issue(signed, proof, workspace.keys.signer))
    return path


def members(workspace: Workspace, name: str, segment: str | None = None) -> list[dict[str, str]]:
    """Pseudonyms of a released segment's members, less whoever may not be used any more. Logged. Raises Refused."""
    build = find(workspace, name, Status.RELEASED)
    lawful = permit(workspace, build)
    passport(workspace, build)
    with workspace.store.transaction("look") as write:
        write.record("members.read", build=build.id, segment=build.segment)
    names = [part["name"] for part in build.facts["parts"]]
    if segment not in (None, *names):
        raise WorkspaceError(f"`--segment`: got `{segment}`, expected one of {names}")
    table = _pseudonymous(workspace, build, _lawful(workspace, lawful))
    if segment is not None:
        table = table.filter(pc.equal(table["segment"], segment))
    return [dict(row) for row in table.to_pylist()]


def export(workspace: Workspace, name: str, to: Path, destination: str | None) -> str:
    """Write a released membership for a destination of the policy; returns the destination. Raises Refused.

    The file takes its place under the writer's lock, if the build is still released and everybody in it may still be used.
    """
    build = find(workspace, name, Status.RELEASED)
    lawful = permit(workspace, build)
    passport(workspace, build)
    wanted = destination or lawful.spec.output.destination
    if wanted is None:
        raise WorkspaceError("`--destination`: the segment names none, expected one of the policy's")
    gate(decide_destination(lawful.policy, wanted))
    if to.suffix not in (".parquet", ".csv"):
        raise WorkspaceError(f"`--to`: got `{to.name}`, expected a name that ends in .parquet or .csv")
    with workspace.store.transaction("export-intent") as write:
        write.record("export.intended", build=build.id, segment=build.segment, destination=wanted)
    while True:
        members = _lawful(workspace, lawful)
        with draft_file(to.resolve()) as partial:
            _write(_pseudonymous(workspace, build, members), partial, to.suffix)
            with workspace.store.transaction("export") as write:
                current = builds.find_build(write.session, build.id)
                if current is None or current.status is not Status.RELEASED:
                    find(workspace, build.id, Status.RELEASED)
                if not _lawful(workspace, lawful, write.session).equals(members):
                    continue  # somebody withdrew while the file was written
                write.record("export.finished", build=build.id, segment=build.segment, destination=wanted)
                place_file(partial, to.resolve(), "export-file")
        return wanted


def recall(workspace: Workspace, name: str, comment: str) -> Build:
    """Take a release back: no read path answers any more, and the files here are deleted. Raises Refused."""
    build = find(workspace, name, Status.RELEASED)
    with workspace.store.transaction("recall") as write:
        decision = builds.recall(write, build.id, build.facts["digests"]["policy"], comment)
    gate(decision)
    _delete(workspace, build)
    return reports.refresh(workspace, build)


@dataclass(frozen=True, slots=True)
class Lawful:
    """A build that the policy of today still allows, by the spec that was built: only this is released, shown or exported."""

    build: Build
    spec: Segment
    contract: Contract
    policy: Policy
    required: int


def permit(workspace: Workspace, build: Build) -> Lawful:
    """Decide again: the spec as it was built, against the contract it was built on and the policy as it is now.

    Raises Refused, and IntegrityError if the build's facts are not those that the log vouches for.
    """
    with workspace.store.read() as session:
        builds.check_facts(session, build.id)
    spec = Segment.model_validate_json(json.dumps(build.facts["spec"]))
    contract, policy = workspace.contract(spec.dataset), workspace.policy(spec.policy)
    if contract.digest() != build.facts["digests"]["contract"]:
        raise refusal(
            build.segment,
            "builds-pin-their-contract",
            policy.digest(),
            "the contract has changed since this was built",
            f"digest of the contract: built on {build.facts['digests']['contract'][:19]}…, now {contract.digest()[:19]}…",
            f"look at the change, then build anew: consentric build {build.segment}",
        )
    gate(decide(policy, Request(spec.purpose, contract, uses_of(contract, spec), spec.model.type)))
    gate(decide_destination(policy, spec.output.destination))
    return Lawful(build, spec, contract, policy, max(build.facts["required"], required_approvals(policy, spec.model.type)))


def find(workspace: Workspace, name: str, status: Status | None = None) -> Build:
    """A build by its id, or the newest build of a segment (of that status). Raises Refused or WorkspaceError."""
    with workspace.store.read() as session:
        exact = builds.find_build(session, builds.BuildId(name))
        other = (exact,) if exact else builds.builds(session, name)
        found = [build for build in other if status in (None, build.status)]
        if status is Status.QUARANTINED and len(found) > 1:
            raise WorkspaceError(f"`{name}` has several builds in quarantine, name one: {', '.join(build.id for build in found)}")
        if found:
            return found[0]
        if other:
            raise refusal(
                name,
                "build-status",
                "-",
                f"this needs a build that is {status}",
                f"status of build `{other[0].id}`: {other[0].status}",
                f"look at it with `consentric segments show {name}`",
            )
    raise WorkspaceError(f"no build or segment `{name}`; see `consentric segments list`, or make one with `consentric build {name}`")


def _lawful(workspace: Workspace, lawful: Lawful, session: Session | None = None) -> pa.Table:
    """The members (subject, segment) that may be used now, in segments at or above the cohort floor, in a fixed order."""
    table = pq.read_table(folder(workspace, lawful.build.id) / MEMBERSHIP)
    shown = pa.array([part["name"] for part in lawful.build.facts["parts"] if not part["withheld"]], pa.string())
    table = table.filter(pc.is_in(table["segment"], shown))
    allowed = admitted_among(workspace, lawful.contract, lawful.policy, lawful.build.purpose, table, session)
    return table.filter(pc.is_in(table["subject"], allowed)).sort_by("subject")


def _pseudonymous(workspace: Workspace, build: Build, table: pa.Table) -> pa.Table:
    with workspace.store.read() as session:
        key = purpose_key(session, workspace.keys, build.purpose)
    names = pseudonyms(table["subject"], key)
    return pa.table({"pseudonym": names, "segment": table["segment"]}).sort_by("pseudonym")  # an order that says nothing


def _write(table: pa.Table, path: Path, suffix: str | None = None) -> None:
    if (suffix or path.suffix) == ".parquet":
        pq.write_table(table, path)
        return
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _missing(workspace: Workspace, lawful: Lawful) -> bool:
    """Whether somebody else must say yes yet."""
    with workspace.store.read() as session:
        said = builds.approvals(session, lawful.build.id)
    return sum(a.verdict is builds.Verdict.APPROVE and a.principal != lawful.build.builder for a in said) < lawful.required


def _delete(workspace: Workspace, build: Build) -> None:
    for path in (released(workspace, build.id), folder(workspace, build.id)):
        shutil.rmtree(path, ignore_errors=True)


def _passport(session: Session, build: Build) -> passports.Passport:
    draft = passports.parse(build.facts["passport"].encode())
    signed = tuple(SignedApproval(a.principal, a.verdict, stamp(a.created)) for a in builds.approvals(session, build.id))
    return replace(draft, approvals=signed)


def _holds(facts: dict[str, Any], wanted: set[tuple[str, str]]) -> bool:
    return all(facts.get(key) == value for key, value in wanted)


def _backwards(connection: Connection, step: int = 256) -> Iterator[audit_log.Entry]:
    """Entries of the log, newest first."""
    for stop in range(audit_log.size(connection), 0, -step):
        yield from reversed(list(audit_log.entries(connection, max(0, stop - step), stop)))
