"""Runs of a workspace as lineage: every build and every list that was handed over, each with its inputs, outputs and columns.

A build reads columns of a contract's tables. What it publishes, a model and fairness tables, is made of sums over people to which noise
was added, so its lineage is masking; its list of members says of each person, under a pseudonym, to which segment they belong. Columns
are those of the passport's read sets, which were written down when it was built. Which part a column plays in an expression is worked
out from spec and contract, where the contract is still the one that was pinned; where not, that is not said.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from audit.log import Entry
from engine.exporting.house import House
from engine.exporting.openlineage import Column, Dataset, Event, How, Place, State
from engine.workspace import Workspace, WorkspaceError
from governance import entries
from governance.builds import Build
from governance.exports import Export
from governance.expressions import Compiled, compile_segment
from governance.reads import LABEL, ROW_SELECTION, TREATMENT, attribute_reads, population_reads, row_selection
from governance.store import stamp
from policies.contract import Contract
from policies.segment import Segment

_RUNS = uuid.UUID("6b1d5c9e-6f0a-5c8e-9a54-0d5f8f2c7a31")
"""Namespace of the UUIDs that builds have as runs: the same build is the same run in each export."""

_ENDED = {"build.quarantined": State.COMPLETE, "build.refused": State.ABORT, "build.failed": State.FAIL}

Made = dict[Place, tuple[How, ...]]

_NOISY = "sums over people, with noise that was paid for"
_HMAC = How(True, "TRANSFORMATION", "HMAC-SHA256 under the key of the purpose", masking=True)


def run_id(build: str) -> str:
    """The UUID of a build or an export as a run."""
    return str(uuid.uuid5(_RUNS, build))


def events(workspace: Workspace, house: House, connection: Connection) -> Iterator[Event]:
    """Two for each run that ended, one for each that did not, by the time of its beginning."""
    ended = {entry.parsed["facts"]["build"]: entry for entry in entries.find(connection, "build.") if entry.parsed["action"] in _ENDED}
    for build in reversed(house.builds):
        yield from _build(workspace, house, build, ended.get(build.id))
        for export in reversed(house.exports):
            if export.build == build.id:
                yield from _delivery(build, export)


def _build(workspace: Workspace, house: House, build: Build, end: Entry | None) -> Iterator[Event]:
    read = _Read(workspace, house, build)
    own = {"build": build.id, "segment": build.segment, "purpose": build.purpose, "plan": build.plan, "builtBy": build.builder}
    own |= {"model": build.model} if build.model else {}
    first = Event(
        State.START,
        stamp(build.created),
        run_id(build.id),
        f"segments.{build.segment}",
        "SCORE" if build.model else "BUILD",
        read.spec.description if read.spec else "",
        (),
        (),
        f"{read.spec.as_of}T00:00:00Z" if read.spec else None,
        own=own,
    )
    yield first
    if end is None:
        return
    body = end.parsed
    facts = build.facts
    told = {
        "status": build.status.value,
        "logEntry": end.index,
        "digests": facts.get("digests", {}),
        "privacy": facts.get("privacy", {}),
    }
    state = _ENDED[body["action"]]
    why = (
        None
        if state is State.COMPLETE
        else f"{body['action']}: {', '.join(body['facts'].get('rules', ())) or body['facts'].get('reason', 'a fault')}"
    )
    yield Event(
        state,
        body["at"],
        first.run,
        first.job,
        first.kind,
        first.description,
        tuple(read.inputs()),
        tuple(read.outputs()) if state is State.COMPLETE else (),
        first.nominal,
        why,
        own | told,
    )


def _delivery(build: Build, export: Export) -> Iterator[Event]:
    """Handing a list over is a run of its own, whose output is the destination."""
    source = members_of(build.segment)
    copied = {name: {Place(source, name): (How(True, "IDENTITY"),)} for name in ("pseudonym", "segment")}
    own = {"build": build.id, "export": export.id, "destination": export.destination, "handedOverBy": export.principal}
    first = Event(
        State.START,
        stamp(export.created),
        run_id(export.id),
        f"segments.{build.segment}.export.{export.destination}",
        "EXPORT",
        "",
        (Dataset(source, version=build.id),),
        (),
        own=own,
    )
    yield first
    if export.finished is not None:
        columns = tuple(Column(name, "VARCHAR") for name in copied)
        outputs = (Dataset(f"destinations.{export.destination}", columns, version=export.id, lineage=copied),)
        yield Event(State.COMPLETE, stamp(export.finished), first.run, first.job, first.kind, "", first.inputs, outputs, own=own)


def members_of(segment: str) -> str:
    """Name of a segment's list as a dataset."""
    return f"segments.{segment}.members"


def model_of(segment: str) -> str:
    """Name of what a segment learned, as a dataset."""
    return f"segments.{segment}.model"


class _Read:
    """What one build read, and what came of it. `contract`: None where it changed since, or is gone."""

    def __init__(self, workspace: Workspace, house: House, build: Build) -> None:
        self._workspace, self._house, self._build = workspace, house, build
        facts = build.facts
        self.spec = Segment.model_validate_json(json.dumps(facts["spec"])) if "spec" in facts else None
        pinned = facts.get("digests", {}).get("contract")
        self.contract = next((each for each in house.contracts if each.digest() == pinned), None)
        draft: dict[str, Any] = json.loads(facts["passport"]) if "passport" in facts else {"read_sets": []}
        self._sets: dict[str, list[tuple[str, str]]] = {
            each["feature"]: [tuple(name.split(".", 1)) for name in each["columns"]] for each in draft["read_sets"]
        }

    def inputs(self) -> Iterator[Dataset]:
        """Tables with the columns that were read of each; where a model was applied, that model."""
        if self._build.model:
            yield Dataset(model_of(self._build.segment), version=self._build.model)
        read: dict[str, dict[str, None]] = {}
        for columns in self._sets.values():
            for table, column in columns:
                read.setdefault(table, {})[column] = None
        for table, names in sorted(read.items()):
            yield Dataset(self._table(table), tuple(self._column(table, name) for name in sorted(names)), self._elsewhere(table))

    def outputs(self) -> Iterator[Dataset]:
        """The model, fairness tables, and the list of members."""
        if self.spec is None:
            return
        segment, build, whole = self._build.segment, self._build.id, self._selection()
        trained = {LABEL: self.spec.label, TREATMENT: self.spec.treatment}
        figures = {name: self._made(name) for name in (*self.spec.features, *(name for name, each in trained.items() if each))}
        if self.spec.private and not self._build.model:
            noisy = {name: _masked(made) for name, made in figures.items()}
            columns = tuple(Column(name, "DOUBLE") for name in noisy)
            yield Dataset(model_of(segment), columns, version=build, lineage=noisy, whole=whole)
            if self.spec.fairness:
                apart = whole | self._selection(fairness=True)
                by = {f"{each.table}.{each.column}": (each.table, each.column) for each in self.spec.fairness}
                how = (How(True, "AGGREGATION", _NOISY, masking=True),)
                lineage = {name: {Place(self._table(table), column): how} for name, (table, column) in by.items()}
                yield Dataset(
                    f"segments.{segment}.fairness",
                    tuple(Column(name, "DOUBLE") for name in by),
                    version=build,
                    lineage=lineage,
                    whole=apart,
                )
        columns = (Column("pseudonym", "VARCHAR"), Column("segment", "VARCHAR"))
        decided = {
            place: (How(False, "CONDITIONAL", "its figures decide who belongs"),) for name in self.spec.features for place in figures[name]
        }
        yield Dataset(members_of(segment), columns, version=build, lineage={"pseudonym": self._keys(), "segment": decided}, whole=whole)

    def _made(self, name: str) -> Made:
        """What a figure is made of: by its expression where the contract is known, else by its read set alone."""
        parts = self._parts().get(name)
        if parts is None:
            return {Place(self._table(table), column): () for table, column in self._sets.get(name, ())}
        return {Place(self._table(table), column): hows for (table, column), hows in parts.items()}

    def _parts(self) -> Mapping[str, dict[tuple[str, str], tuple[How, ...]]]:
        if self.contract is None or self.spec is None:
            return {}
        return {each.name: dict(_roles(each)) for each in compile_segment(self.contract, self.spec)}

    def _selection(self, fairness: bool = False) -> Made:
        """What decides which rows take part, in figures or in the fairness audit."""
        if self.contract is None or self.spec is None:
            return {Place(self._table(table), column): () for table, column in self._sets.get(ROW_SELECTION, ())}
        compiled = compile_segment(self.contract, self.spec)
        rows = row_selection(self.contract, self.spec, compiled) | population_reads(self.contract)
        reads = attribute_reads(self.contract, self.spec.fairness) if fairness else rows
        recorded = {read for columns in self._sets.values() for read in columns}
        return {
            Place(self._table(table), column): (_selects(self.contract, self.spec, table, column),)
            for table, column in sorted(reads & recorded)
            if not any((each.table, each.column) == (table, column) for each in self.spec.fairness)
        }

    def _keys(self) -> Made:
        if self.contract is None:
            return {}
        table = self.contract.subject.registered_in
        return {Place(self._table(table), self.contract.key_of(table)): (_HMAC,)}

    def _table(self, table: str) -> str:
        return f"{self.spec.dataset if self.spec else 'unknown'}.{table}"

    def _column(self, table: str, name: str) -> Column:
        if self.contract is None:
            return Column(name, "not recorded")
        column = self.contract.tables[table].columns[name]
        return Column(name, column.type.upper(), {"data_category": column.category, "sensitivity": column.sensitivity})

    def _elsewhere(self, table: str) -> tuple[str, str, str] | None:
        """As others name it (openlineage.io, naming): never with a password."""
        if self.contract is None:
            return None
        try:
            source = self._workspace.source(self.contract.tables[table].source)
        except WorkspaceError:
            return None
        if isinstance(source, Path):
            return "file", str(source), "LOCATION"
        url = make_url(source.url)
        return f"postgres://{url.host or 'localhost'}:{url.port or 5432}", f"{url.database or ''}.{source.schema}.{source.table}", "TABLE"


def _roles(compiled: Compiled) -> Iterator[tuple[tuple[str, str], tuple[How, ...]]]:
    """What each column does in an expression: its values are aggregated, or it decides which rows are."""
    from sqlglot import exp, parse_one

    def named(sql: str) -> set[str]:
        return {column.name for column in parse_one(sql, dialect="duckdb").find_all(exp.Column)}

    values = {name for each in compiled.aggregates for name in named(each.function)}
    conditions = {name for each in compiled.aggregates if each.condition for name in named(each.condition)}
    for table, column in sorted(compiled.reads):
        hows = [How(True, "AGGREGATION")] if column in values else []
        hows += [How(False, "CONDITIONAL", "rows that are aggregated")] if column in conditions else []
        yield (table, column), tuple(hows)


def _selects(contract: Contract, spec: Segment, table: str, column: str) -> How:
    declared = contract.tables[table]
    if spec.lookup and column == spec.lookup.on and (table == spec.lookup.table or column != contract.key_of(table)):
        return How(False, "JOIN", "the look-up")
    if not declared.reference and column == contract.key_of(table):
        return How(False, "GROUP_BY", "rows of one subject, who is admitted")
    if column == declared.event_time:
        return How(False, "FILTER", "the window, `as_of` and retention")
    return How(False, "FILTER", "rules for rows: returns and repeats")


def _masked(made: Made) -> Made:
    return {
        place: tuple(How(how.direct, how.subtype, f"{how.description}; {_NOISY}".lstrip("; "), True) for how in hows)
        for place, hows in made.items()
    }
