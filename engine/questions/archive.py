"""What an answer may look at: one moment of the database, its log by action and time, documents by digest, and files of builds.

`past` is the end of the day that was asked for, or now: what was received later is not seen by what asks for it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection
from sqlmodel import Session, col, select

from audit.log import Entry
from engine import considered, copies
from engine.considered import CONSIDERED, Opening
from engine.files import read_parquet
from engine.policy_approvals import parsed
from engine.prepared import decided
from engine.questions.question import Asking
from engine.workspace import Workspace, WorkspaceError
from governance import builds, consent, documents, entries, exports
from governance.builds import Approval, Build, Plan, PlanId, Status
from governance.consent import Recorded
from governance.identity import identities, links
from governance.store import moment
from governance.tables import IdentityRow
from governance.verdicts import Reason
from policies.contract import Contract
from policies.documents import Digest
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment

Written = TypeVar("Written", Contract, Policy)


@dataclass(frozen=True, slots=True)
class Documents:
    """What a plan pinned, as it was; None where nobody kept it."""

    contract: Contract | None
    policy: Policy | None


class Archive:
    """One look. `session`: a consistent read; `now`: the clock, or the newest entry where that is later."""

    def __init__(self, workspace: Workspace, session: Session, asked: Asking) -> None:
        self.workspace, self.session, self.asked = workspace, session, asked
        self.now = consent.judged_at(session, workspace.store.clock())
        self._documents: dict[PlanId, Documents] = {}
        self._rules: dict[tuple[Digest, ...], Policy] = {}

    @property
    def connection(self) -> Connection:
        """To the log."""
        return self.session.connection()

    @property
    def past(self) -> dt.datetime:
        """Until when everything counts. Raises WorkspaceError for a day to come."""
        if self.asked.on is None:
            return self.now
        begins = dt.datetime.combine(self.asked.on, dt.time(), dt.UTC)
        if begins > self.now:
            raise WorkspaceError(f"`--on`: got `{self.asked.on}`, expected a day up to today, {self.now:%Y-%m-%d}")
        return min(self.now, begins + dt.timedelta(days=1) - dt.timedelta(microseconds=1))

    # -- the log ---------------------------------------------------------------------------------------------------------

    def entry(self, action: str, when: dt.datetime, **facts: str) -> Entry | None:
        """That of a row which has this time, and says these facts."""
        return entries.at(self.connection, action, when, *(entries.pair(name, value) for name, value in facts.items()))

    def entries(self, action: str, last: int | None = None, until: dt.datetime | None = None, **facts: str) -> list[Entry]:
        """Those of an action that say these facts, oldest first; `last`: the newest of them."""
        holding = [entries.pair(name, value) for name, value in facts.items()]
        return entries.find(self.connection, action, until=until, holding=holding, last=last)

    def first(self, action: str, since: dt.datetime) -> Entry | None:
        """The first entry of an action from a moment on."""
        return entries.first(self.connection, action, since)

    # -- builds and documents --------------------------------------------------------------------------------------------

    @cached_property
    def builds(self) -> tuple[Build, ...]:
        """All, the newest first."""
        return builds.builds(self.session)

    def of_segment(self) -> tuple[Build, ...]:
        """Builds of the segment, or the one build, that was asked for, begun until `past`; all where none was. The newest first.

        Raises WorkspaceError for a segment that is unknown, or has no such build.
        """
        name = self.asked.segment
        if name is None:
            return tuple(each for each in self.builds if each.created <= self.past)
        found = [each for each in self.builds if name in (each.id, each.segment)]
        if not found:
            known = sorted({each.segment for each in self.builds})
            raise WorkspaceError(f"`--segment`: got `{name}`, expected a segment that was built, or a build: {known}")
        if not (begun := tuple(each for each in found if each.created <= self.past)):
            raise WorkspaceError(
                f"`--on`: got `{self.asked.on}`, expected a day from {found[-1].created:%Y-%m-%d}, the first build of `{name}`"
            )
        return begun

    def build(self) -> Build:
        """The one that was asked for: of a segment the newest that was released until `past`, else the newest that was built."""
        found = self.of_segment()
        released = [each for each in found if each.released is not None and each.released <= self.past]
        kept = [each for each in found if "spec" in each.facts]
        return (released or kept or list(found))[0]

    def started(self, build: Build) -> Entry | None:
        """The intent to build it."""
        return self.entry("build.started", build.created, build=build.id)

    def released(self, build: Build) -> Entry | None:
        """Its release; None where it was not, or nobody recorded it."""
        return self.entry("build.released", build.released, build=build.id) if build.released else None

    def quarantined(self, build: Build) -> Entry | None:
        """The end of its training, which pins its facts."""
        found = self.entries(f"build.{Status.QUARANTINED}", build=build.id)
        return found[0] if found else None

    def plan(self, build: Build) -> Plan:
        """What it was built by."""
        plan = builds.find_plan(self.session, build.plan)
        assert plan is not None  # plans are never deleted
        return plan

    def planned(self, plan: Plan) -> Entry | None:
        """The entry of a plan, which pins its documents."""
        return self.entry("plan.made", plan.created, plan=plan.id)

    def spec(self, build: Build) -> Segment | None:
        """As it was built; None of a build that ended before it kept anything."""
        text = build.facts.get("spec")
        return Segment.model_validate(text) if text else None

    def vouched(self, build: Build, quarantined: Entry | None) -> str | None:
        """A build's facts as the log has the digest of them; None where something was added or erased since, or it kept none."""
        kept = json.dumps({name: value for name, value in build.facts.items() if name != "recalled"}, sort_keys=True)
        digest = "sha256:" + hashlib.sha256(kept.encode()).hexdigest()
        return kept if quarantined and quarantined.parsed["facts"].get("facts") == digest else None

    def status(self, build: Build) -> Status:
        """What a build was at `past`: where a day was asked for, by its entries until then."""
        if self.asked.on is None:
            return build.status
        moves = [(each.index, to) for by, to in _MOVES.items() for each in self.entries(by, last=1, until=self.past, build=build.id)]
        return max(moves)[1] if moves else Status.BUILDING

    def retrain_by(self, build: Build) -> str:
        """By which day its model must be trained anew, by what was known at `past`; `-` for none. The first mark stands."""
        marks = self.entries("build.must_retrain", until=self.past, build=build.id)
        return str(marks[0].parsed["facts"]["by"]) if marks else "-"

    def has_passport(self, build: Build) -> bool:
        """Whether the passport of a release that was made until `past` is here still: it goes with a recall."""
        path = copies.released(self.workspace, build.id) / copies.PASSPORT
        return build.released is not None and build.released <= self.past and path.exists()

    def approvals(self, build: Build) -> tuple[Approval, ...]:
        """What people said to a build."""
        return builds.approvals(self.session, build.id)

    def policy(self, digest: Digest) -> Policy | None:
        """The policy that has this digest; None where nobody kept it."""
        if kept := documents.find(self.session, digest):
            return parsed(kept.text)
        return next((each for each in self._today("policies", self.workspace.policy) if each.digest() == digest), None)

    def contract(self, digest: Digest) -> Contract | None:
        """The contract that has this digest; None where nobody kept it."""
        if kept := documents.find(self.session, digest):
            return Contract.model_validate_json(kept.text)
        return next((each for each in self._today("contracts", self.workspace.contract) if each.digest() == digest), None)

    def text(self, document: Contract | Policy) -> str:
        """A document as it was kept, byte by byte; of one that nobody kept, as its digest is over."""
        kept = documents.find(self.session, document.digest())
        return kept.text if kept else document.canonical().decode()

    def documents(self, plan: Plan) -> Documents:
        """Those that a plan pinned; read once."""
        if plan.id not in self._documents:
            self._documents[plan.id] = Documents(self.contract(plan.contract), self.policy(plan.policy))
        return self._documents[plan.id]

    def _today(self, folder: str, read: Callable[[str], Written]) -> Iterator[Written]:
        """Documents of the workspace, for what was pinned before any were kept."""
        for name in self.workspace.documents(folder):
            with suppress(DocumentError):  # somebody's unfinished draft is not what was pinned
                yield read(name)

    # -- subjects --------------------------------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The subject that was asked for, and every key merged with it. Raises WorkspaceError where nothing is held of any."""
        subject = self.asked.subject or ""
        together = tuple(sorted(identities(links(self.session)).together(subject)))
        if subject and (len(together) > 1 or any(self.known(key) for key in together)):
            return together
        raise WorkspaceError(
            "`--subject`: nothing is held about this key: no consent event, no build, no list; expected one as in the data"
        )

    def standing(self, at: dt.datetime) -> dict[str, frozenset[str]]:
        """Of the subject's keys, those that stood for themselves or others at a moment, and all that each stood for, itself included."""
        known = identities(links(self.session, at))
        return {head: known.together(head) for head in sorted({known.survivor(key) for key in self.keys})}

    def joined(self, one: str, other: str) -> dt.datetime:
        """Since when two of the subject's keys are one person's: the first merge that was recorded after which they were."""
        rows = select(IdentityRow.received_time).where(col(IdentityRow.subject).in_(self.keys)).order_by(col(IdentityRow.received_time))
        moments = [moment(each) for each in self.session.exec(rows)]
        return next((at for at in moments if other in identities(links(self.session, at)).together(one)), self.now)

    def known(self, key: str) -> bool:
        """Whether an event, a build or a list holds a key."""
        held = consent.history(self.session, key) or any(self.considered(build, key) for build in self.builds)
        return bool(held) or any(self.received(export, key) for export in exports.exports(self.session))

    @cached_property
    def history(self) -> list[Recorded]:
        """What the subject said, by any key, and what was received until `past`; the oldest event first."""
        said = [each for key in self.keys for each in consent.history(self.session, key) if each.received_time <= self.past]
        return sorted(said, key=lambda each: (each.event.event_time, each.received_time))

    def said(self, recorded: Recorded) -> Entry | None:
        """The entry that commits to an event."""
        return self.entry("consent.append", recorded.received_time, batch=recorded.batch)

    def considered(self, build: Build, key: str) -> dict[str, Any] | None:
        """What a build's record of whom it considered says of a key: reason and trained; None where it does not hold it."""
        return _row(copies.folder(self.workspace, build.id) / CONSIDERED, key, ("subject", "reason", "trained"))

    def opening(self, build: Build, key: str) -> Opening | None:
        """The leaf of a key in a build's commitments."""
        path = copies.folder(self.workspace, build.id) / CONSIDERED
        return considered.opening(path, build.id, key) if path.exists() else None

    def member(self, build: Build, key: str) -> dict[str, Any] | None:
        """The row of a key in a build's list, as it is today."""
        return _row(copies.folder(self.workspace, build.id) / copies.MEMBERSHIP, key)

    def received(self, export: exports.Export, key: str) -> bool:
        """Whether the list of an export has a key, less who was recalled from it since."""
        return _row(copies.export_list(self.workspace, export.id), key, ("subject",)) is not None

    def trained(self, build: Build) -> pa.Array | None:
        """Whose rows a build was trained on, or scored; None where its record is gone. Whoever was erased since is not among them."""
        path = copies.folder(self.workspace, build.id) / CONSIDERED
        return copies.subjects_in(path, "trained") if path.exists() else None

    def members(self, build: Build) -> pa.Array:
        """Who is on a build's list today."""
        return copies.subjects_in(copies.folder(self.workspace, build.id) / copies.MEMBERSHIP)

    def judged(self, contract: Contract, policy: Policy, spec: Segment, key: str, at: dt.datetime) -> Reason:
        """Why a key could be used for a segment at a past moment, or not, by what was known then; who is a child is told as of today."""
        reasons = self.judged_all(contract, policy, spec, pa.array([key], pa.string()), at)
        return Reason(reasons[0].as_py()) if len(reasons) else Reason.NEVER_ASKED

    def judged_all(self, contract: Contract, policy: Policy, spec: Segment, subjects: pa.Array, at: dt.datetime) -> pa.ChunkedArray:
        """The same for several, in their order."""
        pinned = contract.digest(), policy.digest(), spec.digest()
        if pinned not in self._rules:
            self._rules[pinned] = decided(contract, policy, spec).rules
        return self._admitted(contract, self._rules[pinned], spec.purpose, subjects, at)

    def reason(self, contract: Contract, policy: Policy, purpose: str, key: str) -> Reason:
        """Why a key could be used for a purpose at `past`, or not, whatever for."""
        reasons = self._admitted(contract, policy, purpose, pa.array([key], pa.string()), self.past)
        return Reason(reasons[0].as_py()) if len(reasons) else Reason.NEVER_ASKED

    def _admitted(self, contract: Contract, rules: Policy, purpose: str, subjects: pa.Array, at: dt.datetime) -> pa.ChunkedArray:
        from engine.admitting import FEW, told_now  # with the data engine, which few questions need
        from governance import admission

        by = identities(links(self.session, at))
        if len(subjects) <= FEW:
            few = set(subjects.to_pylist())
            events = consent.events_of(self.session, at, few | by.bearing_on(few))
        else:
            events = consent.snapshot_events(self.session, at)
        told, people = told_now(self.workspace, contract, rules), pa.table({"subject": subjects})
        who = contract.jurisdiction, at, None, by, told, contract.controller
        return admission.admit(events, people, rules, purpose, *who).reasons["reason"]


_MOVES = {"build.reject": Status.REJECTED} | {f"build.{each}": each for each in Status if each is not Status.BUILDING}
"""What a build is after an entry of each of these actions."""


def _row(path: Path, key: str, columns: Iterable[str] | None = None) -> dict[str, Any] | None:
    try:
        table = read_parquet(path, None if columns is None else [*columns])
    except FileNotFoundError:
        return None
    found = table.filter(pc.equal(table["subject"], key))
    return found.slice(0, 1).to_pylist()[0] if found.num_rows else None
