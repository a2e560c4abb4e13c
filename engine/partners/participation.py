"""A partner at work: its budget is reserved and its intent in the log before a row is read, and it goes on after a crash where it was.

    joined ──begin──> building ──rounds──> building ──finish──> quarantined ──> as any other build

The build stays open over commands, until the coordinator says what came of the contract: what is charged, met and said is on disk, so
that a partner that was killed takes the seat again that it had. One process takes part at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.merkle import IntegrityError
from engine.answers import hold
from engine.bench import Bench
from engine.gates import refusal
from engine.partners import faults, finishing, identity, joining
from engine.partners.attendance import Attendance
from engine.partners.book import ANSWERED, DurableBook, DurableMemory
from engine.partners.home import PartnerHome, Taking, unchanged
from engine.partners.places import REPLIES, TRANSCRIPT, folder
from engine.planning import extraction_of, plan, prepare
from engine.trainers import projecting
from engine.workspace import Workspace, WorkspaceError
from federated.acknowledgement import Acknowledgement
from federated.contract import Agreed, agreed
from federated.courier import Answerer
from federated.desk import Desk
from federated.partner import Partner
from federated.transcript import TranscriptFile
from governance import budget, builds, entries, partnerships, snapshots
from governance.builds import Build, Status
from governance.key_files import make_folder
from governance.partnerships import Partnership
from governance.store import stamp
from policies.documents import digest_of


class EndedError(WorkspaceError):
    """There are no more rounds to take part in."""


@dataclass(frozen=True, slots=True)
class Participation:
    """`answer`: requests in, replies out; `memory` knows the latest round."""

    answer: Answerer
    memory: DurableMemory


def find(workspace: Workspace, name: str) -> Partnership:
    """Raises WorkspaceError for one that was not joined."""
    with workspace.store.read() as session:
        found = partnerships.find(session, name)
        names = [each.name for each in partnerships.partnerships(session)]
    if found is None:
        joined = ", ".join(f"`{each}`" for each in names) or "none"
        raise WorkspaceError(f"no collaboration `{name}` was joined, got {joined}; consentric partner join ENVELOPE --digest … --segment …")
    return found


@contextmanager
def taking_part(bench: Bench, name: str, finished: Callable[[Build], None] = lambda _build: None) -> Iterator[Participation]:
    """Answers for one partner until the block ends; `finished` is told what came of it. The build is begun, or gone on with.

    Raises EndedError, WorkspaceError, Refused and BudgetExceeded, and faults.
    """
    workspace, joined = bench.workspace, find(bench.workspace, name)
    contract = agreed(joined.envelope, joined.contract)
    joining.named(workspace, contract)
    projecting.learn_all()
    with _alone(folder(workspace, name)) as kept:
        taking, signer = _begun(bench, joined, contract), identity.signer(workspace)
        left = TranscriptFile(kept / TRANSCRIPT, signer, contract.digest, contract.contract.privacy.delta)
        try:
            _ended(taking, left)
            _resume(bench, taking, left, kept / REPLIES)
            attendance = Attendance(bench, taking, taking.build.id)
            home = PartnerHome(bench, taking, attendance, left)
            memory = DurableMemory(kept, left.entries)
            book = DurableBook(workspace.store, kept / REPLIES, name, left, home.spent, attendance.evidence, bench.progress)

            def finish(told: bytes) -> bytes:
                head = left.head
                with faults.kept(workspace):
                    finished(finishing.finish(bench, taking, told, head))
                return Acknowledgement(contract.digest, digest_of(told), head, home.spent()).signed(signer)

            yield Participation(Desk(Partner(contract, signer, home, memory), book, finish).answer, memory)
            _end(workspace, taking, left, memory)
        finally:
            left.close()


def _ended(taking: Taking, left: TranscriptFile) -> None:
    """Raises EndedError where nothing is left to be said: not even that the outcome came, which a gate that refused it knows too."""
    build, name = taking.build, taking.agreed.contract.name
    if left.ended or (build.status in (Status.REFUSED, Status.FAILED) and "joint" not in build.facts):
        raise EndedError(f"collaboration `{name}` has ended, its build is {build.status}: consentric segments show {build.id}")


def _resume(bench: Bench, taking: Taking, left: TranscriptFile, replies: Path) -> None:
    """A line of the transcript that a crash kept out of the log is of a reply that never left, and never will."""
    workspace = bench.workspace
    with workspace.store.read() as session:
        known = entries.find(session.connection(), ANSWERED, holding=(entries.pair("contract", taking.agreed.digest),), last=1)
    if known and known[0].parsed["facts"]["transcript"] not in {left.head, *(entry.before for entry in left.entries)}:
        raise IntegrityError(
            "the transcript lacks lines that the log has, and what left without a line may be said to be unpaid: restore it"
        )
    if not left.entries:
        return
    last = left.entries[-1].left
    bench.progress(f"go on with build {taking.build.id}, {len(left.entries)} replies left so far")
    with workspace.store.read() as session:
        told = entries.find(session.connection(), ANSWERED, holding=(entries.pair("transcript", left.head),), last=1)
    if not told:
        (replies / last.request.removeprefix("sha256:")).unlink(missing_ok=True)
    with workspace.store.transaction("collaboration-resumed") as write:
        write.record("collaboration.resumed", **_of(taking), entries=len(left.entries), transcript=left.head, unsent=not told)


def _end(workspace: Workspace, taking: Taking, left: TranscriptFile, memory: DurableMemory) -> None:
    """The last line of the transcript, once the build has ended."""
    with workspace.store.read() as session:
        found = builds.find_build(session, taking.build.id)
    if found is not None and found.status is not Status.BUILDING:
        memory.end()
        head = left.end(stamp(workspace.store.clock()))
        with workspace.store.transaction("collaboration-ended") as write:
            write.record("collaboration.ended", **_of(taking), entries=len(left.entries), transcript=head)


def _of(taking: Taking) -> dict[str, str]:
    return {"contract": taking.agreed.digest, "collaboration": taking.agreed.contract.name, "build": taking.build.id}


def _begun(bench: Bench, joined: Partnership, contract: Agreed) -> Taking:
    with bench.workspace.store.read() as session:
        build = builds.find_build(session, joined.build) if joined.build else None
        reserved = budget.find(session, build.reservation) if build else None
    if build is None or (reserved is not None and reserved.status is budget.Status.RELEASED):  # nothing was drawn: it may begin anew
        return _begin(bench, joined, contract)
    return _resumed(bench, joined, contract, build)


def _begin(bench: Bench, joined: Partnership, contract: Agreed) -> Taking:
    """Plan, reserve what the contract asks for, and write the intent down, all before anything is asked."""
    bench.progress(f"begin with segment `{joined.segment}`")
    prepared = joining.fitting(bench.workspace, contract, joined.segment)
    made = plan(bench, joined.segment, together=True, groups=contract.contract.fairness is not None)
    spec, policy = prepared.spec, prepared.policy
    with bench.workspace.store.transaction("build-intent") as write:
        pinned = builds.find_plan(write.session, made.id)
        assert pinned is not None  # made a moment ago, and plans are never deleted
        to = budget.accounts(prepared.contract, policy, spec.purpose, write.now)
        label = f"collaboration {joined.name}"
        reservation = budget.reserve(write, to, policy, spec.asked.epsilon, spec.asked.delta, label)
        build = builds.start(write, pinned, spec.purpose, reservation.id)
        partnerships.begin(write, joined.contract, build.id)
    return Taking(contract, build, pinned, reservation, prepared, extraction_of(bench.workspace, prepared), made.snapshot)


def _resumed(bench: Bench, joined: Partnership, contract: Agreed, build: Build) -> Taking:
    """The build that a command before this one began, or has ended. Raises WorkspaceError, Refused."""
    workspace = bench.workspace
    if build.builder != workspace.principal.name:
        raise WorkspaceError(f"build {build.id} was begun by `{build.builder}`, who goes on with it, got `{workspace.principal.name}`")
    with workspace.store.read() as session:
        pinned, reservation = builds.find_plan(session, build.plan), budget.find(session, build.reservation)
    assert pinned is not None and reservation is not None  # neither is ever deleted
    if build.status is Status.BUILDING and not unchanged(workspace, pinned):
        raise refusal(
            joined.segment,
            "rounds-pin-their-documents",
            pinned.policy,
            "spec, policy or contract changed since this partner began, or the policy denies it today",
            "digests of spec, policy and contract are those of its plan",
            "put them back as they were, or end it with `consentric doctor --repair`, which leaves what was charged as spent",
        )
    prepared = joining.ordered(prepare(workspace, joined.segment), contract)
    with workspace.store.read() as session:
        snapshot = snapshots.find(session, pinned.snapshot, prepared.policy.budgets.snapshot.interval)
    assert snapshot is not None  # a plan shows one that was taken
    return Taking(contract, build, pinned, reservation, prepared, extraction_of(workspace, prepared), snapshot)


@contextmanager
def _alone(kept: Path) -> Iterator[Path]:
    """Held while the block runs. Raises WorkspaceError where another process holds it."""
    make_folder(kept.parent)
    make_folder(kept)
    if (handle := hold(kept)) is None:
        raise WorkspaceError(f"another process takes part in `{kept.name}` already; one is enough, end it with Ctrl-C")
    try:
        yield kept
    finally:
        os.close(handle)
