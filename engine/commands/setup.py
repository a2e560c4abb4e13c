"""init, demo, schema, policy, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import as_data, finding_lines, table
from engine.gates import Exit
from governance.roles import Action


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command()(init)
    app.command()(demo)
    app.command()(schema)
    app.command()(doctor)
    policy = typer.Typer(help="Check policies and explain their decisions.", no_args_is_help=True)
    policy.command("check")(policy_check)
    policy.command("explain")(policy_explain)
    app.add_typer(policy, name="policy")


def init(
    folder: Annotated[Path, typer.Argument(help="Where to make the workspace.")] = Path("."),
    demo: Annotated[bool, typer.Option("--demo", help="Mark it as a demo: principals may be claimed, and the log says so.")] = False,
    as_json: Json = False,
) -> None:
    """Make a workspace: folders, settings, keys, database, and the first entry of its log."""
    with desk(as_json) as at:
        from engine.workspace import Workspace

        workspace = Workspace.create(folder, demo=demo)
        at.display.result(
            {"workspace": str(workspace.root), "verifier_key": workspace.keys.verifier_key},
            f"workspace made at {workspace.root}\n"
            f"verifier key of its log: {workspace.keys.verifier_key}\n"
            "next: write contracts/NAME.yaml, policies/NAME.yaml and segments/NAME.yaml (consentric schema contract),\n"
            "then consentric consent import FILE and consentric plan NAME",
        )


def demo(
    into: Annotated[Path, typer.Option("--into", help="Folder of the two demo workspaces.")] = Path(".demo"),
    as_json: Json = False,
) -> None:
    """Build two segments from real and simulated purchases, with generated consents, and show what to try next."""
    with desk(as_json) as at:
        from engine.demo.run import run

        data, text = run(into, at.display)
        at.display.result(data, text)


def schema(
    document: Annotated[str, typer.Argument(help="contract, policy or segment")],
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of a document (which is JSON, with and without --json)."""
    with desk(as_json) as at:
        from policies import reading

        found = reading.schema(document)
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


def policy_check(
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Read every document of the workspace and decide every segment, without reading data. Exit 2 for mistakes, 3 for denials."""
    with desk(as_json, where) as at:
        from engine.planning import DENIED, OK, check_all

        rows = check_all(at.workspace(Action.READ_POLICY))
        at.display.result({"documents": [{"document": d, "state": s} for d, s in rows]}, table(rows, ("document", "state")))
        wrong = [state for _, state in rows if state != OK]
        if wrong:
            raise typer.Exit(Exit.DENIED if all(state.startswith(DENIED) for state in wrong) else Exit.USAGE)


def policy_explain(
    column: Annotated[str, typer.Argument(help="TABLE.COLUMN")],
    dataset: Annotated[str, typer.Option("--dataset", help="The contract's name.")],
    policy: Annotated[str, typer.Option("--policy", help="The policy's name.")],
    purpose: Annotated[str, typer.Option("--purpose", help="fideslang data use.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Say whether a purpose may read a column, by which rule, and what the way out is."""
    with desk(as_json, where) as at:
        from engine.planning import explain

        verdict, findings = explain(at.workspace(Action.READ_POLICY), dataset, policy, purpose, column)
        at.display.result(
            {"column": column, "allowed": verdict, "findings": [as_data(f) for f in findings]},
            f"{column}: {'allowed' if verdict else 'denied'} for {purpose}\n" + "\n".join(finding_lines(findings)),
        )
