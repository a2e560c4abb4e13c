"""roles."""

from __future__ import annotations

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table
from governance.roles import Action, Role


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command()(roles)


def roles(where: Where = None, as_json: Json = False) -> None:
    """Who you are here, who has which role, and what each role may do, with what the house's roles.cedar adds and forbids."""
    with desk(as_json, where) as at:
        from engine import roles as asked

        workspace = at.workspace(Action.READ_ROLES)
        me, own, matrix = workspace.principal, asked.own(workspace), asked.matrix(workspace)
        holders = workspace.settings.roles
        mine = sorted(role.value for role in own)
        at.display.result(
            {
                "principal": me.name,
                "established": me.established.value,
                "roles": mine,
                "holders": {role.value: list(holders[role]) for role in Role},
                "matrix": {action.value: sorted(role.value for role in matrix[action]) for action in Action},
            },
            "\n\n".join(
                (
                    f"you are `{me.name}` ({me.established}): {', '.join(mine) or 'no role'}",
                    table([(role, ", ".join(holders[role]) or "-") for role in Role], ("role", "who")),
                    table(
                        [
                            (action.value.replace("_", " "), *("yes" if role in matrix[action] else "-" for role in Role))
                            for action in Action
                        ],
                        ("may", *(role.value.replace("_", " ") for role in Role)),
                    ),
                    "nobody approves what they built; analysts recall what they built; only officers record a yes after a no",
                )
            ),
        )
