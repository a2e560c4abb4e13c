"""The answer to a subject: everything held about them, what was done with it, by what logic, and who received it (GDPR art. 15).

Gathered from the ledger, source tables (`governance.subject_rows`), files (`engine.copies`) and what builds keep; written down in the
log first, without the subject. What cannot be read is named in the answer and does not keep the rest from being given.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from audit import subject_report as page
from audit.subject_report import Answer
from audit.wording import number
from engine import considered, copies, roles
from engine.admitting import judged, resources, told_now
from engine.considered import CONSIDERED
from engine.copies import MEMBERSHIP
from engine.display import table as text_table
from engine.files import read_parquet, whole_file
from engine.prepared import contracts, pairs
from engine.reasons import reasons
from engine.rights import check_key
from engine.wording import BELONGS, duration_words, reason_words
from engine.workspace import Workspace
from governance import builds, consent, exports
from governance.builds import Build
from governance.exports import State
from governance.identity import identities, links
from governance.roles import Action
from governance.sources import SourceError
from governance.subject_rows import subject_rows
from governance.suppression import Kind
from governance.verdicts import Reason
from policies.contract import Contract
from policies.parsing import DocumentError
from policies.policy import Policy

RIGHTS = (
    page.Right("Access", "GDPR art. 15", "to know what is held about you and to have a copy: this page."),
    page.Right("Rectification", "GDPR art. 16", "to have what is wrong put right, in the source systems that are named here."),
    page.Right("Erasure", "GDPR art. 17", "to have it erased; the controller also asks recipients of lists to delete you from them."),
    page.Right("Restriction", "GDPR art. 18", "to have it kept and not used, while something is in dispute."),
    page.Right("Portability", "GDPR art. 20", "to have what you provided in a form that machines read; this answer is there as JSON."),
    page.Right("Objection", "GDPR art. 21", "to object, to advertising at any time and without a reason."),
    page.Right("Withdrawal of consent", "GDPR art. 7(3)", "to withdraw consent at any time; what was done before stays lawful."),
    page.Right("No decision by a machine alone", "GDPR art. 22", "not to be subject to one that affects you in law or as gravely."),
    page.Right("Complaint", "GDPR art. 77", "to complain to a supervisory authority."),
)

DECISIONS = (
    "Segments are assigned by a model, without a person looking at you. Whether that decides anything about you depends on what the "
    "recipients named above do with a list. Nothing here decides by itself with legal effect, or anything as grave (GDPR art. 22); if a "
    "recipient does, you may ask for a person to look at it, say your view, and contest it."
)

_BASIS = {
    "consent": "your consent (GDPR art. 6(1)(a))",
    "contract": "a contract with you (GDPR art. 6(1)(b))",
    "legal_obligation": "a legal obligation (GDPR art. 6(1)(c))",
    "vital_interests": "vital interests (GDPR art. 6(1)(d))",
    "public_task": "a public task (GDPR art. 6(1)(e))",
    "legitimate_interest": "legitimate interests (GDPR art. 6(1)(f))",
    "opt_out": "notice, and your right to opt out",
}


def access(workspace: Workspace, subject: str) -> Answer:
    """Everything about a subject, and every key that was merged with it. Logged. Raises Refused, WorkspaceError for an empty key."""
    check_key(subject)
    roles.look(workspace, "subject.answered", Action.READ_SUBJECT)
    with workspace.store.read() as session:
        keys = tuple(sorted(identities(links(session)).together(subject)))
        history = [recorded for key in keys for recorded in consent.history(session, key)]
        made_at = consent.judged_at(session, workspace.store.clock())
    missing: list[str] = []
    named = contracts(workspace)
    return Answer(
        keys=keys,
        controllers=tuple(dict.fromkeys(contract.controller for contract in named)),
        made_at=made_at,
        made_by=workspace.principal.name,
        notes=workspace.settings.notes,
        uses=tuple(_uses(workspace, subject, made_at, missing)),
        consent=tuple(map(_said, history)),
        tables=tuple(_tables(workspace, named, keys, missing)),
        processing=tuple(_processing(workspace, keys)),
        retention=tuple(_retention(workspace)),
        decisions=DECISIONS,
        kept_outside=tuple(_kept_outside(workspace, keys)),
        rights=RIGHTS,
        missing=tuple(missing),
    )


def as_data(answer: Answer) -> dict[str, Any]:
    """The answer as JSON."""
    data: dict[str, Any] = _adapter().dump_python(answer, mode="json")
    return data


def as_text(answer: Answer) -> str:
    """The answer in short; the page and the JSON say all."""
    uses = [(use.dataset, use.purpose, "used" if use.used else "not used", use.reason) for use in answer.uses]
    tables = [(table.dataset, table.name, f"{len(table.rows):,}", table.source) for table in answer.tables]
    models = [
        (one.segment, one.status, one.outcome, "yes" if one.trained else "no", "; ".join(value for _, value in one.membership) or "-")
        for one in answer.processing
    ]
    parts = [
        text_table(uses, ("dataset", "purpose", "now", "why")),
        text_table([(said.event_time, said.purpose, said.status) for said in answer.consent], ("event time", "purpose", "status")),
        text_table(tables, ("dataset", "table", "rows", "source")),
        text_table(models, ("segment", "status", "outcome", "trained it", "on its list")),
    ]
    return "\n\n".join([*parts, *(f"not in this answer: {problem}" for problem in answer.missing)])


def write_page(answer: Answer, to: Path) -> None:
    """The page for the subject, readable by its owner alone."""
    with whole_file(to.resolve(), "subject-page", private=True) as partial:
        partial.write_text(page.render(answer))


@cache
def _adapter() -> TypeAdapter[Answer]:
    return TypeAdapter(Answer)


def _uses(workspace: Workspace, subject: str, at: dt.datetime, missing: list[str]) -> Iterator[page.Use]:
    alone = pa.table({"subject": [subject]})
    for contract, policy in pairs(workspace)[0]:
        try:
            told = told_now(workspace, contract, policy)
        except SourceError as error:
            missing.append(str(error))
            continue
        for name, purpose in policy.purposes.items():
            reason = judged(workspace, contract, policy, name, alone, at, told=told).check(subject)
            basis = purpose.basis_in(contract.jurisdiction)
            yield page.Use(
                purpose=name,
                description=purpose.description or name,
                dataset=contract.name,
                policy=policy.name,
                basis=_BASIS[basis] if basis else "none in this jurisdiction",
                used=reason is Reason.ADMITTED,
                reason=reason_words(Reason.NEVER_ASKED if reason is None else reason),
                recipients=_destinations(policy),
            )


def _destinations(policy: Policy) -> tuple[str, ...]:
    return tuple(sorted(policy.destinations))


def _said(recorded: consent.Recorded) -> page.Said:
    event = recorded.event
    return page.Said(
        event_time=event.event_time,
        received_time=recorded.received_time,
        purpose=event.purpose,
        status=event.status.value,
        basis=event.basis.value if event.basis else None,
        valid_until=event.valid_until,
        notice=event.notice_version,
        method=event.method,
        jurisdiction=event.jurisdiction,
        controller=event.controller,
        raw_signal=event.raw_signal,
        decoded=event.decoded,
    )


def _tables(workspace: Workspace, named: tuple[Contract, ...], keys: tuple[str, ...], missing: list[str]) -> Iterator[page.Table]:
    for contract in named:
        try:
            found = [subject_rows(contract, key, workspace.source, resources(workspace)) for key in keys]
        except SourceError as error:
            missing.append(str(error))
            continue
        for name, table in contract.tables.items():
            if table.reference:
                continue
            rows = pa.concat_tables([each[name] for each in found])
            columns = tuple(
                page.Column(column, table.columns[column].category, table.columns[column].sensitivity) for column in rows.column_names
            )
            cells = tuple(tuple("" if cell is None else str(cell) for cell in row.values()) for row in rows.to_pylist())
            kept = f"rows older than {duration_words(table.retention)} are not used" if table.retention else "no limit on age is declared"
            yield page.Table(contract.name, name, table.source, kept, columns, cells)


def _processing(workspace: Workspace, keys: tuple[str, ...]) -> Iterator[page.Processing]:
    with workspace.store.read() as session:
        every = builds.builds(session)
    for build in every:
        for key in keys:
            if one := _one(workspace, build, key):
                yield one


def _one(workspace: Workspace, build: Build, key: str) -> page.Processing | None:
    """What a build did with a key; None if it keeps nothing of it."""
    path = copies.folder(workspace, build.id) / CONSIDERED
    listed = _row(copies.folder(workspace, build.id) / MEMBERSHIP, key)
    row = _row(path, key)
    recipients = tuple(_recipients(workspace, build, key))
    if row is None and listed is None and not recipients:
        return None
    report = build.facts.get("report", {})
    privacy = build.facts["privacy"]
    return page.Processing(
        build=build.id,
        segment=build.segment,
        description=build.facts["spec"].get("description", ""),
        purpose=build.purpose,
        status=build.status.value,
        at=build.created,
        model=build.facts["model"],
        outcome=_outcome(row),
        trained=bool(row and row["trained"]),
        membership=tuple((name, _cell(value)) for name, value in (listed or {}).items() if name != "subject"),
        epsilon=privacy["epsilon"],
        delta=privacy["delta"],
        logic=_logic(build, report) + _yours(workspace, build, key),
        features=tuple(page.Feature(f["name"], f["expression"], f["why"] or "") for f in report.get("features", ())),
        recipients=recipients,
        expires=build.expires,
        retrain_by=build.retrain_by,
        opening=_opening(path, build, key) if row else None,
    )


def _opening(path: Path, build: Build, key: str) -> page.Opening | None:
    leaf = considered.opening(path, build.id, key)
    if leaf is None:
        return None
    return page.Opening(leaf.value, leaf.salt.hex(), leaf.index, tuple(node.hex() for node in leaf.proof), leaf.size, leaf.root.hex())


def _outcome(row: dict[str, Any] | None) -> str:
    if row is None:
        return "no longer on record"
    reason = Reason(row["reason"])
    return "used" if reason is Reason.ADMITTED else f"left out: {reason_words(reason)}"


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _row(path: Path, key: str) -> dict[str, Any] | None:
    """The row of a key in a file; None where there is none."""
    try:
        table = read_parquet(path)
    except FileNotFoundError:
        return None
    table = table.filter(pc.equal(table["subject"], key))
    return table.slice(0, 1).to_pylist()[0] if table.num_rows else None


def _recipients(workspace: Workspace, build: Build, key: str) -> Iterator[page.Recipient]:
    """Who was handed a list with the subject in it. That somebody was taken off one again stands in its notice, until that is done."""
    with workspace.store.read() as session:
        handed, notices = exports.exports(session, build.id), exports.notices(session)
    for export in handed:
        if _row(copies.export_list(workspace, export.id), key):
            whole = [notice for notice in notices if notice.export == export.id and notice.whole]
            state = f"they were asked to delete it all ({State(whole[0].state).value})" if whole else ""
            yield page.Recipient(export.destination, export.created, state)


def _logic(build: Build, report: dict[str, Any]) -> str:
    """How the model decides, in words (art. 15(1)(h))."""
    names = ", ".join(feature["name"] for feature in report.get("features", ())) or "the figures of its segment"
    if build.facts["model"] == "clusters":
        parts = "; ".join(f"“{part['name']}”: {part['description']}" for part in report.get("parts", ()))
        belongs = BELONGS[build.facts["spec"]["model"].get("method", "centres")]
        return f"People whose figures ({names}) are alike are put together: you belong to {belongs}. {parts}"
    if told := report.get("value") or report.get("uplift"):
        return _line(told, "what you will bring" if report.get("value") else "how much the campaign changes what you do", names)
    propensity = report.get("propensity") or {}
    effects = sorted(propensity.get("coefficients", ()), key=lambda each: -(each.get("strength") or abs(each["effect"])))
    weights = ", ".join(f"{each['feature']} ({each.get('trend') or _direction(each['effect'])})" for each in effects)
    how = propensity.get("how") or "A weighted sum of the features gives the probability that somebody does what the segment is about."
    rule = propensity.get("rule", "whoever lies above a threshold")
    return f"{how} Selected is {rule}. What counts, the strongest first: {weights or names}."


def _yours(workspace: Workspace, build: Build, key: str) -> str:
    """What of the logic holds for one subject, in words; empty where there is no score to tell of."""
    told = ", ".join(f"{name} {'takes' if adds < 0 else 'adds'} {number(abs(adds))}" for name, adds in reasons(workspace, build, key))
    return f" For you, against an average person, in log-odds: {told}." if told else ""


def _direction(effect: float) -> str:
    return f"{'more' if effect > 0 else 'less'} likely the larger it is"


def _line(told: dict[str, Any], what: str, names: str) -> str:
    effects = sorted(told.get("slopes", ()), key=lambda each: -abs(each["effect"]))
    weights = ", ".join(f"{each['feature']} ({'more' if each['effect'] > 0 else 'less'} the larger it is)" for each in effects)
    return (
        f"A weighted sum of your figures predicts {what}. Selected is {told.get('rule', 'whoever lies above a threshold')}. "
        f"What counts, the strongest first: {weights or names}."
    )


def _retention(workspace: Workspace) -> Iterator[tuple[str, str]]:
    for name in workspace.documents("policies"):
        try:
            keep = workspace.policy(name).retention
        except DocumentError:
            continue
        yield f"Released segments (policy {name})", f"expire after {duration_words(keep.releases)}"
        yield f"Lists of members (policy {name})", f"are deleted after {duration_words(keep.memberships)}"
        yield f"Models (policy {name})", f"are trained anew within {duration_words(keep.retrain)} of somebody’s erasure"
    yield "What you said about consent", "for as long as it must be shown that it was asked for (GDPR art. 7(1)), or until you are erased"


def _kept_outside(workspace: Workspace, keys: tuple[str, ...]) -> Iterator[str]:
    words = {Kind.ERASED: "that you were erased", Kind.OBJECTED: "that you objected to"}
    for key in keys:
        for entry in workspace.suppression.entries(key):
            about = "" if entry.kind is Kind.ERASED else " all purposes" if entry.purpose == "*" else f" {entry.purpose}"
            yield f"{words[entry.kind]}{about}, since {entry.at:%Y-%m-%d}, under a key that is used for nothing else"
