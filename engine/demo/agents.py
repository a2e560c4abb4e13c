"""Processes of the demo of partners: the link of the coordinator, and an agent of each partner, as its commands start them.

What each says is in a log beside its workspace. All of them end with the block, however it ends, and with this process
(`engine.demo.follower`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.collaborations.contracts import FOLDER, Envelope
from federated.flower.pinned import TransportError

READY_SECONDS, ENDING_SECONDS = 120.0, 60.0
SERVES, CONNECTED = "the link serves", "connected to the SuperLink"
"""What a log says when its process is ready."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a link is reached: host:port, and the file of the authority that signed its certificate."""

    address: str
    ca: Path


Line = Callable[[str, Reached], Reached]
"""How a partner, by its name, reaches the link: something may stand between."""


def direct(_partner: str, link: Reached) -> Reached:
    """Nothing between."""
    return link


@dataclass
class Process:
    """A command at work. `said`: its log."""

    name: str
    said: Path
    process: subprocess.Popen[bytes]

    def wait_for(self, words: str) -> None:
        """Raises TransportError where it ends before it says them."""
        deadline = time.monotonic() + READY_SECONDS
        while words not in self.said.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise self._fault("ended" if self.process.poll() is not None else "is not ready")
            time.sleep(0.1)

    def wait(self) -> None:
        """Until it has ended by itself. Raises TransportError where it fails, or goes on."""
        try:
            code = self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._fault("has not ended") from None
        if code:
            raise self._fault(f"ended with exit {code}")

    def end(self) -> None:
        """Gently, then at once."""
        assert self.process.stdin is not None  # the pipe that it follows
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()

    def _fault(self, what: str) -> TransportError:
        lines = [line.strip() for line in self.said.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else "nothing"
        return TransportError(f"{self.name} {what}, and said last: {last}; its log is `{self.said}`; run the demo again to go on")


@dataclass(frozen=True, slots=True)
class Agents:
    """Those of all partners."""

    processes: tuple[Process, ...]

    def until_connected(self, progress: Callable[[str], None]) -> None:
        """Raises TransportError as `Process.wait_for` does."""
        progress("partners connect")
        for each in self.processes:
            each.wait_for(CONNECTED)

    def until_ended(self) -> None:
        """They end once they have the joint model. Raises TransportError as `Process.wait` does."""
        for each in self.processes:
            each.wait()


@contextmanager
def ending_with_us() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C, so that no process outlives the demo; from the main thread."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def serving(coordinator: Path, envelope: Envelope, environment: Mapping[str, str]) -> Iterator[Reached]:
    """The link of a contract, on a free port of this machine. Raises TransportError."""
    name = envelope.contract.name
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("collaboration", "serve", name, "--host", "127.0.0.1", "--port", str(port), "-w", str(coordinator))
    process = started("the link", coordinator.parent / "link.log", words, environment)
    try:
        process.wait_for(SERVES)
        yield Reached(f"127.0.0.1:{port}", coordinator / FOLDER / f"{name}.ca.pem")
    finally:
        process.end()


@contextmanager
def agents(name: str, partners: Mapping[str, Path], link: Reached, line: Line, environment: Mapping[str, str]) -> Iterator[Agents]:
    """An agent for each partner's workspace."""
    processes: list[Process] = []
    try:
        for partner, root in partners.items():
            reached = line(partner, link)
            words = ("partner", "run", name, "--link", reached.address, "--ca", str(reached.ca), "-w", str(root))
            processes.append(started(f"the agent of `{partner}`", root.parent / f"{partner}.log", words, environment))
        yield Agents(tuple(processes))
    finally:
        for each in processes:
            each.end()


def started(name: str, said: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> Process:
    """A command of this installation, whose words go into a log that begins anew."""
    alone = {**environment, "OMP_NUM_THREADS": "1"}
    with open(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        return Process(
            name,
            said,
            subprocess.Popen(
                [sys.executable, "-m", "engine.demo.follower", *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=alone,
                start_new_session=True,
            ),
        )
