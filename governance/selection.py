"""The one query of a segment: each table's aggregates in one pass, then each feature's value for every admitted subject.

Features over the same rows share aggregates; windows are FILTER clauses over one scan. A subject without rows in a
feature's window, or whose value is NULL, NaN or infinite, gets the feature's `missing`, or its lower bound: NaN, as long as
that is not known. A label is a condition on the rows of its window, or a number of them, and they may be none: counts are 0
there, NULL is false, or the number's lower bound. A treatment is a condition on rows of its campaign, which features end before; it
stays NULL for whoever has none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from governance.columns import quoted
from governance.expressions import Aggregate, Compiled
from governance.reads import LABEL, TREATMENT
from governance.relations import ADMITTED, ID, RANK, Relations
from governance.spans import Span, after, before, midnight
from policies.segment import Feature, Lookup, Segment

SCHEMAS = ("features", "campaign", "outcome")
"""Where relations lie, by what they are read for: rows of one table may be of several spans."""

FLAGS = ("duplicates", "returns", "missing", "outliers")
"""Which rules of the contract touched a subject's rows."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`rows`: name and SQL of each relation that aggregates see. `query`: subject, features, label. `flags`: subject, `FLAGS`."""

    rows: tuple[tuple[str, str], ...]
    query: str
    flags: str


@dataclass(slots=True)
class _Pass:
    """One aggregation of `relation`, by subject; `alias` names its result in the query, `number` is what it joins by."""

    alias: str
    relation: str
    number: str
    names: dict[str, str] = field(default_factory=dict)

    def result(self, aggregate: Aggregate, conditions: Sequence[str]) -> str:
        """SQL of an aggregate's result; equal aggregates are computed once."""
        name = self.names.setdefault(aggregate.sql(*conditions), f"a{len(self.names)}")
        return f"{self.alias}.{quoted(name)}"

    def sql(self) -> str:
        """The aggregation."""
        aggregates = ", ".join(f"{sql} AS {quoted(name)}" for sql, name in self.names.items())
        return f"SELECT {ID}, {aggregates} FROM {self.relation} GROUP BY {ID}"


def select_features(relations: Relations, spec: Segment, compiled: Sequence[Compiled]) -> Selection:
    """The SQL of `spec`. Raises MinimisationError, SourceError."""
    known, as_of = midnight(spec.known), midnight(spec.as_of)
    rows: list[tuple[str, str]] = []
    passes: list[_Pass] = []
    values: dict[str, str] = {}
    flags: list[tuple[str, str]] = []
    of_features = [each for each in compiled if each.name in spec.features]
    for table in dict.fromkeys(each.table for each in of_features):
        mine = [each for each in of_features if each.table == table]
        span = Span(_earliest(spec, mine), known)
        one = _Pass(f"t{len(passes)}", f"features.{quoted(table)}", relations.number(table))
        ranked = any(spec.features[each.name].max_rows for each in mine)
        rows.append((one.relation, relations.rows(table, span, _joined(spec, mine), ranked)))
        passes.append(one)
        if found := relations.flags(table, span):
            flags.append((one.number, found))
        for each in mine:
            values[each.name] = _feature(relations, one, each, spec.features[each.name], span)
    for each in compiled:
        if each.name == TREATMENT and spec.treatment:
            schema, span = "campaign", Span(known, as_of)
        elif each.name == LABEL and spec.label:
            schema, span = "outcome", Span(as_of, after(as_of, spec.label.after))
        else:
            continue
        one = _Pass(f"t{len(passes)}", f"{schema}.{quoted(each.table)}", relations.number(each.table))
        rows.append((one.relation, relations.rows(each.table, span, _joined(spec, [each]))))
        passes.append(one)
        values[each.name] = _label(one, each) if each.name == LABEL else _present(one, each)
    return Selection(tuple(rows), _query(spec, passes, values), _flags(flags))


def _earliest(spec: Segment, compiled: Sequence[Compiled]) -> dt.datetime | None:
    """Where the longest window begins; None where some feature has none."""
    windows = [window for each in compiled if (window := spec.features[each.name].window) is not None]
    return before(midnight(spec.known), max(windows)) if len(windows) == len(compiled) else None


def _joined(spec: Segment, compiled: Sequence[Compiled]) -> Lookup | None:
    """The look-up, where one of its columns is read."""
    lookup = spec.lookup
    return lookup if lookup and any(owner == lookup.table for each in compiled for owner, _ in each.reads) else None


def _feature(relations: Relations, one: _Pass, compiled: Compiled, feature: Feature, span: Span) -> str:
    """A feature's value where it has rows in its window, else NULL."""
    conditions = []
    if feature.window is not None and (start := before(span.end, feature.window)) != span.start:
        conditions.append(relations.since(compiled.table, start))
    windowed = tuple(conditions)
    if feature.max_rows is not None:
        conditions.append(f"{RANK} <= {feature.max_rows}")
    return _present(one, compiled, conditions, windowed)


def _present(one: _Pass, compiled: Compiled, conditions: Sequence[str] = (), windowed: Sequence[str] = ()) -> str:
    """A value over the rows that meet `conditions`, NULL where none is in the window."""
    value = compiled.value([one.result(aggregate, conditions) for aggregate in compiled.aggregates])
    if compiled.null_over_nothing:
        return value
    present = f"{one.result(Aggregate('COUNT(*)', counts=True), windowed)} > 0" if windowed else f"{one.alias}.{ID} IS NOT NULL"
    return f"CASE WHEN {present} THEN {value} END"


def _label(one: _Pass, compiled: Compiled) -> str:
    results = [
        f"COALESCE({one.result(aggregate, ())}, 0)" if aggregate.counts else one.result(aggregate, ()) for aggregate in compiled.aggregates
    ]
    return compiled.value(results)


def _query(spec: Segment, passes: Sequence[_Pass], values: Mapping[str, str]) -> str:
    inner = ", ".join(["a.subject", *(f"{value} AS v{i}" for i, value in enumerate(values.values()))])
    joins = "".join(f" LEFT JOIN ({one.sql()}) AS {one.alias} ON {one.alias}.{ID} = a.{one.number}" for one in passes)
    outer = ["subject"]
    for i, name in enumerate(values):
        if name == TREATMENT and spec.treatment:
            outer.append(f"v{i} AS {quoted(TREATMENT)}")
        elif name == LABEL and spec.label and spec.label.bounds is None:
            outer.append(f"COALESCE(v{i}, FALSE) AS {quoted(LABEL)}")
        else:
            missing = _missing(spec, name)
            outer.append(f"COALESCE(CASE WHEN ISFINITE(v{i}) THEN v{i} END, CAST('{missing}' AS DOUBLE)) AS {quoted(name)}")
    return f"SELECT {', '.join(outer)} FROM (SELECT {inner} FROM {ADMITTED} AS a{joins})"


def _missing(spec: Segment, name: str) -> Decimal | str:
    """What stands for a number that is not there."""
    if name == LABEL and spec.label and spec.label.bounds:
        return spec.label.bounds[0]
    feature = spec.features[name]
    if feature.missing is not None:
        return feature.missing
    return "NaN" if isinstance(feature.bounds, str) else feature.bounds[0]


def _flags(parts: Sequence[tuple[str, str]]) -> str:
    """`parts`: what `ID` is in each, and its SQL."""
    joins = "".join(
        f" LEFT JOIN (SELECT {ID}, {', '.join(f'BOOL_OR({name}) AS {name}' for name in FLAGS)} FROM ({sql}) GROUP BY {ID}) AS f{i} "
        f"ON f{i}.{ID} = a.{number}"
        for i, (number, sql) in enumerate(parts)
    )
    some = {name: " OR ".join(f"COALESCE(f{i}.{name}, FALSE)" for i in range(len(parts))) or "FALSE" for name in FLAGS}
    chosen = ", ".join(f"CAST({tests} AS TINYINT) AS {name}" for name, tests in some.items())
    return f"SELECT a.subject, {chosen} FROM {ADMITTED} AS a{joins}"
