"""collaboration create | sign | join | show | verify | serve | run | status | check."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.shared import Desk, Json, Where, desk
from engine.display import table
from engine.gates import Exit
from governance.roles import Action

if TYPE_CHECKING:
    from engine.collaborations.contracts import Envelope

File = Annotated[str, typer.Argument(help="The contract: a file, or its name in this workspace.")]


def attach(app: typer.Typer) -> None:
    """Add the commands of this topic."""
    collaboration = typer.Typer(help="Joint segments: a contract that partners sign, and the rounds that it allows.", no_args_is_help=True)
    for command in (create, sign, join, show, verify, serve, run, status, check):
        collaboration.command()(command)
    app.add_typer(collaboration, name="collaboration")


def create(
    file: Annotated[Path | None, typer.Argument(help="The contract as YAML; without it, one to begin with is printed.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Draw a contract up: check it, and write the envelope that every partner signs."""
    with desk(as_json, where) as at:
        from importlib.resources import files

        if file is None:
            text = files("engine.collaborations").joinpath("example.yaml").read_text(encoding="utf-8")
            at.display.result({"example": text}, text.rstrip())
            return
        from engine.collaborations import contracts, terms

        made = contracts.create(at.workspace(Action.PLAN), file)
        at.display.result(
            terms.data(made),
            f"{terms.text(made)}\n\nwritten to {made.path}\n{_next(made)}",
        )


def sign(
    file: File,
    to: Annotated[Path | None, typer.Option("--to", help="Write the signed envelope here instead.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Sign a contract as this partner (officers), with the key of `consentric partner init`."""
    with desk(as_json, where) as at:
        from engine.collaborations import contracts, terms

        made = contracts.sign_envelope(at.workspace(Action.APPROVE), file, to)
        left = f"still to sign: {', '.join(made.missing)}" if made.missing else "everybody signed"
        at.display.result(
            terms.data(made),
            f"signed: {made.path}\nwrite this down: {made.digest}\n{left}\nnext: hand {made.path.name} back to whoever drew it up",
        )


def join(
    envelopes: Annotated[list[str], typer.Argument(help="Copies of the contract that partners signed apart.", metavar="FILE…")],
    to: Annotated[Path, typer.Option("--to", help="Write the envelope with all signatures here.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Put signatures of several copies of a contract into one envelope."""
    with desk(as_json, where) as at:
        from engine.collaborations import contracts, terms

        made = contracts.joined([_located(at, envelope) for envelope in envelopes], to)
        left = f"still to sign: {', '.join(made.missing)}" if made.missing else "everybody signed"
        name = made.contract.name
        at.display.result(
            terms.data(made),
            f"written to {made.path}\n{left}\nnext: hand it to every partner, for consentric partner join; whoever leads keeps it as "
            f"collaborations/{name}.json",
        )


def show(
    file: File,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Say in words what a contract allows, what it costs, whom it protects against, and who has signed."""
    with desk(as_json, where) as at:
        from engine.collaborations import contracts, terms

        found = contracts.read(_located(at, file))
        at.display.result(terms.data(found), terms.text(found))


def verify(
    file: File,
    digest: Annotated[str | None, typer.Option("--digest", help="What you wrote down when you signed.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Check digest and signatures. Exit 3 while somebody has not signed, 6 for another contract."""
    with desk(as_json, where) as at:
        from engine.collaborations import contracts, terms

        found = contracts.read(_located(at, file))
        if digest is not None:
            from engine.partners.joining import digest_of

            contracts.verify(found, digest_of(digest))
        signed = ", ".join(verifier.name for verifier in found.signed) or "nobody"
        compared = "as you wrote it down" if digest else "compare it with what you wrote down"
        at.display.result(
            terms.data(found),
            f"{found.digest}, {compared}\nsigned by: {signed}"
            + (f"\nnot signed by: {', '.join(found.missing)}" if found.missing else "\neverybody signed"),
        )
        if found.missing:
            raise typer.Exit(Exit.DENIED)


def _next(made: Envelope) -> str:
    """What a contract that was drawn up needs, and which files go from hand to hand."""
    name = made.contract.name
    keys = ", ".join(f"{each.name}.pub" for each in made.contract.identities)
    return (
        "next:\n"
        f"  1  hand {name}.json to every partner, who reads it (consentric collaboration show {name}.json), writes the digest down, and\n"
        f"     signs it (consentric collaboration sign {name}.json --to {name}.PARTNER.json)\n"
        f"  2  consentric collaboration join {name}.*.json --to {made.path}; hand every partner that file\n"
        f"  3  in collaborations/nodes, the node key that consentric partner init printed at each partner: {keys}\n"
        f"  4  consentric collaboration serve {name}, which makes collaborations/{name}.ca.pem for every partner; beside it\n"
        f"     consentric collaboration run {name}"
    )


def _located(at: Desk, file: str) -> Path:
    """A file needs no workspace; a name does."""
    from engine.collaborations import contracts
    from engine.workspace import WorkspaceError

    if Path(file).is_file():
        return Path(file)
    try:
        workspace = at.workspace(Action.READ_POLICY)
    except WorkspaceError as error:
        raise WorkspaceError(f"no file `{file}`, and no contract of that name without a workspace: {error}") from None
    return contracts.located(workspace, file)


def serve(
    name: File,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 9092,
    known_as: Annotated[
        list[str] | None, typer.Option("--known-as", help="A name or address by which partners reach this machine.")
    ] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Keep the link over which partners are asked, with TLS and registered nodes only, until Ctrl-C."""
    with desk(as_json, where) as at:
        from engine.bench import Bench
        from engine.collaborations import contracts, link

        bench = Bench.at(at.workspace(Action.BUILD), at.display.note)
        agreed = contracts.of(bench.workspace, name).agreed
        names = tuple(known_as or ([host] if host not in ("0.0.0.0", "::") else ["localhost"]))
        stop, seen = threading.Event(), set[str]()

        def connected(partner: str, online: bool) -> None:
            (seen.add if online else seen.discard)(partner)
            here = f"{len(seen)} of {len(agreed.contract.partners)} partners are there"
            at.display.note(f"{partner} {'came' if online else 'went'}; {here}")

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        link.serve(bench, agreed, link.Place(host, port, names), stop, connected)
        at.display.result({"collaboration": agreed.contract.name, "served": True}, "the link has ended; what was answered is kept")


def run(
    name: File,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Learn the joint model of a contract over its link: begun anew, or gone on with. No row is seen here."""
    with desk(as_json, where) as at:
        from engine.bench import Bench
        from engine.collaborations import contracts, joint, link, running, status
        from federated.courier import Courier, InProcess

        workspace = at.workspace(Action.BUILD)
        agreed = contracts.of(workspace, name).agreed
        with at.display.progress(agreed.contract.name, joint.steps(agreed.contract) + running.STEPS) as progress:
            bench = Bench.at(workspace, progress)
            nobody: AbstractContextManager[Courier] = nullcontext(InProcess({}))
            if not (over := running.ended(workspace, agreed)):
                progress("reach the link")
            with nobody if over else link.reached(workspace, agreed, at.display.note) as courier:
                ran = running.run(bench, agreed, courier)
        at.display.result(status.ran_data(ran), status.ran_text(agreed, ran))


def status(
    name: File,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Show the rounds of a contract: what was answered, what it cost each partner, who was lost, who has the model."""
    with desk(as_json, where) as at:
        from engine.collaborations import contracts
        from engine.collaborations.status import COLUMNS, status_of

        workspace = at.workspace(Action.READ_SEGMENTS)
        found = status_of(workspace, contracts.of(workspace, name))
        at.display.result(found.data, f"{table(found.rows, COLUMNS)}\n\n{found.text}" if found.rows else found.text)


def check(
    file: Annotated[Path, typer.Argument(help="The passport of a joint model, as its coordinator handed it out.")],
    key: Annotated[str, typer.Option("--key", help="The verifier key of the coordinator's log: name+hash+key.")],
    digest: Annotated[str | None, typer.Option("--digest", help="Of the contract, as you wrote it down when you signed.")] = None,
    transcript: Annotated[list[Path] | None, typer.Option("--transcript", help="A partner's, to be held against it.")] = None,
    as_json: Json = False,
) -> None:
    """Check a joint passport offline: log entry, contract, what each partner signed and was charged. Exit 6 if it does not hold."""
    with desk(as_json) as at:
        from engine.collaborations import checking

        if digest is not None:
            from engine.partners.joining import digest_of

            digest = digest_of(digest)
        at.display.result(*checking.check(file, key, digest, transcript or ()))
