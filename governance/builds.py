"""Plans, builds and approvals: what was pinned, what happened to it, and who said yes.

    building ──> quarantined ──> released ──> recalled
        │             │  └──────────┴───────> expired  (its time is over, or that of the model it was scored with)
        │             └────────> rejected
        ├──> refused (a gate said no)
        └──> failed  (a fault)

Each transition checks the status and sets it under the writer's lock, in the transaction of its log entry, so that two
people at once cannot release twice, and a crash leaves the build where it was. What people ask for (approve, reject,
release, recall) is answered `Allow | Deny`, and a denial is recorded too; what the pipeline does out of turn is a fault.
What people write (comments, reasons) could name somebody, so it stays in rows that can be erased and out of the log.
`expires` and `listed_until` are promises of the clock: whoever reads asks `ended` and `Build.listed`, because nobody may have
swept yet. A yes is to a build and to the policy of that moment: under another policy people are asked again.

Not here: what a release writes, and whether consent still allows it (`engine`), or who may act at all (roles).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NewType

from sqlmodel import Session, col, select

from audit import log as audit_log
from audit.merkle import IntegrityError
from governance.door import ReservationId
from governance.roles import Role
from governance.store import Transaction, micros, moment, stamp
from governance.tables import ApprovalRow, BuildRow, PlanRow
from policies.decisions import Allow, Cause, Deny, Finding
from policies.documents import Digest
from policies.policy import Policy, Retention

PlanId = NewType("PlanId", str)
BuildId = NewType("BuildId", str)


class BuildError(Exception):
    """A build is not in the status that the next step of the pipeline needs: a fault of the program."""


class Status(StrEnum):
    """Of a build."""

    BUILDING = "building"
    QUARANTINED = "quarantined"
    RELEASED = "released"
    REJECTED = "rejected"
    RECALLED = "recalled"
    EXPIRED = "expired"
    REFUSED = "refused"
    FAILED = "failed"


LIVE = (Status.QUARANTINED, Status.RELEASED)
"""Builds whose lists exist."""


class Verdict(StrEnum):
    """Of an approval."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan pins: the digests of spec, contract and policy, and the snapshot that it showed."""

    id: PlanId
    segment: str
    spec: Digest
    contract: Digest
    policy: Digest
    snapshot: str
    principal: str
    created: dt.datetime


@dataclass(frozen=True, slots=True)
class Build:
    """One build of a segment. `facts`: what the pipeline found worth keeping, as JSON.

    `model`: the build whose released model this one scored people with, None where it trained its own. `expires`: from then on it
    is neither released nor scored with; `listed_until`: from then on nobody reads who is in it. `retrain_by`: by when its model
    must be trained anew, None while everybody whose rows trained it may still be used.
    """

    id: BuildId
    segment: str
    plan: PlanId
    purpose: str
    status: Status
    builder: str
    created: dt.datetime
    released: dt.datetime | None
    reservation: ReservationId
    facts: Mapping[str, Any]
    model: BuildId | None = None
    expires: dt.datetime | None = None
    listed_until: dt.datetime | None = None
    retrain_by: dt.datetime | None = None

    def over(self, now: dt.datetime) -> bool:
        """Whether its time has passed, whatever its status says."""
        return self.expires is not None and now >= self.expires

    def listed(self, now: dt.datetime) -> bool:
        """Whether its lists may exist: it waits or is released, and neither time has passed."""
        live = self.status in (Status.QUARANTINED, Status.RELEASED) and not self.over(now)
        return live and (self.listed_until is None or now < self.listed_until)


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's yes or no. `policy`: by which they said it; `claimed`: a token alone said that they may."""

    build: BuildId
    principal: str
    verdict: Verdict
    comment: str
    created: dt.datetime
    policy: Digest | None = None
    claimed: bool = False


Voice = Callable[[Approval], bool]
"""Whether whoever said yes may still say it today."""


def pin(transaction: Transaction, segment: str, spec: Digest, contract: Digest, policy: Digest, snapshot: str) -> Plan:
    """Write a plan down."""
    row = PlanRow(
        id=secrets.token_hex(8),
        segment=segment,
        spec=spec,
        contract=contract,
        policy=policy,
        snapshot=snapshot,
        principal=transaction.principal.name,
        created=transaction.micros,
    )
    transaction.session.add(row)
    transaction.record("plan.made", plan=row.id, segment=segment, spec=spec, contract=contract, policy=policy, snapshot=snapshot)
    return _plan(row)


def start(transaction: Transaction, plan: Plan, purpose: str, reservation: ReservationId, model: BuildId | None = None) -> Build:
    """The intent to build, or to score with the released model of another build, before anything is read."""
    row = BuildRow(
        id=secrets.token_hex(8),
        segment=plan.segment,
        plan=plan.id,
        purpose=purpose,
        status=Status.BUILDING,
        builder=transaction.principal.name,
        created=transaction.micros,
        reservation=reservation,
        model=model,
    )
    transaction.session.add(row)
    scored = {"model": model} if model else {}
    transaction.record(
        "build.started", build=row.id, plan=plan.id, segment=plan.segment, purpose=purpose, reservation=reservation, **scored
    )
    return _build(row)


def quarantine(
    transaction: Transaction, build: BuildId, facts: Mapping[str, Any], lasts: dt.timedelta | None = None, **evidence: Any
) -> Build:
    """Built, and out of reach until released, for as long as it `lasts`. `facts` stay in the database, `evidence` goes into the log.

    Raises BuildError.
    """
    return _move(transaction, build, Status.QUARANTINED, facts, lasts, **evidence)


def refuse(transaction: Transaction, build: BuildId, rules: tuple[str, ...], facts: Mapping[str, Any] = MappingProxyType({})) -> Build:
    """A gate said no, by these rules; nothing will be released. `facts`: what may be known of it all the same. Raises BuildError."""
    return _move(transaction, build, Status.REFUSED, {**facts, "rules": list(rules)}, rules=list(rules))


def fail(transaction: Transaction, build: BuildId, code: str) -> Build:
    """A fault ended it; `code` is one of a fixed set, because a message could show a row. Raises BuildError."""
    return _move(transaction, build, Status.FAILED, {"code": code}, code=code)


def approve(transaction: Transaction, build: BuildId, policy: Digest, comment: str = "") -> Allow | Deny:
    """The principal's yes, under this policy. Denied to the builder, to whoever said so before, and outside quarantine."""
    return _judge(transaction, build, Verdict.APPROVE, policy, comment)


def reject(transaction: Transaction, build: BuildId, policy: Digest, comment: str = "") -> Allow | Deny:
    """The principal's no, which is final."""
    return _judge(transaction, build, Verdict.REJECT, policy, comment)


def required_approvals(policy: Policy, model: str, at_least: int = 0) -> int:
    """How many people other than the builder must say yes; `at_least`, where a gate asks for an approval by itself."""
    return max(policy.approvals.required if model in policy.approvals.models else 0, at_least)


def check_facts(session: Session, build: BuildId) -> None:
    """What approvers approve is what was built: the facts are those that the log has the digest of. Raises IntegrityError."""
    row = session.get(BuildRow, build)
    entry = next(iter(audit_log.entries(session.connection(), row.entry, row.entry + 1)), None) if row and row.entry is not None else None
    expected = {"action": f"build.{Status.QUARANTINED}", "build": build, "facts": _digest(row.facts) if row else ""}
    found = {"action": entry.parsed["action"], **entry.parsed["facts"]} if entry else {}
    if any(found.get(key) != value for key, value in expected.items()):
        raise IntegrityError(f"the facts of build `{build}` are not those that the log holds the digest of")


def release(
    transaction: Transaction,
    build: BuildId,
    policy: Digest,
    required: int,
    voice: Voice,
    keep: Retention | None = None,
    **evidence: Any,
) -> Allow | Deny:
    """Out of quarantine, if enough people said yes, for as long as the policy lets it. `evidence` goes into the log."""
    row, findings = _find(transaction, build, policy, Status.QUARANTINED, in_time=True)
    if row and not findings:
        yes = counted(transaction.session, _build(row), policy, voice)
        if len(yes) < required:
            condition = f"approvals under this policy by others than the builder >= {required}, got {len(yes)}"
            findings.append(_finding(build, policy, "approvals-missing", "not enough people approved this build", condition, _ASK))
    if not row or findings:
        return _deny(transaction, "release.denied", build, findings)
    row.status, row.released = Status.RELEASED, transaction.micros
    row.expires = _end(transaction, keep.releases if keep else None)
    row.listed_until = _end(transaction, min(keep.memberships, keep.releases) if keep else None)
    transaction.session.add(row)
    transaction.record("build.released", build=build, policy=policy, required=required, **_until(row), **evidence)
    return _allow(build, policy, "build-released", "enough people approved this build")


def recall(transaction: Transaction, build: BuildId, policy: Digest, reason: str) -> Allow | Deny:
    """Take a released segment back; what was scored with its model ends."""
    row, findings = _find(transaction, build, policy, Status.RELEASED)
    if not row or findings:
        return _deny(transaction, "recall.denied", build, findings)
    row.status, row.facts = Status.RECALLED, json.dumps(json.loads(row.facts) | {"recalled": reason}, sort_keys=True)
    transaction.session.add(row)
    transaction.record("build.recalled", build=build)
    for other in scored(transaction.session, build):
        expire(transaction, other.id)
    return _allow(build, policy, "build-recalled", reason)


def expire(transaction: Transaction, build: BuildId) -> bool:
    """End what waits or is released, if it has `ended` by the transaction's clock; whether it did."""
    row = transaction.session.get(BuildRow, build)
    if row is None or row.status not in _LIVE or not ended(transaction.session, _build(row), transaction.now):
        return False
    row.status = Status.EXPIRED
    transaction.session.add(row)
    transaction.record("build.expired", build=build)
    return True


def must_retrain(transaction: Transaction, build: BuildId, within: dt.timedelta) -> None:
    """Somebody whose rows trained it may not be used any more: train anew `within` that time. The first such day stands.

    Marked by the day, so that the mark does not tell the moment of a withdrawal.
    """
    row = transaction.session.get(BuildRow, build)
    if row is None or row.retrain_by is not None:
        return
    day = (transaction.now + within).replace(hour=0, minute=0, second=0, microsecond=0)
    row.retrain_by = micros(day)
    transaction.session.add(row)
    transaction.record("build.must_retrain", build=build, by=day.date().isoformat())


def ended(session: Session, build: Build, now: dt.datetime) -> bool:
    """Whether its time has passed, or it was scored with a model that is not released any more or whose time has passed."""
    model = find_build(session, build.model) if build.model else None
    return build.over(now) or (model is not None and (model.status is not Status.RELEASED or model.over(now)))


def scored(session: Session, model: BuildId) -> tuple[Build, ...]:
    """What waits or is released of what was scored with a model."""
    rows = session.exec(select(BuildRow).where(BuildRow.model == model, col(BuildRow.status).in_(_LIVE)).order_by(*_newest(BuildRow)))
    return tuple(_build(row) for row in rows)


def find_plan(session: Session, plan: PlanId) -> Plan | None:
    """A plan by its id."""
    row = session.get(PlanRow, plan)
    return _plan(row) if row else None


def latest_plan(session: Session, segment: str) -> Plan | None:
    """The newest plan of a segment."""
    row = session.exec(select(PlanRow).where(PlanRow.segment == segment).order_by(*_newest(PlanRow))).first()
    return _plan(row) if row else None


def find_build(session: Session, build: BuildId) -> Build | None:
    """A build by its id."""
    row = session.get(BuildRow, build)
    return _build(row) if row else None


def entry_of(session: Session, build: BuildId) -> int:
    """The entry of a build's end, which has the digest of its facts and the root of whom it considered. Raises IntegrityError."""
    row = session.get(BuildRow, build)
    if row is None or row.entry is None:
        raise IntegrityError(f"build `{build}` names no entry of the log for its end")
    return row.entry


def builds(session: Session, segment: str | None = None, status: Status | None = None) -> tuple[Build, ...]:
    """Builds, the newest first."""
    query = select(BuildRow).order_by(*_newest(BuildRow))
    if segment is not None:
        query = query.where(BuildRow.segment == segment)
    if status is not None:
        query = query.where(BuildRow.status == status)
    return tuple(_build(row) for row in session.exec(query))


def interrupted(session: Session, segment: str, builder: str, digests: Mapping[str, str]) -> tuple[Build, ...]:
    """Builds by somebody that have not ended, of a plan that pins these documents, the newest first. Some may still be running."""
    found = []
    for build in builds(session, segment, Status.BUILDING):
        pinned = find_plan(session, build.plan)
        same = pinned is not None and all(getattr(pinned, what) == digest for what, digest in digests.items())
        if same and build.builder == builder and build.model is None:
            found.append(build)
    return tuple(found)


def approvals(session: Session, build: BuildId) -> tuple[Approval, ...]:
    """Everybody's yes and no to a build, in order."""
    rows = session.exec(select(ApprovalRow).where(ApprovalRow.build == build).order_by(col(ApprovalRow.id)))
    return tuple(
        Approval(
            BuildId(row.build),
            row.principal,
            Verdict(row.verdict),
            row.comment,
            moment(row.created),
            None if row.policy is None else Digest(row.policy),
            bool(row.claimed),
        )
        for row in rows
    )


def counted(session: Session, build: Build, policy: Digest, voice: Voice) -> tuple[Approval, ...]:
    """Each yes that counts: under the policy of today, of others than the builder, who may still say it."""
    said = approvals(session, build.id)
    return tuple(a for a in said if a.verdict is Verdict.APPROVE and a.policy == policy and a.principal != build.builder and voice(a))


_LIVE = (Status.QUARANTINED, Status.RELEASED)

_ASK = "ask somebody else than the builder to approve it"


def _judge(transaction: Transaction, build: BuildId, verdict: Verdict, policy: Digest, comment: str) -> Allow | Deny:
    who = transaction.principal.name
    row, findings = _find(transaction, build, policy, Status.QUARANTINED, in_time=verdict is Verdict.APPROVE)
    if row and verdict is Verdict.APPROVE and who == row.builder:
        reason = "whoever built a segment does not approve it"
        findings.append(_finding(build, policy, "builder-may-not-approve", reason, f"principal != builder, got `{who}` twice", _ASK))
    if row and any((a.principal, a.verdict, a.policy) == (who, verdict, policy) for a in approvals(transaction.session, build)):
        reason = "what one person says counts once"
        findings.append(_finding(build, policy, "approved-already", reason, f"no {verdict} by `{who}` yet", _ASK))
    if not row or findings:
        return _deny(transaction, f"{verdict}.denied", build, findings)
    said = ApprovalRow(build=build, principal=who, verdict=verdict, comment=comment, created=transaction.micros)
    said.policy, said.claimed = policy, Role.OFFICER in transaction.principal.roles
    transaction.session.add(said)
    if verdict is Verdict.REJECT:
        row.status = Status.REJECTED
        transaction.session.add(row)
    transaction.record(f"build.{verdict}", build=build, policy=policy)
    return _allow(build, policy, f"build-{verdict}", comment or f"`{who}` said {verdict}")


def _move(
    transaction: Transaction, build: BuildId, to: Status, facts: Mapping[str, Any], lasts: dt.timedelta | None = None, **evidence: Any
) -> Build:
    row = transaction.session.get(BuildRow, build)
    if row is None or row.status != Status.BUILDING:
        raise BuildError(f"build `{build}` is {row.status if row else 'unknown'}, expected `{Status.BUILDING}`")
    row.status, row.facts, row.expires = to, json.dumps(facts, sort_keys=True), _end(transaction, lasts)
    row.entry = transaction.record(f"build.{to}", build=build, facts=_digest(row.facts), **_until(row), **evidence)
    transaction.session.add(row)
    return _build(row)


def _end(transaction: Transaction, lasts: dt.timedelta | None) -> int | None:
    return None if lasts is None else micros(transaction.now + lasts)


def _until(row: BuildRow) -> dict[str, str]:
    """What the log says of a row's end."""
    times = {"expires": row.expires, "listed_until": row.listed_until}
    return {name: stamp(moment(time)) for name, time in times.items() if time is not None}


def _digest(facts: str) -> str:
    return "sha256:" + hashlib.sha256(facts.encode()).hexdigest()


def _find(
    transaction: Transaction, build: BuildId, policy: Digest, expected: Status, in_time: bool = False
) -> tuple[BuildRow | None, list[Finding]]:
    row = transaction.session.get(BuildRow, build)
    if row is None:
        return None, [_finding(build, policy, "build-unknown", "there is no such build", "the build exists", "list the builds")]
    if row.status != expected:
        reason = f"this build is {row.status}, and only a {expected} one can be"
        return row, [_finding(build, policy, f"build-not-{expected}", reason, f"status == {expected}, got {row.status}", None)]
    if in_time and _build(row).over(transaction.now):
        reason = "its time has passed, so that nobody can release it any more"
        return row, [_finding(build, policy, "build-expired", reason, _late(_build(row).expires, transaction.now), "build it anew")]
    if in_time and ended(transaction.session, _build(row), transaction.now):
        reason = "the model that it was scored with is not released any more"
        return row, [_finding(build, policy, "model-ended", reason, f"model `{row.model}` is released and in time", "build it anew")]
    return row, []


def _late(end: dt.datetime | None, now: dt.datetime) -> str:
    return f"now < the end of its time, `{stamp(end) if end else '-'}`, got `{stamp(now)}`"


def _finding(build: BuildId, policy: Digest, rule: str, reason: str, condition: str, remedy: str | None) -> Finding:
    return Finding(Cause.FORBID, f"build {build}", rule, policy, reason, condition, remedy=remedy)


def _allow(build: BuildId, policy: Digest, rule: str, reason: str) -> Allow:
    return Allow((Finding(Cause.PERMIT, f"build {build}", rule, policy, reason, "met"),))


def _deny(transaction: Transaction, action: str, build: BuildId, findings: list[Finding]) -> Deny:
    transaction.record(action, build=build, rules=[finding.rule for finding in findings])
    return Deny(tuple(findings))


def _newest(row: type[PlanRow | BuildRow]) -> tuple[Any, Any]:
    return col(row.created).desc(), col(row.id).desc()


def _plan(row: PlanRow) -> Plan:
    return Plan(
        PlanId(row.id),
        row.segment,
        Digest(row.spec),
        Digest(row.contract),
        Digest(row.policy),
        row.snapshot,
        row.principal,
        moment(row.created),
    )


def _build(row: BuildRow) -> Build:
    return Build(
        BuildId(row.id),
        row.segment,
        PlanId(row.plan),
        row.purpose,
        Status(row.status),
        row.builder,
        moment(row.created),
        moment(row.released) if row.released is not None else None,
        ReservationId(row.reservation),
        json.loads(row.facts),
        BuildId(row.model) if row.model is not None else None,
        moment(row.expires) if row.expires is not None else None,
        moment(row.listed_until) if row.listed_until is not None else None,
        moment(row.retrain_by) if row.retrain_by is not None else None,
    )
