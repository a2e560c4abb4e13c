"""How evidence leaves: (1) the place is looked at, (2) who may, (3) the intent is in the log, (4) the file is written beside,
(5) under the writer's lock its digest is in the log, and it takes its place. What went wrong between (3) and (5) left an intent alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import roles
from engine.exporting.kind import FORMS, Kind
from engine.files import draft_file, draft_of, place_file
from engine.workspace import Workspace, WorkspaceError
from governance.roles import Action


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file of evidence will be, without links."""

    kind: Kind
    file: Path

    @property
    def form(self) -> str:
        """What is written: the ending of its name."""
        return self.file.suffix


def place(workspace: Workspace, kind: Kind, to: Path, force: bool, beside: Collection[str] = ()) -> Place:
    """Step 1: a file outside the workspace that is not there yet; nor is one whose name goes on with an ending of `beside`.

    Raises WorkspaceError.
    """
    workspace.check_leaving(to)
    file = to.resolve()
    if file.suffix not in FORMS[kind]:
        raise WorkspaceError(f"`--to`: got `{to.name}`, expected a name that ends in {' or '.join(FORMS[kind])}")
    cut = draft_of(file).exists() and not file.exists()  # a crash came between what stands beside and the file itself
    if not file.parent.is_dir():
        raise WorkspaceError(f"`--to`: got `{to}`, expected a file in a folder that exists")
    for each in (file, *(file.with_name(file.name + more) for more in beside)):
        if each.is_dir():
            raise WorkspaceError(f"`--to`: got `{each}`, which is a folder, expected a file")
        if each.exists() and not (force or cut):
            raise WorkspaceError(f"`--to`: got `{each}`, which is there already, expected a new file, or `--force` to replace it")
    return Place(kind, file)


def intend(workspace: Workspace, where: Place, **about: str) -> None:
    """Steps 2 and 3. Raises Refused."""
    roles.authorise(workspace, Action.READ_LOG)
    with workspace.store.transaction("evidence-intent") as write:
        write.record("evidence.intended", kind=where.kind.value, format=where.form, **about)


@contextmanager
def leaving(workspace: Workspace, where: Place, **about: str) -> Iterator[Path]:
    """Steps 4 and 5: gives the draft to write, readable by its owner alone; it takes its place when the block ends well."""
    with draft_file(where.file, private=True) as partial:
        yield partial
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with workspace.store.transaction("evidence") as write:
            write.record("evidence.exported", kind=where.kind.value, format=where.form, sha256=digest, **about)
            place_file(partial, where.file, "evidence-file")
