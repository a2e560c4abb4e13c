"""Signals: how Global Privacy Control was treated, and which of several that contradict each other won."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import func, or_, select

from engine import prepared
from engine.questions.archive import Archive
from engine.questions.people import events, of_purpose
from engine.questions.question import ON, SUBJECT, Answer, Asking, Draft, Question
from engine.wording import reason_words
from governance.consent import ERASED, Recorded, newest_event
from governance.roles import Action
from governance.signals.purposes import objected
from governance.store import micros, moment
from governance.tables import ConsentRow, metadata
from governance.verdicts import STRICTNESS, Reason
from policies.contract import Contract
from policies.parsing import DocumentError
from policies.policy import Policy

MOST = 2_000_000
"""Events up to which all of them are counted; beyond, an answer is about one subject."""

_BATCHES = 20
_EVENTS = metadata.tables[str(ConsentRow.__tablename__)]


def gpc(archive: Archive, asked: Asking) -> Answer:
    """What GPC objects to where contracts are at home, and what became of it: of one subject, or how often at all."""
    told = Draft()
    for contract, _ in _pairs(archive, told):
        uses, law = objected(contract.jurisdiction)
        told.say(f"for `{contract.name}` in `{contract.jurisdiction}`, GPC objects to {', '.join(uses)} ({law}); our own uses it leaves")
    if asked.subject is None:
        _counted(archive, told)
        return told.answer()
    heard = [each for each in archive.history if is_gpc(each)]
    events(archive, told, heard)
    if not heard:
        told.lack("a GPC signal of this subject")
        return told.answer()
    told.say("each is kept as an objection, which beats any older grant and stands until consent is given to the purpose itself")
    for contract, policy, purpose, keys, reason in _verdicts(archive, told):
        if any(each.event.subject in keys for each in of_purpose(heard, purpose)):
            told.say(f"for {purpose} by `{policy.name}` on `{contract.name}`, this subject is: {reason_words(reason)}")
            told.add("verdicts", {"purpose": purpose, "policy": policy.name, "contract": contract.name, "reason": reason.name.lower()})
    return told.answer()


def _counted(archive: Archive, told: Draft) -> None:
    if newest_event(archive.session) > MOST:
        told.lack(f"how many objections came by GPC in all: there are more than {MOST:,} events; ask of one subject with --subject")
        return
    by = _EVENTS.c.purpose, _EVENTS.c.status, _EVENTS.c.method
    wanted = or_(_EVENTS.c.method == "gpc", _EVENTS.c.decoded.contains('"gpc":true')), _EVENTS.c.received_time <= micros(archive.past)
    counts = select(*by, func.count()).where(*wanted, _EVENTS.c.subject != ERASED).group_by(*by).order_by(*by)
    counted = [tuple(row) for row in archive.connection.execute(counts)]
    told.table("objections", counted, ("purpose", "kept as", "signal", "events, exact"))
    batches = select(_EVENTS.c.batch, _EVENTS.c.received_time).where(*wanted).distinct().order_by(_EVENTS.c.received_time.desc())
    for batch, received in archive.connection.execute(batches.limit(_BATCHES)):
        told.rest_on(archive.entry("consent.append", moment(received), batch=batch), "a batch with objections by GPC")
    if not counted:
        told.say("no objection came by GPC", objections=[])


def is_gpc(recorded: Recorded) -> bool:
    """Whether an event came of GPC, by itself or inside a GPP string."""
    event = recorded.event
    return event.method == "gpc" or (event.decoded is not None and json.loads(event.decoded).get("gpc") is True)


def conflicting_signals(archive: Archive, _asked: Asking) -> Answer:
    """Where what a subject said of a purpose contradicts itself: which counts, and why the others do not."""
    told, rows, found = Draft(), [], 0
    for contract, policy, purpose, keys, reason in _verdicts(archive, told):
        said = [each for each in of_purpose(archive.history, purpose) if each.event.subject in keys]
        if len({each.event.status for each in said}) < 2:
            continue
        found += 1
        winner = next((each for each in reversed(said) if STRICTNESS[each.event.status] is reason), None)
        told.say(
            f"for {purpose} by `{policy.name}` on `{contract.name}`: {reason_words(reason)}"
            + ("" if winner else "; by rules on who they are, and by no single event")
        )
        for each in said:
            why = "counts" if each is winner else _lost(each, winner, purpose)
            event = each.event
            rows.append((purpose, f"{event.event_time:%Y-%m-%d %H:%M}", event.status, event.purpose, event.method or "-", why))
            told.rest_on_said(archive.said(each), each, "the salted commitment to what this subject said")
    told.table("signals", rows, ("purpose", "said", "status", "of", "signal", "becomes of it"))
    if not found:
        told.say("nothing that this subject said contradicts itself for a purpose that a policy has", conflicts=0)
    return told.answer()


def _lost(loser: Recorded, winner: Recorded | None, purpose: str) -> str:
    """Why an event does not decide (`governance.admission`, rules 2 and 3, and `governance.identity`)."""
    if winner is None:
        return "does not decide"
    if winner.event.status.blocks and loser.event.subject != winner.event.subject:
        return "said by another key of the same person, of which the strictest counts"
    if (winner.event.event_time, winner.received_time) == (loser.event.event_time, loser.received_time):
        return "said at the same moment, and the stricter counts"
    if winner.event.event_time == loser.event.event_time:
        return (
            "said at the same moment, and what was received later counts"
            if loser.received_time < winner.received_time
            else "does not decide"
        )
    if loser.event.event_time < winner.event.event_time:
        return "older than what counts"
    if winner.event.status.blocks:
        return f"later, and no consent to {purpose} itself, which alone lifts a no"
    return "later, and leaves what was given as it is"


def _verdicts(archive: Archive, told: Draft) -> Iterator[tuple[Contract, Policy, str, frozenset[str], Reason]]:
    """Of each purpose of each policy, as it is today, what the subject comes to, by each key that stands for others or itself."""
    standing = archive.standing(archive.past)
    for contract, policy in _pairs(archive, told):
        for purpose in policy.purposes:
            for head, keys in standing.items():
                yield contract, policy, purpose, keys, archive.reason(contract, policy, purpose, head)


def _pairs(archive: Archive, told: Draft) -> tuple[tuple[Contract, Policy], ...]:
    """Contracts with the policies that segments put to them; of what cannot be read, nobody can say."""
    try:
        pairs, problems = prepared.pairs(archive.workspace)
    except DocumentError as error:
        pairs, problems = (), tuple(str(error).splitlines())
    for problem in problems:
        told.lack(f"what stands in a document that cannot be read: {problem}")
    return pairs


GPC = Question("gpc", "How was Global Privacy Control treated?", Action.READ_EXACT, gpc, frozenset(), SUBJECT | ON)
CONFLICTS = Question(
    "conflicting-signals", "Which of conflicting signals won, and why?", Action.READ_SUBJECT, conflicting_signals, SUBJECT, ON
)
