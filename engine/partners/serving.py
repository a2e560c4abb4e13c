"""Taking part over a network: the answers of `engine.partners.participation`, carried by the transport, until they are wanted no more.

A first Ctrl-C lets what is under way be answered; whatever ends this process, the next one goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cryptography.x509 import load_pem_x509_certificate

from engine.bench import Bench
from engine.partners import identity
from engine.partners.participation import taking_part
from engine.workspace import WorkspaceError
from federated.flower.agent import Agent
from federated.flower.pinned import require
from governance.builds import Build

GRACE = 3.0
"""Seconds in which the last acknowledgement leaves."""


@dataclass(frozen=True, slots=True)
class Served:
    """`rounds`: the number of the latest; `build`: what came of it, None where it was stopped before."""

    rounds: int
    build: Build | None


def serve(bench: Bench, name: str, link: str, ca: Path) -> Served:
    """Until the end of the collaboration, or a signal. Raises WorkspaceError, TransportError, and what `taking_part` raises."""
    require()  # before anything is reserved
    host, _, port = link.rpartition(":")
    if not host or not port.isdecimal():
        raise WorkspaceError(f"`--link`: got `{link}`, expected HOST:PORT")
    try:
        authority = ca.read_bytes()
        load_pem_x509_certificate(authority)
    except OSError as error:
        raise WorkspaceError(f"`--ca`: `{ca}` cannot be read: {error.strerror}") from None
    except ValueError:
        raise WorkspaceError(f"`--ca`: `{ca}` is no certificate (PEM); take the one that was handed over with the contract") from None
    came: list[Build] = []
    with _stopped_by_signals() as stop:

        def finished(build: Build) -> None:
            came[:] = [build]
            later = threading.Timer(GRACE, stop.set)
            later.daemon = True
            later.start()

        with taking_part(bench, name, finished) as at_work:
            bench.progress(f"at the link {link}; Ctrl-C stops, and the next run goes on")
            node = identity.keys(bench.workspace).node
            Agent(link, authority, node, at_work.answer, bench.progress).run(stop)
            return Served(at_work.memory.last, came[0] if came else None)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second one ends the process as it always does."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
