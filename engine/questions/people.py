"""One subject and consent: by which right they were used, what they were told, and what was built on consent that had ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from engine.questions.archive import Archive
from engine.questions.builds import about
from engine.questions.question import ON, SEGMENT, SUBJECT, Answer, Asking, Draft, Question
from engine.wording import reason_words
from governance.admission import Reason
from governance.builds import Build
from governance.consent import EVERY_PURPOSE, Recorded
from governance.roles import Action
from policies.taxonomy import ancestors

MOST = 200_000
"""People of one build whose consent an answer puts to admission again; more would take longer than somebody waits."""


def basis(archive: Archive, _asked: Asking) -> Answer:
    """By which legal basis a subject could be used for a segment on a day, by what was known on that day, and what decided it."""
    build, told, at = archive.build(), Draft(), archive.past
    about(told, build)
    plan = archive.plan(build)
    kept, spec = archive.documents(plan), archive.spec(build)
    told.rest_on(archive.planned(plan), "the plan that pinned policy and contract")
    if kept.policy is None or kept.contract is None or spec is None:
        told.lack(f"the policy {plan.policy} and the contract {plan.contract}: no text of them was kept, so nobody can judge by them again")
    else:
        place = _place(archive) or kept.contract.jurisdiction
        purpose = kept.policy.purposes.get(spec.purpose)
        ground = purpose.basis_in(place) if purpose else None
        told.say(
            f"the basis of {spec.purpose} in `{place}` is {ground or 'none'}, by policy `{kept.policy.name}`",
            basis=ground,
            jurisdiction=place,
            policy=kept.policy.digest(),
        )
        told.attach(f"policy-{kept.policy.name}.json", kept.policy.canonical().decode())
        for key in archive.keys:
            reason = archive.judged(kept.contract, kept.policy, spec, key, at)
            may = "could be used" if reason is Reason.ADMITTED else f"could not be used: {reason_words(reason)}"
            told.say(
                f"by what was known at {at:%Y-%m-%d %H:%M} UTC, this subject {may}",
                admitted=reason is Reason.ADMITTED,
                reason=reason.name.lower(),
            )
    said = of_purpose(archive.history(), build.purpose)
    events(archive, told, said)
    if not said:
        told.lack(f"anything that this subject said about {build.purpose} until then")
    for key in archive.keys:
        row = archive.considered(build, key)
        if row is None:
            told.lack("what this build did with the subject: they were not considered, or were erased since")
            continue
        reason = Reason(row["reason"])
        did = (
            "used their rows"
            if row["trained"]
            else f"did not: {reason_words(reason)}"
            if reason is not Reason.ADMITTED
            else "admitted them, and trained on others"
        )
        told.say(f"the build itself, on {build.created:%Y-%m-%d}, {did}", outcome=reason.name.lower(), trained=row["trained"])
        told.rest_on(archive.quarantined(build), "the root of the salted commitments to whom the build considered")
        if archive.has_passport(build):
            told.open_leaf(build)
    return told.answer()


def _place(archive: Archive) -> str | None:
    """Where the subject lives, as the latest event that names a place tells; None where none does."""
    named = [each.event.jurisdiction for each in archive.history() if each.event.jurisdiction and each.event.event_time <= archive.past]
    return named[-1] if named else None


def notice(archive: Archive, asked: Asking) -> Answer:
    """Which notices a subject was shown, when, by which capture, and what their text was."""
    told = Draft()
    said = archive.history() if asked.segment is None else of_purpose(archive.history(), archive.build().purpose)
    with_notice = [each for each in said if each.event.notice_version or each.event.notice_hash]
    told.say(
        f"{len(with_notice)} of {len(said)} consent events of this subject name the notice that was shown",
        events=len(said),
        noticed=len(with_notice),
    )
    told.table(
        "notices",
        [
            (_day(e.event_time), e.purpose, e.status, e.notice_version or "-", e.notice_hash or "-", e.method or "-")
            for e in (r.event for r in with_notice)
        ],
        ("shown by", "purpose", "said then", "notice", "its hash", "how"),
    )
    for recorded in with_notice:
        told.rest_on(archive.said(recorded), "the salted commitment to the event that names the notice")
        if recorded.event.notice_hash is None:
            told.lack(f"the hash of notice `{recorded.event.notice_version}`: the event names its version alone")
    if len(with_notice) < len(said):
        told.lack(f"a notice for {len(said) - len(with_notice)} of the events: whoever captured them named none")
    if not said:
        told.lack("anything that this subject said")
    return told.answer()


def expired_consent(archive: Archive, _asked: Asking) -> Answer:
    """Whether anybody was used whose consent had ended when their build ended, and what became of those whose consent ended since."""
    told, rows = Draft(), []
    live = [build for build in archive.of_segment() if "spec" in build.facts]
    for build in live:
        entry = archive.quarantined(build)
        told.rest_on(entry, f"the end of build {build.id}, with the root of whom it considered")
        if entry is None:
            continue
        trained = archive.trained(build)
        if trained is None:
            told.lack(f"whom build {build.id} used: it is over, and its record of people was deleted")
            continue
        then = _ended(archive, told, build, trained, dt.datetime.fromisoformat(entry.parsed["at"]))
        now = _ended(archive, told, build, trained, archive.now)
        listed = _ended(archive, told, build, archive.members(build), archive.now)
        rows.append((build.id, build.segment, build.status, then, now, listed, f"{build.retrain_by:%Y-%m-%d}" if build.retrain_by else "-"))
        for mark in archive.entries("build.must_retrain", build=build.id):
            told.rest_on(mark, "the mark that its model must be trained anew")
    told.table("builds", rows, ("build", "segment", "status", "ended at build", "ended since", "of these listed", "retrain by"))
    wrong = [row for row in rows if row[3] not in (0, "?")]
    counted = [row for row in rows if row[3] != "?"]
    told.say(
        f"{len(wrong)} of {len(counted)} builds used people whose consent had ended by what was known then; "
        "counts are of people whose rows were used, exact, for officers alone",
        wrong=len(wrong),
    )
    if not live:
        told.lack("any build")
    return told.answer()


def _ended(archive: Archive, told: Draft, build: Build, people: pa.Array, at: dt.datetime) -> int | str:
    """How many of `people` could not be used at a moment because what they said had ended or was taken back; `?` where nobody can tell."""
    kept, spec = archive.documents(archive.plan(build)), archive.spec(build)
    if kept.policy is None or kept.contract is None or spec is None:
        told.lack(f"policy and contract of build {build.id}, so that its people cannot be judged again")
        return "?"
    if len(people) > MOST:
        told.lack(
            f"whether consent of the people of build {build.id} had ended: it is of more than {MOST:,}, too many to judge in an answer"
        )
        return "?"
    reasons = archive.judged_all(kept.contract, kept.policy, spec, people, at)
    return int(pc.sum(pc.is_in(reasons, pa.array([int(each) for each in ENDED], reasons.type))).as_py() or 0)


ENDED = (Reason.EXPIRED, Reason.WITHDRAWN, Reason.OBJECTED, Reason.INVALIDATED, Reason.REFUSED)
"""Reasons for which consent that was there is there no more."""


def of_purpose(said: Iterable[Recorded], purpose: str) -> list[Recorded]:
    """Events that bear on a purpose: on itself, on a use above it, on all."""
    bearing = {purpose, EVERY_PURPOSE, *ancestors(purpose)}
    return [each for each in said if each.event.purpose in bearing]


def events(archive: Archive, told: Draft, said: Iterable[Recorded]) -> None:
    """Events as a table, with the entries that commit to them."""
    rows = []
    for recorded in said:
        event = recorded.event
        until = _day(event.valid_until) if event.valid_until else "-"
        rows.append(
            (
                _day(event.event_time),
                _day(recorded.received_time),
                event.purpose,
                event.status,
                event.basis or "-",
                event.method or "-",
                until,
            )
        )
        told.rest_on(archive.said(recorded), "the root of salted commitments to a batch with what this subject said")
    told.table("events", rows, ("said", "received", "purpose", "status", "basis", "how", "until"))


def _day(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


BASIS = Question(
    "basis", "By which legal basis was a subject used for a segment on a date?", Action.READ_SUBJECT, basis, SUBJECT | SEGMENT, ON
)
NOTICE = Question("notice", "Which notice did a subject see?", Action.READ_SUBJECT, notice, SUBJECT, SEGMENT | ON)
EXPIRED = Question(
    "expired-consent", "Was anything built on consent that had ended?", Action.READ_EXACT, expired_consent, frozenset(), SEGMENT | ON
)
