"""audit export: evidence as files, for an authority, an auditor or a lineage tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.exporting.kind import Kind
from governance.roles import Action


def export(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="art30: record of processing; dpia: inputs of an impact assessment; lineage: OpenLineage events; log: every entry."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The file; its ending says what is written: .json, .html, .csv or .jsonl.")],
    segment: Annotated[str | None, typer.Option("--segment", help="dpia: of one segment alone.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write evidence to a file outside the workspace (officers, auditors; logged). Nothing in it is about one subject."""
    with desk(as_json, where) as at:
        from engine.exporting import export as exporting

        workspace = at.workspace(Action.READ_LOG)
        with at.display.progress("export", exporting.steps(workspace, kind, to)) as progress:
            written = exporting.export(workspace, kind, to, segment, force, progress)
        at.display.result(written.as_data(), written.text())
