"""From quarantine to the outside: approval, the second look at consent, pseudonyms, passport; reads, exports, recall.

A release happens in this order, so that a crash at any point leaves nothing half released: (1) approvals suffice,
(2) who may still be used, now, (3) the intent and the passport's digest in the log, (4) files beside, flushed, renamed,
(5) under the writer's lock: consent again, then the status. Until (5) every read path answers that nothing is released.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlmodel import Session

from audit import passport as passports
from audit.passport import Approval as SignedApproval
from engine import reports
from engine.admitting import admitted_among
from engine.files import whole_file, whole_folder
from engine.gates import gate, refusal
from engine.workspace import Workspace, WorkspaceError
from governance import builds
from governance.builds import Build, Status
from governance.pseudonyms import pseudonyms
from governance.store import stamp
from policies.deciding import decide_destination
from policies.decisions import Deny

MEMBERSHIP = "membership.parquet"
"""In a build's folder: subject, segment, score. Never leaves as it is."""


def folder(workspace: Workspace, build: builds.BuildId) -> Path:
    """Where a build's membership is kept, out of everybody's reach."""
    return workspace.hidden / "builds" / build


def released(workspace: Workspace, build: builds.BuildId) -> Path:
    """Where a release's files are kept."""
    return workspace.hidden / "releases" / build


def approve(workspace: Workspace, name: str, comment: str = "") -> Build:
    """Say yes to the newest build in quarantine; with the last yes it is released. Raises Refused."""
    build = find(workspace, name, Status.QUARANTINED)
    with workspace.store.read() as session:
        enough = _yes(session, build) >= build.facts["required"]
    if not enough:  # a release that a crash cut short needs no further yes
        with workspace.store.transaction("approve") as write:
            decision = builds.approve(write, build.id, build.facts["digests"]["policy"], comment)
        gate(decision)
        with workspace.store.read() as session:
            enough = _yes(session, build) >= build.facts["required"]
    return release(workspace, build) if enough else reports.refresh(workspace, build)


def reject(workspace: Workspace, name: str, comment: str = "") -> Build:
    """Say no to the newest build in quarantine; its membership is deleted. Raises Refused."""
    build = find(workspace, name, Status.QUARANTINED)
    with workspace.store.transaction("reject") as write:
        decision = builds.reject(write, build.id, build.facts["digests"]["policy"], comment)
    gate(decision)
    shutil.rmtree(folder(workspace, build.id), ignore_errors=True)
    return reports.refresh(workspace, build)


def release(workspace: Workspace, build: Build) -> Build:
    """Steps (2) to (5) of the module. Raises Refused if approvals are missing."""
    policy_digest = build.facts["digests"]["policy"]
    while True:
        members = _lawful(workspace, build)
        passport = _passport(workspace, build)
        with workspace.store.transaction("release-intent") as write:
            index = write.record("release.intended", build=build.id, segment=build.segment, passport=passports.digest(passport))
        checkpoint = workspace.checkpoint()
        assert checkpoint is not None  # sealed by the transaction above
        with workspace.store.read() as session:
            proof = passports.prove(session.connection(), index, checkpoint)
        with whole_folder(released(workspace, build.id), "release-files") as partial:
            _write(_pseudonymous(workspace, build, members), partial / f"membership.{build.facts['format']}")
            (partial / "passport.json").write_bytes(passports.issue(passport, proof, workspace.keys.signer))
        with workspace.store.transaction("release") as write:
            if not _lawful(workspace, build, write.session).equals(members):
                continue  # somebody withdrew while the files were written
            decision = builds.release(write, build.id, policy_digest, build.facts["required"], passport=passports.digest(passport))
        if isinstance(decision, Deny):
            shutil.rmtree(released(workspace, build.id), ignore_errors=True)
        gate(decision)
        return reports.refresh(workspace, build)


def members(workspace: Workspace, name: str, segment: str | None = None) -> list[dict[str, str]]:
    """Pseudonyms of a released segment's members, less whoever may not be used any more. Logged."""
    build = find(workspace, name, Status.RELEASED)
    with workspace.store.transaction("look") as write:
        write.record("members.read", build=build.id, segment=build.segment)
    table = _pseudonymous(workspace, build, _lawful(workspace, build))
    if segment is not None:
        table = table.filter(pc.equal(table["segment"], segment))
    return [dict(row) for row in table.to_pylist()]


def export(workspace: Workspace, name: str, to: Path, destination: str | None) -> str:
    """Write a released membership for a destination of the policy; returns the destination. Raises Refused."""
    build = find(workspace, name, Status.RELEASED)
    spec = workspace.segment(build.segment)
    wanted = destination or spec.output.destination
    if wanted is None:
        raise WorkspaceError("`--destination`: the segment names none, expected one of the policy's")
    gate(decide_destination(workspace.policy(spec.policy), wanted))
    if to.suffix not in (".parquet", ".csv"):
        raise WorkspaceError(f"`--to`: got `{to.name}`, expected a name that ends in .parquet or .csv")
    with workspace.store.transaction("export-intent") as write:
        write.record("export.intended", build=build.id, segment=build.segment, destination=wanted)
    with whole_file(to.resolve(), "export-file") as partial:
        _write(_pseudonymous(workspace, build, _lawful(workspace, build)), partial, to.suffix)
    with workspace.store.transaction("export") as write:
        write.record("export.finished", build=build.id, segment=build.segment, destination=wanted)
    return wanted


def recall(workspace: Workspace, name: str, comment: str) -> Build:
    """Take a release back: no read path answers any more, and the files here are deleted. Raises Refused."""
    build = find(workspace, name, Status.RELEASED)
    with workspace.store.transaction("recall") as write:
        decision = builds.recall(write, build.id, build.facts["digests"]["policy"], comment)
    gate(decision)
    for path in (released(workspace, build.id), folder(workspace, build.id)):
        shutil.rmtree(path, ignore_errors=True)
    return reports.refresh(workspace, build)


def find(workspace: Workspace, name: str, status: Status | None = None) -> Build:
    """A build by its id, or the newest build of a segment (of that status). Raises Refused or WorkspaceError."""
    with workspace.store.read() as session:
        exact = builds.find_build(session, builds.BuildId(name))
        other = (exact,) if exact else builds.builds(session, name)
        if found := [build for build in other if status in (None, build.status)]:
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


def _lawful(workspace: Workspace, build: Build, session: Session | None = None) -> pa.Table:
    """The members (subject, segment) that may be used now, in segments at or above the cohort floor, in a fixed order."""
    table = pq.read_table(folder(workspace, build.id) / MEMBERSHIP)
    shown = pa.array([part["name"] for part in build.facts["parts"] if not part["withheld"]], pa.string())
    table = table.filter(pc.is_in(table["segment"], shown))
    spec = workspace.segment(build.segment)
    allowed = admitted_among(workspace, workspace.contract(spec.dataset), workspace.policy(spec.policy), build.purpose, table, session)
    return table.filter(pc.is_in(table["subject"], allowed)).sort_by("subject")


def _pseudonymous(workspace: Workspace, build: Build, table: pa.Table) -> pa.Table:
    names = pseudonyms(table["subject"], workspace.keys.pseudonym(build.purpose))
    return pa.table({"pseudonym": names, "segment": table["segment"]}).sort_by("pseudonym")  # an order that says nothing


def _write(table: pa.Table, path: Path, suffix: str | None = None) -> None:
    if (suffix or path.suffix) == ".parquet":
        pq.write_table(table, path)
        return
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _yes(session: Session, build: Build) -> int:
    return sum(a.verdict is builds.Verdict.APPROVE and a.principal != build.builder for a in builds.approvals(session, build.id))


def _passport(workspace: Workspace, build: Build) -> passports.Passport:
    draft = passports.parse(build.facts["passport"].encode())
    with workspace.store.read() as session:
        signed = tuple(SignedApproval(a.principal, a.verdict, stamp(a.created)) for a in builds.approvals(session, build.id))
    return replace(draft, approvals=signed)
