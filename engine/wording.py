"""Words for what the engine shows."""

from __future__ import annotations

from governance.admission import Reason

_WORDS = {
    Reason.REQUESTED: "asked, no answer yet",
    Reason.NO_NOTICE: "no proof of notice",
    Reason.NO_BASIS: "no legal basis in their jurisdiction",
}


def reason_words(reason: Reason) -> str:
    """An admission reason as people read it."""
    return _WORDS.get(reason, reason.name.lower().replace("_", " "))
