"""The relations that features are computed from, as SQL: granted columns of admitted rows, under the contract's rules.

*Held* rows are typed and admitted: what a strict policy materialises. *Rows* of a time span are held rows after the
rules of the contract (duplicates, returns, bounds, domain, missing values), look-ups joined. Every rule that is not
declared costs nothing. Event times count as UTC; a date happens at its midnight. Rules leave subject key and event
time alone, because these select rows.

A policy's generalisations come right after typing, so that no rule and no expression sees more. An event time may be
truncated too: a row is then of a span if its whole period is, so that nothing of the day after `as_of` counts as before.
Only the law looks at the exact time: retention, and whether consent was valid then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from governance.coarsening import Generalisations, check, coarser
from governance.columns import NO_NUMBERS, quoted, sql_type, typed
from governance.reads import Granted, MinimisationError
from governance.rules import outside, ruled
from governance.sources import INTEGERS, Source
from governance.spans import Span, before
from policies.contract import Column, Contract, Repeats
from policies.generalisation import Generalisation
from policies.segment import Lookup

ID = '"#id"'
"""What a row's subject is known by: its key where that is an integer, else its number; no contract can name a column so."""

RANK = '"#rank"'
"""Place of a row among its subject's, the most recent first."""

_DUPLICATES = f"SELECT {ID}, TRUE AS duplicates, FALSE AS returns, FALSE AS missing, FALSE AS outliers FROM ({{rows}})"

ADMITTED = 'inside."#admitted"'
CONSENT = 'inside."#consent"'


def key_column(kind: str) -> str:
    """The column of `ADMITTED` that holds subjects as keys of this type."""
    return "subject" if kind == "VARCHAR" else kind


@dataclass(frozen=True, slots=True)
class Relations:
    """Writes the SQL of one dataset's relations. `granted` columns only; `now` (naive, UTC) bounds retention."""

    contract: Contract
    granted: Granted
    sources: Mapping[str, Source]
    now: dt.datetime
    generalisations: Generalisations

    def columns(self, table: str) -> dict[str, Column]:
        """Granted columns of `table`, in the contract's order."""
        return {name: column for name, column in self.contract.tables[table].columns.items() if name in self.granted.get(table, ())}

    def key(self, table: str) -> tuple[str, str]:
        """SQL of the subject key in the source, and its type: the source's own where that is an integer or text.

        Raises SourceError where the source's type is none that keys may have.
        """
        name = self.contract.key_of(table)
        column = self.contract.tables[table].columns[name]
        kind = self.sources[table].key_type(column.source_name or name)
        reference = f"s.{quoted(column.source_name or name)}"
        if (column.type == "text" and kind in INTEGERS) or kind == sql_type(column):
            return reference, kind
        return f"TRY_CAST({reference} AS {sql_type(column)})", sql_type(column)

    def number(self, table: str) -> str:
        """The column of `ADMITTED` that equals `ID` in rows of `table`: joining an integer key needs no number from there."""
        kind = self.key(table)[1]
        return quoted(kind) if kind in INTEGERS else ID

    def registered(self, table: str, source: str, span: Span) -> str:
        """Subjects, as text, of the rows of `span` that still exist."""
        key, _ = self.key(table)
        where = [f"{key} IS NOT NULL", *self._existing(table)]
        if event_time := self.contract.tables[table].event_time:
            where.append(f"{self._typed(table, event_time)} < {self._moment(table, span.end)}")
        return _select([f"CAST({key} AS VARCHAR) AS subject"], f"{source} AS s", where)

    def told(self, table: str, name: str, source: str, born_after: dt.date) -> str:
        """Subjects, as text, of rows that still exist, and whether each says that its subject is a child; NULL where it says neither.

        The column `name` holds that, or when the subject was born: a child is born after `born_after`.
        """
        key, _ = self.key(table)
        value = self._typed(table, name)
        if self._type(table, name) != "boolean":
            value = f"CAST({value} AS DATE) > DATE '{born_after.isoformat()}'"
        return _select(
            [f"CAST({key} AS VARCHAR) AS subject", f"{value} AS child"], f"{source} AS s", [f"{key} IS NOT NULL", *self._existing(table)]
        )

    def held(self, table: str, source: str) -> str:
        """Granted columns of admitted rows that still exist, typed, as the policy leaves them; `source` is the FROM that reads the file.

        Raises MinimisationError where a generalisation does not fit.
        """
        key, kind = self.key(table)
        number = f"{key} AS {ID}" if kind in INTEGERS else f"a.{ID}"
        chosen = [number, *(f"{self._typed(table, name)} AS {quoted(name)}" for name in self.columns(table))]
        where = [*self._existing(table), *self._consented(table)]
        joined = f"{source} AS s JOIN {ADMITTED} AS a ON {key} = a.{quoted(key_column(kind))}"
        return self._coarser(table, _select(chosen, joined, where))

    def _existing(self, table: str) -> list[str]:
        """Rows that have an event time which retention leaves; every row of a table of states."""
        declared = self.contract.tables[table]
        if declared.event_time is None:
            if declared.retention:
                raise MinimisationError(f"table `{table}`: expected `event_time`, because of `retention`")
            return []
        if self._type(table, declared.event_time) not in ("date", "timestamp"):
            raise MinimisationError(f"column `{table}.{declared.event_time}`: expected type date or timestamp for an event time")
        moment = self._typed(table, declared.event_time)
        oldest = before(self.now, declared.retention) if declared.retention else dt.datetime.min
        return [f"{moment} >= {self._moment(table, oldest)}", f"{moment} <= {self._moment(table, dt.datetime.max)}"]

    def _consented(self, table: str) -> list[str]:
        """Rows that happened while consent was valid; of a date, the whole day."""
        declared = self.contract.tables[table]
        if not declared.collected_under_consent:
            return []
        if declared.event_time is None:
            raise MinimisationError(f"table `{table}`: expected `event_time`, because of `collected_under_consent`")
        moment = f"TRY_CAST({self._typed(table, declared.event_time)} AS TIMESTAMP)"
        whole_day = self._type(table, declared.event_time) == "date"
        ends = f'{moment} <= c."end" - INTERVAL 1 DAY' if whole_day else f'{moment} < c."end"'
        valid = f'c.{ID} = a.{ID} AND {moment} >= c."start" AND (c."end" IS NULL OR {ends})'
        return [f"EXISTS (SELECT 1 FROM {CONSENT} AS c WHERE {valid})"]

    def reference(self, lookup: Lookup, source: str) -> str:
        """Granted columns of a look-up, typed, as the policy leaves them and under its rules, one row for each value of `on`.

        Raises SourceError or MinimisationError where `on` is of a type that keys may not have.
        """
        self._joinable(lookup.table, lookup.on)
        names = self.columns(lookup.table)
        found = _select([f"{self._typed(lookup.table, name)} AS {quoted(name)}" for name in names], f"{source} AS s")
        found = self._coarser(lookup.table, found)
        found = _select([f"{self._ruled(lookup.table, name, 'h')} AS {quoted(name)}" for name in names], f"({found}) AS h")
        order = ", ".join(quoted(name) for name in names)
        first = f"row_number() OVER (PARTITION BY {quoted(lookup.on)} ORDER BY {order}) = 1"
        return f"SELECT * FROM ({found}) WHERE {quoted(lookup.on)} IS NOT NULL QUALIFY {first}"

    def rows(self, table: str, span: Span, lookup: Lookup | None = None, ranked: bool = False) -> str:
        """Held rows of `span` under the contract's rules, the look-up's columns joined, with `RANK` where `ranked`."""
        declared = self.contract.tables[table]
        names = self.columns(table)
        chosen = [f"h.{ID}", *(f"{self._ruled(table, name, 'h')} AS {quoted(name)}" for name in names)]
        joined = ""
        if lookup is not None:
            self._joinable(table, lookup.on)
            if self._steps(table, lookup.on) != self._steps(lookup.table, lookup.on):
                both = f"`{table}.{lookup.on}` and `{lookup.table}.{lookup.on}`"
                raise MinimisationError(f"columns {both}: expected the same generalisation of both, because rows are joined by them")
            others = [name for name in self.columns(lookup.table) if name not in names]
            chosen += [f"l.{quoted(name)} AS {quoted(name)}" for name in others]
            joined = f" LEFT JOIN inside.{quoted(lookup.table)} AS l ON l.{quoted(lookup.on)} = {self._ruled(table, lookup.on, 'h')}"
        if ranked:
            order = [f"h.{quoted(name)}" for name in names if name != declared.event_time]
            recent = ", ".join([f"h.{quoted(declared.event_time or '')} DESC", *order])
            chosen.append(f"row_number() OVER (PARTITION BY h.{ID} ORDER BY {recent}) AS {RANK}")
        held = f"inside.{quoted(table)}"
        if declared.duplicates == "drop":
            held = f"(SELECT DISTINCT * FROM {held})"
        elif isinstance(declared.duplicates, Repeats):
            held = f"(SELECT * FROM {held} AS h QUALIFY NOT ({self._repeated(table, declared.duplicates.by)}))"
        where = self.within(table, span, "h")
        if declared.returns and declared.returns.rule == "drop":
            where.append(f"({self._returned(table)}) IS NOT TRUE")
        return _select(chosen, f"{held} AS h{joined}", where)

    def _repeated(self, table: str, by: Sequence[str]) -> str:
        """Whether a row of `h` has the known keys of one before it, by event time and then by all columns.

        What is unknown equals nothing: a row whose key is NULL repeats none.
        """
        keys = [f"h.{quoted(name)}" for name in by if name != self.contract.key_of(table)]
        moment = self.contract.tables[table].event_time
        names = sorted(self.columns(table), key=lambda name: name != moment)
        order = ", ".join(f"h.{quoted(name)}" for name in names)
        known = " AND ".join(["TRUE", *(f"{key} IS NOT NULL" for key in keys)])
        return f"row_number() OVER (PARTITION BY {', '.join([f'h.{ID}', *keys])} ORDER BY {order}) > 1 AND {known}"

    def _joinable(self, table: str, name: str) -> None:
        column = self.contract.tables[table].columns[name]
        if column.type in ("double", "timestamp"):
            raise MinimisationError(f"column `{table}.{name}`: expected text or integers in a key, got type `{column.type}`")
        self.sources[table].key_type(column.source_name or name)

    def within(self, table: str, span: Span, alias: str) -> list[str]:
        """Conditions on the event time; none for a table of states."""
        event_time = self.contract.tables[table].event_time
        if event_time is None:
            return []
        moment = f"{alias}.{quoted(event_time)}"
        end = self._moment(table, span.end)
        for step in self._steps(table, event_time):
            end = coarser(end, self.contract.tables[table].columns[event_time], step)
        ends = [f"{moment} < {end}"]
        return ends if span.start is None else [self.since(table, span.start, alias), *ends]

    def since(self, table: str, start: dt.datetime, alias: str = "") -> str:
        """The condition that a row happened at `start` or later."""
        event_time = quoted(self.contract.tables[table].event_time or "")
        return f"{alias + '.' if alias else ''}{event_time} >= {self._moment(table, start)}"

    def flags(self, table: str, span: Span) -> str | None:
        """Subjects affected by the rules of `table`: id, then 0/1 for duplicates, returns, missing, outliers; None: no rules."""
        declared = self.contract.tables[table]
        where = self.within(table, span, "h")
        parts = []
        names = [name for name in self.columns(table) if name not in (self.contract.key_of(table), declared.event_time)]
        returned = [self._returned(table)] if declared.returns else []
        missing = [f"h.{quoted(name)} IS NULL" for name in names if declared.columns[name].missing is not None]
        called = {name: (f"{table}.{name}", declared.columns[name], f"h.{quoted(name)}", self._steps(table, name)) for name in names}
        broken = [test for name in names for test in outside(*called[name])]
        if returned or missing or broken:
            found = {"returns": returned, "missing": missing, "outliers": broken}
            some = [f"BOOL_OR({' OR '.join(tests) or 'FALSE'}) AS {name}" for name, tests in found.items()]
            chosen = [f"h.{ID}", "FALSE AS duplicates", *some]
            parts.append(_select(chosen, f"inside.{quoted(table)} AS h", where) + f" GROUP BY h.{ID}")
        if declared.duplicates == "drop":
            row = ", ".join([f"h.{ID}", *(f"h.{quoted(name)}" for name in self.columns(table))])
            twice = _select([f"h.{ID}"], f"inside.{quoted(table)} AS h", where) + f" GROUP BY {row} HAVING COUNT(*) > 1"
            parts.append(_DUPLICATES.format(rows=twice))
        elif isinstance(declared.duplicates, Repeats):
            repeated = f"{self._repeated(table, declared.duplicates.by)} AS repeated"
            numbered = _select(
                [f"h.{ID}", *(f"h.{quoted(name)}" for name in self.columns(table)), repeated], f"inside.{quoted(table)} AS h"
            )
            parts.append(_DUPLICATES.format(rows=_select([f"h.{ID}"], f"({numbered}) AS h", [*where, "h.repeated"])))
        return " UNION ALL ".join(parts) or None

    def _type(self, table: str, name: str) -> str:
        return self.contract.tables[table].columns[name].type

    def _moment(self, table: str, moment: dt.datetime) -> str:
        """A literal that compares with the table's event time; a date happens at midnight, so one must be that late."""
        if self._type(table, self.contract.tables[table].event_time or "") == "timestamp":
            return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"
        late = moment.time() > dt.time() and moment.date() < dt.date.max
        return f"DATE '{(moment.date() + dt.timedelta(days=late)).isoformat()}'"

    def _typed(self, table: str, name: str) -> str:
        """A column of the source as the contract's type."""
        column = self.contract.tables[table].columns[name]
        source_name = column.source_name or name
        selecting = name == self.contract.tables[table].event_time
        return typed(column, self.sources[table].type_of(source_name), f"s.{quoted(source_name)}", selecting)

    def _steps(self, table: str, name: str) -> Sequence[Generalisation]:
        return self.generalisations.get((table, name), ())

    def _coarser(self, table: str, sql: str) -> str:
        """The relation `sql` of typed columns as the policy leaves them: one generalisation of each column a layer.

        Raises MinimisationError where one does not fit, or would give rows of several subjects the same key.
        """
        names = self.columns(table)
        columns = self.contract.tables[table].columns
        for name in names:
            check(f"{table}.{name}", columns[name], self._steps(table, name))
        reference = self.contract.tables[table].reference
        if not reference and self._steps(table, key := self.contract.key_of(table)):
            raise MinimisationError(f"column `{table}.{key}`: got a generalisation, expected none of a subject key, which tells rows apart")
        for layer in range(max((len(self._steps(table, name)) for name in names), default=0)):
            chosen = [] if reference else [f"h.{ID}"]
            for name in names:
                steps, value = self._steps(table, name)[layer : layer + 1], f"h.{quoted(name)}"
                chosen.append(f"{coarser(value, columns[name], steps[0])} AS {quoted(name)}" if steps else value)
            sql = _select(chosen, f"({sql}) AS h")
        return sql

    def _ruled(self, table: str, name: str, alias: str) -> str:
        """A column under its rules; what selects rows is left alone."""
        declared, value = self.contract.tables[table], f"{alias}.{quoted(name)}"
        selecting = not declared.reference and name == self.contract.key_of(table)
        if selecting or name == declared.event_time:
            return value
        return ruled(f"{table}.{name}", declared.columns[name], value, self._steps(table, name))

    def _returned(self, table: str) -> str:
        returns = self.contract.tables[table].returns
        if returns is None:
            raise MinimisationError(f"table `{table}`: expected a declared `returns`")
        if (kind := self._type(table, returns.column)) in NO_NUMBERS:
            raise MinimisationError(f"column `{table}.{returns.column}`: expected a number because of `returns`, got type `{kind}`")
        return f"h.{quoted(returns.column)} < {returns.below}"


def _select(chosen: Iterable[str], source: str, where: Iterable[str] = ()) -> str:
    conditions = " AND ".join(where)
    return f"SELECT {', '.join(chosen)} FROM {source}" + (f" WHERE {conditions}" if conditions else "")
