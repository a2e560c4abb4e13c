"""keys list | rotate | backup | restore, and migrate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table
from governance.roles import Action

PASSPHRASE = "CONSENTRIC_KEY_PASSPHRASE"

_CONSEQUENCES = {
    "log": "another key signs the log; both do until `consentric keys retire`, so hand the new one to whoever verifies before that",
    "split": "people move between training and hold-out; a later build's hold-out holds people that an earlier one trained on",
    "pseudonym": "everybody has another pseudonym for this purpose; recipients cannot match old lists with new ones",
}


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    keys = typer.Typer(help="The keys of a workspace.", no_args_is_help=True)
    keys.command("list")(list_keys)
    keys.command()(rotate)
    keys.command()(retire)
    keys.command()(backup)
    keys.command()(restore)
    app.add_typer(keys, name="keys")
    app.command()(migrate)


def list_keys(where: Where = None, as_json: Json = False) -> None:
    """Show which keys there are, where each comes from, and by what it is known again. No secret is shown."""
    with desk(as_json, where) as at:
        from engine import keys

        found = keys.listed(at.workspace(Action.MANAGE_KEYS))
        rows = [{"key": key.name, "fingerprint": key.fingerprint, "source": key.variable or "file"} for key in found]
        at.display.result({"keys": rows}, table([tuple(row.values()) for row in rows], ("key", "fingerprint", "source")))


def rotate(
    name: Annotated[str, typer.Argument(help="log, split, or pseudonym/PURPOSE.")],
    yes: Annotated[bool, typer.Option("--yes", help="You know what follows from it.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Exchange a key for a new one. The old one is not kept (the log's until retired). Without --yes, only says what would follow."""
    with desk(as_json, where) as at:
        from engine import keys
        from engine.workspace import WorkspaceError

        workspace = at.workspace(Action.MANAGE_KEYS, alone=True)
        consequence = _CONSEQUENCES.get(name.partition("/")[0])
        if consequence and not yes:
            raise WorkspaceError(f"if `{name}` is rotated, {consequence}; say --yes if that is wanted")
        new = keys.rotate(workspace, name)
        at.display.result({"key": name, "fingerprint": new}, f"`{name}` is another key now, {new}; make a new backup of the keys")


def retire(where: Where = None, as_json: Json = False) -> None:
    """End the overlap after `keys rotate log`: the old key signs no more, and is deleted."""
    with desk(as_json, where) as at:
        from engine import keys

        old = keys.retire(at.workspace(Action.MANAGE_KEYS, alone=True))
        at.display.result({"retired": old}, f"key {old} signs no more; make a new backup of the keys")


def backup(
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write the keys to one file under a passphrase (asked for, or from CONSENTRIC_KEY_PASSPHRASE). Keep the two apart."""
    with desk(as_json, where) as at:
        from engine import keys

        workspace = at.workspace(Action.MANAGE_KEYS)
        kept = keys.backup(workspace, file, _passphrase(confirm=True))
        at.display.result({"file": str(file), "keys": list(kept)}, f"{len(kept)} files of keys are in `{file}`")


def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Put missing keys back. Those that are there stay, and those that were rotated since the backup stay away."""
    with desk(as_json, where) as at:
        from engine import keys

        found = keys.restore(where, file, lambda: _passphrase(confirm=False))
        at.display.result(
            {"restored": list(found.back), "rotated_since": list(found.rotated)},
            "\n".join([*(f"{place} is back" for place in found.back), *(f"{place} was rotated since" for place in found.rotated)])
            or "nothing was missing",
        )


def migrate(where: Where = None, as_json: Json = False) -> None:
    """Bring the metadata database to this version's schema. On SQLite, a copy of it as it was is kept first."""
    with desk(as_json, where) as at:
        from engine import keys

        done = keys.migrate(where)
        copy = f"; as it was: {done.copy}" if done.copy else ""
        at.display.result(
            {"before": done.before, "copy": None if done.copy is None else str(done.copy)}, f"the schema was {done.before}{copy}"
        )


def _passphrase(confirm: bool) -> str:
    return os.environ.get(PASSPHRASE) or str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
