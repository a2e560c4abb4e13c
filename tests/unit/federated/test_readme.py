"""The README names every file of the folder, and no other."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "federated"


def test_every_file_has_its_line() -> None:
    lines = re.findall(r"^\| `([\w/]+\.py)` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(lines) == sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.py") if path.name != "__init__.py")
