"""What a data protection impact assessment begins with (GDPR art. 35(7)): a chapter a segment, with what is declared and measured.

(a) the processing and its purpose; (b) why it is necessary, column by column; (c) risks, as far as a machine can measure them; (d) what
is done against them. How likely and how grave a risk is, people must say: what nobody can read off documents is named as missing. All
figures are noisy ones that were paid for, or come from documents and the ledger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from audit.record import Chapter, Document, Missing, Row, Section
from audit.wording import count, number, percent, small
from engine.exporting.house import House
from engine.exporting.law import RECIPIENT, SPECIAL, TRANSFER, basis_words, nature
from engine.exporting.processing import OF_ITS_OWN, measures
from engine.prepared import Prepared
from engine.wording import duration_words
from engine.workspace import WorkspaceError
from governance.builds import Build
from governance.exports import State
from policies.rules import Destination
from policies.segment import Feature, Label, Treatment

TITLE = "Inputs of a data protection impact assessment"

UNJUDGED = (
    Missing("how likely and how grave each risk is for the people concerned", "the assessment itself (art. 35(7)(c))"),
    Missing("the advice of the data protection officer", "the assessment itself (art. 35(2))"),
    Missing("the views of the people concerned, or why they were not sought", "the assessment itself (art. 35(9))"),
    Missing("whether a recipient decides by a list alone, with legal effect or as gravely", "the assessment itself (art. 22(1), 35(3)(a))"),
)
"""What only people can say."""

HANDED_OVER = "A list that is handed over is not protected by differential privacy: its recipient learns who is in it, and what that means."


def inputs(house: House, segment: str | None) -> Document:
    """Of one segment, or of all. Raises WorkspaceError for a segment that is unknown or cannot be read."""
    if segment is not None and segment not in house.segments:
        unread = "".join(f"; cannot be read: {problem}" for problem in house.problems)
        raise WorkspaceError(f"`--segment`: got `{segment}`, expected one of {sorted(house.segments)}{unread}")
    wanted = [segment] if segment else sorted(house.segments)
    chapters = tuple(_chapter(house, house.segments[name]) for name in wanted)
    return house.document(TITLE, "GDPR art. 35(7)", chapters)


def _chapter(house: House, put: Prepared) -> Chapter:
    build = house.newest(put.spec.name)
    return Chapter(
        put.spec.name,
        put.spec.description or put.spec.name,
        (
            _processing(put, build),
            _figures(put),
            _recipients(house, put),
            _columns(put),
            _left_out(put),
            _privacy(house, put, build),
            _fairness(put, build),
            _other(house, put),
            Section("35(7)(c)", "what people must judge", missing=UNJUDGED),
            _measures(put),
        ),
    )


# -- (a) ---------------------------------------------------------------------------------------------------------------


def _processing(put: Prepared, build: Build | None) -> Section:
    spec, contract, purpose = put.spec, put.contract, put.policy.purposes.get(put.spec.purpose)
    said = {
        "purpose": (purpose.description if purpose else "") or spec.purpose,
        "data use (fideslang)": spec.purpose,
        "legal basis": basis_words(purpose.basis_in(contract.jurisdiction) if purpose else None) + f", in {contract.jurisdiction}",
        "controller": contract.controller,
        "dataset": contract.name + (f": {contract.description}" if contract.description else ""),
        "one subject is": f"a {contract.subject.kind.value}; at most {contract.subject.max_subjects:,}",
        "model": spec.model.type,
        "data until": str(spec.as_of),
        "newest build": f"{build.id}, {build.status.value}, of {build.created:%Y-%m-%d}" if build else "none: nothing was processed yet",
    }
    if build and (admitted := build.facts.get("snapshot")):
        said["people who may be used"] = f"{count(admitted['admitted'], admitted['sigma'])} (noisy)"
    if build and build.facts.get("headline"):
        said["outcome"] = build.facts["headline"]
    missing = [] if spec.description else [Missing(f"what segment `{spec.name}` is for", f"`description` of segments/{spec.name}.yaml")]
    if purpose and not purpose.description:
        where = f"`purposes.{spec.purpose}.description` of policies/{put.policy.name}.yaml"
        missing.append(Missing(f"what `{spec.purpose}` means in words", where))
    rows = tuple({"of the processing": name, "is": value} for name, value in said.items())
    return Section("35(7)(a)", "systematic description", rows, missing=tuple(missing))


def _figures(put: Prepared) -> Section:
    spec = put.spec
    declared: dict[str, Feature | Label | Treatment | None] = dict(spec.features)
    declared |= {"treatment": spec.treatment, "label": spec.label}
    rows = tuple(
        {"figure": name, "worked out as": each.agg, "of table": each.table, "of the time": _window(each), "why": each.why or ""}
        for name, each in declared.items()
        if each is not None
    )
    missing = tuple(
        Missing(f"why `{row['figure']}` is needed", f"`{_path(row['figure'])}.why` of segments/{spec.name}.yaml")
        for row in rows
        if not row["why"]
    )
    return Section("35(7)(a)", "figures that are worked out of each person", rows, missing=missing)


def _path(figure: str) -> str:
    return figure if figure in ("label", "treatment") else f"features.{figure}"


def _window(each: Feature | Label | Treatment) -> str:
    if isinstance(each, Label):
        return f"the {duration_words(each.after)} after"
    return f"the {duration_words(each.window)} before" if each.window else "everything before"


def _recipients(house: House, put: Prepared) -> Section:
    wanted, home = put.spec.output.destination, put.contract.jurisdiction
    handed = house.delivered(put.spec.name)
    own, rows, today = put.policy.name, list[Row](), {policy.name: policy.destinations for policy in house.policies}
    places = {*([(own, wanted)] if wanted else []), *((house.policy_of(export), export.destination) for export in handed)}
    for policy, name in sorted(places):
        lists = [export for export in handed if (house.policy_of(export), export.destination) == (policy, name)]
        of = {export.id for export in lists}
        waiting = [notice for notice in house.notices if notice.export in of and notice.state is not State.ACKNOWLEDGED]
        now = today.get(policy, {}).get(name)
        under = [house.handed_under[export.id].destinations.get(name) for export in lists if export.id in house.handed_under]
        before = [*dict.fromkeys(_declared(each, home) for each in under if each is not None and each != now)]
        who, transfer = _declared(now, home) if now else (f"no destination of policy `{policy}` any more", "")
        rows.append(
            {
                "recipient": name,
                "policy": policy,
                "who": "; ".join((who, *(f"when a list was handed over: {each}" for each, _ in before))),
                "transfer": "; ".join(filter(None, (transfer, *(f"when a list was handed over: {each}" for _, each in before)))),
                "lists handed over": f"{len(lists)}, the last on {lists[0].created:%Y-%m-%d}" if lists else "none",
                "recalls not acknowledged": str(len(waiting)),
            }
        )
    return Section("35(7)(a)", "recipients", tuple(rows), () if rows else ("Nobody: the result stays in the workspace.",))


def _declared(destination: Destination, home: str) -> tuple[str, str]:
    """Who a recipient is, and what lets data go there, by one version of a policy."""
    return f"{RECIPIENT[destination.kind]}: {destination.description}", TRANSFER[destination.transfer(home)]


# -- (b) ---------------------------------------------------------------------------------------------------------------


def _columns(put: Prepared) -> Section:
    rows = []
    for use in put.uses:
        column = put.contract.tables[use.table].columns.get(use.column)
        permitted = [f for f in put.findings if f.subject == use.name and not f.blocks]
        coarse = put.coarsened.get((use.table, use.column), ())
        rows.append(
            {
                "column": use.name,
                "category": f"{column.category} ({nature(column)})" if column else "not in the contract",
                "needed by": ", ".join(use.needed_by),
                "why": use.why or "",
                "allowed by rule": ", ".join(dict.fromkeys(f.rule for f in permitted)) or "none: it is denied today",
                "made coarser": "; ".join(step.words() for step in coarse),
            }
        )
    return Section("35(7)(b)", "columns that are read, and why", tuple(rows))


def _left_out(put: Prepared) -> Section:
    read = {use.name for use in put.uses}
    rest = [
        {"column": f"{table}.{name}", "category": column.category, "sensitivity": nature(column)}
        for table, declared in put.contract.tables.items()
        for name, column in declared.columns.items()
        if f"{table}.{name}" not in read
    ]
    words = f"Of {len(read) + len(rest)} columns of the dataset {len(read)} are read; for what computes, the others do not exist."
    return Section("35(7)(b)", "columns that are left alone", tuple(rest), (words,))


# -- (c) ---------------------------------------------------------------------------------------------------------------


def _privacy(house: House, put: Prepared, build: Build | None) -> Section:
    spec, books = put.spec, house.books[(put.contract.name, put.policy.name)]
    words = []
    if not spec.private:
        words.append(
            "Learned without differential privacy: nothing bounds what the list says, so that nothing is shown and nothing leaves."
        )
    else:
        epsilon, delta, one = spec.asked.epsilon, spec.asked.delta, put.contract.subject.kind.value
        counted = put.policy.budgets.snapshot.epsilon
        words.append(
            f"ε {epsilon:g} at δ {small(delta)} a build, and ε {counted:g} a snapshot, the count of people that builds share: "
            f"whether one {one} is in the data changes the probability of anything that is published of a build and its snapshot by a "
            f"factor of at most {math.exp(epsilon + counted):.3g}, δ aside."
        )
    if spec.deep:
        words.append("Trained by samples in floating point: the last bits of a gradient are outside what is proved.")
    if build and build.retrain_by:
        by = f"{build.retrain_by:%Y-%m-%d}"
        words.append(f"Somebody whose rows trained the newest model may not be used any more; it is to be trained anew by {by}.")
    rows = tuple(
        {
            "account": f"purpose {each.purpose}" if each.purpose else "all purposes, over a lifetime",
            "allowed, ε": f"{each.epsilon:g}",
            "spent, ε": f"{each.spent:.3f}",
            "left, ε": f"{each.left:.3f}",
            "over a lifetime, ε": f"{each.lifetime:.3f}",
        }
        for each in books
        if each.purpose in (None, spec.purpose)
    )
    return Section("35(7)(c)", "risk: that what is published tells of somebody", rows, tuple(words))


def _fairness(put: Prepared, build: Build | None) -> Section:
    verdicts: list[dict[str, Any]] = json.loads(build.facts["passport"])["fairness"] if build else []
    rows = tuple(
        {
            "attribute": each["attribute"],
            "group": each["group"],
            "measure": each["measure"] + (f", {each['outcome']}" if each["outcome"] else ""),
            "verdict": each["verdict"],
            "between": "" if each["low"] is None else f"{number(each['low'])} and {number(each['high'])}",
            "smallest gap that could have been seen": "" if each["detectable"] is None else number(each["detectable"]),
        }
        for each in verdicts
    )
    if rows and build:
        of = f"Measured in build {build.id}, which is {build.status.value}."
        return Section("35(7)(c)", "risk: that groups fare worse", rows, (of,))
    declared = [f"{each.table}.{each.column}" for each in put.spec.fairness]
    if declared:
        return Section("35(7)(c)", "risk: that groups fare worse", words=(f"To be measured for {', '.join(declared)} at the first build.",))
    where = f"`fairness` of segments/{put.spec.name}.yaml"
    return Section("35(7)(c)", "risk: that groups fare worse", missing=(Missing("attributes by which groups are compared", where),))


def _other(house: House, put: Prepared) -> Section:
    children, contract = put.policy.children_in(put.contract.jurisdiction), put.contract
    told = "" if contract.subject.told_by is None else ".".join(contract.subject.told_by)
    grounds = {f.subject: f.ground for f in put.findings if f.ground is not None and not f.blocks}
    special = [use for use in put.uses if (c := contract.tables[use.table].columns.get(use.column)) and nature(c) == SPECIAL]
    said = {
        "special categories (art. 9)": ", ".join(
            f"{use.name}, ground {grounds[use.name].article if use.name in grounds else 'none: denied today'}" for use in special
        )
        or "none is read",
        "children": f"below {children.age} years: {children.treatment.value}; unknown: {children.unknown.value}" if children else "no rule",
        "who is a child": told and f"told by {told}",
        "evaluation of people (art. 35(3)(a))": f"yes: {put.spec.model.type} puts each person into a group or on a list, unseen by anybody",
        "before a release": f"{put.policy.approvals.needed(put.spec.model.type)} other than the builder must approve",
        "least size of what is shown": f"{put.policy.cohort_floor} people",
        "lists handed over": HANDED_OVER if put.spec.output.destination else "none: no destination",
    }
    missing = []
    if children is None:
        missing.append(Missing("what becomes of children", f"`children` of policies/{put.policy.name}.yaml"))
    elif not told:
        missing.append(Missing("who is a child", f"`subject.born` or `subject.child` of contracts/{contract.name}.yaml"))
    return Section(
        "35(7)(c)", "other risks", tuple({"of": name, "is": value} for name, value in said.items() if value), missing=tuple(missing)
    )


# -- (d) ---------------------------------------------------------------------------------------------------------------


def _measures(put: Prepared) -> Section:
    return Section("35(7)(d)", "measures", words=tuple(_against(put)))


def _against(put: Prepared) -> Iterator[str]:
    yield from OF_ITS_OWN
    if put.spec.purpose in put.policy.purposes:
        yield from measures(put.policy, put.spec.purpose)
    keep, gate = put.policy.retention, put.policy.fairness
    yield f"Releases expire after {duration_words(keep.releases)}, lists are deleted after {duration_words(keep.memberships)}."
    if gate and put.spec.fairness:
        yield (
            f"Fairness gate: least ratio {percent(gate.min_ratio)}, largest gap of error rates and of calibration "
            f"{percent(gate.max_gap)}; a fail leads to: {gate.on_fail.value}, an inconclusive result to: {gate.on_inconclusive.value}."
        )
