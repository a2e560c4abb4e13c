"""The link of a collaboration: a SuperLink that the coordinator keeps, the nodes that may use it, and the courier that speaks over it.

Partners reach out to it, and nobody reaches in to them. It carries bytes, and is trusted with nothing else. Each partner's node key lies in
`collaborations/nodes/PARTNER.pub`, as `consentric partner init` printed it there; `collaborations/NAME.ca.pem` is what partners hold to
know the link again. Heavy imports stay inside: without `flwr` everything else here works.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from engine.bench import Bench
from engine.collaborations.contracts import FOLDER
from engine.files import whole_file
from engine.workspace import Workspace, WorkspaceError, now
from federated.contract import Agreed, Collaboration
from governance.key_files import make_folder

if TYPE_CHECKING:
    from federated.flower.courier import FlowerCourier

PLACE, NODES, ADDRESS = "link", "nodes", "address.json"
LOOK = 1.0
"""Seconds between two looks at who is connected."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link listens, `host` and `port`, and the names or addresses under which partners reach it."""

    host: str
    port: int
    names: Sequence[str]


def node_keys(workspace: Workspace, contract: Collaboration) -> dict[str, bytes]:
    """Each partner's, in OpenSSH's format. Raises WorkspaceError with everything that is missing."""
    folder = workspace.root / FOLDER / NODES
    found, missing = {}, []
    for verifier in contract.identities:
        path = folder / f"{verifier.name}.pub"
        if not path.is_file():
            missing.append(f"`{FOLDER}/{NODES}/{path.name}`")
            continue
        try:
            key = load_ssh_public_key(path.read_bytes().strip())  # P-384 is asked of it later
            found[verifier.name] = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        except (OSError, ValueError, UnsupportedAlgorithm):
            raise WorkspaceError(
                f"`{path}`: expected a public key (`ecdsa-sha2-nistp384 …`), as `consentric partner init` prints it at `{verifier.name}`"
            ) from None
    if missing:
        raise WorkspaceError(f"no node key in {', '.join(missing)}: put there what `consentric partner init` prints at each partner")
    return found


def serve(bench: Bench, agreed: Agreed, place: Place, stop: threading.Event, connected: Callable[[str, bool], None]) -> None:
    """Keep the link until `stop`; `connected` is told of each partner that comes or goes.

    Raises WorkspaceError, and TransportError where the link does not start, or ends by itself.
    """
    from federated.flower.certificates import keep_server
    from federated.flower.pinned import TransportError, require
    from federated.flower.superlink import SuperLink

    require()
    workspace, keys = bench.workspace, node_keys(bench.workspace, agreed.contract)
    place_of = _folder(workspace, agreed)
    for folder in (*reversed(place_of.parents[:2]), place_of):
        make_folder(folder)
    files = keep_server(place_of / "certificates", agreed.contract.name, [*place.names, "127.0.0.1"], now())
    with whole_file(authority(workspace, agreed.contract), "collaboration-file") as partial:
        partial.write_bytes(files.ca.read_bytes())
    with workspace.store.transaction("collaboration") as write:
        write.record("collaboration.served", contract=agreed.digest, listens=f"{place.host}:{place.port}")
    link = SuperLink(place_of, files, place.host, place.port)
    with link:
        reached = "127.0.0.1" if place.host in ("0.0.0.0", "::") else place.host
        with whole_file(place_of / ADDRESS, "collaboration-file") as partial:
            partial.write_text(json.dumps({"address": _address(reached, place.port)}))
        given = f"--link {_address(place.names[0], place.port)} --ca {authority(workspace, agreed.contract)}"
        bench.progress(f"the link serves at {link.address}; partners take part with {given}")
        with courier(workspace, agreed) as registered:
            there: dict[str, bool] = dict.fromkeys(keys, False)
            while not stop.wait(LOOK):
                if not link.running():
                    raise TransportError(f"the link ended by itself; see its log `{link.log}`, and start it again")
                for name, online in registered.online().items():
                    if there[name] != online:
                        there[name] = online
                        connected(name, online)


def courier(workspace: Workspace, agreed: Agreed, tell: Callable[[str], None] = lambda _sentence: None) -> FlowerCourier:
    """To partners over the link that was started here. Raises WorkspaceError where none was."""
    from federated.flower.courier import FlowerCourier

    folder = _folder(workspace, agreed)
    try:
        address = json.loads((folder / ADDRESS).read_bytes())["address"]
        ca, secret = (folder / "certificates" / "ca.pem").read_bytes(), (folder / "secret").read_bytes()
    except (OSError, ValueError, KeyError):
        raise WorkspaceError(f"no link was started for `{agreed.contract.name}`; `consentric collaboration serve` starts it") from None
    return FlowerCourier(address, ca, secret, node_keys(workspace, agreed.contract), tell=tell)


def authority(workspace: Workspace, contract: Collaboration) -> Path:
    """What partners are given to know the link."""
    return workspace.root / FOLDER / f"{contract.name}.ca.pem"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _folder(workspace: Workspace, agreed: Agreed) -> Path:
    from engine.collaborations.running import folder

    return folder(workspace, agreed) / PLACE
