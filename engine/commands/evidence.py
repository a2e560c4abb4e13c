"""audit log | verify | checkpoint | privacy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table
from engine.gates import Exit
from governance.roles import Action


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    audit = typer.Typer(help="The transparency log and what it proves.", no_args_is_help=True)
    audit.command()(log)
    audit.command()(verify)
    audit.command()(checkpoint)
    audit.command()(privacy)
    app.add_typer(audit, name="audit")


def log(
    last: Annotated[int, typer.Option("--last", min=0, help="How many entries, newest last; 0 for all.")] = 20,
    action: Annotated[str | None, typer.Option("--action", help="Only actions that begin with this.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Show entries of the log."""
    with desk(as_json, where) as at:
        from engine import evidence

        entries = evidence.log(at.workspace(Action.READ_LOG), last, action)
        rows = [(e["index"], e["at"][:19], e["principal"], e["action"], e["summary"]) for e in entries]
        at.display.result({"entries": entries}, table(rows, ("entry", "at", "principal", "action", "facts")))


def verify(
    passport: Annotated[Path | None, typer.Argument(help="A passport, instead of the workspace's log.")] = None,
    last_seen: Annotated[Path | None, typer.Option("--last-seen", help="A checkpoint that you kept; made if it is not there.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Check every entry against the signed checkpoint outside the database. Exit 6 if anything was changed or cut."""
    with desk(as_json, where) as at:
        from engine import evidence

        good, findings = evidence.verify(where, passport, last_seen)
        at.display.result({"intact": good, "findings": findings}, "\n".join(findings))
        if not good:
            raise typer.Exit(Exit.INTEGRITY)


def checkpoint(where: Where = None, as_json: Json = False) -> None:
    """Print the newest signed checkpoint: keep it, and hand it to whoever should be able to check."""
    with desk(as_json, where) as at:
        from engine import evidence

        note = evidence.checkpoint(at.workspace(Action.VERIFY_LOG))
        at.display.result({"checkpoint": note}, note.rstrip("\n"))


def privacy(
    name: Annotated[str, typer.Argument(help="The segment, as in segments/NAME.yaml.")],
    fits: Annotated[int, typer.Option("--fits", min=1, help="How often the trainer is fitted; fewer are quicker and find less.")] = 300,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Attack a segment's trainer with made-up subjects: is its noise as large as ε claims? Reads no row; exit 6 if not."""
    with desk(as_json, where) as at:
        from engine import auditing
        from engine.bench import Bench
        from engine.privacy_audit import Verdict

        with at.display.progress("audit", fits) as progress:
            found = auditing.audit(Bench.at(at.workspace(Action.READ_SEGMENTS), progress), name, fits)
        at.display.result({"segment": name} | auditing.outcome(found), auditing.words(name, found))
        if found.verdict is Verdict.TOO_LITTLE:
            raise typer.Exit(Exit.INTEGRITY)
