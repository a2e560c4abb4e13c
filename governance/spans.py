"""Spans of event time: naive moments, UTC, that stay within the years 1 to 9999."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


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
