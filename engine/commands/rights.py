"""rights access | erase | object | replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.gates import Exit
from governance.roles import Action

Subject = Annotated[str, typer.Argument(help="The subject key, as in the data.")]


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    rights = typer.Typer(help="What a subject may ask for: an answer, erasure, to be left alone.", no_args_is_help=True)
    rights.command()(access)
    rights.command()(erase)
    rights.command("object")(object_to)
    rights.command()(replay)
    app.add_typer(rights, name="rights")


def access(
    subject: Subject,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page that the subject can read.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Everything that is held about a subject and what was done with it (officers; the look is logged, without the subject)."""
    with desk(as_json, where) as at:
        from engine import access as answers

        answer = answers.access(at.workspace(Action.READ_SUBJECT), subject)
        if html is not None:
            answers.write_page(answer, html)
            at.display.note(f"the page for the subject is `{html}`; it holds all that it says, so keep it as such")
        at.display.result(answers.as_data(answer), answers.as_text(answer))


def erase(
    subject: Subject,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased, and erase nothing.")] = False,
    notices: Annotated[
        Path | None, typer.Option("--notices", help="Folder for what recipients are to be sent; default: beside the list outside.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask once more.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Erase a subject from the database and every file, and look at every byte afterwards. Exit 1 if anything is left."""
    with desk(as_json, where) as at:
        from engine import rights, rights_views

        workspace = at.workspace(Action.ERASE, alone=not dry_run)
        if dry_run:
            at.display.result(*rights_views.preview(rights.preview(workspace, subject)))
            return
        if not yes and not typer.confirm("erase this subject for good? a list outside remembers that, and nothing else will", err=True):
            raise typer.Exit(Exit.DENIED)
        with at.display.progress("erase", rights.STEPS) as progress:
            done = rights.erase(workspace, subject, notices, progress)
        at.display.result(*rights_views.erased(done))
        if done.left:
            raise typer.Exit(Exit.MACHINE)


def object_to(
    subject: Subject,
    purpose: Annotated[str, typer.Option("--purpose", help="fideslang data use; default: all purposes.")] = "*",
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Record an objection: no purpose it speaks of uses the subject any more, after restoring a backup either."""
    with desk(as_json, where) as at:
        from engine import rights, rights_views

        at.display.result(*rights_views.objected(purpose, rights.object_to(at.workspace(Action.RECORD_CONSENT), subject, purpose)))


def replay(
    anew: Annotated[bool, typer.Option("--anew", help="Begin a new list where the old one is lost (officers; logged).")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """After an old backup was put back: count again what was spent since, and erase again who was."""
    with desk(as_json, where) as at:
        from engine import restoring, rights_views

        workspace = at.workspace(Action.ERASE if anew else Action.MAINTAIN, alone=True, behind=True)
        if anew:
            restoring.begin_anew(workspace)
            at.display.result({"begun_anew": True}, f"began a new list in `{workspace.suppression.folder}`; what the old one knew is lost")
            return
        with at.display.progress("replay", restoring.STEPS) as progress:
            done = restoring.replay(workspace, progress)
        at.display.result(*rights_views.replayed(done))
        if done.left:
            raise typer.Exit(Exit.MACHINE)
