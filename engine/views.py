"""What a terminal shows of plans, builds, budgets and verdicts: for each, the data and the text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from audit.wording import count, percent
from engine import bounds, deep, recalls
from engine.afterwards import note, notice_data, times
from engine.display import as_data, table
from engine.explanation_views import comparison, explanation, since
from engine.forecast import Forecast
from engine.planning import Planned
from engine.prepared import Prepared, pairs
from engine.release import find
from engine.wording import duration_words, reason_words
from engine.workspace import Workspace
from governance import builds, exports
from governance.accounting import RESERVED_DRAWS, epsilon_of, mu_squared_of
from governance.budget import Balance, balances
from governance.builds import Build, Status
from governance.snapshots import Snapshot
from policies.policy import Allowance
from policies.segment import Segment

View = tuple[dict[str, Any], str]

SHOWN = 6
"""Features that a line of a plan names; --json has them all."""


def plan(made: Planned, compared: Sequence[tuple[float, Forecast]]) -> View:
    """Columns and why, people in and out by reason, ε asked and left, accuracy, changes, SQL."""
    prepared, snapshot, spec = made.prepared, made.snapshot, made.prepared.spec
    columns: list[dict[str, Any]] = [
        {
            "column": u.name,
            "for": list(u.needed_by),
            "why": u.why,
            "fairness": u.fairness,
            "coarsened": [] if u.admission else [step.words() for step in prepared.coarsened.get((u.table, u.column), ())],
        }
        for u in prepared.uses
    ]
    data = {
        "plan": made.id,
        "segment": spec.name,
        "purpose": spec.purpose,
        "columns": columns,
        "findings": [as_data(f) for f in prepared.findings],
        "people": _people(snapshot),
        "privacy": _asked(spec)
        | {"accounts": [_balance(b) for b in made.balances]}
        | ({"block": deep.facts(made.block)} if made.block else {}),
        "forecast": _forecast(made.forecast),
        "compare": [{"epsilon": e, **_forecast(f)} for e, f in compared],
        "changes": list(made.changes),
        "rules": _rules(prepared),
        "sql": made.extraction.sql,
    }
    text = [
        f"plan {made.id} of `{spec.name}` for {spec.purpose}, as of {spec.as_of}",
        "",
        table(
            [
                (c["column"], _few(c["for"]), "fairness audit alone" if c["fairness"] else c["why"] or "-", "; ".join(c["coarsened"]))
                for c in columns
            ],
            ("column granted", "for", "why", "coarsened"),
        ),
        "",
        _people_text(snapshot),
        "",
        _asked_text(prepared),
        *([deep.words(made.block)] if made.block else []),
        _balances_text(made.balances),
        "",
        f"expected: {made.forecast.words}",
        "",
        *_rules(prepared).values(),
        *comparison(made.last, spec),
    ]
    if compared:
        text += ["", table([(f"{e:g}", f.verdict, f.words) for e, f in compared], ("ε", "verdict", "expected"))]
    text += ["", "since the last plan: " + "; ".join(made.changes), "", "SQL that a build would run:", made.extraction.sql.strip()]
    text += ["", f"next: consentric build {spec.name} --plan {made.id}"]
    return data, "\n".join(text)


def built(workspace: Workspace, build: Build) -> View:
    """What became of a build, and what to do next."""
    data, text = show(workspace, build.id)
    match build.status:
        case Status.QUARANTINED:
            who = f"{build.facts['required']} other than `{build.builder}` must approve"
            text += f"\n\nin quarantine: {who}; next: consentric approve {build.id}"
        case Status.RELEASED:
            text += "\n\nreleased; " + _lists(build, workspace.store.clock())
        case status:
            text += f"\n\n{status}"
    return data, text


def show(workspace: Workspace, name: str) -> View:
    """A build in full."""
    build = find(workspace, name)
    facts = build.facts
    with workspace.store.read() as session:
        said = [{"principal": a.principal, "verdict": a.verdict.value, "comment": a.comment} for a in builds.approvals(session, build.id)]
        handed = exports.exports(session, build.id)
    waiting = [each for each in recalls.pending(workspace) if each.export.build == build.id]
    data: dict[str, Any] = {
        "build": build.id,
        "segment": build.segment,
        "status": build.status.value,
        "builder": build.builder,
        "purpose": build.purpose,
        "created": build.created.isoformat(),
        "approvals": said,
        "model": build.model,
        "expires": _moment(build.expires),
        "listed_until": _moment(build.listed_until),
        "retrain_by": _moment(build.retrain_by),
        "exports": [
            {"export": e.id, "destination": e.destination, "file": e.file, "by": e.principal, "at": _moment(e.created)}
            | {"finished": e.finished is not None}
            for e in handed
        ],
        "notices": [notice_data(each) for each in waiting],
        **{key: facts[key] for key in _SHOWN if key in facts},
        "report": str(workspace.root / "reports" / f"{build.segment}.html") if "report" in facts else None,
    }
    head = f"build {build.id} of `{build.segment}`: {build.status}, built by {build.builder} for {build.purpose}"
    if "parts" not in facts:
        return data, head
    parts = [(p["name"], _size(p), _share(p), "withheld: below the cohort floor" if p["withheld"] else "") for p in facts["parts"]]
    lines = [head, "", table(parts, ("segment", "size", "share", "")), "", facts["headline"], f"forecast was: {facts['forecast']}"]
    lines += explanation(facts)
    if facts["verdict"]:
        lines.append(f"fairness: {facts['verdict']}")
    spent = facts["privacy"]
    lines.append("privacy: none" if spent["epsilon"] is None else f"ε spent: {spent['epsilon']:g} at δ {spent['delta']:g}")
    lines += times(build, workspace.store.clock())
    lines += [f"handed to {e.destination} on {e.created:%Y-%m-%d} by {e.principal}: {e.file}" for e in handed]
    if waiting:
        lines.append(f"{len(waiting)} recall notices not acknowledged, the oldest for {max(w.days for w in waiting)} days")
    lines += [f"{s['verdict']} by {s['principal']}" + (f": {s['comment']}" if s["comment"] else "") for s in said]
    if "report" in facts:
        lines.append(f"report: {data['report']}")
    return data, "\n".join(lines)


_SHOWN = ("parts", "utility", "verdict", "fairness", "privacy", "forecast", "digests", "explanation")
"""What `show` gives of a build's facts, with --json."""


def listing(workspace: Workspace) -> View:
    """All builds, newest first."""
    with workspace.store.read() as session:
        found = builds.builds(session)
    rows = [
        {
            "segment": b.segment,
            "build": b.id,
            "status": b.status.value,
            "builder": b.builder,
            "created": f"{b.created:%Y-%m-%d %H:%M}",
            "note": note(b, workspace.store.clock()),
        }
        for b in found
    ]
    return {"builds": rows}, table([tuple(r.values()) for r in rows], ("segment", "build", "status", "builder", "created", ""))


def diff(workspace: Workspace, older: str, newer: str) -> View:
    """What two builds have in common and where they differ."""
    left, right = find(workspace, older), find(workspace, newer)
    rows: list[tuple[str, str, str]] = []
    for what in ("spec", "contract", "policy"):
        a, b = left.facts.get("digests", {}).get(what, "-"), right.facts.get("digests", {}).get(what, "-")
        rows.append((what, a[:19], "the same" if a == b else b[:19]))
    rows += [
        ("admitted", _noisy_of(left), _noisy_of(right)),
        ("quality", left.facts.get("headline", "-"), right.facts.get("headline", "-")),
    ]
    sizes = [{p["name"]: _size(p) for p in build.facts.get("parts", ())} for build in (left, right)]
    rows += [(name, sizes[0].get(name, "-"), sizes[1].get(name, "-")) for name in sorted(sizes[0].keys() | sizes[1].keys())]
    data = {"older": left.id, "newer": right.id, "rows": [{"what": w, "older": a, "newer": b} for w, a, b in rows]}
    return data, "\n".join([table(rows, ("", left.id, right.id)), *since(left, right)])


def budget(workspace: Workspace) -> View:
    """Every account of every pair of contract and policy that a segment names."""
    seen: dict[str, Balance] = {}
    named, problems = pairs(workspace)
    with workspace.store.read() as session:
        for contract, policy in named:
            for balance in balances(session, contract, policy, workspace.store.clock()):
                if balance.account not in seen or balance.note:  # of two policies over one account, the one that has something to say
                    seen[balance.account] = balance
    text = [_balances_text(tuple(seen.values())) if seen else "no account yet: a segment names the contract and policy that have them"]
    text += [f"not read: {problem}" for problem in problems]
    return {"accounts": [_balance(b) for b in seen.values()], "problems": list(problems)}, "\n".join(text)


def allowance(limit: Allowance | None) -> str:
    """A cap in words."""
    return f"ε {limit.epsilon:g} at δ {limit.delta:g}" if limit else "none registered"


def _asked(spec: Segment) -> dict[str, Any]:
    """What is to be spent; nothing bounds what is built without differential privacy."""
    return {"asked": spec.asked.epsilon, "delta": spec.asked.delta} if spec.private else {"asked": None, "delta": None}


def _asked_text(prepared: Prepared) -> str:
    spec = prepared.spec
    if spec.private:
        return f"ε asked: {spec.asked.epsilon:g} at δ {spec.asked.delta:g}"
    assessed = prepared.policy.purposes[spec.purpose].unsafe_without_privacy
    return (
        "privacy: none. What is learned is exact, and nothing bounds what it says of one person. So nothing of it is shown: no size,\n"
        "profile, name, quality, fairness or page; no model is kept, and it goes to no destination. Who is in it can be read inside\n"
        "once somebody else approved. Nothing is charged but the snapshot."
        + (f"\nThe policy allows it: {assessed.reason} (assessed by {assessed.by})" if assessed else "")
    )


def _people(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "snapshot": snapshot.number,
        "taken": snapshot.taken.isoformat(),
        "next": snapshot.next_at.isoformat(),
        "sigma": snapshot.sigma,
        "noisy": {reason_words(reason): count for reason, count in snapshot.shown.items()},
    }


def _people_text(snapshot: Snapshot) -> str:
    rows = [(reason_words(reason), count(value, snapshot.sigma)) for reason, value in snapshot.shown.items()]
    taken, following = f"{snapshot.taken:%Y-%m-%d %H:%M}", f"{snapshot.next_at:%Y-%m-%d %H:%M} UTC"
    return (
        f"{table(rows, ('people', 'noisy count'))}\n"
        "± is the noise in 95 of 100 cases: a small count may stand for nobody\n"
        f"snapshot {snapshot.number} of {taken}, the next from {following}; counts stand still\n"
        "between snapshots, so that no two plans isolate a person. Whoever withdraws is out at once: consent is judged at the\n"
        "moment of a build, a release, a look at members and an export (reason: withdrawn), and shows here from the next snapshot on"
    )


def _rules(prepared: Prepared) -> dict[str, str]:
    """What the policy says of children, of time and of recipients, in words."""
    policy, contract = prepared.policy, prepared.contract
    children, kept, name = policy.children_in(contract.jurisdiction), policy.retention, prepared.spec.output.destination
    told = ".".join(contract.subject.told_by) if contract.subject.told_by else "not told by the contract"
    treated = {"guardian": "in where a guardian consents", "exclude": "left out"}
    place = policy.destinations.get(name) if name else None
    return {
        "children": f"children: below {children.age} ({told}), {treated[children.treatment]}"
        if children
        else "children: the policy has no rule for this jurisdiction",
        "retention": f"kept: a release for {duration_words(kept.releases)}, its lists for {duration_words(kept.memberships)}; a model is "
        f"trained anew within {duration_words(kept.retrain)} after somebody in it may not be used any more",
        "destination": f"handed to: {name}, {place.description} ({place.kind})"
        if place
        else "handed to: nobody, it stays in the workspace",
        **_estimated(prepared),
    }


def _estimated(prepared: Prepared) -> dict[str, str]:
    """Which bounds are left to the door, and what that takes of the budget."""
    names, share = prepared.spec.estimated, bounds.SHARE / (100 + bounds.SHARE)
    said = f"bounds of {', '.join(names)}: estimated through the door, for {percent(share)} of the budget (in units of μ²)"
    return {"bounds": said} if names else {}


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _size(part: dict[str, Any]) -> str:
    """A noisy size; a scored list was not counted."""
    return "-" if part["size"] is None else count(part["size"], part["sigma"])


def _share(part: dict[str, Any]) -> str:
    return "-" if part["share"] is None else percent(min(1.0, part["share"]))


def _moment(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _lists(build: Build, now: dt.datetime) -> str:
    """What can be done with a release."""
    if not build.listed(now):
        return "its lists are read no more"
    if all(part["withheld"] for part in build.facts["parts"]):
        return "there is no list to read: every segment is below the cohort floor"
    if build.facts["privacy"]["epsilon"] is None:
        return f"next: consentric segments members {build.segment}"
    return f"next: consentric segments members {build.segment}, or consentric segments export {build.segment} --to FILE"


def _noisy_of(build: Build) -> str:
    snapshot = build.facts.get("snapshot")
    return count(snapshot["admitted"], snapshot["sigma"]) if snapshot else "-"


def _forecast(forecast: Forecast) -> dict[str, Any]:
    return {"verdict": forecast.verdict, "expected": forecast.expected, "interval": list(forecast.interval), "words": forecast.words}


def _balance(balance: Balance) -> dict[str, Any]:
    return {
        "account": balance.account,
        "purpose": balance.purpose,
        "period": balance.period.value,
        "epsilon": balance.epsilon,
        "delta": balance.delta,
        "spent": balance.spent,
        "left": balance.left,
        "lifetime": balance.lifetime,
        "blocks": balance.blocks,
        "note": balance.note,
    }


def _balances_text(accounts: tuple[Balance, ...]) -> str:
    rows = [(b.purpose or "cap", b.period, f"{b.epsilon:g}", f"{b.spent:.3f}", f"{b.left:.3f}", f"{b.lifetime:.3f}") for b in accounts]
    text = table(rows, ("account", "period", "ε allowed", "spent", "left", "over a lifetime"))
    text += "\nspent and left need not add up to what is allowed: ε grows more slowly than what it is the sum of"
    text += "".join(
        f"\n{b.purpose or 'cap'}: at δ {b.delta:g} no more than ε {_usable(b):.1f} can be used"
        for b in accounts
        if _usable(b) < 0.99 * b.epsilon
    )
    if any(b.blocks for b in accounts):
        text += f"\nof the cap, ε {accounts[0].blocks:g} are deep models, which are added to everything else"
    return "\n".join([text, *dict.fromkeys(b.note for b in accounts if b.note)])


def _usable(balance: Balance) -> float:
    """The largest ε that buys something: beyond it, the discreteness of the noise takes all of δ."""
    return epsilon_of(mu_squared_of(balance.epsilon, balance.delta), RESERVED_DRAWS, balance.delta)
