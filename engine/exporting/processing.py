"""The record of processing activities (GDPR art. 30(1)(a) to (g)): a chapter for each controller and purpose.

Made of contracts, policies, segments, deliveries, and `[controllers]` of consentric.toml. Personal data are the columns that segments
for the purpose read, by their fideslang categories. What nobody declared is said to be missing, with the place where it belongs;
nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audit.record import Chapter, Document, Missing, Row, Section
from engine.exporting.house import House
from engine.exporting.law import RECIPIENT, TRANSFER, basis_words, nature
from engine.prepared import Prepared
from engine.settings import FILE
from engine.wording import duration_words
from governance.exports import Export
from policies.contract import Contract
from policies.policy import Policy
from policies.rules import Recipient, Transfer

TITLE = "Record of processing activities"

OUTSIDE = "the list of who was erased or objected, as HMACs under a key of its own, outside workspace and backups"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a controller does for one purpose: the datasets and policies, and the segments (`fairness`: that are checked for it)."""

    controller: str
    purpose: str
    pairs: tuple[tuple[Contract, Policy], ...]
    segments: tuple[Prepared, ...]
    audited: tuple[Prepared, ...]

    @property
    def title(self) -> str:
        """The purpose in words, where a policy has any."""
        words = [policy.purposes[self.purpose].description for _, policy in self.pairs]
        return next(filter(None, words), self.purpose)


def record(house: House) -> Document:
    """The whole record."""
    chapters = tuple(
        Chapter(
            f"{each.controller}: {each.purpose}",
            each.title,
            (
                _controller(house, each),
                _purpose(each),
                _uses(house, each),
                _subjects(each),
                _data(each),
                _recipients(house, each),
                _transfers(each),
                _retention(each),
                _measures(house, each),
            ),
        )
        for each in activities(house)
    )
    return house.document(TITLE, "GDPR art. 30(1)", chapters)


def activities(house: House) -> Iterator[Activity]:
    """Every purpose of every policy that a segment puts to a contract, by controller."""
    pairs = {(put.contract.name, put.policy.name): (put.contract, put.policy) for put in house.segments.values()}
    named = sorted({(contract.controller, purpose) for contract, policy in pairs.values() for purpose in policy.purposes})
    for controller, purpose in named:
        of = tuple(pair for _, pair in sorted(pairs.items()) if pair[0].controller == controller and purpose in pair[1].purposes)
        here = [put for put in house.segments.values() if (put.contract, put.policy) in of]
        yield Activity(
            controller,
            purpose,
            of,
            tuple(put for put in here if put.spec.purpose == purpose),
            tuple(put for put in here if put.spec.fairness and put.policy.fairness and put.policy.fairness.purpose == purpose),
        )


def _controller(house: House, activity: Activity) -> Section:
    declared, name = house.controllers.get(activity.controller, {}), activity.controller
    asked = (
        ("contact", "contact", f"how to reach controller `{name}`"),
        ("joint", "joint controllers", ""),
        ("representative", "representative (art. 27)", ""),
        ("officer", "data protection officer (art. 37)", f"the data protection officer of `{name}`, or that there is none"),
    )
    rows: list[Row] = [{"role": "controller", "who": name}]
    rows += [{"role": role, "who": "; ".join(declared[key])} for key, role, _ in asked if declared.get(key)]
    missing = tuple(Missing(what, _place(name, key)) for key, _, what in asked if what and key not in declared)
    return Section("30(1)(a)", "controller", tuple(rows), missing=missing)


def _purpose(activity: Activity) -> Section:
    rows: list[Row] = []
    missing = []
    for contract, policy in activity.pairs:
        said = policy.purposes[activity.purpose]
        places = {contract.jurisdiction: said.basis_in(contract.jurisdiction)} | {place: said.basis_in(place) for place in said.basis}
        for place, basis in places.items():
            rows.append(
                {
                    "policy": f"{policy.name}, dataset {contract.name}",
                    "of people in": "anywhere else" if place == "default" else place,
                    "legal basis": basis_words(basis),
                    "TCF": ", ".join(map(str, said.tcf)),
                }
            )
        if not said.description:
            where = f"`purposes.{activity.purpose}.description` of policies/{policy.name}.yaml"
            missing.append(Missing(f"what `{activity.purpose}` means in words", where))
        for other, assessment in said.compatible_with.items():
            if assessment is None:
                where = f"`purposes.{activity.purpose}.compatible_with.{other}` of policies/{policy.name}.yaml"
                missing.append(Missing(f"the assessment that consent to `{other}` may serve this purpose (art. 6(4))", where))
    return Section("30(1)(b)", "purpose and legal basis", tuple(rows), missing=tuple(missing))


def _uses(house: House, activity: Activity) -> Section:
    rows: list[Row] = []
    for put in (*activity.segments, *activity.audited):
        newest = house.newest(put.spec.name)
        rows.append(
            {
                "segment": put.spec.name,
                "what": put.spec.description if put in activity.segments else "checked for whether groups fare alike",
                "model": put.spec.model.type,
                "newest build": f"{newest.id}, {newest.status.value}" if newest else "none",
            }
        )
    words = () if rows else ("No segment is for this purpose: it is declared, and nothing is done for it here.",)
    missing = tuple(
        Missing(f"what segment `{put.spec.name}` is for", f"`description` of segments/{put.spec.name}.yaml")
        for put in activity.segments
        if not put.spec.description
    )
    return Section("30(1)(b)", "what is done", tuple(rows), words, missing)


def _subjects(activity: Activity) -> Section:
    rows: list[Row] = []
    missing = []
    for contract, policy in activity.pairs:
        children = policy.children_in(contract.jurisdiction)
        below = f"below {children.age} years: {children.treatment.value}; unknown: {children.unknown.value}" if children else "no rule"
        rows.append(
            {
                "subjects": f"{contract.subject.kind.value} ({contract.subject.namespace})",
                "registered in": f"{contract.name}.{contract.subject.registered_in}",
                "at most": f"{contract.subject.max_subjects:,}",
                "children": below,
            }
        )
        if children is None:
            missing.append(Missing(f"what becomes of children in dataset `{contract.name}`", f"`children` of policies/{policy.name}.yaml"))
        elif contract.subject.told_by is None:
            where = f"`subject.born` or `subject.child` of contracts/{contract.name}.yaml"
            missing.append(Missing(f"who is a child in dataset `{contract.name}`", where))
    return Section("30(1)(c)", "categories of data subjects", tuple(rows), missing=tuple(missing))


def _data(activity: Activity) -> Section:
    read: dict[tuple[str, str], dict[str, None]] = {}
    for put, fairness in (*((put, False) for put in activity.segments), *((put, True) for put in activity.audited)):
        for use in put.uses:
            if use.fairness == fairness:
                column = put.contract.tables[use.table].columns[use.column]
                read.setdefault((column.category, nature(column)), {})[f"{put.contract.name}.{use.name}"] = None
    rows = tuple(
        {"category": category, "sensitivity": sensitivity, "columns": ", ".join(columns)}
        for (category, sensitivity), columns in sorted(read.items())
    )
    return Section("30(1)(c)", "categories of personal data", rows, () if rows else ("No column is read for this purpose.",))


def _recipients(house: House, activity: Activity) -> Section:
    rows: dict[tuple[str, str], Row] = {}
    missing = []
    lists = _handed(house, activity)
    for contract, policy in activity.pairs:
        rows |= {("", name): _recipient("", name, "of the controller", "its processor") for name in contract.processors}
        for name, destination in policy.destinations.items():
            asked = [put.spec.name for put in activity.segments if put.policy == policy and put.spec.output.destination == name]
            key, who = (policy.name, name), RECIPIENT[destination.kind]
            rows[key] = _recipient(*key, destination.description, who, ", ".join(asked), lists.get(key, "none"))
            if "kind" not in destination.model_fields_set:
                where = f"`destinations.{name}.kind` of policies/{policy.name}.yaml"
                missing.append(Missing(f"who `{name}` is: it counts as a third party", where))
    for key in sorted(lists.keys() - rows.keys()):
        rows[key] = _recipient(*key, "a destination of no policy any more", "not declared any more", "", lists[key])
    words = () if rows else ("Nobody: no processor and no destination is declared.",)
    return Section("30(1)(d)", "categories of recipients", tuple(rows.values()), words, tuple(missing))


def _recipient(policy: str, name: str, what: str, who: str, asked: str = "", handed: str = "") -> Row:
    return {"recipient": name, "policy": policy, "what": what, "who": who, "asked for by": asked, "lists handed over": handed}


def _handed(house: House, activity: Activity) -> dict[tuple[str, str], str]:
    """What was handed over, by policy and destination."""
    found: dict[tuple[str, str], list[Export]] = {}
    for put in activity.segments:
        for export in house.delivered(put.spec.name):
            found.setdefault((house.policy_of(export), export.destination), []).append(export)
    return {key: f"{len(lists)}, the last on {max(each.created for each in lists):%Y-%m-%d}" for key, lists in found.items()}


def _transfers(activity: Activity) -> Section:
    rows: list[Row] = []
    missing = []
    for contract, policy in activity.pairs:
        for name, destination in policy.destinations.items():
            how = destination.transfer(contract.jurisdiction)
            place = destination.jurisdiction or ("with the controller" if destination.kind is Recipient.INTERNAL else "not declared")
            rows.append(
                {"recipient": name, "policy": policy.name, "from": contract.jurisdiction, "where": place, "safeguard": TRANSFER[how]}
            )
            field = "jurisdiction" if destination.jurisdiction is None else "safeguard"
            if how is Transfer.NONE:
                what = {"jurisdiction": f"where `{name}` is", "safeguard": f"what lets data go to `{name}` in `{place}`"}[field]
                missing.append(Missing(what, f"`destinations.{name}.{field}` of policies/{policy.name}.yaml"))
    words = () if rows else ("No destination is declared: nothing is handed over.",)
    return Section("30(1)(e)", "transfers to third countries", tuple(rows), words, tuple(missing))


def _retention(activity: Activity) -> Section:
    rows: list[Row] = []
    missing = []
    for contract, policy in activity.pairs:
        read = {use.table for put in (*activity.segments, *activity.audited) if put.contract == contract for use in put.uses}
        for name in sorted(read):
            table = contract.tables[name]
            if table.retention:
                rows.append({"what": f"rows of {contract.name}.{name}", "how long": f"not used after {duration_words(table.retention)}"})
            elif not table.reference:
                dated = "" if table.event_time else f"`tables.{name}.event_time`, and with it "
                where = f"{dated}`tables.{name}.retention` of contracts/{contract.name}.yaml"
                missing.append(Missing(f"how long rows of `{contract.name}.{name}` are kept", where))
        keep, named = policy.retention, f"(policy {policy.name})"
        rows.append({"what": f"released segments {named}", "how long": f"expire after {duration_words(keep.releases)}"})
        rows.append({"what": f"lists of members {named}", "how long": f"deleted after {duration_words(keep.memberships)}"})
        rows.append({"what": f"models {named}", "how long": f"trained anew within {duration_words(keep.retrain)} of an erasure"})
    rows.append({"what": "consent events", "how long": "until erasure; what they committed to stays, without the person"})
    rows.append({"what": OUTSIDE, "how long": "for as long as it must be respected (GDPR art. 17(3)(b), 21(3))"})
    return Section("30(1)(f)", "time limits for erasure", tuple(rows), missing=tuple(missing))


def _measures(house: House, activity: Activity) -> Section:
    rows: list[Row] = [{"measure": measure, "declared in": "what this software does"} for measure in OF_ITS_OWN]
    for _, policy in activity.pairs:
        rows += [{"measure": words, "declared in": f"policies/{policy.name}.yaml"} for words in measures(policy, activity.purpose)]
    declared = house.controllers.get(activity.controller, {}).get("measures", ())
    rows += [{"measure": words, "declared in": FILE} for words in declared]
    missing = (
        ()
        if declared
        else (Missing("measures outside this software: encryption, access to machines, backups", _place(activity.controller, "measures")),)
    )
    return Section(
        "30(1)(g)", "technical and organisational measures", tuple({row["measure"]: row for row in rows}.values()), missing=missing
    )


OF_ITS_OWN = (
    "Consent and policy decide which rows and columns exist before anything is computed; the rest is not readable by what computes.",
    "Lists name people by pseudonyms, HMAC-SHA256 under a key for each purpose.",
    "Roles: who builds does not approve; exact figures and records of people are shown to compliance officers alone.",
    "Every action is in an append-only, signed transparency log before it happens.",
    "Withdrawals count at once in every read, and recall people from lists that were handed over.",
)
"""Measures that no document can switch off."""


def measures(policy: Policy, purpose: str) -> Iterator[str]:
    """What a policy asks for, in words."""
    cap, own = policy.budgets.cap, policy.budgets.purposes.get(purpose)
    yield f"Differential privacy: over a lifetime, ε of all that is published is at most {cap.epsilon:g} at δ {cap.delta:g}."
    if own is not None:
        yield f"Of it this purpose may spend ε {own.epsilon:g} a {own.period.value}."
    yield f"Segments below {policy.cohort_floor} people are withheld."
    if policy.approvals.required:
        yield f"{policy.approvals.required} other than the builder must approve before release."
    for rule in policy.rules:
        if rule.to is not None:
            yield f"{', '.join(rule.categories)} are made coarser before use: {rule.to.words()}."
    if policy.strict:
        yield "Granted columns are copied apart, and the source is detached before anything is computed."
    if policy.purposes[purpose].unsafe_without_privacy:
        yield "Segments may be built without differential privacy; nothing of these is published or leaves the controller."


def _place(controller: str, key: str) -> str:
    return f'`{key}` under `[controllers."{controller}"]` of {FILE}'
