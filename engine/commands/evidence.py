"""audit log | verify | checkpoint | publish | cosign | prove | privacy, and with them ask and export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.commands import exports, questions
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
    audit.command()(publish)
    audit.command()(cosign)
    audit.command()(prove)
    audit.command()(privacy)
    audit.command()(questions.ask)
    audit.command()(exports.export)
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
    policy: Annotated[Path | None, typer.Option("--policy", help="Whose quorum a passport needs; otherwise log.policy.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Check every entry against the signed checkpoint outside the database. Exit 6 if anything was changed or cut."""
    with desk(as_json, where) as at:
        from engine import evidence

        good, findings = evidence.verify(where, passport, last_seen, policy)
        at.display.result({"intact": good, "findings": findings}, "\n".join(findings))
        if not good:
            raise typer.Exit(Exit.INTEGRITY)


def checkpoint(where: Where = None, as_json: Json = False) -> None:
    """Print the newest signed checkpoint: keep it, and hand it to whoever should be able to check."""
    with desk(as_json, where) as at:
        from engine import evidence

        note = evidence.checkpoint(at.workspace(Action.VERIFY_LOG))
        at.display.result({"checkpoint": note}, note.rstrip("\n"))


def publish(
    folder: Annotated[Path, typer.Argument(help="Where to, outside the workspace; one that was published to before gets what is new.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write the log as files that anybody can serve and verify: tiles, entries, checkpoint (C2SP tlog-tiles)."""
    with desk(as_json, where) as at:
        from engine import evidence

        size, written = evidence.publish(at.workspace(Action.READ_LOG), folder)
        at.display.result({"entries": size, "files": written}, f"{size} entries are in `{folder}`, {written} files are new")


def cosign(
    file: Annotated[Path, typer.Argument(help="What a witness answered, or a whole checkpoint with its cosignatures; - for stdin.")],
    policy: Annotated[Path | None, typer.Option("--policy", help="Who is a witness; otherwise log.policy of the workspace.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="A published folder, whose checkpoint gets them too.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Add the cosignatures of witnesses to the checkpoint that was published last."""
    with desk(as_json, where) as at:
        from engine import evidence

        lines = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        size, names = evidence.cosign(at.workspace(Action.READ_LOG), lines, policy, to)
        at.display.result({"size": size, "witnesses": names}, f"the checkpoint of {size} entries is cosigned by {', '.join(names)}")


def prove(
    what: Annotated[str, typer.Argument(help="The number of an entry, or a segment whose release is to be proved.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write, outside the workspace.")],
    subject: Annotated[str | None, typer.Option("--subject", help="What its build did with this subject, for them alone.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write a proof that an outsider checks with audit/verify.py: of an entry, of a release, or of what was done with a subject."""
    with desk(as_json, where) as at:
        from engine import evidence

        workspace = at.workspace(Action.READ_LOG if subject is None else Action.READ_SUBJECT)
        if subject is not None:
            words = evidence.prove_subject(workspace, what, subject, to)
            at.display.result({"file": str(to), "says": words}, f"`{to}` shows: {words}")
            return
        size = evidence.prove_entry(workspace, int(what), to) if what.isdecimal() else evidence.prove_release(workspace, what, to)
        at.display.result({"file": str(to), "size": size}, f"`{to}` proves it of the log of {size} entries")


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
