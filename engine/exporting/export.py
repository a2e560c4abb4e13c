"""The four exports, each from the workspace to its file."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import record as page
from audit.merkle import IntegrityError
from audit.record import Document, Missing
from engine.exporting import house, impact, log_lines, processing, runs
from engine.exporting.kind import Kind
from engine.exporting.leaving import Place, intend, leaving, place
from engine.exporting.log_lines import Progress
from engine.exporting.openlineage import Writer
from engine.files import whole_file
from engine.workspace import Workspace, WorkspaceError

PRODUCER = "https://consentric.dev"
"""Who writes events, as a URI."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was exported: `number` of `what`, in `files`; `missing`: what nobody declared."""

    files: tuple[Path, ...]
    number: int
    what: str
    missing: tuple[Missing, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """As JSON values."""
        missing = [{"what": each.what, "where": each.where} for each in self.missing]
        return {"files": [str(file) for file in self.files], self.what: self.number, "missing": missing}

    def text(self) -> str:
        """For a terminal."""
        lines = [f"written: {self.files[0]} ({self.number:,} {self.what})", *(f"beside it: {file}" for file in self.files[1:])]
        return "\n".join([*lines, *(f"nobody declared {each.what}: {each.where}" for each in self.missing)])


_BESIDE = {Kind.LOG: (log_lines.CHECKPOINT,)}


def steps(workspace: Workspace, kind: Kind, to: Path) -> int:
    """How many an export reports."""
    checkpoint = workspace.checkpoint()
    return 1 + (log_lines.steps(checkpoint.size + 1, to.suffix) if kind is Kind.LOG and checkpoint else 1)


def export(workspace: Workspace, kind: Kind, to: Path, segment: str | None, force: bool, progress: Progress) -> Written:
    """Write one kind of evidence to a file outside the workspace. Raises Refused, WorkspaceError, and IntegrityError for a log that
    is not the one that was signed."""
    if segment is not None and kind is not Kind.DPIA:
        raise WorkspaceError(f"`--segment`: got `{segment}` for `{kind}`, expected it for `{Kind.DPIA}` alone")
    where = place(workspace, kind, to, force, _BESIDE.get(kind, ()))
    progress("look")
    match kind:
        case Kind.ART30:
            return _document(workspace, where, processing.record(house.look(workspace)), progress)
        case Kind.DPIA:
            about = {"segment": segment} if segment else {}
            return _document(workspace, where, impact.inputs(house.look(workspace), segment), progress, **about)
        case Kind.LINEAGE:
            return _lineage(workspace, where, progress)
        case Kind.LOG:
            return _log(workspace, where, progress)


def _document(workspace: Workspace, where: Place, document: Document, progress: Progress, **about: str) -> Written:
    intend(workspace, where, **about)
    progress("write")
    with leaving(workspace, where, **about) as partial:
        match where.form:
            case ".html":
                text = page.render(document)
            case ".csv":
                text = page.as_csv(document)
            case _:
                text = json.dumps(page.as_data(document), indent=1, ensure_ascii=False) + "\n"
        partial.write_text(text, encoding="utf-8", newline="")
    return Written((where.file,), len(document.chapters), "chapters", tuple(document.missing))


def _lineage(workspace: Workspace, where: Place, progress: Progress) -> Written:
    intend(workspace, where)
    progress("write")
    writer = Writer(f"consentric://{workspace.settings.name}", PRODUCER, importlib.metadata.version("consentric"))
    found, written = house.look(workspace), 0
    with leaving(workspace, where) as partial, partial.open("w", encoding="utf-8") as file, workspace.store.read() as session:
        for event in runs.events(workspace, found, session.connection()):
            written += 1
            file.write(json.dumps(writer.event(event), separators=(",", ":"), ensure_ascii=False) + "\n")
    return Written((where.file,), written, "events")


def _log(workspace: Workspace, where: Place, progress: Progress) -> Written:
    intend(workspace, where)
    checkpoint = workspace.checkpoint()
    if checkpoint is None:
        raise IntegrityError("this workspace has no checkpoint: nothing vouches for its log")
    note = where.file.with_name(where.file.name + log_lines.CHECKPOINT)
    with leaving(workspace, where) as partial:
        with workspace.store.read() as session:
            log_lines.write(session.connection(), checkpoint, partial, where.form, progress)
        with whole_file(note, "evidence-checkpoint") as beside:
            beside.write_text(checkpoint.note, encoding="utf-8")
    return Written((where.file, note), checkpoint.size, "entries")
