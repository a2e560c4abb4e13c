"""What people see: results on stdout (text or JSON), progress and reasons on stderr, no colour when piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from policies.decisions import Finding


class Display:
    """Where a command writes."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def result(self, data: Mapping[str, Any], text: str = "") -> None:
        """The command's one result: `data` with --json, else `text`."""
        print(json.dumps(data, indent=2, ensure_ascii=False, default=str) if self.as_json else text)

    def note(self, text: str) -> None:
        """A remark for whoever watches."""
        print(text, file=sys.stderr)

    def refused(self, findings: Sequence[Finding], code: int, headline: str = "refused") -> None:
        """Every reason, at once."""
        if self.as_json:
            print(json.dumps({"exit": code, "refused": [as_data(f) for f in findings]}, indent=2, ensure_ascii=False))
        print(f"{headline} (exit {code})\n" + "\n".join(finding_lines(findings)), file=sys.stderr)

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


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Plain aligned columns; numbers to the right."""
    cells = [[str(c) for c in row] for row in rows]
    numeric = [bool(cells) and all(c[:1].isdigit() or c[:1] in "-±" or not c for c in column) for column in zip(*cells, strict=True)] or [
        False
    ] * len(head)
    widths = [max(len(h), *(len(r[i]) for r in cells)) if cells else len(h) for i, h in enumerate(head)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)).rstrip()

    return "\n".join([line(list(head)), "  ".join("-" * w for w in widths), *map(line, cells)])
