"""Global Privacy Control: the header `Sec-GPC: 1`. Anything else that a browser sends says nothing."""

from __future__ import annotations

from governance.signals.bits import Fault, SignalError, check_length

_MEANT = {"1": True, "true": True, "0": False, "false": False}


def read_gpc(text: str) -> bool:
    """True: the person objects. False says nothing, and is no consent. Raises SignalError."""
    check_length(text)
    try:
        return _MEANT[text.strip().lower()]
    except KeyError:
        raise SignalError(Fault.GPC, 0) from None
