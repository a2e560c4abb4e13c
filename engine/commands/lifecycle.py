"""sweep, and segments score | notices | acknowledge: what happens to a segment after it was released."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from governance.roles import Action


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    app.command()(sweep)


def extend(segments: typer.Typer) -> None:
    """Add those that stand among the commands on segments."""
    segments.command()(score)
    segments.command()(notices)
    segments.command()(acknowledge)


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at what would be done, and do nothing.")] = False,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Delete what has expired, and take whoever may not be used any more out of lists, files and exports."""
    with desk(as_json, where) as at:
        from engine import afterwards
        from engine import sweep as sweeping

        workspace = at.workspace(Action.SWEEP)
        with at.display.progress("sweep", sweeping.STEPS) as progress:
            swept = sweeping.sweep(workspace, progress=progress, dry_run=dry_run)
        at.display.result(*afterwards.swept(workspace, swept, dry_run))


def score(
    name: Annotated[str, typer.Argument(help="The segment, or the released build whose model is applied.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Hand the list over at once, as .parquet or .csv, where no approval is needed.")
    ] = None,
    destination: Annotated[str | None, typer.Option("--destination", help="A destination of the policy; default: the spec's.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="Features are of the time before it; default: today.")
    ] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Assign today's people to the segments of a released model: consent and policy are asked anew, nothing is charged."""
    with desk(as_json, where) as at:
        from engine import release, scoring, views
        from engine.bench import Bench
        from governance.builds import Status

        day = scoring.day(as_of)
        workspace = at.workspace(Action.SCORE)
        if to is not None:
            release.check_target(workspace, to)
        with at.display.progress("score", scoring.STEPS) as progress:
            bench = Bench.at(workspace, progress)
            scored = scoring.score(bench, name, day)
        if scored.status is Status.QUARANTINED and not scored.facts["required"]:
            scored = release.release(bench.workspace, scored)
        at.display.result(*views.built(bench.workspace, scored))
        if to is None:
            return
        if scored.status is Status.RELEASED:
            at.display.note(f"written: {to} (for {release.export(bench.workspace, scored.id, to, destination)})")
        else:
            at.display.note(f"not written yet: after approval, consentric segments export {scored.id} --to {to}")


def notices(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Write a file for each into this folder, to be handed over.")
    ] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Recall notices that no recipient has acknowledged: who must delete whom from what they were handed."""
    with desk(as_json, where) as at:
        from engine import afterwards, recalls

        workspace = at.workspace(Action.EXPORT)
        written = recalls.hand_over(workspace, to) if to is not None else ()
        at.display.result(*afterwards.notices(workspace, written))


def acknowledge(
    notice: Annotated[str, typer.Argument(help="The notice, as `segments notices` lists it.")], where: Where = None, as_json: Json = False
) -> None:
    """Record that a recipient did as a notice asked; no copy of the notice stays."""
    with desk(as_json, where) as at:
        from engine import recalls

        done = recalls.acknowledge(at.workspace(Action.EXPORT), notice)
        at.display.result(
            {"notice": done.id, "acknowledged_by": done.acknowledged_by}, f"acknowledged: {done.id}; nothing of whom it named is kept"
        )
