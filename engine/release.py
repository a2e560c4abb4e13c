"""From quarantine to the outside: approval, the second look at consent, pseudonyms, passport; reads, exports, recall.

A release happens in this order, so that a crash at any point leaves nothing half released: (1) approvals suffice,
(2) the intent in the log, (3) the policy of today and who may still be used, (4) files beside, flushed, (5) under the writer's
lock: consent again, the status with the passport's digest, and the files renamed, (6) the passport, against that entry.
Until (5) every read path answers that nothing is released, and no passport of it can exist; none answers without (6).

A release ends with the policy's time: reads after it are refused by the clock, whether or not a sweep came by. An export has a
list of who was in it before its file exists, so that whoever leaves later can be recalled from it (`engine.copies`).
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlmodel import Session

from audit import log as audit_log
from audit import passport as passports
from audit.checkpoint import Checkpoint
from audit.passport import Approval as SignedApproval
from audit.verify import RELEASED
from engine import copies, deep, reports, roles
from engine.admitting import admitted_among, told_now
from engine.copies import MEMBERSHIP, PASSPORT, export_list, folder, released, write_list
from engine.files import draft_file, draft_folder, flush_folder, place_file, place_folder, read_parquet, whole_file
from engine.gates import Refused, gate, refusal
from engine.prepared import Prepared, decided
from engine.workspace import Workspace, WorkspaceError
from governance import builds, documents, exports
from governance.builds import Build, Status, Voice, required_approvals
from governance.consent import judged_at
from governance.pseudonyms import ensure_key, pseudonyms, purpose_key
from governance.roles import Action, Role
from governance.store import stamp
from policies.contract import Contract
from policies.deciding import decide, decide_destination, for_admission
from policies.decisions import Allow
from policies.policy import Policy
from policies.segment import Segment


def approve(workspace: Workspace, name: str, comment: str = "") -> Build:
    """Say yes to a build in quarantine; with the last yes it is released. Raises Refused, IntegrityError."""
    build = find(workspace, name, Status.QUARANTINED)
    roles.authorise(workspace, Action.APPROVE, build)
    lawful = permit(workspace, build)
    if _missing(workspace, lawful):  # a release that a crash cut short needs no further yes
        with workspace.store.transaction("approve") as write:
            documents.keep(write, documents.Kind.POLICY, lawful.policy)
            decision = builds.approve(write, build.id, lawful.policy.digest(), comment)
        gate(decision)
    return reports.refresh(workspace, build) if _missing(workspace, lawful) else release(workspace, build)


def reject(workspace: Workspace, name: str, comment: str = "") -> Build:
    """Say no to a build in quarantine; its membership is deleted. Raises Refused."""
    build = find(workspace, name, Status.QUARANTINED)
    with workspace.store.transaction("reject") as write:
        decision = builds.reject(write, build.id, build.facts["digests"]["policy"], comment)
    gate(decision)
    copies.clear(workspace, build.id)
    return reports.refresh(workspace, build)


def release(workspace: Workspace, build: Build) -> Build:
    """Steps (2) to (6) of the module. Raises Refused if approvals are missing or the policy of today says no."""
    target = released(workspace, build.id)
    with workspace.store.transaction("release-intent") as write:
        write.record("release.intended", build=build.id, segment=build.segment)
        ensure_key(write, workspace.keys, build.purpose)
    while True:
        lawful = permit(workspace, build)
        told = told_now(workspace, lawful.contract, lawful.rules)
        members = _lawful(workspace, lawful, told)
        with draft_folder(target) as partial:
            write_list(_pseudonymous(workspace, build, members), partial / f"membership.{build.facts['format']}")
            flush_folder(partial, "release-files")
            with workspace.store.transaction("release") as write:
                if not _lawful(workspace, lawful, told, write.session).equals(members):
                    continue  # somebody withdrew while the files were written
                digest = passports.digest(_passport(write.session, build))
                documents.keep(write, documents.Kind.POLICY, lawful.policy)
                decision = builds.release(
                    write,
                    build.id,
                    lawful.policy.digest(),
                    lawful.required,
                    _voice(workspace),
                    lawful.policy.retention,
                    passport=digest,
                )
                if isinstance(decision, Allow):  # of two releases at once the second is denied, and leaves the first alone
                    place_folder(partial, target, "release-files")
        gate(decision)
        passport(workspace, build)
        return reports.refresh(workspace, build)


def passport(workspace: Workspace, build: Build, under: Checkpoint | None = None) -> Path:
    """The passport of a released build; issued now, against its entry in the log, if a crash came before it was.

    `under`: a checkpoint that covers this entry and that it is to carry, whatever it carried before.
    """
    path = released(workspace, build.id) / PASSPORT
    if under is not None or not path.exists():
        checkpoint = under or workspace.checkpoint()
        with workspace.store.read() as session:
            connection = session.connection()
            signed = _passport(session, build)
            wanted = {"build": build.id, "passport": passports.digest(signed)}
            entries = (entry for entry in audit_log.backwards(connection) if wanted.items() <= entry.parsed["facts"].items())
            index = next(entry.index for entry in entries if entry.parsed["action"] == RELEASED)
            assert checkpoint is not None and checkpoint.size > index  # sealed with the release, or when the workspace was opened
            proof = passports.prove(connection, index, checkpoint)
        with whole_file(path, "passport") as partial:
            partial.write_bytes(passports.issue(signed, proof, workspace.keys.signer))
    return path


def members(workspace: Workspace, name: str, segment: str | None = None) -> list[dict[str, str]]:
    """Pseudonyms of a released segment's members, less whoever may not be used any more. Logged. Raises Refused."""
    build = find(workspace, name, Status.RELEASED)
    roles.authorise(workspace, Action.READ_MEMBERS, build)
    lawful = permit(workspace, build, listed=True)
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
    lawful = permit(workspace, build, listed=True)
    passport(workspace, build)
    wanted = destination or lawful.spec.output.destination
    if wanted is None:
        raise WorkspaceError("`--destination`: the segment names none, expected one of the policy's")
    roles.authorise(workspace, Action.EXPORT, build, destination=wanted)
    request = replace(decided(lawful.contract, lawful.policy, lawful.spec).request, destination=wanted)
    gate(decide_destination(lawful.policy, wanted, request))
    lawful = replace(lawful, rules=for_admission(lawful.policy, request))  # some may be handed to one destination and not to another
    file = check_target(workspace, to)
    with workspace.store.transaction("export-intent") as write:
        intended = exports.intend(write, build.id, build.segment, wanted, str(file))
    kept = export_list(workspace, intended.id)
    kept.parent.mkdir(exist_ok=True, mode=0o700)
    while True:
        told = told_now(workspace, lawful.contract, lawful.rules)
        members = _lawful(workspace, lawful, told)
        with draft_file(kept, private=True) as listed, draft_file(file) as partial:
            pq.write_table(members.select(["subject"]), listed)
            write_list(_pseudonymous(workspace, build, members), partial, file.suffix)
            with workspace.store.transaction("export") as write:
                current = builds.find_build(write.session, build.id)
                if current is None or not current.listed(write.now) or builds.ended(write.session, current, write.now):
                    permit(workspace, find(workspace, build.id, Status.RELEASED), listed=True)
                if not _lawful(workspace, lawful, told, write.session).equals(members):
                    continue  # somebody withdrew while the file was written
                exports.finish(write, intended, build.segment)
                place_file(listed, kept, "export-list")
                place_file(partial, file, "export-file")
        return wanted


def check_target(workspace: Workspace, to: Path) -> Path:
    """Where an export can be, without links: a new file outside the workspace, or that of an earlier export. Raises WorkspaceError."""
    workspace.check_leaving(to)
    file = to.resolve()
    if file.suffix not in (".parquet", ".csv"):
        raise WorkspaceError(f"`--to`: got `{to.name}`, expected a name that ends in .parquet or .csv")
    if not file.parent.is_dir():
        raise WorkspaceError(f"`--to`: got `{to}`, expected a file in a folder that exists")
    with workspace.store.read() as session:
        earlier = {export.file for export in exports.exports(session)}
    if file.exists() and str(file) not in earlier:
        raise WorkspaceError(f"`--to`: got `{to}`, which is there and no earlier export, expected a new file")
    return file


def recall(workspace: Workspace, name: str, comment: str) -> Build:
    """Take a release back, with what was scored with its model: no read path answers, files here are deleted, exports get a notice.

    Raises Refused.
    """
    build = find(workspace, name, Status.RELEASED)
    roles.authorise(workspace, Action.RECALL, build)
    with workspace.store.transaction("recall") as write:
        scored = builds.scored(write.session, build.id)
        decision = builds.recall(write, build.id, build.facts["digests"]["policy"], comment)
    gate(decision)
    for other in scored:
        copies.clear(workspace, other.id)
        reports.refresh(workspace, other)
    copies.clear(workspace, build.id)
    return reports.refresh(workspace, build)


@dataclass(frozen=True, slots=True)
class Lawful:
    """A build that the policy of today still allows, by the spec that was built: only this is released, shown or exported.

    `rules`: the policy as admission reads it.
    """

    build: Build
    spec: Segment
    contract: Contract
    policy: Policy
    rules: Policy
    required: int


def permit(workspace: Workspace, build: Build, listed: bool = False) -> Lawful:
    """Decide again: the spec as it was built, against the contract it was built on, the policy as it is now, and the clock.

    `listed`: for a look at who is in it. Raises Refused, and IntegrityError if the build's facts are not those that the log vouches for.
    """
    with workspace.store.read() as session:
        builds.check_facts(session, build.id)
        now = judged_at(session, workspace.store.clock())
        model = builds.find_build(session, build.model) if build.model else None
        ended = builds.ended(session, build, now)
    if build.over(now) or (listed and not build.listed(now)):
        raise _late(build, now)
    spec = Segment.model_validate_json(json.dumps(build.facts["spec"]))
    contract, policy = workspace.contract(spec.dataset), workspace.policy(spec.policy)
    if ended:
        raise refusal(
            build.segment,
            "model-ended",
            policy.digest(),
            "the model that this list was scored with was recalled, or its time has passed",
            f"model `{build.model}` is released and in time",
            f"build it anew: consentric build {build.segment}",
        )
    if model is not None:
        in_time(model, policy, now)
    if contract.digest() != build.facts["digests"]["contract"]:
        raise refusal(
            build.segment,
            "builds-pin-their-contract",
            policy.digest(),
            "the contract has changed since this was built",
            f"digest of the contract: built on {build.facts['digests']['contract'][:19]}…, now {contract.digest()[:19]}…",
            f"look at the change, then build anew: consentric build {build.segment}",
        )
    prepared = decided(contract, policy, spec)
    gate(decide(policy, prepared.request))
    gate(decide_destination(policy, spec.output.destination))
    deep.exact_gate(spec, policy)
    _as_coarse(build, prepared)
    return Lawful(build, spec, contract, policy, prepared.rules, max(build.facts["required"], required_approvals(policy, spec.model.type)))


def find(workspace: Workspace, name: str, status: Status | None = None, trained: bool = False) -> Build:
    """A build by its id, or the newest build of a segment (of that status). `trained`: only one with a model of its own.

    Raises Refused or WorkspaceError.
    """
    with workspace.store.read() as session:
        exact = builds.find_build(session, builds.BuildId(name))
        other = (exact,) if exact else builds.builds(session, name)
        found = [build for build in other if status in (None, build.status) and not (trained and build.model)]
        if status is Status.QUARANTINED and len(found) > 1:
            raise WorkspaceError(f"`{name}` has several builds in quarantine, name one: {', '.join(build.id for build in found)}")
        if found:
            return found[0]
        if other:
            raise refusal(
                name,
                "build-status",
                "-",
                "this needs a build" + (f" that is {status}" if status else "") + (" and has a model of its own" if trained else ""),
                f"status of build `{other[0].id}`: {other[0].status}",
                f"look at it with `consentric segments show {name}`",
            )
    raise WorkspaceError(f"no build or segment `{name}`; see `consentric segments list`, or make one with `consentric build {name}`")


def in_time(model: Build, policy: Policy, now: dt.datetime) -> None:
    """A model that should have been trained anew serves nobody. Raises Refused."""
    by = model.retrain_by
    if by is not None and now >= by:
        raise refusal(
            model.segment,
            "model-to-be-retrained",
            policy.digest(),
            "somebody whose rows trained this model may not be used any more, and the time to train it anew has passed",
            f"now < {by:%Y-%m-%d}, got {now:%Y-%m-%d}",
            f"build it anew: consentric build {model.segment}",
        )


def _as_coarse(build: Build, prepared: Prepared) -> None:
    """What was computed from finer columns than the policy of today leaves serves nobody any more. Raises Refused."""
    then = build.facts.get("coarsened", {})
    finer = [f"`{name}`" for name, steps in prepared.coarseness.items() if any(step not in then.get(name, ()) for step in steps)]
    if finer:
        raise refusal(
            build.segment,
            "built-from-finer-columns",
            prepared.policy.digest(),
            "the policy has come to ask for coarser columns than this was computed from",
            f"generalisations that the policy asks for were done when it was built, got others for {', '.join(finer)}",
            f"build it anew: consentric build {build.segment}",
        )


def _late(build: Build, now: dt.datetime) -> Refused:
    """The clock ended it, or its lists."""
    ends = [end for end in (build.expires, build.listed_until) if end is not None]
    return refusal(
        build.segment,
        "release-expired" if build.status is Status.RELEASED else "build-expired",
        build.facts["digests"]["policy"],
        "the policy's time for it has passed: it is read no more, and the next sweep deletes it",
        f"now < {min(ends):%Y-%m-%d %H:%M} UTC, got {now:%Y-%m-%d %H:%M}",
        f"build it anew: consentric build {build.segment}",
    )


def _lawful(workspace: Workspace, lawful: Lawful, told: pa.Table | None = None, session: Session | None = None) -> pa.Table:
    """The members (subject, segment) that may be used now, in segments at or above the cohort floor, in a fixed order.

    `told`: as `admitted_among` takes it. Raises Refused where somebody rejected or recalled the build meanwhile, and its files are gone.
    """
    try:
        table = read_parquet(folder(workspace, lawful.build.id) / MEMBERSHIP)
    except FileNotFoundError:
        find(workspace, lawful.build.id, lawful.build.status)
        raise
    shown = pa.array([part["name"] for part in lawful.build.facts["parts"] if not part["withheld"]], pa.string())
    table = table.filter(pc.is_in(table["segment"], shown))
    allowed = admitted_among(workspace, lawful.contract, lawful.rules, lawful.build.purpose, table, session, told)
    return table.filter(pc.is_in(table["subject"], allowed)).sort_by("subject")


def _pseudonymous(workspace: Workspace, build: Build, table: pa.Table) -> pa.Table:
    with workspace.store.read() as session:
        key = purpose_key(session, workspace.keys, build.purpose)
    names = pseudonyms(table["subject"], key)
    return pa.table({"pseudonym": names, "segment": table["segment"]}).sort_by("pseudonym")  # an order that says nothing


def _missing(workspace: Workspace, lawful: Lawful) -> bool:
    """Whether somebody else must say yes yet."""
    with workspace.store.read() as session:
        return len(builds.counted(session, lawful.build, lawful.policy.digest(), _voice(workspace))) < lawful.required


def _voice(workspace: Workspace) -> Voice:
    """Whoever is an officer still: by name, or by a token's word where the workspace still takes it."""
    settings = workspace.settings
    trusted = settings.tokens is not None and settings.tokens.trust_roles
    return lambda said: said.principal in settings.roles.get(Role.OFFICER, ()) or (said.claimed and trusted)


def _passport(session: Session, build: Build) -> passports.Passport:
    draft = passports.parse(build.facts["passport"].encode())
    signed = tuple(SignedApproval(a.principal, a.verdict, stamp(a.created)) for a in builds.approvals(session, build.id))
    return replace(draft, approvals=signed)
