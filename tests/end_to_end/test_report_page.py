"""Every page in a browser: whole at the width of a desk, of a phone and of paper, quiet, without the network, and fit for everybody.

Chromium is Debian's, or whatever `chromium` is on the path; Playwright drives it, axe-core looks for what keeps people out. Light at
the desk, dark on the phone, so that the contrast of both palettes is looked at.
"""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.campaigns import PERSUADABLE, WORTH, contract, launch
from tests.scenes import GROUPS, OFFICER, RETURNERS, SUBJECTS, Shop

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on the path")]

PAGES = ("groups", "returners", "worth", "persuadable", "subject", "map", "moved")
SCREENS = {"desk": (1280, "light"), "phone": (375, "dark")}
QUICK = {"resultTypes": ["violations"], "elementRef": False}
"""What axe is to tell: all rules run, and what they have no fault to find with is not listed."""

PAPER = 673
"""CSS pixels of A4 between margins of 16 mm."""

QUARTERS = [f"{name} of the old town, beyond the river" for name in ("north", "north-east", "east", "south-east", "south", "west")]
"""Many groups with long names."""

CUT_OFF = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const each of document.body.querySelectorAll('*')) {
    if (each.closest('.hidden, svg *') || each.parentElement.closest('.wide')) continue;
    const head = each.closest('thead');
    if (head && getComputedStyle(head).position === 'absolute') continue;
    const at = each.getBoundingClientRect(), what = each.tagName + ' ' + each.textContent.trim().slice(0, 60);
    if (at.width && (at.right > width + 1 || at.left < -1)) found.push(`beyond the page: ${what}`);
    const scrolls = each.matches('.wide') && getComputedStyle(each).overflowX === 'auto';
    if (each.clientWidth && each.scrollWidth > each.clientWidth + 1 && !scrolls && getComputedStyle(each).display !== 'inline')
      found.push(`wider than its room: ${what}`);
  }
  return found;
}"""
"""What would not be seen whole: beyond the page, or wider than what holds it, unless that scrolls."""

TORN = """() => [...document.querySelectorAll('figure, .card, .judged, svg, tr')]
  .filter(each => getComputedStyle(each).breakInside !== 'avoid').map(each => each.outerHTML.slice(0, 60))"""
"""What a page break might go through."""


@pytest.fixture(scope="module")
def pages(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each type of model, with two fairness attributes and their crossing, and what a subject gets to read."""
    shop = made.copy(tmp_path_factory.mktemp("pages") / "shop")
    launch(shop)
    declared = contract()
    declared["tables"]["people"]["columns"]["quarter"] = {"category": "user.demographic.profile", "domain": QUARTERS}
    shop.write("contracts", declared)
    people = pq.read_table(shop.root / "data" / "people.parquet")
    quarters = np.random.default_rng(1).choice(QUARTERS, people.num_rows)
    pq.write_table(people.append_column("quarter", pa.array(quarters)), shop.root / "data" / "people.parquet")
    both = [{"table": "people", "column": column} for column in ("age", "quarter")]
    segments: list[dict[str, Any]] = [GROUPS, RETURNERS, WORTH, PERSUADABLE]
    for segment in segments:
        shop.write("segments", copy.deepcopy(segment) | {"fairness": both})
        built = shop.run("build", segment["name"])
        assert built.code == 0, built.err
    told = shop.root / "reports" / "subject.html"
    assert shop.run("rights", "access", SUBJECTS[0], "--html", str(told), by=OFFICER).code == 0
    return {path.stem: path for path in (shop.root / "reports").glob("*.html")} | lain(made.copy(shop.root.parent / "lain"))


def lain(shop: Shop) -> dict[str, Path]:
    """The page of areas of a map, and that of a tree's branches since these were released: with who moved."""
    pages = {}
    for name, method, shows in (("map", "map", "Self-organising map"), ("moved", "hierarchy", "Who moved")):
        shop.write("segments", GROUPS | {"model": {"type": "clusters", "k": 4, "method": method}})
        assert shop.run("build", "groups").code == 0 and shop.run("approve", "groups", by=OFFICER).code == 0
        pages[name] = Path(shutil.copy(shop.root / "reports" / "groups.html", shop.root / "reports" / f"{name}.html"))
        assert shows in pages[name].read_text()
    assert "Hierarchy" in pages["moved"].read_text()
    return pages


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Seen:
    """A page that was opened, and what the browser had to say and to fetch."""

    def __init__(self, browser: Any, page: Path, width: int, scheme: str) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(page.as_uri())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_quiet_and_loads_nothing(pages: dict[str, Path], browser: Any, name: str, screen: str) -> None:
    with Seen(browser, pages[name], *SCREENS[screen]) as seen:
        assert seen.page.evaluate(CUT_OFF) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert seen.said == []
        assert seen.asked == [pages[name].as_uri()]


@pytest.mark.parametrize(("name", "screen"), list(zip(PAGES, ("phone", "desk", "desk", "phone", "phone", "phone", "desk"), strict=True)))
def test_axe_finds_nothing_that_keeps_people_out(pages: dict[str, Path], browser: Any, name: str, screen: str) -> None:
    """Each page once, as a look takes seconds; both widths and palettes, which all pages share."""
    with Seen(browser, pages[name], *SCREENS[screen]) as seen:
        violations = axe.Axe().run(seen.page, options=QUICK).response["violations"]
        assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in violations] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_whole_with_no_figure_torn(pages: dict[str, Path], browser: Any, name: str) -> None:
    with Seen(browser, pages[name], PAPER, "dark") as seen:
        seen.page.emulate_media(media="print")
        assert seen.page.evaluate(CUT_OFF) == []
        assert seen.page.evaluate(TORN) == []
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"  # ink is dear
        printed = seen.page.pdf(format="A4", prefer_css_page_size=True)
        assert printed.startswith(b"%PDF-")
        assert max(int(count) for count in re.findall(rb"/Count (\d+)", printed)) >= 3
        assert seen.said == []


def test_a_page_that_is_cut_off_is_noticed(pages: dict[str, Path], browser: Any) -> None:
    with Seen(browser, pages["groups"], *SCREENS["phone"]) as seen:
        seen.page.evaluate("document.querySelector('.lead').style.whiteSpace = 'nowrap'")
        assert any("This build" in each for each in seen.page.evaluate(CUT_OFF))
