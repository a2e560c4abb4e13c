"""Documents for an authority: chapters of sections of rows, and what is missing in them; as values, JSON, CSV or one printable page.

A record of processing (GDPR art. 30) and the inputs of an impact assessment (art. 35) have the same form: each section answers one
point of an article with rows of named cells, and names what nobody declared with the place to declare it. So one page, one JSON and
one CSV serve both. The page loads nothing and runs nothing, and the same document gives the same bytes. Not here: where rows come from.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from audit import pages, wording

Row = Mapping[str, str]
"""Cells by the name of their column; an empty one is shown as such."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


_JOINT = re.compile(r"([._])(?=\w)")


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the article asks for and nobody declared, and where to."""

    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Section:
    """One point of an article, such as `30(1)(d)`. `words` stand before the rows, which all have the same columns."""

    legal: str
    title: str
    rows: tuple[Row, ...] = ()
    words: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class Chapter:
    """One purpose, or one segment: its key and what it is called."""

    key: str
    title: str
    sections: tuple[Section, ...]

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Of all sections, each once."""
        return tuple(dict.fromkeys(each for section in self.sections for each in section.missing))


@dataclass(frozen=True, slots=True)
class Document:
    """The whole. `log`: the entries that were there when it was made, as `SIZE ROOT`."""

    title: str
    legal: str
    made_at: dt.datetime
    made_by: str
    log: str
    notes: tuple[str, ...]
    chapters: tuple[Chapter, ...]

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Of all chapters, each once."""
        return tuple(dict.fromkeys(each for chapter in self.chapters for each in chapter.missing))


def render(document: Document) -> str:
    """The page. Autoescaped: nothing in the document can become markup."""
    filters = wording.sentence, wording.moment, wording.quoted, breakable
    page = pages.template("record.html", *filters)
    return page.render(document=document)


def as_data(document: Document) -> dict[str, Any]:
    """As JSON values; what is missing stands in its section."""
    return asdict(document) | {"made_at": document.made_at.isoformat()}


def as_csv(document: Document) -> str:
    """A line a chapter and a column a section, as such records are kept in spreadsheets; the last column says what is missing. Then a line
    a note: what could not be read stands nowhere else."""
    out = io.StringIO()
    writer = csv.writer(out)
    titles = tuple(dict.fromkeys(f"{each.title} ({each.legal})" for chapter in document.chapters for each in chapter.sections))
    writer.writerow(["key", "title", *titles, "missing"])
    for chapter in document.chapters:
        cells = {f"{each.title} ({each.legal})": "\n".join(_lines(each)) for each in chapter.sections}
        missing = "\n".join(f"{each.what}: {each.where}" for each in chapter.missing)
        writer.writerow([inert(cell) for cell in (chapter.key, chapter.title, *(cells.get(title, "") for title in titles), missing)])
    for note in document.notes:
        writer.writerow(["note", inert(note), *("" for _ in titles), ""])
    return out.getvalue()


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: one that might be is a text, which an apostrophe begins."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _lines(section: Section) -> Iterator[str]:
    yield from section.words
    for row in section.rows:
        yield "; ".join(f"{name}: {cell}" for name, cell in row.items() if cell)


def breakable(text: str) -> Markup:
    """As `wording.quoted`; a dotted or underscored name may go on in the next line after its dots and underscores."""
    return Markup(_JOINT.sub(r"\1<wbr>", str(wording.quoted(text))))
