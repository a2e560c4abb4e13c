from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from markupsafe import Markup

from audit import plots


def part(picture: Markup, tag: str, kind: str) -> dict[str, str]:
    return next(node.attrib for node in ET.fromstring(picture).iter(tag) if node.get("class") == kind)


def test_a_bar_is_as_long_as_its_share_and_stays_inside() -> None:
    assert part(plots.bar(25, 0, 100), "rect", "fill")["width"] == "25%"
    assert part(plots.bar(-5, 0, 100), "rect", "fill")["width"] == "0%"
    assert part(plots.bar(200, 0, 100), "rect", "fill")["width"] == "100%"
    assert part(plots.bar(0, 0, 0), "rect", "fill")["width"] == "0%"
    assert part(plots.bar(-3, 2, -3), "rect", "fill")["width"] == "0%"


def test_a_span_shows_interval_estimate_and_bound() -> None:
    picture = plots.span(0.75, 0.5, 1.0, (0.0, 2.0), (0.8,))
    assert part(picture, "circle", "dot")["cx"] == "37.5%"
    assert (part(picture, "line", "whisker")["x1"], part(picture, "line", "whisker")["x2"]) == ("25%", "50%")
    assert part(picture, "line", "bound")["x1"] == "40%"


def test_effects_grow_from_the_middle_to_their_side() -> None:
    up, down = part(plots.diverging(2, 4), "rect", "fill"), part(plots.diverging(-4, 4), "rect", "fill-other")
    assert (up["x"], up["width"]) == ("50%", "25%")
    assert (down["x"], down["width"]) == ("0%", "50%")


def test_counts_below_zero_are_drawn_as_zero() -> None:
    path = part(plots.sparkline((-5.0, 10.0, 5.0), 0.5), "path", "fill")["d"]
    assert [float(y) for y in re.findall(r"V([\d.]+)", path)] == [27.0, 2.0, 14.5, 27.0]
    assert part(plots.sparkline((-5.0, 10.0, 5.0), 0.5), "line", "mark")["x1"] == "100"


def test_a_histogram_marks_its_threshold_where_it_lies() -> None:
    points = part(plots.histogram((0.0, 0.5, 1.0), (3.0, 1.0), "scores", "score", "people", 0.5), "polyline", "bound")["points"]
    middle = (plots.LEFT + plots.WIDTH - plots.RIGHT) / 2
    assert [float(point.split(",")[0]) for point in points.split()] == [middle, middle]


def test_text_is_escaped() -> None:
    picture = plots.curve([(0.0, 0.0), (1.0, 1.0)], '<b>"&', "<x>", "<y>")
    assert "<b>" not in picture and "<x>" not in picture
    assert ET.fromstring(picture).get("aria-label") == '<b>"&'


@pytest.mark.parametrize(
    ("value", "end"), [(0.0, 1.0), (-3.0, 1.0), (0.3, 0.5), (1.0, 1.0), (731.0, 1000.0), (2000.0, 2000.0), (float("nan"), 1.0)]
)
def test_axes_end_at_round_numbers(value: float, end: float) -> None:
    assert plots.nice(value) == pytest.approx(end)


def test_circles_say_their_part_and_the_largest_come_first() -> None:
    picture = plots.scatter([(0.0, 0.0, 0.25, 2), (1.0, 1.0, 1.0, 10)], ((0.0, "a"),), ((1.0, "b"),), "title", "x", "y")
    circles = [node for node in ET.fromstring(picture) if node.tag == "circle"]
    assert [(node.get("class"), node.get("r")) for node in circles] == [("part p1", "13"), ("part p1", "8.5")]
    assert [node.text for node in ET.fromstring(picture) if node.get("class") == "on"] == ["10", "2"]
    assert circles[1].get("cx") == str(plots.LEFT) and circles[1].get("cy") == str(plots.HEIGHT - plots.BOTTOM)


def test_a_tree_is_cut_where_it_says_and_names_its_parts() -> None:
    picture = plots.dendrogram([[(0.2, 0.0), (0.2, 1.0), (0.8, 1.0), (0.8, 0.0)]], [(0.1, 0.3, 1), (0.7, 0.9, 2)], 0.5, "title")
    assert part(picture, "polyline", "branch")["points"].count(",") == 4
    middle = (plots.TOP + plots.HEIGHT - plots.BOTTOM) / 2
    assert {point.split(",")[1] for point in part(picture, "polyline", "bound")["points"].split()} == {f"{middle:g}"}
    assert [node.text for node in ET.fromstring(picture) if node.get("class") == "on"] == ["1", "2"]


def test_units_of_a_map_are_as_full_and_as_dark_as_they_are() -> None:
    picture = plots.lattice([[(1, 1.0, 0.0), (2, 0.25, 1.0)]], "title")
    squares = [node for node in ET.fromstring(picture) if node.tag == "rect"]
    assert [node.get("fill-opacity") for node in squares[::2]] == ["0.10", "0.60"]
    full, quarter = (float(node.get("width", "0")) for node in squares[1::2])
    assert quarter == pytest.approx(full / 2)


def test_points_lie_on_the_diagonal_where_what_was_predicted_came_true() -> None:
    picture = plots.against([(-3.0, -3.0, -5.0, 1.0), (8.0, 8.0, 6.0, 9.0)], "title", "x", "y")
    (left, bottom), (right, top) = [map(float, point.split(",")) for point in part(picture, "polyline", "diagonal")["points"].split()]
    dots = [(float(node.get("cx", "")), float(node.get("cy", ""))) for node in ET.fromstring(picture) if node.tag == "circle"]
    assert [(y - bottom) * (right - left) == pytest.approx((x - left) * (top - bottom), abs=20) for x, y in dots] == [True, True]
    ticks = [node.text for node in ET.fromstring(picture) if node.tag == "text"]
    assert {"-5", "0", "5", "10"} <= set(ticks)


def test_gains_end_where_the_straight_line_does() -> None:
    picture = plots.gains([(0.0, 0.0), (0.4, 0.05), (1.0, 0.03)], "title", "x", "y")
    straight, curve = (part(picture, "polyline", kind)["points"].split() for kind in ("diagonal", "curve"))
    assert (straight[0], straight[-1]) == (curve[0], curve[-1])
    assert len(curve) == 3
