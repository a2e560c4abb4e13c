"""A command that ends with whoever started it, however that ended: `python -m engine.demo.follower WORDS…` is `consentric WORDS…`.

Its standard input is a pipe that nobody writes to and the parent alone holds open; the system closes it with the parent. Then the command
is ended as by SIGTERM, and, where that takes too long, at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from engine.cli import main

GRACE = 15.0
"""Seconds in which it may end what is under way."""


def follow() -> None:
    """Returns never: it ends this process once standard input does."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=follow, name="follower", daemon=True).start()
    main()
