"""Every failpoint that the source has, read out of the source: no durable step can be added without a name, nor a name without a test.

A step's name is written once, where the step is taken; what a name stands for follows from what takes it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

TRANSACTION = ("before-commit", "after-commit", "after-seal")
POINTS = {
    "transaction": TRANSACTION,
    "whole_file": ("before-rename", "after-rename"),
    "place_file": ("before-rename", "after-rename"),
    "place_folder": ("before-rename", "after-rename"),
    "flush_folder": ("before-sync",),
    "delete": ("before-remove", "after-remove"),
    "Journal": ("before-write", "before-sync", "after-sync"),
    "uncharged": (),
}
"""What takes the name of a step, and the failpoints that a name has there."""

OUTSIDE = frozenset(
    {"build-intent", "build-failed", "draw", "quarantine", "snapshot-claim", "snapshot-result", "snapshot-failed"}
    | {"key", "cap", "objection", "erase-intent", "erase-finished"}
)
"""Transactions that change what is kept outside, and so have a failpoint more."""


def names() -> frozenset[str]:
    """Every failpoint."""
    found = {f"{name}:after-outside" for name in OUTSIDE} | {f"outside:{when}" for when in ("before-rename", "after-rename")}
    for package in ("audit", "governance", "engine", "federated"):
        for file in (ROOT / package).rglob("*.py"):
            found.update(_of(ast.parse(file.read_text())))
    return frozenset(found)


def _of(tree: ast.AST) -> Iterator[str]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        function = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
        texts = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if function == "reach" and texts and ":" in texts[0]:
            yield texts[0]
        elif function == "uncharged":
            yield from (f"{texts[0]}-{what}:{when}" for what in ("intent", "failed") for when in TRANSACTION)
        elif function in POINTS and texts:
            yield from (f"{texts[-1]}:{when}" for when in POINTS[function])
