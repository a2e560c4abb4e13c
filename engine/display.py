"""What people see: results on stdout (text or JSON), progress and reasons on stderr, no colour when piped."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from policies.decisions import Finding

WIDEST = 72
"""Characters of a table's cell before it goes on in the next line."""

_NUMBER = re.compile(r"[-−]?[0-9][0-9,.]*( ± [0-9,]+)?( ?%)?|")


class Display:
    """Where a command writes."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def result(self, data: Mapping[str, Any], text: str = "") -> None:
        """The command's one result: `data` with --json, else `text`."""
        print(json.dumps(data, indent=2, ensure_ascii=False, default=str) if self.as_json else printable(text))

    def note(self, text: str) -> None:
        """A remark for whoever watches."""
        print(printable(text), file=sys.stderr)

    def refused(self, findings: Sequence[Finding], code: int, headline: str = "refused") -> None:
        """Every reason, at once."""
        if self.as_json:
            print(json.dumps({"exit": code, "refused": [as_data(f) for f in findings]}, indent=2, ensure_ascii=False))
        self.note(f"{headline} (exit {code})\n" + "\n".join(finding_lines(findings)))

    @contextmanager
    def progress(self, title: str, steps: int) -> Iterator[Callable[[str], None]]:
        """Gives what is told the name of each step: a bar on a terminal, a line a step elsewhere. Counts steps, never rows."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(title, total=steps)

                def move(step: str) -> None:
                    bar.update(task, advance=1, description=f"{title}: {step}")

                yield move
        else:
            yield lambda step: self.note(f"{title}: {step}")


def as_data(finding: Finding) -> dict[str, Any]:
    """A finding as JSON."""
    return {
        "cause": finding.cause.value,
        "subject": finding.subject,
        "rule": finding.rule,
        "policy": finding.policy,
        "reason": finding.reason,
        "condition": finding.condition,
        "legal": finding.legal,
        "remedy": finding.remedy,
    }


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """A finding as a short paragraph."""
    for finding in findings:
        yield f"  {finding.subject}  [{finding.cause}; rule {finding.rule}]"
        yield f"    why: {finding.reason}" + (f" ({finding.legal})" if finding.legal else "")
        yield f"    because: {finding.condition}"
        if finding.remedy:
            yield f"    way out: {finding.remedy}"


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours: texts of consents and documents are other people's."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Plain aligned columns; numbers to the right, long cells over several lines, columns without name and content left out."""
    cells = [[str(c) for c in row] for row in rows]
    kept = [i for i, name in enumerate(head) if name or any(row[i] for row in cells)]
    names, cells = [head[i] for i in kept], [[row[i] for i in kept] for row in cells]
    numeric = [bool(cells) and all(_NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(names))]
    lines = [line for row in cells for line in _wrapped(row)]
    widths = [max(len(line[i]) for line in [names, *lines]) for i in range(len(names))]

    def aligned(line: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True)).rstrip()

    return "\n".join([aligned(names), "  ".join("-" * w for w in widths), *map(aligned, lines)])


def _wrapped(row: Sequence[str]) -> list[list[str]]:
    """The lines of one row."""
    columns = [textwrap.wrap(cell, WIDEST, break_long_words=False, break_on_hyphens=False) or [""] for cell in row]
    return [[column[i] if i < len(column) else "" for column in columns] for i in range(max(map(len, columns), default=0))]
