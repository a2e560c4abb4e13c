"""Eight processes in one workspace, forked from one that has imported everything: `python tests/crowd.py ROOT`.

Each does its share of the commands in an order of its own. Before each look at a membership it reads which withdrawals were
acknowledged to anybody; the pseudonyms of those must not be in what it sees afterwards. What each saw is printed as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

PROCESSES = 8
COMMANDS = ["withdraw"] * 50 + ["build"] * 20 + ["approve"] * 30
SEGMENT, PURPOSE = "groups", "marketing.advertising.first_party.targeted"
ANALYST, OFFICER = "ana", "olga"
ROWS = 1_000_000 // PROCESSES
"""Rows of memberships that each process looks at, at least."""

LONGEST = 600.0
"""Seconds after which a process that has not ended is taken for one that never will."""


class Visitor:
    """One process at work."""

    def __init__(self, root: Path, number: int) -> None:
        self._root, self._number = root, number
        self._withdrawn = root.with_name("withdrawn")
        self.counted: Counter[str] = Counter()
        self.rows = 0
        self.wrong: list[str] = []

    def work(self) -> None:
        """Its share, and then looks until it has seen enough."""
        mine = COMMANDS[self._number :: PROCESSES]
        random.Random(self._number).shuffle(mine)
        for place, command in enumerate(mine):
            self._attempt(command, place)
            self._look()
        while self.rows < ROWS and not self.wrong:
            self._look()

    def _attempt(self, command: str, place: int) -> None:
        from engine import consents, pipeline, release
        from engine.bench import Bench
        from engine.gates import Refused
        from engine.workspace import WorkspaceError
        from governance.budget import BudgetExceeded

        try:
            match command:
                case "withdraw":
                    subject = f"person-{place * PROCESSES + self._number:05d}"
                    consents.withdraw(self._open(OFFICER), subject, PURPOSE)
                    with self._withdrawn.open("a") as file:
                        file.write(f"{subject}\n")
                case "build":
                    pipeline.build(Bench.at(self._open(ANALYST), lambda _: None), SEGMENT)
                case _:
                    release.approve(self._open(OFFICER), SEGMENT)
        except (BudgetExceeded, Refused, WorkspaceError) as refused:  # spent, or another was quicker
            command = f"{command}: {type(refused).__name__}"
        self.counted[command] += 1

    def _look(self) -> None:
        import pyarrow as pa

        from engine import release
        from governance.pseudonyms import pseudonyms

        gone = pa.array(self._withdrawn.read_text().split() if self._withdrawn.exists() else [], pa.string())
        workspace = self._open(ANALYST)
        seen = {row["pseudonym"] for row in release.members(workspace, SEGMENT)}
        self.rows += len(seen)
        if seen & set(pseudonyms(gone, workspace.keys.pseudonym(PURPOSE)).to_pylist()):
            self.wrong.append("somebody who withdrew is in a membership")

    def _open(self, by: str) -> Any:
        from engine.workspace import Workspace

        return Workspace.find(self._root, {**os.environ, "CONSENTRIC_UNSAFE_PRINCIPAL": by}).open()


def main(root: Path) -> None:
    """Fork, wait, tell."""
    import opendp.prelude  # noqa: F401  (what takes long to import)
    import sklearn.cluster  # noqa: F401

    from engine import consents, pipeline, release  # noqa: F401

    began = time.monotonic()
    children = {_child(root, number): number for number in range(PROCESSES)}
    ended: dict[int, int] = {}
    while len(ended) < PROCESSES and time.monotonic() - began < LONGEST:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            ended[children[child]] = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.05)
    for child, number in children.items():
        if number not in ended:
            os.kill(child, signal.SIGKILL)
    told = [json.loads(file.read_text()) for file in root.parent.glob("told-*")]
    print(json.dumps({"ended": sorted(ended.values()), "seconds": time.monotonic() - began, "told": told}))


def _child(root: Path, number: int) -> int:
    if child := os.fork():
        return child
    code = 1
    try:
        visitor = Visitor(root, number)
        visitor.work()
        told = {"counted": visitor.counted, "rows": visitor.rows, "wrong": visitor.wrong}
        root.with_name(f"told-{number}").write_text(json.dumps(told))
        code = 0
    except Exception:  # noqa: BLE001 (told to whoever waits, by the exit code)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
