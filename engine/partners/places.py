"""Where what is kept of a collaboration lies at a partner, for whoever only looks: taking part loads what builds need."""

from __future__ import annotations

from pathlib import Path

from engine.workspace import Workspace

PLACE, TRANSCRIPT, SECRET, REPLIES = "partnerships", "transcript.jsonl", "secret", "replies"
"""Folder of the folders of collaborations, and in each what left for it, and of the latest round its secret and what was said."""


def folder(workspace: Workspace, name: str) -> Path:
    """Of one collaboration, by its contract's name."""
    return workspace.hidden / PLACE / name
