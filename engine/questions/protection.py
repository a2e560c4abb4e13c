"""Whom and what the law protects more: children, special categories, what is kept too long, and decisions that nobody looked at."""

from __future__ import annotations

from collections.abc import Iterator

from engine import copies
from engine.copies import Kind
from engine.prepared import Prepared, decided
from engine.questions.archive import Archive
from engine.questions.builds import passport, today, vouch
from engine.questions.question import ON, SEGMENT, SUBJECT, Answer, Asking, Draft, Question
from engine.wording import duration_words, reason_words
from governance import exports
from governance.builds import LIVE, Build
from governance.reads import ExpressionError
from governance.roles import Action
from governance.verdicts import Reason
from policies.parsing import DocumentError
from policies.policy import Children
from policies.rules import SENSITIVE
from policies.taxonomy import special

SHOWN = 10
"""Builds that an answer looks at, the newest first."""


def children(archive: Archive, asked: Asking) -> Answer:
    """Which rule about children each build was under, who told them apart, and how many were left out for it."""
    told, rows = Draft(), []
    for build in (looked_at := shown(archive, told)):
        plan = archive.plan(build)
        kept = archive.documents(plan)
        told.rest_on(archive.planned(plan), f"the policy and the contract that build {build.id} was under")
        left = _left_out(build)
        if kept.policy is None or kept.contract is None:
            told.lack(f"the rule about children that build {build.id} was under: no text of its documents was kept")
            rows.append((build.id, build.segment, "?", "?", left))
            continue
        rule, by = kept.policy.children_in(kept.contract.jurisdiction), kept.contract.subject.told_by
        rows.append((build.id, build.segment, _rule(rule), ".".join(by) if by else "nobody", left if rule else "nobody can be"))
        if rule is None:
            told.lack(f"a rule about children in policy `{kept.policy.name}`: nobody is treated as one")
        elif by is None:
            told.lack(f"who is a child in dataset `{kept.contract.name}`: its contract names neither `subject.born` nor `subject.child`")
        vouch(archive, told, build)
    told.table("builds", rows, ("build", "segment", "rule", "told by", "left out as children, noisy"))
    for build in looked_at if asked.subject is not None else ():
        for key in archive.keys:
            if (row := archive.considered(build, key)) is not None:
                reason = Reason(row["reason"])
                words = "left out as a child" if reason is Reason.CHILD else f"not as a child: {reason_words(reason)}"
                told.say(f"build {build.id} judged this subject: {words}")
                told.add("subject", {"build": build.id, "reason": reason.name.lower()})
    return told.answer()


def _rule(rule: Children | None) -> str:
    if rule is None:
        return "none"
    unknown = {"admit": "count as adults", "leave_out": "are left out", "refuse": "stop the build"}[rule.unknown.value]
    treatment = {"exclude": "left out", "guardian": "in with a guardian's consent"}[rule.treatment.value]
    return f"below {rule.age} years: {treatment}; those of whom it is unknown {unknown}"


def _left_out(build: Build) -> str:
    counted = passport(build).get("exclusions", {"labels": (), "values": (), "sigma": 0.0})
    by = dict(zip(counted["labels"], counted["values"], strict=True))
    value = by.get(reason_words(Reason.CHILD))
    return "not counted" if value is None else f"{max(0, round(value)):,} (σ {counted['sigma']:.3g})"


def special_categories(archive: Archive, _asked: Asking) -> Answer:
    """Which columns of special categories, or that a contract calls sensitive, builds read, and what each rests on."""
    told = Draft()
    rows: list[tuple[str, ...]] = []
    for build in shown(archive, told):
        plan = archive.plan(build)
        told.rest_on(archive.planned(plan), f"the policy and the contract that build {build.id} was under")
        prepared = _prepared(archive, build)
        if prepared is None:
            told.lack(f"the categories of what build {build.id} read: no text of its documents was kept")
            continue
        vouch(archive, told, build)
        rows += _sensitive(prepared, build)
    told.table("columns", rows, ("build", "column", "category", "read for", "rule", "ground", "legal reference"))
    if not rows:
        told.say("no column that was read is of a special category (GDPR art. 9(1)) by its fideslang key, or sensitive by its contract")
    told.say("whether a column holds what its category says is its contract's word; nobody looked into the data", special=len(rows))
    return told.answer()


def _prepared(archive: Archive, build: Build) -> Prepared | None:
    """A build's documents, judged as they were; None where they are not all kept."""
    spec, kept = archive.spec(build), archive.documents(archive.plan(build))
    if spec is None or kept.contract is None or kept.policy is None:
        return None
    try:
        return decided(kept.contract, kept.policy, spec)
    except ExpressionError:  # of another version, which read other expressions
        return None


def _sensitive(prepared: Prepared, build: Build) -> Iterator[tuple[str, ...]]:
    for use in prepared.uses:
        column = prepared.contract.tables[use.table].columns[use.column]
        if not special(column.category) and column.sensitivity != SENSITIVE:
            continue
        permits = [finding for finding in prepared.findings if finding.subject == use.name and finding.ground is not None]
        found = permits[0] if permits else None
        ground = f"{found.ground} ({found.ground.article})" if found and found.ground else "none"
        yield (
            build.id,
            use.name,
            column.category,
            ", ".join(use.needed_by),
            found.rule if found else "-",
            ground,
            (found and found.legal) or "-",
        )


def past_retention(archive: Archive, _asked: Asking) -> Answer:
    """What is here longer than documents allow, and what nobody limited."""
    told = Draft()
    rows: list[tuple[str, ...]] = []
    lists = {copy.of for copy in copies.copies(archive.workspace) if copy.kind in (Kind.MEMBERSHIP, Kind.RELEASE)}
    for build in archive.of_segment():
        rows += _overdue(archive, build, listed=build.id in lists)
    today(archive, told, "states of builds, their ends and lists")
    for notice in exports.notices(archive.session):
        if notice.created <= archive.past and (notice.acknowledged is None or notice.acknowledged > archive.past):
            days = (archive.past - notice.created).days
            rows.append(
                (f"notice {notice.id}", "a recall that its recipient has not acknowledged", f"{days} days", "consentric segments notices")
            )
    swept = archive.entries("sweep.done", last=1, until=archive.past)
    told.rest_on(swept[0] if swept else None, "the last sweep, which deletes what is over")
    told.table("overdue", rows, ("what", "why", "since", "remedy"))
    if not rows:
        told.say("nothing that was made of people is here longer than its policy allows", overdue_count=0)
    for name in archive.workspace.documents("contracts"):
        try:
            contract = archive.workspace.contract(name)
        except DocumentError as error:
            told.lack(f"what contract `{name}` limits: {str(error).splitlines()[0]}")
            continue
        for place, table in contract.tables.items():
            if table.retention:
                told.say(
                    f"rows of {name}.{place} older than {duration_words(table.retention)} exist for no build; the source may hold them"
                )
            elif table.event_time:
                told.lack(f"how long rows of {name}.{place} may be kept: `tables.{place}.retention` of contracts/{name}.yaml is not there")
            elif not table.reference:
                told.lack(f"how old rows of {name}.{place} are: the table has no `event_time`, and so no limit")
    told.lack("whether sources still hold rows that are too old: nobody reads a row to find out, ask whoever keeps the source")
    return told.answer()


def _overdue(archive: Archive, build: Build, listed: bool) -> Iterator[tuple[str, str, str, str]]:
    if build.status in LIVE:
        for end, what in ((build.expires, "its release or its wait has expired"), (build.listed_until, "its lists have")):
            if end is not None and archive.past >= end:
                yield f"build {build.id} of `{build.segment}`", what, f"{end:%Y-%m-%d}", "consentric sweep"
        if build.retrain_by is not None and archive.past >= build.retrain_by:
            why = "somebody whose rows trained it may not be used any more"
            yield f"model of build {build.id}", why, f"{build.retrain_by:%Y-%m-%d}", f"consentric build {build.segment}"
        return
    if listed:
        yield f"lists of build {build.id}", f"it is {build.status}", f"{build.created:%Y-%m-%d}", "consentric sweep"


def automated_decisions(archive: Archive, asked: Asking) -> Answer:
    """Which builds put people on lists by a model alone, who looked before, and to whom a list went."""
    told, rows = Draft(), []
    handed = [each for each in exports.exports(archive.session) if each.finished and each.finished <= archive.past]
    today(archive, told, "who is on lists")
    for build in (looked_at := shown(archive, told)):
        approvals = [one for one in archive.approvals(build) if one.created <= archive.past]
        said = [f"{one.principal} ({one.verdict})" for one in approvals]
        went = [f"{each.destination} on {each.created:%Y-%m-%d}" for each in handed if each.build == build.id]
        told.rest_on(archive.started(build), f"that build {build.id} was begun, and by whom")
        for one in approvals:
            told.rest_on(
                archive.entry(f"build.{one.verdict}", one.created, build=build.id), f"what {one.principal} said of build {build.id}"
            )
        how = build.facts.get("spec", {}).get("model", {}).get("type", "-") + (f", scored with {build.model}" if build.model else "")
        rows.append((build.id, build.segment, archive.status(build), how, ", ".join(said) or "nobody", "; ".join(went) or "nobody"))
    told.table("builds", rows, ("build", "segment", "status", "model", "looked at by", "handed to"))
    told.say("every list is made by a model; people look at a build as a whole before its release, and at no single person on it")
    for build in looked_at if asked.subject is not None else ():
        for key in archive.keys:
            row = archive.member(build, key)
            told.say(
                f"this subject is {'on' if row else 'not on'} the list of build {build.id}" + (f", as {row['segment']}" if row else "")
            )
            told.add("subject", {"build": build.id, "listed": row is not None})
    told.lack(
        "whether a recipient decides about somebody by a list alone, with legal effect or as gravely (GDPR art. 22(1)): no document says "
        "what destinations do with it"
    )
    return told.answer()


def shown(archive: Archive, told: Draft) -> list[Build]:
    """The newest builds that were asked for and kept what they found; of others the answer says how many there are."""
    kept = [build for build in archive.of_segment() if "passport" in build.facts]
    if len(kept) > SHOWN:
        told.say(f"{len(kept) - SHOWN} older builds are not looked at; ask with --segment or --on")
    if not kept:
        told.lack("any build: nothing was built until then")
    return kept[:SHOWN]


CHILDREN = Question("children", "How were children's data treated?", Action.READ_SEGMENTS, children, takes=SEGMENT | SUBJECT | ON)
SPECIAL_CATEGORIES = Question(
    "special-categories",
    "Which special categories were read, and on what ground?",
    Action.READ_POLICY,
    special_categories,
    takes=SEGMENT | ON,
)
PAST_RETENTION = Question("past-retention", "What is kept longer than allowed?", Action.READ_LOG, past_retention, takes=SEGMENT | ON)
AUTOMATED = Question(
    "automated-decisions",
    "Which decisions were made by a model alone?",
    Action.READ_LOG,
    automated_decisions,
    takes=SEGMENT | SUBJECT | ON,
)
