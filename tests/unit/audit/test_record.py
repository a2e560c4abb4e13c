"""Documents for an authority: nothing in them becomes markup or a formula, and what is missing is said once."""

from __future__ import annotations

import csv
import datetime as dt
import io

import pytest

from audit.record import Chapter, Document, Missing, Section, as_csv, breakable, inert, render

LACK = Missing("what `it` is", "`a.b` of c.yaml")
HOSTILE = "<script>alert(1)</script> & \"'"
DOCUMENT = Document(
    "Record",
    "GDPR art. 30(1)",
    dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
    HOSTILE,
    "1 entries",
    (HOSTILE,),
    (
        Chapter(
            "=key",
            HOSTILE,
            (
                Section("30(1)(a)", "who", ({"role": HOSTILE, "who": "a_b.c"},), missing=(LACK,)),
                Section("30(1)(b)", "why", missing=(LACK,)),
            ),
        ),
    ),
)


def test_a_page_holds_no_markup_of_others() -> None:
    page = render(DOCUMENT)
    assert "<script" not in page and page.count("&lt;script&gt;") == 5
    assert "a_<wbr>b.<wbr>c" in page and "http" not in page.partition("<body>")[2]


def test_a_name_breaks_after_its_joints_and_stays_escaped() -> None:
    assert breakable("<x>.y") == "&lt;x&gt;.<wbr>y"
    assert breakable("`a_b` 1.") == "<code>a_<wbr>b</code> 1."


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_cell_that_begins_like_a_formula_is_a_text(cell: str) -> None:
    assert inert(cell) == f"'{cell}" and inert(f"a{cell}") == f"a{cell}"


def test_a_spreadsheet_has_a_line_a_chapter_and_says_once_what_is_missing() -> None:
    head, line, *notes = csv.reader(io.StringIO(as_csv(DOCUMENT)))
    assert [(key, note) for key, note, *_ in notes] == [("note", note) for note in DOCUMENT.notes] and notes
    assert head == ["key", "title", "who (30(1)(a))", "why (30(1)(b))", "missing"]
    assert line == ["'=key", HOSTILE, f"role: {HOSTILE}; who: a_b.c", "", "what `it` is: `a.b` of c.yaml"]
