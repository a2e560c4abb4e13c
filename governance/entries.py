"""Entries of the log, found by what they record and when, without reading the others.

An entry's body is JSON with sorted keys, so it begins with its action and its time. An index over these first bytes finds both, in a
log of millions of entries too (`tables.BEGINNING`); it is no column, so that nothing stands in the log that its tree does not cover.
What it finds is as good as the database: whoever relies on an entry takes its proof. A row's own time is that of the entry of its
transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, func, select

from audit.log import Entry, log_entries
from governance.store import stamp
from governance.tables import BEGINNING


def find(
    connection: Connection,
    action: str,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    holding: Iterable[str] = (),
    last: int | None = None,
) -> list[Entry]:
    """Entries of an action, oldest first; of a whole family where it ends with a dot, by action and then by time.

    `since` and `until` count in, and are for one action; `holding`: texts that stand in the body, such as `"build":"…"`;
    `last`: no more than these, of which the newest are found.
    """
    query = select(log_entries.c.idx, log_entries.c.body).where(*_where(connection, action, since, until, holding))
    newest = query.order_by(BEGINNING.desc(), log_entries.c.idx.desc()).limit(last)
    return [Entry(row.idx, bytes(row.body)) for row in reversed(connection.execute(newest).all())]


def count(connection: Connection, action: str, *, since: dt.datetime | None = None, until: dt.datetime | None = None) -> int:
    """How many there are."""
    return int(
        connection.execute(select(func.count()).select_from(log_entries).where(*_where(connection, action, since, until, ()))).scalar_one()
    )


def at(connection: Connection, action: str, when: dt.datetime, *holding: str) -> Entry | None:
    """The entry of an action at a moment, which is that of a row with this time; None where there is none."""
    found = find(connection, action, since=when, until=when, holding=holding)
    return found[0] if found else None


def first(connection: Connection, action: str, since: dt.datetime) -> Entry | None:
    """The first entry of an action from a moment on; None where there is none."""
    query = select(log_entries.c.idx, log_entries.c.body).where(*_where(connection, action, since, None, ()))
    row = connection.execute(query.order_by(BEGINNING, log_entries.c.idx).limit(1)).first()
    return None if row is None else Entry(row.idx, bytes(row.body))


def pair(name: str, value: str) -> str:
    """How a fact stands in a body, for `holding`; `value` without a character that JSON escapes."""
    return f'"{name}":"{value}"'


def _where(
    connection: Connection, action: str, since: dt.datetime | None, until: dt.datetime | None, holding: Iterable[str]
) -> list[ColumnElement[bool]]:
    low = high = action if action.endswith(".") else f'{action}"'
    if since is not None:
        low = f'{action}","at":"{stamp(since)}'
    if until is not None:
        high = f'{action}","at":"{stamp(until)}'
    body = log_entries.c.body
    inside = func.instr if connection.dialect.name == "sqlite" else func.pg_catalog.position
    return [
        BEGINNING.between(low.encode(), high.encode() + b"\xff"),
        *(inside(body, each.encode()) > 0 for each in holding),
    ]
