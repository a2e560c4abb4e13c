"""Admission: which subjects may be used for a purpose now, and for everybody else the one reason why not.

A set operation over all subjects at once; it also judges past moments (`intervals`). The rules:

1. *Basis*: that of the subject's jurisdiction, which the latest event naming one tells (else the contract's default); a
   jurisdiction that the policy does not name gets that of what it is part of, else `default`; none: `NO_BASIS`.
2. *Order*: the later event time wins, then the later received time, then the stricter status (`STRICTNESS`).
3. *Blocks*: a refusal, withdrawal or objection for the purpose, for a data use above it or for `*` stands until the
   subject gives consent for the purpose itself; asking again lifts nothing. Ties go to the block.
4. *Opt-in*: the latest event must be `given`, its validity not past. Consent to a purpose that the policy calls
   compatible serves as well, unless a block stands, or a withdrawal or objection to any of the compatible purposes is as new.
5. *Opt-out*: yes with proof of notice (an event for the purpose with a notice version), unless a block stands or the
   latest record was invalidated.
6. *Children*, as the policy treats them where the contract is at home: `exclude` leaves out whom 1 to 5 would admit; `guardian`
   too, unless 1 to 4 admit by consents alone that were given as a guardian, whatever the basis: a child's own yes, and a child's
   silence, count for nothing. Whoever is not told of is a child too, unless the policy admits the unknown.
7. *Merged keys* are out, and who stands for them takes the strictest of all (`governance.identity`). What is told of one key,
   registered or not, is told of the person, and whoever is a child by one of them is one.
8. *To whom and on what*: `given` on another basis than consent is as much as a request, with its notice. An event that names
   another controller than the contract's says nothing here, case and blanks aside; but a block blocks, whomever it names.

Consent is not inherited: `marketing.advertising` serves neither `marketing` nor `marketing.advertising.first_party`.
Subjects are compared as strings, exactly. Nothing in the events or the population can make this fail. Exact counts
stay inside; what leaves is the histogram of reasons, through the door: add/remove neighbours, sensitivity 1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from governance import facts as gathering
from governance.consent_snapshot import Base
from governance.door import Array, Batch, Contribution, Query, StepName, register
from governance.identity import Identities
from governance.store import micros
from governance.verdicts import STRICTNESS, Part, Reason, Rules, Verdicts, judge, rules, strictest
from policies.policy import Children, Policy, Treatment, Unknown

__all__ = ["STRICTNESS", "Admission", "Reason", "admit", "intervals", "reasons_query"]


@dataclass(frozen=True, slots=True)
class Admission:
    """Every subject of a population with one reason, in the population's order.

    `reasons`: columns subject (string), key (int64, the same as a number; only where the population had it) and reason (int8).
    """

    reasons: pa.Table = field(repr=False)

    def admitted(self) -> pa.Table:
        """Whoever may be used: columns `subject`, and `key` where there is one."""
        return self.reasons.filter(pc.equal(self.reasons["reason"], int(Reason.ADMITTED))).drop_columns(["reason"])

    def keys(self) -> pa.Table:
        """The same, one column `subject`: whole numbers where the population had them, else text."""
        admitted = self.admitted()
        return pa.table({"subject": admitted["key"]}) if "key" in admitted.column_names else admitted

    def check(self, subject: str) -> Reason | None:
        """The reason of one subject; None if the population does not hold it. For whoever may see a subject's record."""
        found = self.reasons["reason"].filter(pc.equal(self.reasons["subject"], subject))
        return Reason(found[0].as_py()) if len(found) else None

    def histogram_columns(self) -> Mapping[str, NDArray[np.int32]]:
        """The cohort column `reason` (n_subjects,) that `reasons_query` asks for."""
        return {"reason": self.reasons["reason"].to_numpy().astype(np.int32)}


def admit(
    events: pa.Table,
    population: pa.Table,
    policy: Policy,
    purpose: str,
    default_jurisdiction: str,
    at: dt.datetime,
    base: Base | None = None,
    by: Identities | None = None,
    told: pa.Table | None = None,
    controller: str = "",
) -> Admission:
    """Judge every subject in column `subject` of `population` at `at`, by what was known then.

    `events` (`governance.consent.snapshot_events`) are all those of whoever has any there: these alone tell about them, and
    `base` about everybody else. `population` may have `key`, each subject as the number that it spells. NULL and empty subjects
    are dropped, duplicates count once. `told` (`governance.population.children`): who is a child, each subject once; None: the
    contract tells it of nobody. `controller`: whose contract it is.
    """
    links, now = by or Identities(), micros(at)
    with gathering.engine(base.files if base else ()) as engine:
        people = _People.of(engine, population, links, policy.children_in(default_jurisdiction), told)
        by_rules = partial(rules, policy, purpose, default_jurisdiction, controller)
        # 1. whoever the snapshot knows to the end, and whoever nobody knows: one more ask, without a fact
        asks, words = (base.subjects, base.words) if base else (0, ((), ()))
        places = people.places_in(base)
        wanted = np.zeros(asks + 1, np.bool_)
        wanted[places] = True
        parts = [*base.parts(wanted[:-1])] if base else []
        reasons = _judged(people, places, parts, by_rules(*words), now, np.arange(asks + 1))
        # 2. whoever said something since, or shares a person with other keys
        gathering.known(engine, events, now)
        if (found := gathering.gather(engine, links)).asks:
            engine.register("heads", found.heads.append_column("head", pa.array(np.arange(found.heads.num_rows, dtype=np.int32))))
            heads = people.places(f"(SELECT subject, {gathering.KEY} AS key, head FROM heads)", "head")
            newer = _judged(
                people, heads, [*found.facts.parts()], by_rules(found.purposes, found.jurisdictions), now, found.first, found.asks
            )
            reasons = np.where(heads == _NOBODY, reasons, newer)
        # 3. keys that others stand for
        if links.merged:
            engine.register("gone", pa.table({"subject": pa.array(links.merged, pa.string())}))
            gone = people.places(f"(SELECT subject, {gathering.KEY} AS key, 0 AS gone FROM gone)", "gone")
            reasons = np.where(gone == _NOBODY, reasons, np.int8(Reason.MERGED))
        table = people.table.select([*people.names]).append_column("reason", pa.array(reasons))
        rows = people.first_rows(places)
        return Admission(table if rows is None else table.take(pa.array(rows)))


def intervals(
    events: pa.Table,
    policy: Policy,
    purpose: str,
    default_jurisdiction: str,
    at: dt.datetime,
    base: Base | None = None,
    by: Identities | None = None,
    controller: str = "",
) -> pa.Table:
    """When each subject could be used, as known at `at`: columns subject, start, end (UTC), of half-open intervals [start, end).

    A moment lies in one of a subject's intervals exactly if rules 1 to 5 and 8 would have admitted it then, given all that was
    received by `at`. The intervals of a subject do not overlap, in no order; the last one ends just after `at`, where knowledge
    ends. `events`, `base` and `controller` as in `admit`; keys that others stand for have none. Work grows with the square of the
    events of one subject.
    """
    links, now = by or Identities(), micros(at)
    with gathering.engine(base.files if base else ()) as engine:
        gathering.known(engine, events, now, base.events if base else None)
        found = gathering.gather_turning_points(engine, links, now)
        assert found.moments is not None
        by_rules = rules(policy, purpose, default_jurisdiction, controller, found.purposes, found.jurisdictions)
        reasons = _of_heads(judge(found.facts.parts(), found.asks, by_rules, found.moments), found.first)
        engine.register("heads", found.heads.append_column("reason", pa.array(reasons)))
        return engine.sql(_INTERVALS, params={"at": now}).to_arrow_table()


@register("admission.reasons")
def _reasons(batch: Batch, _parameters: Mapping[str, Array]) -> Contribution:
    """One in the slot of the subject's reason; L2 norm 1."""
    reason = batch["reason"]
    return Contribution(np.ones((len(reason), 1)), reason.astype(np.int64))


def reasons_query() -> Query:
    """The histogram of reasons, shape (1, len(Reason), 1), in subjects. One subject counts in one slot: sensitivity 1."""
    return Query(StepName("admission.reasons"), {}, (1, len(Reason), 1), 1.0)


_NOBODY = -1
_CHILD = 1

_OF_PERSONS = f"""
SELECT coalesce(max(t.child::INTEGER), {_NOBODY}) AS child
FROM shared s LEFT JOIN told t USING (subject) GROUP BY s.person ORDER BY s.person
"""

_INTERVALS = f"""
SELECT subject, make_timestamptz(start) AS start, make_timestamptz("end") AS "end"
FROM (SELECT subject, reason, moment AS start, lead(moment, 1, $at + 1) OVER (PARTITION BY subject ORDER BY moment) AS "end" FROM heads)
WHERE reason = {Reason.ADMITTED:d}
"""


@dataclass(frozen=True, slots=True, eq=False)
class _People:
    """The population as relation `people` (subject, key perhaps, row), and which of them are children.

    `guardians`: whether a guardian's consent lets a child in.
    """

    engine: duckdb.DuckDBPyConnection
    table: pa.Table
    children: NDArray[np.bool_]
    guardians: bool

    @classmethod
    def of(
        cls, engine: duckdb.DuckDBPyConnection, population: pa.Table, links: Identities, rule: Children | None, told: pa.Table | None
    ) -> _People:
        table = population.set_column(population.column_names.index("subject"), "subject", population["subject"].cast(pa.string()))
        there = pc.fill_null(pc.not_equal(table["subject"], ""), False)
        table = table if pc.all(there).as_py() is not False else table.filter(there)
        engine.register("people", table.append_column("row", pa.array(np.arange(table.num_rows, dtype=np.int32))))
        people = cls(engine, table, np.zeros(table.num_rows, np.bool_), rule is not None and rule.treatment is Treatment.GUARDIAN)
        if rule is None:
            return people
        if told is None:  # a contract that tells of nobody is denied where the unknown are refused; if it was not, nobody is in
            return replace(people, children=np.full(len(people), rule.unknown is Unknown.REFUSE))
        said = people._told(told, links)
        return replace(people, children=(said == _CHILD) | ((said == _NOBODY) & (rule.unknown is not Unknown.ADMIT)))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def keyed(self) -> bool:
        """Whether everybody is known by a number as well."""
        return "key" in self.table.column_names

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that tell people apart."""
        return ("subject", "key") if self.keyed else ("subject",)

    def places_in(self, base: Base | None) -> NDArray[np.int32]:
        """The number of each person in the snapshot, -1 for who is not in it."""
        numbered = base.by_number(self.table["key"].to_numpy()) if base and self.keyed else None
        if numbered is not None:
            return numbered
        return self.places(base.dictionary, "id") if base else np.full(len(self), _NOBODY, np.int32)

    def places(self, relation: str, number: str) -> NDArray[np.int32]:
        """The `number` of each person in a relation that has everybody once, -1 for who is not in it."""
        same = "key" if self.keyed else "subject"
        found = self.engine.sql(f"SELECT p.row, r.{number}::INTEGER AS place FROM people p JOIN {relation} r USING ({same})").fetchnumpy()
        places = np.full(len(self), _NOBODY, np.int32)
        places[found["row"]] = found["place"]
        return places

    def first_rows(self, places: NDArray[np.int32]) -> NDArray[np.int64] | None:
        """The first row of each person; None if nobody stands there twice. `places`: those in the snapshot, or -1."""
        known = places != _NOBODY
        twice = bool(known.any()) and np.bincount(places[known]).max() > 1
        same = "key" if self.keyed else "subject"
        if not twice and not known.all():
            self.engine.register("others", self.table.select([same]).filter(pa.array(~known)))
            count, different = self.engine.sql(f"SELECT count(*), count(DISTINCT {same}) FROM others").fetchall()[0]
            twice = count != different
        if not twice:
            return None
        return np.sort(self.engine.sql(f"SELECT min(row) AS row FROM people GROUP BY {same}").fetchnumpy()["row"])

    def _told(self, told: pa.Table, links: Identities) -> NDArray[np.int32]:
        """Of each, 1 for a child, 0 for none, -1 where nobody tells; keys of one person share what is told of any."""
        key = "key" if "key" in told.column_names else f"{gathering.KEY} AS key"
        self.engine.register("told", told)
        said = self.places(f"(SELECT subject, {key}, child::INTEGER AS child FROM told WHERE child IS NOT NULL)", "child")
        rows = [(subject, person) for person, keys in enumerate(links.members.values()) for subject in keys]
        if not rows:
            return said
        subjects, persons = zip(*rows, strict=True)
        self.engine.register("shared", pa.table({"subject": pa.array(subjects, pa.string()), "person": pa.array(persons, pa.int32())}))
        whose = self.places(f"(SELECT subject, {gathering.KEY} AS key, person FROM shared)", "person")
        of_persons = self.engine.sql(_OF_PERSONS).fetchnumpy()["child"]
        return np.where(whose == _NOBODY, said, of_persons[whose])


def _judged(
    people: _People,
    places: NDArray[np.int32],
    parts: Sequence[Part],
    by: Rules,
    now: int,
    first: NDArray[np.int64],
    asks: int | None = None,
) -> NDArray[np.int8]:
    """The reason of each person, by rules 1 to 6; its asks begin at `first[place]`. `asks`: how many there are, if more than `first`."""

    def reasons(by: Rules, guardians_only: bool = False) -> NDArray[np.int8]:
        verdicts = judge(parts, asks or len(first), by, now, guardians_only)
        return (_of_heads(verdicts, first) if asks else verdicts.reason)[places]

    found = reasons(by)
    young = people.children & (found == Reason.ADMITTED)
    if not young.any():
        return found
    if not people.guardians:
        return np.where(young, np.int8(Reason.CHILD), found)
    allowed = reasons(by.only_by_guardians(), guardians_only=True) == Reason.ADMITTED
    return np.where(young & ~allowed, np.int8(Reason.CHILD), found)


def _of_heads(verdicts: Verdicts, first: NDArray[np.int64]) -> NDArray[np.int8]:
    """The strictest of those asks of each head that say anything; of all, where none does."""
    if not len(first):
        return verdicts.reason[:0]
    anything = np.repeat(np.logical_or.reduceat(verdicts.spoke, first), np.diff(first, append=len(verdicts.reason)))
    return strictest(np.where(verdicts.spoke | ~anything, verdicts.reason, np.int8(Reason.ADMITTED)), first)
