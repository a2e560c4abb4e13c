"""Numbers, counts and dates as people write them."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Sequence

from markupsafe import Markup, escape

Z95 = 1.96
"""Standard deviations of noise on either side that hold 95 % of it."""


def count(value: float, sigma: float) -> str:
    """A noisy count with the interval of its noise, never below zero: `8,712 ± 25`."""
    return f"{max(0, round(value)):,} ± {math.ceil(Z95 * sigma):,}"


def sentence(text: str) -> str:
    """With a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def quoted(text: str) -> Markup:
    """What stands in backticks set as code; everything is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them stands alone
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def minus(text: str) -> str:
    """Numbers with true minus signs."""
    return text.replace("-", "−")


def number(value: float) -> str:
    """Two or more significant digits, with separators and a true minus."""
    if not math.isfinite(value):
        return "unbounded" if value > 0 else "−unbounded"
    size = abs(value)
    if size >= 100:
        text = f"{size:,.0f}"
    elif size >= 10:
        text = f"{size:.1f}"
    elif size >= 0.1 or size == 0:
        text = f"{size:.2f}"
    else:
        text = f"{size:.2g}"
    text = text.removesuffix(".00").removesuffix(".0")
    return f"−{text}" if value < 0 and float(text.replace(",", "")) else text


def percent(share: float) -> str:
    """One digit after the point, unless it is zero: `36.4%`."""
    return f"{100 * max(0.0, share):.1f}".removesuffix(".0") + "%"


def interval(low: float, high: float) -> str:
    """Both ends: `0.61 to 1`."""
    return f"{number(low)} to {number(high)}"


def small(value: float) -> str:
    """A δ without an exponent: `0.00001`."""
    return f"{value:.12f}".rstrip("0").removesuffix(".")


def moment(at: dt.datetime) -> str:
    """`22 November 2026, 14:05 UTC`; a time without a zone is shown as it is."""
    zone = " UTC" if at.tzinfo else ""
    shown = at.astimezone(dt.UTC) if at.tzinfo else at
    return f"{day(shown)}, {shown:%H:%M}{zone}"


def day(date: dt.date) -> str:
    """`22 November 2026`."""
    return f"{date.day} {date:%B %Y}"


def place(value: float, edges: Sequence[float]) -> float | None:
    """Where `value` lies, as a share of bins that are drawn equally wide; None without bins."""
    if len(edges) < 2:
        return None
    bins = len(edges) - 1
    at = min(bins - 1, max(0, bisect_right(edges, value) - 1))
    width = edges[at + 1] - edges[at]
    within = (value - edges[at]) / width if width > 0 else 0.0
    return min(1.0, max(0.0, (at + within) / bins))
