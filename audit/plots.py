"""Plots of a report, as inline SVG: a few rectangles and lines, the same bytes for the same values.

Made by hand because they must shrink to a phone, follow the reader's light or dark colours (classes, never colours,
are written here; `templates/report.css` has them) and be read aloud; a plotting library's pictures do none of it.
Strips (`bar`, `span`, `diverging`) sit in a table row beside the numbers that they draw and stretch to any width, so
they are hidden from screen readers; charts stand alone and carry a text of their own.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 320, 220
"""A chart's own units; type is 12 of them, which is 12 px on a phone."""

LEFT, RIGHT, TOP, BOTTOM = 42, 12, 28, 40
"""Room around a chart's area for its axes."""


def bar(value: float, margin: float, most: float) -> Markup:
    """A bar from zero to `value`, with the interval ± `margin`, on an axis that ends at `most`."""
    svg = _strip()
    most = most if most > 0 else 1.0
    _node(svg, "rect", "fill", x="0", y="4", width=_share(value / most), height="8")
    _whisker(svg, (value - margin) / most, (value + margin) / most)
    return _markup(svg)


def span(value: float, low: float, high: float, ends: tuple[float, float], bounds: Iterable[float] = ()) -> Markup:
    """An interval with its estimate, on an axis between `ends`, with a tick at zero where that lies within; dashed lines mark `bounds`."""
    svg = _strip()
    first, last = ends

    def place(x: float) -> float:
        return (x - first) / (last - first)

    _node(svg, "line", "rule", x1="0", y1="8", x2="100%", y2="8")
    if first < 0 < last:
        _node(svg, "line", "rule", x1=_share(place(0)), y1="2", x2=_share(place(0)), y2="14")
    for bound in bounds:
        _node(svg, "line", "bound", x1=_share(place(bound)), y1="0", x2=_share(place(bound)), y2="16")
    _whisker(svg, place(low), place(high))
    _node(svg, "circle", "dot", cx=_share(place(value)), cy="8", r="4")
    return _markup(svg)


def diverging(value: float, most: float) -> Markup:
    """A bar to the right of the middle where `value` is above zero, to the left where below."""
    svg = _strip()
    length = 0.5 * min(1.0, abs(value) / most) if most else 0.0
    _node(
        svg,
        "rect",
        "fill" if value >= 0 else "fill-other",
        x=_share(0.5 if value >= 0 else 0.5 - length),
        y="3",
        width=_share(length),
        height="10",
    )
    _node(svg, "line", "rule", x1="50%", y1="0", x2="50%", y2="16")
    return _markup(svg)


def sparkline(counts: Sequence[float], mark: float | None) -> Markup:
    """A small histogram; `mark`, a share of its width, is where the centre lies. Noise below zero is drawn as zero."""
    svg = ET.Element("svg", {"class": "spark", "viewBox": "0 0 200 28", "preserveAspectRatio": "none", "aria-hidden": "true"})
    _node(svg, "path", "fill", d=_steps(counts, 0, 200, 27, 25))
    _node(svg, "line", "rule", x1="0", y1="27.5", x2="200", y2="27.5")
    if mark is not None:
        x = _at(200 * min(1.0, max(0.0, mark)))
        _node(svg, "line", "mark", x1=x, y1="0", x2=x, y2="28")
    return _markup(svg)


def shape(heights: Sequence[float], most: float) -> Markup:
    """Steps of even width above and below a line, on an axis from −`most` to `most`."""
    svg = ET.Element("svg", {"class": "spark shape", "viewBox": "0 0 200 56", "preserveAspectRatio": "none", "aria-hidden": "true"})
    width, tall = 200 / max(1, len(heights)), most if most > 0 else 1.0
    for place, height in enumerate(heights):
        length = 27 * min(1.0, abs(height) / tall)
        top = _at(28 - length if height > 0 else 28)
        _node(svg, "rect", "fill" if height > 0 else "fill-other", x=_at(width * place), y=top, width=_at(width), height=_at(length))
    _node(svg, "line", "rule", x1="0", y1="28", x2="200", y2="28")
    return _markup(svg)


@dataclass(frozen=True, slots=True)
class Axis:
    """A chart's axis: its ends, where ticks stand and what they say, and its name."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str

    def place(self, value: float) -> float:
        """Share of the axis, held within it."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


UNIT_TICKS = tuple((x, f"{x:g}") for x in (0.0, 0.25, 0.5, 0.75, 1.0))


def histogram(edges: Sequence[float], counts: Sequence[float], title: str, x: str, y: str, threshold: float | None = None) -> Markup:
    """Counts between `edges` (one more than counts, evenly spaced); a dashed line marks `threshold`."""
    most = nice(max([*counts, 0.0]))
    across = Axis(edges[0], edges[-1], tuple((t, f"{t:g}") for t in _ticks(edges[0], edges[-1])), x)
    chart = _Chart(title, across, Axis(0.0, most, ((0.0, "0"), (most / 2, f"{most / 2:,.0f}"), (most, f"{most:,.0f}")), y))
    area = _steps([c / most for c in counts], LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP, most=1.0)
    _node(chart.svg, "path", "fill", d=area)
    if threshold is not None:
        chart.line([(threshold, 0.0), (threshold, most)], "bound")
    return chart.done()


def curve(points: Iterable[tuple[float, float]], title: str, x: str, y: str) -> Markup:
    """A curve in the unit square, over the diagonal."""
    chart = _unit_square(title, x, y)
    chart.line(points, "curve")
    return chart.done()


def reliability(points: Iterable[tuple[float, float, float, float]], title: str, x: str, y: str) -> Markup:
    """Points (predicted, observed, low, high) with their intervals, over the diagonal on which they should lie."""
    chart = _unit_square(title, x, y)
    for predicted, observed, low, high in points:
        chart.line([(predicted, low), (predicted, high)], "whisker")
        chart.dot(predicted, observed)
    return chart.done()


def against(points: Sequence[tuple[float, float, float, float]], title: str, x: str, y: str) -> Markup:
    """Points (predicted, observed, low, high) with their intervals in any unit, over the diagonal on which they should lie."""
    ends = [end for predicted, observed, _, _ in points for end in (predicted, observed)]
    across, up = _round(ends, x), _round(ends, y)
    chart = _Chart(title, across, up)
    chart.line([(across.low, up.low), (across.high, up.high)], "diagonal")
    for predicted, observed, least, most in points:
        chart.line([(predicted, least), (predicted, most)], "whisker")
        chart.dot(predicted, observed)
    return chart.done()


def gains(points: Sequence[tuple[float, float]], title: str, x: str, y: str) -> Markup:
    """A curve over shares from (0, 0), and the straight line to its end."""
    chart = _Chart(title, Axis(0.0, 1.0, UNIT_TICKS, x), _round([height for _, height in points], y))
    chart.line([points[0], points[-1]], "diagonal")
    chart.line(points, "curve")
    return chart.done()


def scatter(
    dots: Iterable[tuple[float, float, float, int]],
    across: Sequence[tuple[float, str]],
    up: Sequence[tuple[float, str]],
    title: str,
    x: str,
    y: str,
) -> Markup:
    """Circles (across, up, share of the largest area, part) on axes from 0 to 1 with ticks; each says its part, counted from 1."""
    chart = _Chart(title, Axis(0.0, 1.0, tuple(across), x), Axis(0.0, 1.0, tuple(up), y))
    for dot in sorted(dots, key=lambda dot: -dot[2]):
        chart.disc(*dot)
    return chart.done()


def dendrogram(
    brackets: Iterable[Sequence[tuple[float, float]]], ends: Iterable[tuple[float, float, int]], cut: float, title: str
) -> Markup:
    """A tree of brackets, in shares of width and height, with the part under each group (from, to, part)."""
    chart = _Chart(title, Axis(0.0, 1.0, (), ""), Axis(0.0, 1.0, (), "difference"))
    for corners in brackets:
        chart.line(corners, "branch")
    chart.line([(0.0, cut), (1.0, cut)], "bound")
    for start, end, part in ends:
        chart.label((start + end) / 2, part)
    return chart.done()


def lattice(units: Sequence[Sequence[tuple[int, float, float]]], title: str) -> Markup:
    """Square units (part, how full, how dark the frame; both 0 to 1), by rows from the top."""
    side = WIDTH / len(units[0])
    svg = ET.Element("svg", {"class": "chart", "viewBox": f"0 0 {WIDTH} {_at(side * len(units))}", "role": "img", "aria-label": title})
    ET.SubElement(svg, "title").text = title
    for row, line in enumerate(units):
        for column, (part, full, dark) in enumerate(line):
            middle = side * (column + 0.5), side * (row + 0.5)
            _square(svg, "frame", middle, side, {"fill-opacity": f"{0.1 + 0.5 * dark:.2f}"})
            _square(svg, _part_class(part), middle, (side - 8) * math.sqrt(min(1.0, max(0.0, full))), {})
            _text(svg, str(part), _at(middle[0]), _at(middle[1] + 4), "middle", "on")
    return _markup(svg)


def nice(value: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below `value`; 1 where there is nothing."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


class _Chart:
    """Axes, and what is drawn between them in units of the data."""

    def __init__(self, title: str, across: Axis, up: Axis) -> None:
        self.across, self.up = across, up
        self.svg = ET.Element("svg", {"class": "chart", "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title})
        ET.SubElement(self.svg, "title").text = title
        for value, text in up.ticks:
            y = self._y(value)
            _node(self.svg, "line", "grid", x1=str(LEFT), y1=y, x2=str(WIDTH - RIGHT), y2=y)
            _text(self.svg, text, str(LEFT - 5), _at(float(y) + 4), "end")
        for value, text in across.ticks:
            _text(self.svg, text, self._x(value), str(HEIGHT - BOTTOM + 15), "middle")
        _text(self.svg, across.label, str((LEFT + WIDTH - RIGHT) // 2), str(HEIGHT - 6), "middle")
        _text(self.svg, up.label, "0", "12", "start")

    def _x(self, value: float) -> str:
        return _at(LEFT + (WIDTH - LEFT - RIGHT) * self.across.place(value))

    def _y(self, value: float) -> str:
        return _at(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.up.place(value))

    def line(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """Through `points`, in units of the axes."""
        _node(self.svg, "polyline", kind, points=" ".join(f"{self._x(x)},{self._y(y)}" for x, y in points))

    def dot(self, x: float, y: float) -> None:
        """One point."""
        _node(self.svg, "circle", "dot", cx=self._x(x), cy=self._y(y), r="3.5")

    def disc(self, x: float, y: float, share: float, part: int) -> None:
        """A circle whose area says how much of the largest it is, with the number of its part."""
        _node(self.svg, "circle", _part_class(part), cx=self._x(x), cy=self._y(y), r=_at(4 + 9 * math.sqrt(share)))
        _text(self.svg, str(part), self._x(x), _at(float(self._y(y)) + 4), "middle", "on")

    def label(self, x: float, part: int) -> None:
        """The number of a part, under the axis."""
        _node(self.svg, "circle", _part_class(part), cx=self._x(x), cy=str(HEIGHT - BOTTOM + 13), r="9")
        _text(self.svg, str(part), self._x(x), str(HEIGHT - BOTTOM + 17), "middle", "on")

    def done(self) -> Markup:
        """The picture."""
        return _markup(self.svg)


def _unit_square(title: str, x: str, y: str) -> _Chart:
    chart = _Chart(title, Axis(0.0, 1.0, UNIT_TICKS, x), Axis(0.0, 1.0, UNIT_TICKS, y))
    chart.line([(0.0, 0.0), (1.0, 1.0)], "diagonal")
    return chart


def _round(values: Iterable[float], label: str) -> Axis:
    """An axis that holds zero and all values, with ticks at round numbers."""
    held = [0.0, *values]
    step = nice((max(held) - min(held)) / 4)
    first, last = math.floor(min(held) / step), max(math.ceil(max(held) / step), 1)
    return Axis(first * step, last * step, tuple((step * at, f"{step * at:g}") for at in range(first, last + 1)), label)


def _ticks(low: float, high: float) -> tuple[float, ...]:
    return tuple(low + (high - low) * step / 4 for step in range(5))


def _steps(counts: Sequence[float], left: float, right: float, base: float, height: float, most: float | None = None) -> str:
    """The outline of a histogram as path data; each bar one step."""
    tallest = most or max([*counts, 0.0]) or 1.0
    width = (right - left) / max(1, len(counts))
    path = [f"M{_at(left)} {_at(base)}"]
    for at, count in enumerate(counts):
        path.append(f"V{_at(base - height * min(1.0, max(0.0, count / tallest)))}H{_at(left + width * (at + 1))}")
    return "".join([*path, f"V{_at(base)}Z"])


def _strip() -> ET.Element:
    return ET.Element("svg", {"class": "strip", "aria-hidden": "true"})


def _whisker(svg: ET.Element, low: float, high: float) -> None:
    _node(svg, "line", "whisker", x1=_share(low), y1="8", x2=_share(high), y2="8")


def _share(value: float) -> str:
    return f"{_at(100 * min(1.0, max(0.0, value)))}%"


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _node(parent: ET.Element, tag: str, kind: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {"class": kind, **attributes})


def _part_class(part: int) -> str:
    """The colour of a part; there are eight, and the number beside it tells parts of one colour apart."""
    return f"part p{(part - 1) % 8}"


def _square(svg: ET.Element, kind: str, middle: tuple[float, float], side: float, more: dict[str, str]) -> None:
    x, y = (_at(place - side / 2) for place in middle)
    _node(svg, "rect", kind, x=x, y=y, width=_at(side), height=_at(side), **more)


def _text(parent: ET.Element, text: str, x: str, y: str, anchor: str, kind: str = "") -> None:
    ET.SubElement(parent, "text", {"x": x, "y": y, "text-anchor": anchor} | ({"class": kind} if kind else {})).text = text


def _markup(svg: ET.Element) -> Markup:
    """Safe to put into a page: the tree escapes every text and attribute."""
    return Markup(ET.tostring(svg, encoding="unicode"))
