"""A partner's agent: fetches requests from a SuperLink, has them answered at home, and takes the replies back.

It speaks the Fleet API as a stock SuperNode does, in this process and outbound only: nothing listens at a partner. Unlike a SuperNode it
fetches no app bundle and runs nobody's code, starts no process, reports neither how long an answer took nor any exception. What leaves is
what the answerer gave, and the headers of `federated.flower.envelope`. Requests are answered one at a time:

    1 activate  says that this node is there, by its registered key
    2 fetch     the next request; the pace is quick after one and slow when idle
    3 answer    at home (`federated.courier.Answerer`)
    4 reply

A request that is lost between 2 and 4, with this process or with the SuperLink, is asked again by the coordinator; the same bytes get the
same reply, because the answerer keeps them. A heartbeat runs beside, so that a long answer does not look like a lost partner.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from federated.courier import Answerer
from federated.flower import envelope
from federated.flower.calls import Caller, Patience, RejectedError, StoppedError, Tell, UnknownError
from federated.flower.certificates import node_key
from federated.flower.pinned import TransportError, require

if TYPE_CHECKING:
    from flwr.proto.message_pb2 import Message

    from federated.flower.fleet import Fleet

BEAT = 10.0
"""Seconds between heartbeats, of which a SuperLink expects one in 30 (`federated.flower.fleet`)."""
UNKNOWN = "the key of this node, which its coordinator registers"


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks for a request: `quick` after one came, longer by `growth` each time, up to `idle`; and never so often that
    looking takes the SuperLink more than `share` of this agent's time, so that many agents leave a busy one room to work."""

    quick: float = 0.05
    growth: float = 1.1
    idle: float = 1.0
    share: float = 0.1

    def after(self, last: float, took: float) -> float:
        """The wait after a look that took so long and found nothing; `last`: the wait before it, 0 after a request."""
        return min(max(self.quick, last * self.growth, took / self.share), self.idle)


@dataclass(frozen=True)
class Agent:
    """`address`: host:port; `ca`: PEM; `private`: of the node, OpenSSH; `answer`: at home."""

    address: str
    ca: bytes
    private: bytes
    answer: Answerer
    tell: Tell = lambda sentence: None
    pace: Pace = field(default_factory=Pace)
    patience: Patience = field(default_factory=Patience)

    def run(self, stop: threading.Event) -> None:
        """Returns after `stop`. Raises TransportError: another version of Flower, another CA; a key that is not registered, or a SuperLink
        that did not come back, for as long as patience lasts."""
        require()
        from federated.flower.fleet import Fleet

        calls, failed = Caller(self.address, self.patience, stop, self.tell, UNKNOWN), 0
        with Fleet(self.address, self.ca, node_key(self.private)) as fleet, suppress(StoppedError):
            while not stop.is_set():
                try:
                    session = _Session(self, fleet, calls)
                    failed = 0
                    session.work()
                except UnknownError as fault:  # not registered yet, or not again at a SuperLink that was started anew
                    if (failed := failed + 1) >= self.patience.tries:
                        raise
                    self.tell(f"{fault}, try {failed} of {self.patience.tries}")
                    stop.wait(self.patience.delay(failed))


class _Session:
    """One connection."""

    def __init__(self, agent: Agent, fleet: Fleet, patiently: Caller) -> None:
        """Step 1."""
        self._agent, self._fleet, self._patiently = agent, fleet, patiently
        try:
            patiently(fleet.activate)
        except RejectedError:
            raise UnknownError(
                f"the SuperLink at `{agent.address}` does not know {UNKNOWN}, or takes it to be connected still, as it does for a "
                "minute after a process was killed"
            ) from None
        agent.tell(f"connected to the SuperLink at {agent.address}")

    def work(self) -> None:
        stop, pace, wait = self._patiently.stop, self._agent.pace, 0.0
        over = threading.Event()
        heart = threading.Thread(target=self._beat, args=(over,), name="heartbeat", daemon=True)
        heart.start()
        try:
            while not stop.is_set():
                began = time.monotonic()
                if self._served():
                    wait = 0.0
                else:
                    wait = pace.after(wait, time.monotonic() - began)
                    stop.wait(wait)
        finally:
            over.set()
            heart.join()
            with suppress(Exception):  # one that is gone needs no farewell
                self._fleet.deactivate()

    def _fetched(self) -> Message | None:
        """Step 2."""
        try:
            return self._patiently(self._fleet.pull)
        except RejectedError as no:
            raise TransportError(f"{no} to a look for requests; its version may be another") from None

    def _served(self) -> bool:
        """Steps 2 to 4; whether there was a request. Its message is let go before it is answered, for it may be large."""
        if (asked := self._fetched()) is None:
            return False
        headers, request = envelope.headers(asked), envelope.payload(asked)
        del asked
        if request is not None:  # else of another make: somebody else's app, perhaps
            reply = envelope.reply(headers, self._agent.answer(request))
            with suppress(RejectedError):  # its run has ended: nobody waits for a reply
                self._patiently(lambda: self._fleet.push(reply, envelope.tree(reply)))
        return True

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT):
            with suppress(Exception):  # the next look for a request meets the same fault, and tells it
                self._fleet.beat()
