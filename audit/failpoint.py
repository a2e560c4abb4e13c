"""Failpoints: the places where a crash would hurt, by name, so that tests can crash exactly there.

`CONSENTRIC_FAILPOINT=name` kills this process with SIGKILL when it reaches `name`; `name#3` when it does so for the third
time. `CONSENTRIC_FAILPOINT_TRACE=file` appends each name reached to a file, one a line, so that a test can first list
them and then crash at each. Nothing runs before death: no handler, no flush, no rollback, as with a power cut.
"""

from __future__ import annotations

import os
import signal

KILL = "CONSENTRIC_FAILPOINT"
TRACE = "CONSENTRIC_FAILPOINT_TRACE"

_reached: dict[tuple[int, str], int] = {}  # by process too: a forked child counts from zero


def reach(name: str) -> None:
    """Pass the failpoint `name`; does not return if it is the one to die at. Otherwise two look-ups in the environment."""
    wanted, trace = os.environ.get(KILL), os.environ.get(TRACE)
    if wanted is None and trace is None:
        return
    if trace is not None:
        with open(trace, "a", encoding="utf-8") as file:
            file.write(name + "\n")
    key = os.getpid(), name
    _reached[key] = _reached.get(key, 0) + 1
    if wanted is not None and wanted in {name if _reached[key] == 1 else "", f"{name}#{_reached[key]}"}:
        os.kill(os.getpid(), signal.SIGKILL)
