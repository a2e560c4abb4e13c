"""What was spent and measured: models trained with a subject, the budget, differences between groups, and proxies."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from audit.proxies import MEASURE
from audit.wording import number, small
from engine import copies, prepared
from engine.considered import CONSIDERED
from engine.questions.archive import Archive
from engine.questions.builds import about, passport, vouch
from engine.questions.question import ON, SEGMENT, SUBJECT, Answer, Asking, Draft, Question
from governance import budget, entries
from governance.builds import Build, Status
from governance.roles import Action
from policies.parsing import DocumentError

SHOWN = 20
"""Entries of the ledger that an answer shows, the newest."""


def models_with_subject(archive: Archive, _asked: Asking) -> Answer:
    """Which models learned from a subject's rows, and what differential privacy bounds for them."""
    told, rows = Draft(), []
    for build in archive.of_segment():
        found = [row for key in archive.keys if (row := archive.considered(build, key)) is not None]
        if not any(row["trained"] for row in found) or (status := archive.status(build)) is Status.BUILDING:
            continue
        privacy = build.facts["privacy"]
        epsilon = privacy["epsilon"]
        bound = "nothing bounds it; nothing of it is published" if epsilon is None else f"a factor of at most {math.exp(epsilon):.3g}"
        shown = ("none", "-") if epsilon is None else (f"{epsilon:g}", small(privacy["delta"]))
        rows.append((build.id, build.segment, status.value, *shown, bound, archive.retrain_by(build)))
        entry = archive.quarantined(build)
        told.rest_on(entry, f"the root of whom build {build.id} considered, and the digest of what it keeps")
        for key in archive.keys:
            told.open_leaf(entry, build.id, key)
        if archive.has_passport(build):
            told.rest_on_passport(build)
    head = ("build", "segment", "status", "ε", "δ", "what their presence changes, δ aside", "to be trained anew by")
    told.table("models", rows, head)
    if not rows:
        told.say("no model whose record is here was trained on this subject", count=0)
    kept = [build for build in archive.of_segment() if "spec" in build.facts]
    if gone := [build for build in kept if not (copies.folder(archive.workspace, build.id) / CONSIDERED).exists()]:
        told.lack(f"whose rows trained {len(gone)} builds that are over: their records were deleted with them")
    return told.answer()


def budget_left(archive: Archive, _asked: Asking) -> Answer:
    """What every account may spend, has spent and has left, and who reserved how much of it."""
    told, rows = Draft(), []
    try:
        pairs, problems = prepared.pairs(archive.workspace)
    except DocumentError as error:
        pairs, problems = (), tuple(str(error).splitlines())
    for contract, policy in pairs:
        for each in budget.balances(archive.session, contract, policy, archive.now):
            shown = (f"{each.epsilon:g}", f"{each.spent:.3f}", f"{each.left:.3f}", f"{each.lifetime:.3f}", small(each.delta))
            rows.append((each.account, each.purpose or "all, the cap", each.period.value, *shown))
    head = ("account", "purpose", "period", "ε allowed", "ε spent", "ε left", "ε over a lifetime", "at δ")
    told.table("accounts", list(dict.fromkeys(rows)), head)
    entered = archive.entries("budget.reserved", until=archive.past)
    reserved = [entry.parsed | {"index": entry.index} for entry in entered]
    _spenders(archive, told, reserved)
    told.table(
        "spending",
        [(e["at"][:19], e["principal"], e["facts"]["label"], f"{e['facts']['epsilon']:g}", e["index"]) for e in reserved[-SHOWN:]],
        ("at", "who", "for", "ε", "entry"),
    )
    for entry in entered[-SHOWN:]:
        told.rest_on(entry, "a reservation, with the account's running total")
    if len(reserved) > SHOWN:
        told.say(f"{len(reserved) - SHOWN} older reservations are not shown; ask with --on")
    if archive.asked.on is not None:
        told.lack("balances of a past day: those shown are of today; the running totals in the entries are of their time")
    for problem in problems:
        told.lack(f"an account of a segment that cannot be read: {problem}")
    return told.answer()


def _spenders(archive: Archive, told: Draft, reserved: Sequence[dict[str, Any]]) -> None:
    """Each person's share of what was reserved and not given back, by μ², which adds up as ε does not."""
    back = {entry.parsed["facts"]["reservation"] for entry in entries.find(archive.connection, "budget.released", until=archive.past)}
    shares: defaultdict[str, list[Fraction]] = defaultdict(list)
    for each in reserved:
        if each["facts"]["reservation"] not in back:
            shares[each["principal"]].append(Fraction(each["facts"]["mu_squared"]))
    whole = sum((sum(parts, Fraction(0)) for parts in shares.values()), Fraction(0))
    rows = [(who, len(parts), f"{float(sum(parts) / whole):.1%}" if whole else "-") for who, parts in sorted(shares.items())]
    told.table("spenders", rows, ("who", "reservations", "share of μ²"))
    if any("block" in each["facts"] for each in reserved):
        told.say("a deep model's cost is a block of (ε, δ) on top, and in no share of μ²")


def group_differences(archive: Archive, _asked: Asking) -> Answer:
    """How groups fared, each with the interval that sampling and noise leave, and the smallest gap that could have been seen."""
    told = Draft()
    build = _measured(archive, told)
    if build is None:
        return told.answer()
    found = [each for each in passport(build)["fairness"] if each["measure"] != MEASURE]
    told.table("groups", [_row(each) for each in found], _HEAD)
    if found:
        told.say(
            f"verdict of the build: {build.facts.get('verdict')}; pass and fail are said where the whole interval says so, and else neither"
        )
        told.say("intervals include sampling and noise; at most 5 of 100 such tables pass or fail even one group wrongly")
    else:
        told.lack(f"how groups fared: {_why(build)}")
    return told.answer()


def proxies(archive: Archive, _asked: Asking) -> Answer:
    """Whether features tell who belongs to which group, and by how much."""
    told = Draft()
    build = _measured(archive, told)
    if build is None:
        return told.answer()
    found = [each for each in passport(build)["fairness"] if each["measure"] == MEASURE]
    told.table("groups", [_row(each) for each in found], _HEAD)
    for finding in build.facts["fairness"]:
        if proxy := finding.get("proxy"):
            told.say(f"{finding['attribute']}: {proxy['verdict']}; {proxy['reason']}")
            told.add("proxies", {"attribute": finding["attribute"], "verdict": proxy["verdict"], "reason": proxy["reason"]})
    if found:
        told.say("what is found is there; what is not found may still be told by somebody cleverer than the rule that guessed")
    else:
        told.lack(f"whether features stand in for a group: {_why(build)}")
    return told.answer()


def _measured(archive: Archive, told: Draft) -> Build | None:
    """The build that was asked for, or the one that its list was scored with."""
    build = archive.build()
    about(archive, told, build)
    if not vouch(archive, told, build):
        return None
    trained = next((each for each in archive.builds if each.id == build.model), build)
    if trained is not build:
        told.say(f"nothing is measured of a scored list; this is of its model's build, {trained.id}")
        vouch(archive, told, trained)
    return trained


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    interval = "-" if each["low"] is None else f"{number(each['low'])} to {number(each['high'])}"
    seen = "-" if each["detectable"] is None else number(each["detectable"])
    return each["attribute"], each["group"], each["measure"], each["outcome"] or "-", each["verdict"], interval, seen


_HEAD = ("attribute", "group", "measure", "outcome", "verdict", "interval", "smallest gap that could have been seen")


def _why(build: Build) -> str:
    if build.facts["privacy"]["epsilon"] is None:
        return "nothing is measured of a build without differential privacy"
    asked = json.dumps(build.facts["spec"].get("fairness", []))
    return "the spec named no attribute under `fairness`" if asked == "[]" else "this build did not measure it"


MODELS = Question(
    "models-with-subject",
    "Which models were trained with a subject, and at what ε?",
    Action.READ_SUBJECT,
    models_with_subject,
    needs=SUBJECT,
    takes=SEGMENT | ON,
)
BUDGET = Question("budget", "What is left of the privacy budget, and who spent it?", Action.READ_BUDGET, budget_left, takes=ON)
DIFFERENCES = Question(
    "group-differences", "How do groups differ, and how certain is it?", Action.READ_SEGMENTS, group_differences, needs=SEGMENT, takes=ON
)
PROXIES = Question("proxies", "Do features stand in for a group?", Action.READ_SEGMENTS, proxies, needs=SEGMENT, takes=ON)
