"""Taking part over a network: the answers of `engine.partners.participation`, carried by the transport, until they are wanted no more.

A first Ctrl-C lets what is under way be answered; whatever ends this process, the next one goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cryptography.x509 import load_pem_x509_certificate

from engine.answers import held
from engine.bench import Bench
from engine.partners import identity
from engine.partners.participation import find, taking_part
from engine.partners.places import folder
from engine.workspace import WorkspaceError
from federated.flower.agent import UNKNOWN, Agent
from federated.flower.calls import Caller, Patience, RejectedError, StoppedError, UnknownError
from federated.flower.certificates import node_key
from federated.flower.pinned import TransportError, require
from governance.builds import Build

GRACE = 3.0
"""Seconds in which the last acknowledgement leaves."""
UNREGISTERED = Patience(tries=6, first=1.0)
"""With a link that does not know a node: one that starts registers nodes a moment later."""


@dataclass(frozen=True, slots=True)
class Served:
    """`rounds`: the number of the latest; `build`: what came of it, None where it was stopped before."""

    rounds: int
    build: Build | None


def serve(bench: Bench, name: str, link: str, ca: Path) -> Served:
    """Until the end of the collaboration, or a signal. Raises WorkspaceError, TransportError, and what `taking_part` raises."""
    require()  # before anything is reserved
    host, _, port = link.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
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

        node = identity.keys(bench.workspace).node
        if find(bench.workspace, name).build is None and not held(folder(bench.workspace, name)):
            _reached(link, authority, node, stop, bench.progress)
            if stop.is_set():
                return Served(0, None)
        with taking_part(bench, name, finished) as at_work:
            bench.progress(f"at the link {link}; Ctrl-C stops, and the next run goes on")
            Agent(link, authority, node, at_work.answer, bench.progress).run(stop)
            return Served(at_work.memory.last, came[0] if came else None)


def _reached(link: str, authority: bytes, node: bytes, stop: threading.Event, tell: Callable[[str], None]) -> None:
    """Returns once the link knows this partner's node, or after `stop`. Raises TransportError where it does not come to that."""
    from federated.flower.fleet import Fleet

    tell(f"reach the link {link}; nothing is reserved or read before it answers, Ctrl-C stops")
    calls = Caller(link, Patience(), stop, tell, UNKNOWN)
    with Fleet(link, authority, node_key(node)) as fleet, suppress(StoppedError):
        for number in range(1, UNREGISTERED.tries + 1):
            try:
                calls(fleet.activate)
                calls(fleet.deactivate)  # it is there again once it can answer
                return
            except (RejectedError, UnknownError):
                tell(f"the link at {link} does not know this partner's node yet, try {number} of {UNREGISTERED.tries}")
                stop.wait(UNREGISTERED.delay(number))
    if not stop.is_set():
        raise TransportError(
            f"the link at `{link}` does not know this partner's node; hand what `consentric partner init` prints to whoever serves it, as "
            "`collaborations/nodes/PARTNER.pub` there, and begin again once it is served anew"
        )


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
