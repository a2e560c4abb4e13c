"""What a stage works with: the workspace, the noise, and someone to tell how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.workspace import Workspace
from governance.noise import NoiseSource, SystemNoise


@dataclass(frozen=True, slots=True)
class Bench:
    """Passed to every stage."""

    workspace: Workspace
    noise: NoiseSource
    progress: Callable[[str], None]

    @classmethod
    def at(cls, workspace: Workspace, progress: Callable[[str], None]) -> Bench:
        """With the system's noise."""
        return cls(workspace, SystemNoise(), progress)
