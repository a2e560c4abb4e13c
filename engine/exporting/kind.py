"""What can be exported, and as what; without anything heavy, because the command line asks."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What is exported."""

    ART30 = "art30"
    DPIA = "dpia"
    LINEAGE = "lineage"
    LOG = "log"


FORMS: dict[Kind, tuple[str, ...]] = {
    Kind.ART30: (".json", ".html", ".csv"),
    Kind.DPIA: (".json", ".html", ".csv"),
    Kind.LINEAGE: (".jsonl",),
    Kind.LOG: (".jsonl", ".csv"),
}
"""How the name of a file may end, which says what is written."""
