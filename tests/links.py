"""A SuperLink on loopback, with nodes and agents in processes of their own: shared by the tests of the transport and its benchmark."""

from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federated.flower.certificates import keep_node, keep_server
from federated.flower.courier import FlowerCourier
from federated.flower.superlink import SuperLink

Processes = dict[str, subprocess.Popen[bytes]]
ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Line:
    """A SuperLink, and nodes `p0`, `p1`, … with keys, of which it knows none before a courier registers them."""

    folder: Path
    link: SuperLink
    keys: dict[str, bytes]

    @property
    def ca(self) -> bytes:
        return self.link.files.ca.read_bytes()

    def private(self, name: str) -> Path:
        """The file of a node's private key."""
        return self.folder / name / "node"

    def courier(self, **changed: Any) -> FlowerCourier:
        """To all nodes."""
        said = {"address": self.link.address, "ca": self.ca, "secret": self.link.secret, "partners": self.keys}
        return FlowerCourier(**(said | changed))

    @contextmanager
    def agents(
        self, kind: Sequence[str] = ("echo",), address: str = "", ca: Path | None = None
    ) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
        """One process for each node; they end with the block."""
        started: Processes = {}
        where = [address or self.link.address, str(ca or self.link.files.ca)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            for name in self.keys:
                command = [sys.executable, "-W", "ignore", "-m", "tests.agents", *where, str(self.private(name)), name, *kind]
                with open(self.folder / f"{name}.log", "ab") as log:
                    started[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            yield started
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                process.wait(30)


def free_port() -> int:
    """Nobody listens there now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def line(folder: Path, nodes: int) -> Line:
    """Not started."""
    folder.chmod(0o700)
    files = keep_server(folder / "certificates", "joint", [HOST], dt.datetime.now(dt.UTC))
    keys = {f"p{place}": keep_node(folder / f"p{place}")[1] for place in range(nodes)}
    return Line(folder, SuperLink(folder / "link", files, HOST, free_port()), keys)
