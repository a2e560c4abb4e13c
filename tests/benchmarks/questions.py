"""Every question of the officer on a log of a million entries, with its proof, each as a process of its own: seconds, and processor time.

A small shop is built, released, handed over and left by somebody; then its log is made as long as the argument says, with entries of
every kind that questions ask for, about its own builds and about others. Run with `python -m tests.benchmarks.questions 1e6`.
"""

from __future__ import annotations

import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.questions.question import Given
from engine.questions.register import QUESTIONS
from governance.store import newest_time, stamp
from tests.partnerships import drawn_up
from tests.scenes import OFFICER, SUBJECTS, Shop, environment

LEFT = SUBJECTS[0]
MOST = 2.0
"""Seconds that an answer may take, with what Python and its libraries need to start."""

_CHUNK = 50_000


def furnished(folder: Path) -> Shop:
    """Two releases that were handed over, an approved policy, somebody who left, and a collaboration that was joined."""
    shop = Shop.make(folder / "shop")
    for segment in ("groups", "returners"):
        assert shop.run("build", segment).code == 0 and shop.run("approve", segment, by=OFFICER).code == 0
        assert shop.run("segments", "export", segment, "--to", str(folder / f"{segment}.csv"), by=OFFICER).code == 0
    assert shop.run("policy", "approve", "rules", by=OFFICER).code == 0
    assert shop.run("consent", "withdraw", LEFT, by=OFFICER).code == 0
    drawn_up(shop)
    return shop


def lengthen(shop: Shop, size: int) -> None:
    """Entries a microsecond apart: in each ten thousand five are about the shop's own releases."""
    workspace = shop.workspace(OFFICER)
    own = [shop.newest(segment) for segment in ("groups", "returners")]
    with workspace.store.transaction("lengthen") as write:
        start = newest_time(write.connection) or write.now
        for first in range(0, size, _CHUNK):
            write.tail.append([*_bodies(range(first, min(size, first + _CHUNK)), start, own)])
        write.record("lengthened")


def _bodies(numbers: range, start: dt.datetime, own: list[Any]) -> Iterator[bytes]:
    for number in numbers:
        action, facts = _KINDS[number % len(_KINDS)]
        build = own[number % 2] if number % 2000 == 7 else None
        about = {"build": build.id, "segment": build.segment} if build else {"build": f"{number:016x}", "segment": f"other-{number % 97}"}
        at = stamp(start + dt.timedelta(microseconds=number))
        body = {"action": action, "at": at, "established": "os", "facts": about | facts, "principal": f"person-{number % 13}", "v": 1}
        yield json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


_KINDS: list[tuple[str, dict[str, Any]]] = [
    *([("consent.append", {"batch": "0" * 32, "events": 1, "root": "0" * 64})] * 10),
    *([("members.read", {})] * 4),
    *([("budget.drawn", {"draws": 12, "mu_squared": "1/8", "part": "all", "path": "all", "reservation": "0" * 16, "step": "s"})] * 4),
    ("sweep.done", {"expired": [], "unjudged": 0}),
    ("export.finished", {"export": "0" * 16, "destination": "mail"}),
    ("log.read", {}),
    ("subject.answered", {}),
    ("access.denied", {"wanted": "build", "rules": ["a-role-comes-first"]}),
    ("notice.acknowledged", {"notice": "0" * 16}),
    ("plan.refused", {"reasons": ["purchases.street: no-location"]}),
]

_GIVEN = {Given.SEGMENT: "groups", Given.SUBJECT: LEFT, Given.COLUMN: "purchases.street", Given.POLICY: "rules"}
_GIVEN |= {Given.COLLABORATION: "joint", Given.ROUND: "1"}


def clocked(shop: Shop, *words: str) -> tuple[float, float, str]:
    """A command as a process: seconds until it has ended, those that it kept a processor busy, and what went wrong."""
    before, busy = time.monotonic(), _busy()
    line = [sys.executable, "-W", "ignore", "-m", "engine.cli", *words]
    ended = subprocess.run(line, env=environment(shop.root, OFFICER), capture_output=True, text=True, check=False)
    return time.monotonic() - before, _busy() - busy, ended.stderr.strip() if ended.returncode else ""


def _busy() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    """One line for each question."""
    size = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        shop = furnished(Path(folder))
        lengthen(shop, size)
        database = (shop.root / ".consentric" / "metadata.db").stat().st_size
        slow = []
        print(f"{size:,} entries, a database of {database / 1e6:,.0f} MB")
        for question in QUESTIONS:
            words = [word for each in sorted(question.needs) for word in (f"--{each}", _GIVEN[each])]
            command = ["audit", "ask", question.id, *words, "--proof", f"{folder}/{question.id}"]
            took, busy, wrong = clocked(shop, *command)
            entries = len([*Path(folder, question.id).glob("entry-*")])
            print(f"{question.id:<24}{took:6.2f} s, processor {busy:5.2f} s{entries:5} entries proved  {wrong}".rstrip(), flush=True)
            slow += [question.id] if took > MOST or wrong else []
        if slow:
            sys.exit(f"above {MOST:g} s, or failed: {', '.join(slow)}")


if __name__ == "__main__":
    main()
