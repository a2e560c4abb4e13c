"""init, demo, schema, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table
from engine.gates import Exit


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command()(init)
    app.command()(demo)
    app.command()(schema)
    app.command()(doctor)


def init(
    folder: Annotated[Path, typer.Argument(help="Where to make the workspace.")] = Path("."),
    demo: Annotated[bool, typer.Option("--demo", help="Mark it as a demo: principals may be claimed, and the log says so.")] = False,
    as_json: Json = False,
) -> None:
    """Make a workspace: folders, settings, keys, database, and the first entry of its log."""
    with desk(as_json) as at:
        from engine import roles
        from engine.settings import FILE
        from engine.workspace import Workspace

        workspace = Workspace.create(folder, demo=demo)
        yours = sorted(role.value for role in roles.own(workspace))
        at.display.result(
            {
                "workspace": str(workspace.root),
                "verifier_key": workspace.keys.verifier_key,
                "principal": workspace.principal.name,
                "roles": yours,
            },
            f"workspace made at {workspace.root}\n"
            f"verifier key of its log: {workspace.keys.verifier_key}\n"
            f"`{workspace.principal.name}` is {' and '.join(yours)} for now; nobody approves what they built themselves,\n"
            f"so name others under [roles] in {FILE} (consentric roles shows what each may do)\n"
            "next: write contracts/NAME.yaml, policies/NAME.yaml and segments/NAME.yaml (consentric schema contract),\n"
            "then consentric consent import FILE and consentric plan NAME",
        )


def demo(
    into: Annotated[
        Path | None, typer.Option("--into", help="Folder of the demo's workspaces; default: .demo, or .demo-federated.")
    ] = None,
    federated: Annotated[
        bool, typer.Option("--federated", help="Learn both segments of three partners each, over TLS on this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build two segments from real and simulated purchases, with generated consents, and show what to try next."""
    with desk(as_json) as at:
        if federated:
            from engine.demo import together

            data, text = together.run(into or Path(".demo-federated"), at.display)
        else:
            from engine.demo import run

            data, text = run.run(into or Path(".demo"), at.display)
        at.display.result(data, text)


def schema(
    document: Annotated[str, typer.Argument(help="contract, policy, segment, pack, policy-test or collaboration")],
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of a document (which is JSON, with and without --json)."""
    with desk(as_json) as at:
        from federated.contract import Collaboration
        from policies import reading

        found = reading.schema(document, reading.KINDS | {"collaboration": Collaboration})
        at.display.result(found, json.dumps(found, indent=2))


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Also mend what can be mended without loss.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Check keys, file modes, checkpoint, reservations and versions, each with a remedy."""
    with desk(as_json, where) as at:
        from engine import doctor as checks

        found = checks.examine(where, repair)
        rows = [(check.name, "ok" if check.ok else "MEND", check.detail, check.remedy or "") for check in found]
        at.display.result(
            {"checks": [{"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy} for c in found]},
            table(rows, ("check", "state", "detail", "remedy")),
        )
        worst = max((check.code for check in found if not check.ok), default=Exit.DONE)
        if worst:
            raise typer.Exit(worst)
