"""policy check | explain | test | diff | approve."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import as_data, finding_lines, table
from engine.gates import Exit
from governance.roles import Action


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    policy = typer.Typer(help="Check, explain, test, compare and approve policies.", no_args_is_help=True)
    policy.command("check")(policy_check)
    policy.command("explain")(policy_explain)
    policy.command("test")(policy_test)
    policy.command("diff")(policy_diff)
    policy.command("approve")(policy_approve)
    app.add_typer(policy, name="policy")


def policy_check(
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Read every document of the workspace and decide every segment, without reading data. Exit 2 for mistakes, 3 for denials."""
    with desk(as_json, where) as at:
        from engine.policies import DENIED, OK, check_all

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
    jurisdiction: Annotated[str | None, typer.Option("--jurisdiction", help="Where people are, if not as the contract says.")] = None,
    destination: Annotated[str | None, typer.Option("--destination", help="Who receives the result; nobody by default.")] = None,
    fairness: Annotated[bool, typer.Option("--fairness", help="Ask for the fairness audit instead of a feature.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Say whether a purpose may read a column, by which rules, how coarse it becomes, and what the way out is."""
    with desk(as_json, where) as at:
        from engine.policies import explain

        said = explain(
            at.workspace(Action.READ_POLICY),
            dataset,
            policy,
            purpose,
            column,
            jurisdiction=jurisdiction,
            destination=destination,
            fairness=fairness,
        )
        lines = [f"{column}: {'allowed' if said.allowed else 'denied'} for {purpose}", *finding_lines(said.findings)]
        lines += [f"read as: {', then '.join(said.steps)}"] if said.steps else []
        lines += [f"nearest to the opposite: {said.near}"] if said.near else []
        at.display.result(
            {
                "column": column,
                "allowed": said.allowed,
                "findings": [as_data(f) | {"ground": f.ground} for f in said.findings],
                "read_as": list(said.steps),
                "nearest": said.near,
            },
            "\n".join(lines),
        )


def policy_test(
    name: Annotated[str | None, typer.Argument(help="A policy of the workspace, or a pack; without it, all of the workspace.")] = None,
    mutants: Annotated[bool, typer.Option("--mutants", help="Count how many small mistakes in NAME its tests would notice.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Run the test documents of policies (policies/NAME.test.yaml). Exit 2 for a broken document, 3 for a case that fails."""
    with desk(as_json, where) as at:
        from engine import policies
        from engine.policy_views import hunted, tested
        from engine.workspace import WorkspaceError

        if mutants and name is None:
            raise WorkspaceError("`--mutants`: got no name, expected that of a policy or a pack")
        packed = name is not None and policies.is_pack(name)
        workspace = None if packed else at.workspace(Action.READ_POLICY)  # a pack is the same everywhere
        reports = policies.test_policies(workspace, name) if workspace else (policies.test_pack(str(name)),)
        failed = any(report.failures for report in reports)
        if mutants and not failed:
            hunt = policies.hunt_policy(workspace, str(name)) if workspace else policies.hunt_pack(str(name))
            at.display.result(*hunted(hunt))
        else:
            at.display.result(*tested(reports))
        if failed:
            raise typer.Exit(Exit.DENIED)


def policy_diff(
    before: Annotated[str, typer.Argument(help="A policy of the workspace, a pack, or a file.")],
    after: Annotated[str, typer.Argument(help="What takes its place. Beside a policy, a pack stands for that policy built on it.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Say what changes if AFTER takes the place of BEFORE: columns exposed or closed, to which purposes, figures, and segments."""
    with desk(as_json, where) as at:
        from engine.policies import diff
        from engine.policy_views import compared

        at.display.result(*compared(diff(at.workspace(Action.READ_POLICY), before, after)))


def policy_approve(
    name: Annotated[str, typer.Argument(help="A policy of the workspace.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write into the log that you approve a policy as it is now, and what it changes against the version approved before (officers)."""
    with desk(as_json, where) as at:
        from engine.policy_approvals import approve

        done = approve(at.workspace(Action.APPROVE), name)
        changes = ["no version was approved before"] if done.changes is None else [*done.changes] or ["nothing changes"]
        said = done.approved
        at.display.result(
            {"policy": said.name, "digest": said.policy, "before": said.before, "by": said.principal, "changes": done.changes},
            "\n".join([f"approved: {said.name}, {said.policy}", *changes]),
        )
