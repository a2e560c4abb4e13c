"""One subject and consent: by which right they were used, what they were told, and what was built on consent that had ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from engine.policy_approvals import parsed
from engine.questions.archive import Archive
from engine.questions.builds import about, by_key, outcomes, today
from engine.questions.question import ON, SEGMENT, SUBJECT, Answer, Asking, Draft, Question
from engine.wording import reason_words
from governance import documents
from governance.builds import Build
from governance.consent import EVERY_PURPOSE, Recorded
from governance.documents import Kind
from governance.identity import identities, links
from governance.roles import Action
from governance.verdicts import Reason
from policies.contract import Contract
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment
from policies.taxonomy import ancestors

MOST = 200_000
"""People of one build whose consent an answer puts to admission again; more would take longer than somebody waits."""


def basis(archive: Archive, _asked: Asking) -> Answer:
    """By which legal basis a subject could be used for a segment on a day, by what was known on that day, and what decided it."""
    build, told = archive.build(), Draft()
    about(archive, told, build)
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
        told.attach(f"policy-{kept.policy.name}.json", archive.text(kept.policy))
        pinned = _could(archive, told, kept.contract, kept.policy, spec, "which the build pinned")
        told.fact(admitted=Reason.ADMITTED in pinned, reason=pinned[0].name.lower())
        newest = _newest(archive, told, kept.policy)
        if newest is not None:
            version, since = newest
            told.attach(f"policy-{version.name}-newest.json", archive.text(version))
            found = _could(archive, told, kept.contract, version, spec, since)
            told.fact(newest={"policy": version.digest(), "admitted": Reason.ADMITTED in found, "reason": found[0].name.lower()})
    said = of_purpose(archive.history, build.purpose)
    events(archive, told, said)
    if not said:
        told.lack(f"anything that this subject said about {build.purpose} until then")
    for key, reason, trained in outcomes(archive, told, build):
        did = (
            "used their rows"
            if trained
            else f"did not: {reason_words(reason)}"
            if reason is not Reason.ADMITTED
            else "admitted them, and trained on others"
        )
        told.say(f"the build itself, on {build.created:%Y-%m-%d}{by_key(archive, key) or ','} {did}")
        told.rest_on(archive.quarantined(build), "the root of the salted commitments to whom the build considered")
    return told.answer()


def _could(archive: Archive, told: Draft, contract: Contract, policy: Policy, spec: Segment, which: str) -> list[Reason]:
    """Why the subject could be used at `past` by a version of a policy, or not; for each key that stood for itself then."""
    found, at = [], archive.past
    version = f"policy `{policy.name}` {policy.digest()[:19]}…, {which}"
    for head in archive.standing(at):
        reason = archive.judged(contract, policy, spec, head, at)
        may = "could be used" if reason is Reason.ADMITTED else f"could not be used: {reason_words(reason)}"
        told.say(f"by what was known at {at:%Y-%m-%d %H:%M} UTC, this subject{by_key(archive, head)} {may}; by {version}")
        found.append(reason)
    return found


def _newest(archive: Archive, told: Draft, pinned: Policy) -> tuple[Policy, str] | None:
    """Another version of a policy than a build's that was the newest at `past`, and since when; None where there is none."""
    name = pinned.name
    if archive.asked.on is None and name in archive.workspace.documents("policies"):
        try:
            version, since = archive.workspace.policy(name), "as its file is today"
        except DocumentError as error:
            told.lack(f"policy `{name}` as it is today: {str(error).splitlines()[0]}")
            return None
    else:
        kept = [each for each in documents.versions(archive.session, Kind.POLICY, name) if each.created <= archive.past]
        if not kept:
            return None
        version, since = parsed(kept[-1].text), f"the newest then, first pinned {_day(kept[-1].created)} UTC"
    return (version, since) if version.digest() != pinned.digest() else None


def _place(archive: Archive) -> str | None:
    """Where the subject lives, as the latest event that names a place tells; None where none does."""
    named = [each.event.jurisdiction for each in archive.history if each.event.jurisdiction and each.event.event_time <= archive.past]
    return named[-1] if named else None


def notice(archive: Archive, asked: Asking) -> Answer:
    """Which notices a subject was shown, when, by which capture, and what their text was."""
    told = Draft()
    said = archive.history if asked.segment is None else of_purpose(archive.history, archive.build().purpose)
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
        told.rest_on_said(archive.said(recorded), recorded, "the salted commitment to the event that names the notice")
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
        [then] = _ended(archive, told, build, [trained], dt.datetime.fromisoformat(entry.parsed["at"]))
        now, listed = _ended(archive, told, build, [trained, archive.members(build)], archive.past)
        rows.append((build.id, build.segment, archive.status(build), then, now, listed, archive.retrain_by(build)))
        for mark in archive.entries("build.must_retrain", until=archive.past, build=build.id):
            told.rest_on(mark, "the mark that its model must be trained anew")
    told.table("builds", rows, ("build", "segment", "status", "ended at build", "ended since", "of these listed", "retrain by"))
    wrong = [row for row in rows if row[3] not in (0, "?")]
    counted = [row for row in rows if row[3] != "?"]
    told.say(
        f"{len(wrong)} of {len(counted)} builds used people whose consent had ended by what was known then; "
        "counts are of people whose rows were used, exact, for officers alone",
        wrong=len(wrong),
    )
    today(archive, told, "lists")
    if not live:
        told.lack("any build")
    return told.answer()


def _ended(archive: Archive, told: Draft, build: Build, groups: Sequence[pa.Array], at: dt.datetime) -> list[int | str]:
    """How many of each of `groups` could not be used at a moment because what they said had ended or was taken back; `?` where nobody
    can tell. They are judged together."""
    kept, spec = archive.documents(archive.plan(build)), archive.spec(build)
    if kept.policy is None or kept.contract is None or spec is None:
        told.lack(f"policy and contract of build {build.id}, so that its people cannot be judged again")
        return ["?"] * len(groups)
    if max(map(len, groups)) > MOST:
        told.lack(
            f"whether consent of the people of build {build.id} had ended: it is of more than {MOST:,}, too many to judge in an answer"
        )
        return ["?"] * len(groups)
    known = identities(links(archive.session, at))
    heads = [pa.array([known.survivor(key) for key in each.to_pylist()], pa.string()) if known.merged else each for each in groups]
    judged = pc.unique(pa.concat_arrays(heads))  # whoever stands for several keys is judged once, and counts for each of them
    reasons = archive.judged_all(kept.contract, kept.policy, spec, judged, at)
    ended = judged.filter(pc.is_in(reasons, pa.array([int(each) for each in ENDED], reasons.type)).combine_chunks())
    return [int(pc.sum(pc.is_in(each, ended)).as_py() or 0) for each in heads]


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
        told.rest_on_said(archive.said(recorded), recorded, "the root of salted commitments to a batch with what this subject said")
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
