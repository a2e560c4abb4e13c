"""The link of a collaboration: a SuperLink that the coordinator keeps, the nodes that may use it, and the courier that speaks over it.

Partners reach out to it, and nobody reaches in to them. It carries bytes, and is trusted with nothing else. Each partner's node key lies in
`collaborations/nodes/PARTNER.pub`, as `consentric partner init` printed it there; `collaborations/NAME.ca.pem` is what partners hold to
know the link again. Heavy imports stay inside: without `flwr` everything else here works.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from engine.answers import held, hold
from engine.bench import Bench
from engine.collaborations.contracts import FOLDER
from engine.collaborations.rounds import CollaborationError
from engine.files import whole_file
from engine.workspace import Workspace, WorkspaceError, now
from federated.contract import Agreed, Collaboration
from federated.flower.certificates import registered
from federated.flower.pinned import TransportError, require
from federated.messages import Terms
from governance.key_files import make_folder

if TYPE_CHECKING:
    from federated.flower.courier import FlowerCourier
    from federated.flower.superlink import SuperLink

PLACE, NODES, ADDRESS = "link", "nodes", "address.json"
LOOK = 1.0
"""Seconds between two looks at who is connected."""
UP, MISSING, SPARE, AGAIN = 8.0, 120.0, 20.0, 15.0
"""Seconds that a run waits: for the link, for partners without whom it cannot begin, for others; and until it says so again."""


GONE = 10.0
"""Seconds for which a round waits for a partner that is not connected, where the contract allows to go on without it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link listens, `host` and `port`, and the names or addresses under which partners reach it."""

    host: str
    port: int
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class State:
    """Of a link, as whoever serves it last noted. `address`: host:port, empty where it does not serve; `connected`: names."""

    address: str
    connected: tuple[str, ...]


def node_keys(workspace: Workspace, contract: Collaboration) -> dict[str, bytes]:
    """Each partner's, in OpenSSH's format. Raises WorkspaceError with everything that is missing, and for a key of two partners."""
    folder = workspace.root / FOLDER / NODES
    found: dict[str, bytes] = {}
    missing = []
    for verifier in contract.identities:
        path = folder / f"{verifier.name}.pub"
        if not path.is_file():
            missing.append(f"`{FOLDER}/{NODES}/{path.name}`")
            continue
        try:
            key = load_ssh_public_key(path.read_bytes().strip())
            registered(public := key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        except (OSError, ValueError, UnsupportedAlgorithm, TransportError):
            raise WorkspaceError(
                f"`{path}`: expected a public key (`ecdsa-sha2-nistp384 …`), as `consentric partner init` prints it at `{verifier.name}`"
            ) from None
        if same := [name for name, other in found.items() if other == public]:
            raise WorkspaceError(
                f"`{path}`: got the key of `{same[0]}`, expected what `consentric partner init` prints at `{verifier.name}`"
            )
        found[verifier.name] = public
    if missing:
        raise WorkspaceError(f"no node key in {', '.join(missing)}: put there what `consentric partner init` prints at each partner")
    return found


def serve(bench: Bench, agreed: Agreed, place: Place, stop: threading.Event, connected: Callable[[str, bool], None]) -> None:
    """Keep the link until `stop`; `connected` is told of each partner that comes or goes.

    Raises WorkspaceError; CollaborationError where another process serves it; TransportError where it does not start, or ends by itself.
    """
    from federated.flower.calls import StoppedError
    from federated.flower.certificates import keep_server
    from federated.flower.superlink import SuperLink

    require()
    for given in (each for each in place.names if not re.fullmatch(r"[A-Za-z0-9._:-]+", each)):
        raise WorkspaceError(f"`--known-as`: got `{given}`, expected a name or an address by which partners reach this machine")
    workspace, name = bench.workspace, agreed.contract.name
    node_keys(workspace, agreed.contract)  # all of them are there, before anything begins
    reached = "127.0.0.1" if place.host in ("0.0.0.0", "::") else place.host
    with _alone(workspace, agreed) as folder, suppress(StoppedError):
        files = keep_server(folder / "certificates", name, [*place.names, reached, "127.0.0.1"], now())
        with whole_file(authority(workspace, agreed.contract), "collaboration-file") as partial:
            partial.write_bytes(files.ca.read_bytes())
        bench.progress("start the link")
        with SuperLink(folder, files, place.host, place.port, stop) as link:
            with workspace.store.transaction("collaboration") as write:
                write.record("collaboration.served", contract=agreed.digest, listens=link.address)
            _note(folder, State(_address(reached, place.port), ()))
            given = f"--link {_address(place.names[0], place.port)} --ca {name}.ca.pem"
            bench.progress(
                f"the link serves at {link.address}, until Ctrl-C\n"
                f"  hand `{authority(workspace, agreed.contract)}` to every partner, who begins: consentric partner run {name} {given}\n"
                f"  beside this, in another terminal: consentric collaboration run {name}"
            )
            try:
                _watch(bench, agreed, link, connected)
            except TransportError:
                if link.running():
                    raise
                raise TransportError(f"the link ended by itself; see its log `{link.log}`, and start it again") from None


def courier(
    workspace: Workspace, agreed: Agreed, tell: Callable[[str], None] = lambda _sentence: None, stop: threading.Event | None = None
) -> FlowerCourier:
    """To partners over the link that is served here. Raises WorkspaceError where none ever was, CollaborationError where none is now."""
    from federated.flower.courier import FlowerCourier

    folder, name = _folder(workspace, agreed), agreed.contract.name
    if not folder.exists():
        raise WorkspaceError(f"no link was started for `{name}`; consentric collaboration serve {name}, in another terminal, starts it")
    deadline = time.monotonic() + UP
    while not (address := state(workspace, agreed).address):
        if time.monotonic() > deadline:
            raise CollaborationError(
                f"the link of `{name}` is down; consentric collaboration serve {name}, in another terminal, starts it; then run again"
            )
        time.sleep(0.1)
    ca, secret = (folder / "certificates" / "ca.pem").read_bytes(), (folder / "secret").read_bytes()
    keys = node_keys(workspace, agreed.contract)
    gone = GONE if agreed.contract.dropouts else math.inf
    return FlowerCourier(address, ca, secret, keys, tell=tell, stop=stop or threading.Event(), gone=gone)


def state(workspace: Workspace, agreed: Agreed) -> State:
    """Of the link now, without a call over it."""
    folder = _folder(workspace, agreed)
    with suppress(OSError, ValueError, KeyError):
        if held(folder):
            noted = json.loads((folder / ADDRESS).read_bytes())
            return State(noted["address"], tuple(noted["connected"]))
    return State("", ())


@contextmanager
def reached(workspace: Workspace, agreed: Agreed, tell: Callable[[str], None]) -> Iterator[FlowerCourier]:
    """A courier for a run, once those are connected who have to be. Raises as `running.may_go_on`, `courier` and `gather` do, and
    TransportError."""
    from engine.collaborations import running

    running.may_go_on(workspace, agreed)
    names = [verifier.name for verifier in agreed.contract.identities]
    learned = running.kept(running.folder(workspace, agreed)) is not None
    have = running.acknowledged(workspace, agreed) if learned else {}
    with courier(workspace, agreed, tell) as found:
        needed = 0 if learned else Terms.of(agreed).needed
        gather(found.online, [name for name in names if name not in have], needed, tell)
        yield found


def gather(online: Callable[[], dict[str, bool]], names: Sequence[str], needed: int, tell: Callable[[str], None]) -> None:
    """Wait until partners of these names are connected, and say who is, and for whom it waits. Who is not needed is waited for less long.

    Raises CollaborationError where fewer than `needed` come.
    """
    began, said, when = time.monotonic(), "", 0.0
    while True:
        there = online()
        missing = [name for name in names if not there[name]]
        enough, waited = len(names) - len(missing) >= needed, time.monotonic() - began
        words = f"{len(names) - len(missing)} of {len(names)} partners are connected"
        if not missing:
            tell(words)
            return
        if waited > (SPARE if enough else MISSING):
            break
        words += f"; waits for {', '.join(missing)}"
        if words != said or waited > when + AGAIN:
            said, when = words, waited
            tell(words)
        time.sleep(LOOK)
    if not enough:
        raise CollaborationError(
            f"{_listed(missing)} did not connect within {waited:.0f} seconds, and nobody was asked anything; each takes part with "
            "`consentric partner run` at home; run again when they do, `consentric collaboration status` shows who is connected"
        )
    tell(f"goes on without {', '.join(missing)}")


def authority(workspace: Workspace, contract: Collaboration) -> Path:
    """What partners are given to know the link."""
    return workspace.root / FOLDER / f"{contract.name}.ca.pem"


def _watch(bench: Bench, agreed: Agreed, link: SuperLink, connected: Callable[[str, bool], None]) -> None:
    """Note who is connected, until the link is told to end. Raises TransportError."""
    workspace, address = bench.workspace, state(bench.workspace, agreed).address
    to = courier(workspace, agreed, stop=link.stopping)
    to.patience = to.entry  # nobody comes to start it anew but this process
    with to:
        there = dict.fromkeys(to.partners, False)
        while not link.stopping.wait(LOOK):
            if not link.running():
                raise TransportError("its process is gone")
            changed = {name: online for name, online in to.online().items() if there[name] != online}
            there |= changed
            if changed:
                _note(link.folder, State(address, tuple(name for name in there if there[name])))
            for name, online in changed.items():
                connected(name, online)


@contextmanager
def _alone(workspace: Workspace, agreed: Agreed) -> Iterator[Path]:
    """The link's folder, held while the block runs: one process serves. What was noted of a link that has ended is gone."""
    folder = _folder(workspace, agreed)
    for each in (*reversed(folder.parents[:2]), folder):
        make_folder(each)
    if (handle := hold(folder, LOOK)) is None:
        where = f" at {address}" if (address := state(workspace, agreed).address) else ""
        raise CollaborationError(
            f"another process serves the link of `{agreed.contract.name}` already{where}; use it, or end it with Ctrl-C first"
        )
    try:
        (folder / ADDRESS).unlink(missing_ok=True)
        yield folder
    finally:
        os.close(handle)


def _note(folder: Path, state: State) -> None:
    with whole_file(folder / ADDRESS, "collaboration-file") as partial:
        partial.write_text(json.dumps({"address": state.address, "connected": state.connected}))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _folder(workspace: Workspace, agreed: Agreed) -> Path:
    from engine.collaborations.running import folder

    return folder(workspace, agreed) / PLACE
