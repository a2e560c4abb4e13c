"""plan, build, approve, reject, budget, fairness, and segments list | show | diff | members | export | recall."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from engine.commands import lifecycle
from engine.commands.shared import Json, Where, desk
from engine.display import table
from governance.roles import Action

Name = Annotated[str, typer.Argument(help="The segment, as in segments/NAME.yaml.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Goes into the record.")]


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    own: tuple[Callable[..., None], ...] = (plan, build, approve, reject, budget, fairness)
    for command in own:
        app.command()(command)
    segments = typer.Typer(help="Segments that were built.", no_args_is_help=True)
    segments.command("list")(list_segments)
    several: tuple[Callable[..., None], ...] = (show, diff, members, export, recall)
    for command in several:
        segments.command()(command)
    lifecycle.extend(segments)
    app.add_typer(segments, name="segments")


def plan(
    name: Name,
    compare: Annotated[str | None, typer.Option("--compare", help="Forecast accuracy at several ε, such as 0.5,1,2.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Show what would be read, who would be in, what it would cost and how good it would be. Trains nothing."""
    with desk(as_json, where) as at:
        from engine import planning, views
        from engine.bench import Bench

        epsilons = planning.several(compare) if compare else ()
        with at.display.progress("plan", planning.STEPS) as progress:
            bench = Bench.at(at.workspace(Action.PLAN), progress)
            made = planning.plan(bench, name)
        at.display.result(*views.plan(made, planning.compare(made, epsilons)))


def build(
    name: Name,
    plan_id: Annotated[
        str | None, typer.Option("--plan", help="Build this plan; refused if contract, policy or spec changed since.")
    ] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Build a segment with differential privacy, check it for fairness, and put it in quarantine or release it."""
    with desk(as_json, where) as at:
        from engine import pipeline, views
        from engine.bench import Bench

        workspace = at.workspace(Action.BUILD)
        with at.display.progress("build", pipeline.steps(workspace.segment(name))) as progress:
            bench = Bench.at(workspace, progress)
            built = pipeline.build(bench, name, plan_id)
        at.display.result(*views.built(bench.workspace, built))


def approve(
    name: Annotated[str, typer.Argument(help="The segment or the build.")],
    comment: Comment = "",
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Approve the newest build in quarantine; with the last approval it is released. Whoever built it cannot."""
    with desk(as_json, where) as at:
        from engine import release, views

        workspace = at.workspace(Action.APPROVE)
        at.display.result(*views.built(workspace, release.approve(workspace, name, comment)))


def reject(
    name: Annotated[str, typer.Argument(help="The segment or the build.")],
    comment: Comment = "",
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Reject the newest build in quarantine; its membership is deleted, what it spent stays spent."""
    with desk(as_json, where) as at:
        from engine import release, views

        workspace = at.workspace(Action.APPROVE)
        at.display.result(*views.built(workspace, release.reject(workspace, name, comment)))


def budget(
    accept_cap: Annotated[
        str | None, typer.Option("--accept-cap", metavar="POLICY", help="Let the cap of this policy bind, first (officers; logged).")
    ] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Spent and left ε of every account: allocations by purpose and period, and the cap over a lifetime."""
    with desk(as_json, where) as at:
        from engine import caps, views

        workspace = at.workspace(Action.READ_BUDGET)
        if accept_cap is not None:
            for accepted in caps.accept(workspace, accept_cap):
                at.display.note(f"cap of `{accepted.account}`: {views.allowance(accepted.before)}, now {views.allowance(accepted.limit)}")
        at.display.result(*views.budget(workspace))


def fairness(name: Name, where: Where = None, as_json: Json = False) -> None:
    """The fairness verdicts of a segment's newest build, with intervals and reasons."""
    with desk(as_json, where) as at:
        from engine import fairness_views

        at.display.result(*fairness_views.fairness(at.workspace(Action.READ_SEGMENTS), name))


def list_segments(where: Where = None, as_json: Json = False) -> None:
    """All builds, newest first."""
    with desk(as_json, where) as at:
        from engine import views

        at.display.result(*views.listing(at.workspace(Action.READ_SEGMENTS)))


def show(name: Annotated[str, typer.Argument(help="The segment or the build.")], where: Where = None, as_json: Json = False) -> None:
    """A build: its segments with noisy sizes, quality, fairness, budget, approvals."""
    with desk(as_json, where) as at:
        from engine import views

        at.display.result(*views.show(at.workspace(Action.READ_SEGMENTS), name))


def diff(older: str, newer: str, where: Where = None, as_json: Json = False) -> None:
    """What two builds have in common and where they differ: spec, columns, sizes, quality."""
    with desk(as_json, where) as at:
        from engine import views

        at.display.result(*views.diff(at.workspace(Action.READ_SEGMENTS), older, newer))


def members(
    name: Name,
    segment: Annotated[str | None, typer.Option("--segment", help="Only this one of a clustering.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Pseudonyms of the members of a released segment, less whoever withdrew since (the look is logged)."""
    with desk(as_json, where) as at:
        from engine import release

        rows = release.members(at.workspace(Action.READ_MEMBERS), name, segment)
        at.display.result({"members": rows}, table([(r["pseudonym"], r["segment"]) for r in rows], ("pseudonym", "segment")))


def export(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="The file to write: .parquet or .csv.")],
    destination: Annotated[str | None, typer.Option("--destination", help="A destination of the policy; default: the spec's.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write a released membership for a destination, less whoever withdrew since."""
    with desk(as_json, where) as at:
        from engine import release

        written = release.export(at.workspace(Action.EXPORT), name, to, destination)
        at.display.result({"file": str(to), "destination": written}, f"written: {to} (for {written})")


def recall(name: Name, comment: Comment = "", where: Where = None, as_json: Json = False) -> None:
    """Take a released segment back: no more reads, no more exports; its files here are deleted."""
    with desk(as_json, where) as at:
        from engine import release, views

        workspace = at.workspace(Action.RECALL)
        at.display.result(*views.built(workspace, release.recall(workspace, name, comment)))
