"""The relations that features are computed from, as SQL: granted columns of admitted rows, under the contract's rules.

*Held* rows are typed and admitted: what a strict policy materialises. *Rows* of a time span are held rows after the
rules of the contract (duplicates, returns, bounds, domain, missing values), look-ups joined. Every rule that is not
declared costs nothing. Event times count as UTC; a date happens at its midnight. Rules leave subject key and event
time alone, because these select rows.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from governance.reads import Granted, MinimisationError
from governance.sources import INTEGERS, Source, string
from policies.contract import Column, Contract, Outliers
from policies.segment import Lookup

ID = '"#id"'
"""What a row's subject is known by: its key where that is an integer, else its number; no contract can name a column so."""

RANK = '"#rank"'
"""Place of a row among its subject's, the most recent first."""

ADMITTED = "inside.admitted"
CONSENT = "inside.consent"

_NO_NUMBERS = frozenset({"text", "boolean", "date", "timestamp"})
_FIRST, _LAST = "0001-01-01", "9999-12-31"


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def key_column(kind: str) -> str:
    """The column of `ADMITTED` that holds subjects as keys of this type."""
    return "subject" if kind == "VARCHAR" else kind


@dataclass(frozen=True, slots=True)
class Span:
    """Event times from `start` (open where None) up to, and without, `end`; naive, UTC."""

    start: dt.datetime | None
    end: dt.datetime


def midnight(day: dt.date) -> dt.datetime:
    """When a date begins."""
    return dt.datetime.combine(day, dt.time())


def before(moment: dt.datetime, duration: dt.timedelta) -> dt.datetime:
    """`moment` less `duration`, no earlier than year 1."""
    return moment - duration if moment - dt.datetime.min > duration else dt.datetime.min


def after(moment: dt.datetime, duration: dt.timedelta) -> dt.datetime:
    """`moment` plus `duration`, no later than year 9999."""
    return moment + duration if dt.datetime.max - moment > duration else dt.datetime.max


@dataclass(frozen=True, slots=True)
class Relations:
    """Writes the SQL of one dataset's relations. `granted` columns only; `now` (naive, UTC) bounds retention."""

    contract: Contract
    granted: Granted
    sources: Mapping[str, Source]
    now: dt.datetime

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
        if (column.type == "text" and kind in INTEGERS) or kind == _sql_type(column):
            return reference, kind
        return f"TRY_CAST({reference} AS {_sql_type(column)})", _sql_type(column)

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

    def held(self, table: str, source: str) -> str:
        """Granted columns of admitted rows that still exist, typed; `source` is the FROM that reads the file."""
        key, kind = self.key(table)
        number = f"{key} AS {ID}" if kind in INTEGERS else f"a.{ID}"
        chosen = [number, *(f"{self._typed(table, name)} AS {quoted(name)}" for name in self.columns(table))]
        where = [*self._existing(table), *self._consented(table)]
        return _select(chosen, f"{source} AS s JOIN {ADMITTED} AS a ON {key} = a.{quoted(key_column(kind))}", where)

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
        """Granted columns of a look-up, typed and under its rules, one row for each value of `on`.

        Raises SourceError or MinimisationError where `on` is of a type that keys may not have.
        """
        self._joinable(lookup.table, lookup.on)
        names = self.columns(lookup.table)
        typed = _select([f"{self._typed(lookup.table, name)} AS {quoted(name)}" for name in names], f"{source} AS s")
        ruled = _select([f"{self._ruled(lookup.table, name, 'h')} AS {quoted(name)}" for name in names], f"({typed}) AS h")
        order = ", ".join(quoted(name) for name in names)
        first = f"row_number() OVER (PARTITION BY {quoted(lookup.on)} ORDER BY {order}) = 1"
        return f"SELECT * FROM ({ruled}) WHERE {quoted(lookup.on)} IS NOT NULL QUALIFY {first}"

    def rows(self, table: str, span: Span, lookup: Lookup | None = None, ranked: bool = False) -> str:
        """Held rows of `span` under the contract's rules, the look-up's columns joined, with `RANK` where `ranked`."""
        declared = self.contract.tables[table]
        names = self.columns(table)
        chosen = [f"h.{ID}", *(f"{self._ruled(table, name, 'h')} AS {quoted(name)}" for name in names)]
        joined = ""
        if lookup is not None:
            self._joinable(table, lookup.on)
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
        where = self.within(table, span, "h")
        if declared.returns and declared.returns.rule == "drop":
            where.append(f"({self._returned(table)}) IS NOT TRUE")
        return _select(chosen, f"{held} AS h{joined}", where)

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
        ends = [f"{moment} < {self._moment(table, span.end)}"]
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
        outside = [test for name in names for test in self._outside(table, name, "h")]
        if returned or missing or outside:
            found = {"returns": returned, "missing": missing, "outliers": outside}
            some = [f"BOOL_OR({' OR '.join(tests) or 'FALSE'}) AS {name}" for name, tests in found.items()]
            chosen = [f"h.{ID}", "FALSE AS duplicates", *some]
            parts.append(_select(chosen, f"inside.{quoted(table)} AS h", where) + f" GROUP BY h.{ID}")
        if declared.duplicates == "drop":
            row = ", ".join([f"h.{ID}", *(f"h.{quoted(name)}" for name in self.columns(table))])
            twice = _select([f"h.{ID}"], f"inside.{quoted(table)} AS h", where) + f" GROUP BY {row} HAVING COUNT(*) > 1"
            parts.append(f"SELECT {ID}, TRUE AS duplicates, FALSE AS returns, FALSE AS missing, FALSE AS outliers FROM ({twice})")
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
        """A column of the source as the contract's type; what does not fit is NULL, NaN and infinities too."""
        column = self.contract.tables[table].columns[name]
        kind = self.sources[table].type_of(column.source_name or name)
        reference = f"s.{quoted(column.source_name or name)}"
        if kind == "TIMESTAMP" and column.type == "text":
            reference = _common(reference)  # TRY_CAST of a year beyond what can be printed is a fault (DuckDB 2.0.0)
        if kind != _sql_type(column):
            reference = f"TRY_CAST({reference} AS {_sql_type(column)})"
        if column.type == "double":
            return f"CASE WHEN ISFINITE({reference}) THEN {reference} END"
        if column.type in ("date", "timestamp") and name != self.contract.tables[table].event_time:
            return _common(reference)
        return reference

    def _ruled(self, table: str, name: str, alias: str) -> str:
        """A typed column under its public domain and bounds, and with its stand-in for missing values."""
        column = self.contract.tables[table].columns[name]
        value = f"{alias}.{quoted(name)}"
        selecting = not self.contract.tables[table].reference and name == self.contract.key_of(table)
        if selecting or name == self.contract.tables[table].event_time:
            return value
        ruled = value
        if column.domain is not None:
            ruled = f"CASE WHEN {_among(column, value)} THEN {value} END"
        if column.bounds is not None:
            low, high = _bounds(table, name, column)
            if column.outliers is Outliers.CLIP:
                ruled = f"CASE WHEN {value} < {low} THEN {low} WHEN {value} > {high} THEN {high} ELSE {ruled} END"
            else:
                ruled = f"CASE WHEN {value} >= {low} AND {value} <= {high} THEN {ruled} END"
        if column.missing is not None:
            if column.type == "double" and not math.isfinite(float(column.missing)):
                raise MinimisationError(f"column `{table}.{name}`: expected `missing` to be finite, got `{column.missing}`")
            ruled = f"COALESCE({ruled}, TRY_CAST({string(str(column.missing))} AS {_sql_type(column)}))"
        return ruled

    def _outside(self, table: str, name: str, alias: str) -> Iterable[str]:
        column = self.contract.tables[table].columns[name]
        value = f"{alias}.{quoted(name)}"
        if column.domain is not None:
            yield f"NOT ({_among(column, value)})"
        if column.bounds is not None:
            low, high = _bounds(table, name, column)
            yield f"{value} < {low} OR {value} > {high}"

    def _returned(self, table: str) -> str:
        returns = self.contract.tables[table].returns
        if returns is None:
            raise MinimisationError(f"table `{table}`: expected a declared `returns`")
        if (kind := self._type(table, returns.column)) in _NO_NUMBERS:
            raise MinimisationError(f"column `{table}.{returns.column}`: expected a number because of `returns`, got type `{kind}`")
        return f"h.{quoted(returns.column)} < {returns.below}"


def _select(chosen: Iterable[str], source: str, where: Iterable[str] = ()) -> str:
    conditions = " AND ".join(where)
    return f"SELECT {', '.join(chosen)} FROM {source}" + (f" WHERE {conditions}" if conditions else "")


def _sql_type(column: Column) -> str:
    match column.type:
        case "text":
            return "VARCHAR"
        case "integer":
            return "BIGINT"
        case decimal if decimal.startswith("decimal"):
            return decimal.upper()
        case other:
            return other.upper()


def _common(moment: str) -> str:
    """A date or time of the years 1 to 9999, else NULL."""
    return f"CASE WHEN {moment} >= '{_FIRST}' AND {moment} <= '{_LAST}' THEN {moment} END"


def _among(column: Column, value: str) -> str:
    text = value if column.type == "text" else f"CAST({value} AS VARCHAR)"
    return f"{text} IN ({', '.join(string(each) for each in column.domain or ())})"


def _bounds(table: str, name: str, column: Column) -> tuple[str, str]:
    """Public bounds as literals of the column's type, rounded inward to what the type can hold."""
    if column.bounds is None or column.type in _NO_NUMBERS:
        raise MinimisationError(f"column `{table}.{name}`: expected a number because of its bounds, got type `{column.type}`")
    low, high = column.bounds
    if column.type == "double":
        return f"CAST('{low}' AS DOUBLE)", f"CAST('{high}' AS DOUBLE)"
    if column.type == "integer":
        digits, scale = 18, 0
    else:
        digits, scale = (int(part) for part in column.type[8:-1].split(","))
    most = 10**digits - 1

    def literal(limit: int) -> str:
        return f"CAST('{Decimal(max(-most, min(most, limit))).scaleb(-scale):f}' AS {_sql_type(column)})"

    return literal(math.ceil(low * 10**scale)), literal(math.floor(high * 10**scale))
