"""httpx without its command line, which brings a terminal's colours and highlighting along: 5 MB of which an agent needs nothing.

Where httpx was imported before, it is that one.
"""

from __future__ import annotations

import sys

__all__ = ["httpx"]

_COMMAND_LINE = "httpx._main"

if "httpx" in sys.modules:
    import httpx
else:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]  # so Python is told not to look; httpx does without, as where it is missing
    try:
        import httpx
    finally:
        del sys.modules[_COMMAND_LINE]
