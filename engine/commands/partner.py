"""partner init | join | run | prove | check, and partner transcript show | verify: this workspace's side of a collaboration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.shared import Json, Where, desk
from engine.display import table
from engine.gates import Exit
from governance.roles import Action

Name = Annotated[str, typer.Argument(help="The collaboration, as its contract names it.")]


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    partner = typer.Typer(help="Taking part in collaborations with others, whose rows nobody here sees.", no_args_is_help=True)
    partner.command()(init)
    partner.command()(join)
    partner.command()(run)
    partner.command()(prove)
    partner.command()(check)
    transcript = typer.Typer(help="What left for a collaboration: signed, chained, and verified offline.", no_args_is_help=True)
    transcript.command()(show)
    transcript.command()(verify)
    partner.add_typer(transcript, name="transcript")
    app.add_typer(partner, name="partner")


def init(
    name: Annotated[str | None, typer.Option("--name", help="What contracts call you; default: the workspace's name.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Make this partner's keys, once, and show their public halves, which the others need."""
    with desk(as_json, where) as at:
        from engine.partners import identity

        keys = identity.make(at.workspace(Action.MANAGE_KEYS), name)
        at.display.result(
            {"name": keys.verifier.name, "verifier_key": str(keys.verifier), "node_key": keys.node_public},
            f"for the contract, and for whoever verifies your transcript:\n{keys.verifier}\n\n"
            f"for whoever serves the link, who keeps it as collaborations/nodes/{keys.verifier.name}.pub:\n{keys.node_public}\n\n"
            "make a new backup of the keys",
        )


def join(
    envelope: Annotated[Path, typer.Argument(help="The contract with every partner's signature.")],
    digest: Annotated[str, typer.Option("--digest", help="sha256:… of the contract, which you wrote down when you signed it.")],
    segment: Annotated[str, typer.Option("--segment", help="What takes part here, as in segments/NAME.yaml.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Verify a signed contract, hold a segment of this workspace against it, and join. No row is read."""
    with desk(as_json, where) as at:
        from engine.partners import joining
        from engine.workspace import given

        workspace = at.workspace(Action.BUILD)
        joined = joining.join(workspace, given(envelope), joining.digest_of(digest), segment)
        at.display.result(
            {"collaboration": joined.name, "contract": joined.contract, "segment": joined.segment},
            f"joined `{joined.name}` with segment `{joined.segment}`; take part with consentric partner run {joined.name} --link HOST:PORT "
            f"--ca {joined.name}.ca.pem, which whoever serves the link hands over",
        )


def run(
    name: Name,
    link: Annotated[str, typer.Option("--link", metavar="HOST:PORT", help="Where the collaboration's link is reached.")],
    ca: Annotated[Path, typer.Option("--ca", help="The certificate authority of the link (PEM), handed over with the contract.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Take part until the joint model comes, or Ctrl-C; outbound only. Begun anew, it goes on where it was."""
    with desk(as_json, where) as at:
        from engine.bench import Bench
        from engine.partners import serving, views
        from governance.builds import Status

        workspace = at.workspace(Action.BUILD)
        served = serving.serve(Bench.at(workspace, at.display.note), name, link, ca)
        at.display.result(*views.served(workspace, name, served))
        if served.build is not None and served.build.status is Status.REFUSED:
            raise typer.Exit(Exit.FAIRNESS)


def prove(
    name: Name,
    round: Annotated[int, typer.Option("--round", min=1, help="Of the collaboration.")],
    subject: Annotated[str, typer.Option("--subject", help="Their key, as in the data.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write, outside the workspace.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Write what a round did with a subject, for them alone: used or left out, and why. Anybody can check the file."""
    with desk(as_json, where) as at:
        from engine.partners import presence

        words = presence.prove(at.workspace(Action.READ_SUBJECT), name, round, subject, to)
        at.display.result({"file": str(to), "says": words}, f"`{to}` shows: {words}")


def check(
    file: Annotated[Path, typer.Argument(help="What `partner prove` wrote.")],
    key: Annotated[str, typer.Option("--key", help="The verifier key of the partner's log: name+hash+key.")],
    as_json: Json = False,
) -> None:
    """Check what a partner says that a round did with somebody, with nothing but the file and the log's key. Exit 6 if it does not hold."""
    with desk(as_json) as at:
        from engine.partners import presence

        words = presence.check(file, key)
        at.display.result({"intact": True, "says": words}, words)


def show(
    name: Name,
    to: Annotated[Path | None, typer.Option("--to", help="Write the file for whoever is to verify it.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Show every payload that left for a collaboration: digest, size, round, what it cost. Refusals too."""
    with desk(as_json, where) as at:
        from engine.partners import views

        rows, data = views.transcript(at.workspace(Action.READ_SEGMENTS), name, to)
        at.display.result(data, table(rows, views.COLUMNS))
        if to is not None:
            at.display.note(f"written: {to}; consentric partner transcript verify {to} --key {data['verifier_key']}")


def verify(
    file: Annotated[Path, typer.Argument(help="A transcript.")],
    key: Annotated[str, typer.Option("--key", help="The partner's verifier key, as its contract names it: name+hash+key.")],
    head: Annotated[str | None, typer.Option("--head", help="Of a transcript that has not ended: a head that the partner gave.")] = None,
    as_json: Json = False,
) -> None:
    """Verify a partner's transcript with nothing but the file and its key. Exit 6 if anything was changed, moved or cut."""
    with desk(as_json) as at:
        from engine.partners import views

        data, text = views.verified(file, key, head)
        at.display.result(data, text)
        if data["findings"]:
            raise typer.Exit(Exit.INTEGRITY)
