"""What a build read and why, whom it left out, and under which documents."""

from __future__ import annotations

import json
from typing import Any

from engine.prepared import decided
from engine.questions.archive import Archive
from engine.questions.question import COLUMN, ON, SEGMENT, SUBJECT, Answer, Asking, Draft, Question
from engine.wording import reason_words
from engine.workspace import WorkspaceError
from governance import entries
from governance.builds import Build
from governance.reads import ROW_SELECTION
from governance.roles import Action
from governance.verdicts import Reason
from policies.contract import Contract
from policies.deciding import Request, Use, judge
from policies.decisions import Finding
from policies.documents import Digest
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment


def policy_of_build(archive: Archive, _asked: Asking) -> Answer:
    """The documents that a build's plan pinned, and under which policy people said yes."""
    build, told = archive.build(), Draft()
    plan, kept = archive.plan(build), archive.documents(archive.plan(build))
    about(archive, told, build)
    pinned: tuple[tuple[str, Contract | Policy | None, Digest], ...]
    pinned = ("policy", kept.policy, plan.policy), ("contract", kept.contract, plan.contract)
    for what, document, digest in pinned:
        if document is None:
            told.say(f"its {what} has the digest {digest}", **{what: {"digest": digest}})
            told.lack(f"the text of the {what} with that digest")
            continue
        version = document.version if isinstance(document, Policy) else None
        words = f"`{document.name}`" + (f", version {version}" if version else "")
        told.say(f"its {what} is {words}, {digest}", **{what: {"digest": digest, "name": document.name, "version": version}})
        told.attach(f"{what}-{document.name}.json", archive.text(document))
    told.say(f"its spec has the digest {plan.spec}", spec={"digest": plan.spec})
    told.rest_on(archive.planned(plan), "the plan that pinned these digests")
    told.rest_on(archive.started(build), "the build by that plan")
    for said in archive.approvals(build):
        if said.created > archive.past:
            continue
        under = f"policy {said.policy}" if said.policy else "a policy that nobody wrote down"
        told.say(f"{said.principal} said {said.verdict} on {said.created:%Y-%m-%d}, under {under}")
        told.rest_on(archive.entry(f"build.{said.verdict}", said.created, build=build.id), f"what {said.principal} said")
    if build.released and build.released <= archive.past:
        entry = archive.released(build)
        told.rest_on(entry, "its release, and the policy of that moment")
        at_release = entry.parsed["facts"].get("policy") if entry else None
        told.say(f"it was released under policy {at_release or 'that nobody wrote down'}", released_under=at_release)
    if archive.has_passport(build):
        told.rest_on_passport(build)
    return told.answer()


def columns_read(archive: Archive, _asked: Asking) -> Answer:
    """Which columns a build's expressions read, which the database says that its query read, and which existed for it at all."""
    build, told = archive.build(), Draft()
    about(archive, told, build)
    if not vouch(archive, told, build):
        return told.answer()
    reads = _read_sets(build)
    seen = build.facts.get("report", {}).get("minimisation", {})
    rows = []
    for column in sorted({*reads, *seen.get("binder", ()), *seen.get("physical", ()), *seen.get("granted", ())}):
        marks = ["yes" if column in seen.get(which, ()) else "no" for which in ("binder", "physical", "granted")] if seen else ["?"] * 3
        rows.append((column, ", ".join(reads.get(column, ())) or "-", *marks))
    told.table("columns", rows, ("column", "read for", "in the query, by the database", "in the locked room", "granted"))
    if seen:
        told.say(f"how: {seen['mode']}", mode=seen["mode"], sql=seen["sql"])
        told.say("read for the fairness audit and to know who is a child: in rooms of their own, never beside features")
    else:
        told.lack("what the database says that its query read: builds without a report keep what their expressions read")
    return told.answer()


def necessity(archive: Archive, _asked: Asking) -> Answer:
    """Why each column is needed, in the words of the spec that was built."""
    build, told = archive.build(), Draft()
    about(archive, told, build)
    if not vouch(archive, told, build):
        return told.answer()
    spec = build.facts["spec"]
    parts: dict[str, dict[str, Any]] = {**spec["features"], **{name: spec[name] for name in ("label", "treatment") if spec.get(name)}}
    reads: dict[str, list[str]] = {}
    for column, readers in _read_sets(build).items():
        for reader in readers:
            reads.setdefault(reader, []).append(column)
    rows = []
    for name, columns in reads.items():
        why = parts[name].get("why") if name in parts else _STRUCTURAL.get(name, "")
        rows.append((name, ", ".join(columns), why or "nobody said"))
        if not why:
            told.lack(f"why `{name}` is needed: the spec that was built does not say")
    told.table("needs", rows, ("read for", "columns", "why"))
    return told.answer()


_STRUCTURAL = {
    ROW_SELECTION: "to tell whose a row is, and whether it takes part",
    "fairness": "to check that groups fare alike; read apart from features",
    "admission": "to know who is a child; read apart from features",
}


def column_denied(archive: Archive, asked: Asking) -> Answer:
    """What the policy says of one column for a segment, by which rule, and when that stopped a plan."""
    told = Draft()
    name, column = asked.segment or "", asked.column or ""
    spec, contract, policy, when = _documents(archive, told, name)
    table, _, short = column.partition(".")
    if table not in contract.tables or short not in contract.tables[table].columns:
        raise WorkspaceError(f"`--column`: got `{column}`, expected TABLE.COLUMN of contract `{contract.name}`")
    found = _judged(contract, policy, spec, table, short, fairness=False)
    against = [finding for finding in found if finding.blocks]
    audit = _judged(contract, policy, spec, table, short, fairness=True)
    verdicts = f"{_verdict(found)} to features of `{spec.name}`, and {_verdict(audit)} to its fairness audit"
    told.say(f"`{column}` is {verdicts}, by policy `{policy.name}` {when}")
    told.table(
        "findings",
        [
            (reading, f.cause, f.rule, f.reason, f.condition, f.legal or "-", f.remedy or "-")
            for reading, several in (("features", found), ("fairness audit", audit))
            for f in ([each for each in several if each.blocks] or several)
        ],
        ("read for", "finding", "rule", "why", "because", "legal reference", "way out"),
    )
    told.say(f"policy digest: {policy.digest()}", column=column, allowed=not against, policy=policy.digest())
    told.attach(f"policy-{policy.name}.json", archive.text(policy))
    holding = entries.pair("segment", spec.name), f'"{column}: '
    refused = entries.find(archive.connection, "plan.refused", holding=holding, last=_SHOWN)
    for entry in refused:
        told.rest_on(entry, f"a plan that was refused for `{column}`")
    if against and not refused:
        told.lack(f"a plan that was refused for `{column}`: nobody tried, or not under these names")
    return told.answer()


def excluded(archive: Archive, asked: Asking) -> Answer:
    """How many a build left out, by reason, and by which rule each reason stands; and why one subject was, where one is given."""
    build, told = archive.build(), Draft()
    about(archive, told, build)
    if not vouch(archive, told, build):
        return told.answer()
    rules = {reason_words(reason): rule for reason, rule in _RULES.items()}
    counts = _exclusions(build)
    told.table("excluded", [(label, value, rules.get(label, "-")) for label, value in counts], ("reason", "people, noisy", "rule"))
    if not counts:
        told.lack("noisy counts by reason: nothing is counted of a scored list")
    for key, reason, _ in outcomes(archive, told, build) if asked.subject is not None else ():
        words = "was used" if reason is Reason.ADMITTED else f"was left out: {reason_words(reason)}; {_RULES[reason]}"
        told.say(f"this subject{by_key(archive, key)} {words}")
    return told.answer()


def outcomes(archive: Archive, told: Draft, build: Build) -> list[tuple[str, Reason, bool]]:
    """What a build did with each key of the subject: why it was used or not, and whether it trained.

    As facts `outcome`, of the key that counts: one that trained, else one that was judged by itself; `trained`, of any; `keys`.
    """
    found = [(key, Reason(row["reason"]), bool(row["trained"])) for key in archive.keys if (row := archive.considered(build, key))]
    if not found:
        told.lack("what this build did with this subject: they were not considered, or were erased since")
        return []
    _, counts, _ = max(found, key=lambda each: (each[2], each[1] is Reason.ADMITTED, each[1] is not Reason.MERGED))
    told.fact(outcome=counts.name.lower(), trained=any(trained for _, _, trained in found))
    for key, reason, trained in found:
        told.add("keys", {"key": key, "outcome": reason.name.lower(), "trained": trained})
        told.open_leaf(archive.quarantined(build), build.id, key)
    return found


def by_key(archive: Archive, key: str) -> str:
    """Words for one key of a subject who has several."""
    return f", by key `{key}`," if len(archive.keys) > 1 else ""


def today(archive: Archive, told: Draft, what: str) -> None:
    """Where a past day was asked for: what is told as of today all the same."""
    if archive.asked.on is not None:
        told.lack(f"{what} as of {archive.asked.on}: nobody keeps their past, so what is said of them is as of today")


def _verdict(found: tuple[Finding, ...]) -> str:
    return "denied" if any(finding.blocks for finding in found) else "allowed"


_RULES = {
    Reason.ADMITTED: "the basis of the purpose is met",
    Reason.NEVER_ASKED: "opt-in: nobody asked, so there is no consent (GDPR art. 6(1)(a))",
    Reason.REQUESTED: "opt-in: asking is no consent (GDPR art. 4(11))",
    Reason.REFUSED: "a refusal stands until consent is given to the purpose itself",
    Reason.WITHDRAWN: "a withdrawal stands until consent is given anew (GDPR art. 7(3))",
    Reason.OBJECTED: "an objection beats any older grant (GDPR art. 21)",
    Reason.EXPIRED: "consent counts until its validity ends",
    Reason.INVALIDATED: "a consent that was found void counts for nothing",
    Reason.NO_NOTICE: "opt-out: silence is a yes only with proof of notice (GDPR art. 13)",
    Reason.NO_BASIS: "the policy names no basis for where the subject lives",
    Reason.CHILD: "the policy leaves children out, or asks for a guardian's consent (GDPR art. 8)",
    Reason.MERGED: "another key of the same person stands for it, by the strictest of all",
}
"""Rules of admission (`governance.admission`) by the reason that they give."""

_SHOWN = 20


def about(archive: Archive, told: Draft, build: Build) -> None:
    """Which build the answer is about, and what it was then."""
    released = f", released {build.released:%Y-%m-%d}" if build.released and build.released <= archive.past else ""
    status = archive.status(build)
    told.say(
        f"build {build.id} of `{build.segment}`, {status}, begun {build.created:%Y-%m-%d %H:%M} UTC by {build.builder}{released}",
        build=build.id,
        segment=build.segment,
        status=status.value,
        purpose=build.purpose,
    )


def vouch(archive: Archive, told: Draft, build: Build) -> bool:
    """Rest on the entry that holds the digest of a build's facts; whether the build kept any."""
    entry = archive.quarantined(build)
    if entry is None or "spec" not in build.facts:
        told.lack("what this build read: it ended before anything was kept of it")
        told.rest_on(archive.started(build), "that it was begun")
        return False
    told.rest_on(entry, "the digest of what the build keeps of itself")
    text = archive.vouched(build, entry)
    if text is None:
        told.lack("this build's facts as they were: something in them was erased or added since, and the log has the older digest")
    else:
        told.attach(f"facts-{build.id}.json", text)
    if archive.has_passport(build):
        told.rest_on_passport(build)
    return True


def _read_sets(build: Build) -> dict[str, tuple[str, ...]]:
    """Readers of each column, as the build's passport has them."""
    readers: dict[str, tuple[str, ...]] = {}
    for each in passport(build)["read_sets"]:
        for column in each["columns"]:
            readers[column] = (*readers.get(column, ()), each["feature"])
    return dict(sorted(readers.items()))


def _exclusions(build: Build) -> list[tuple[str, int]]:
    """Noisy counts by reason, of the snapshot that the build showed; whoever was admitted aside."""
    table = passport(build)["exclusions"]
    counts = zip(table["labels"], table["values"], strict=True)
    return [(label, max(0, round(value))) for label, value in counts if label != reason_words(Reason.ADMITTED)]


def passport(build: Build) -> dict[str, Any]:
    """What a build says of itself, released or not; nothing where it ended before."""
    said: dict[str, Any] = json.loads(build.facts.get("passport", "{}"))
    return said


def _documents(archive: Archive, told: Draft, name: str) -> tuple[Segment, Contract, Policy, str]:
    """Spec, contract and policy of a segment as they are today, or else as its newest build has them.

    Raises WorkspaceError, and DocumentError where one of them cannot be read today and there is no build.
    """
    workspace = archive.workspace
    if name in workspace.documents("segments"):
        try:
            spec = workspace.segment(name)
            return spec, workspace.contract(spec.dataset), workspace.policy(spec.policy), "as it is today"
        except (DocumentError, WorkspaceError) as error:
            if not any(name == build.segment and "spec" in build.facts for build in archive.builds):
                raise
            told.lack(f"what the documents of `{name}` say today: {str(error).splitlines()[0]}")
    build = archive.build()
    built, kept = archive.spec(build), archive.documents(archive.plan(build))
    if built is None or kept.contract is None or kept.policy is None:
        raise WorkspaceError(
            f"`--segment`: got `{name}`, of which no documents are kept, expected one of {[*workspace.documents('segments')]}"
        )
    return built, kept.contract, kept.policy, f"as build {build.id} pinned it"


def _judged(contract: Contract, policy: Policy, spec: Segment, table: str, column: str, fairness: bool) -> tuple[Finding, ...]:
    """What the policy says of a column as a feature (or the audit) of a segment would read it."""
    uses = decided(contract, policy, spec).uses
    same = tuple(use for use in uses if (use.table, use.column, use.fairness, use.admission) == (table, column, fairness, False))
    asked = same or (Use(table, column, (spec.name,), fairness=fairness),)
    found = judge(policy, Request(spec.purpose, contract, asked, spec.model.type, spec.output.destination, spec.private))
    return tuple(f for f in found if f.subject == f"{table}.{column}") or found


POLICY_OF_BUILD = Question(
    "policy-of-build",
    "Under which policy was a segment built, and under which was it approved?",
    Action.READ_POLICY,
    policy_of_build,
    needs=SEGMENT,
    takes=ON,
)
COLUMNS_READ = Question("columns-read", "Which columns were really read?", Action.READ_SEGMENTS, columns_read, needs=SEGMENT, takes=ON)
NECESSITY = Question("necessity", "Why was each column needed?", Action.READ_SEGMENTS, necessity, needs=SEGMENT, takes=ON)
COLUMN_DENIED = Question("column-denied", "Why was a column denied?", Action.READ_POLICY, column_denied, needs=SEGMENT | COLUMN)
EXCLUDED = Question("excluded", "Who was left out, and by which rule?", Action.READ_SEGMENTS, excluded, needs=SEGMENT, takes=ON | SUBJECT)
