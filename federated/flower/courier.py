"""The coordinator's courier over a SuperLink: requests to partners' nodes by their registered keys, replies by partners' names.

All requests of a step are sent at once, and replies are collected until the deadline. A reply counts only for a request of the same
exchange, by that request's id: what comes late stays where it is, and is forgotten with its run. A request is sent anew, with the same
bytes, where calls failed in between (a SuperLink that was killed has lost it), where its partner was not there, and where nothing came
for a while; a partner answers the same bytes as it did the first time. A SuperLink that was started anew gets the nodes registered again.

Not here: how a coordinator comes to speak to nodes (`federated.flower.run`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from federated.flower import envelope
from federated.flower.calls import Patience, RejectedError, Tell, UnknownError
from federated.flower.pinned import TransportError, require
from federated.flower.run import Run

if TYPE_CHECKING:
    from flwr.proto.message_pb2 import Message

QUICK, LONGEST = 0.03, 0.5
"""Seconds between two looks for replies: short at first, because most come at once."""
SLOWER = 1.2
AWAY, LOST = 1.0, 30.0
"""Seconds until a request is sent anew: to a partner that is not there, and to one that says nothing."""
BACK = 5 * AWAY
"""Seconds after which whom nobody calls away any more is there again."""
SAY = 10.0
"""Seconds of silence until it is said for whom an exchange waits."""
ENTRY = Patience(tries=6, first=0.25)
"""About eight seconds: a SuperLink that is started now is there by then."""


@dataclass
class FlowerCourier:
    """`address`: host:port; `ca`: PEM; `secret`: of the SuperLink; `partners`: the name of each as in the contract, and its node's public
    key, OpenSSH; `seconds`: how long an exchange may take; `entry`: patience with a SuperLink that was not reached yet, `patience`
    with one that was; `stop` ends waits for it (StoppedError); `gone`: seconds after which an exchange goes on without those who are not
    connected, once all others have answered. For use in a `with`, from one thread."""

    address: str
    ca: bytes
    secret: bytes
    partners: Mapping[str, bytes]
    seconds: float = 120.0
    tell: Tell = lambda sentence: None
    patience: Patience = field(default_factory=Patience)
    entry: Patience = ENTRY
    stop: threading.Event = field(default_factory=threading.Event)
    gone: float = math.inf
    _away: dict[str, float] = field(default_factory=dict, init=False, repr=False)  # since when somebody is, who has not answered since

    def __enter__(self) -> Self:
        """Raises TransportError: another version of Flower, another CA, a secret that is not the SuperLink's, no SuperLink."""
        require()
        self._begin(self.entry)
        self._run.call.patience = self.patience
        return self

    def __exit__(self, *_: object) -> None:
        self._run.end()

    def online(self) -> dict[str, bool]:
        """Whose node is connected now."""
        there = self._run.online()
        return {name: node in there for name, node in self._nodes.items()}

    def exchange(self, requests: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `federated.courier.Courier`. Raises TransportError where the SuperLink does not come back, or knows another secret now."""
        if strangers := sorted(requests.keys() - self.partners.keys()):
            raise TransportError(f"expected partners whose node has a key, got `{'`, `'.join(strangers)}`")
        deadline, replies = time.monotonic() + self.seconds, dict[str, bytes]()
        while time.monotonic() < deadline:
            try:
                _Exchange(self, requests, deadline, replies).collect()
                break
            except (UnknownError, RejectedError):
                self.tell(f"the SuperLink at {self.address} has forgotten this run; it is begun anew")
                self._run.end()
                self._begin(self.patience)
        return replies

    def _begin(self, patience: Patience) -> None:
        self._run = Run(self.address, self.ca, self.secret, patience, self.tell, self.stop)
        try:
            self._nodes = self._run.nodes(self.partners)
        except BaseException:
            self._run.end()
            raise


class _Exchange:
    """One, in one run; `replies` is filled."""

    def __init__(self, courier: FlowerCourier, requests: Mapping[str, bytes], deadline: float, replies: dict[str, bytes]) -> None:
        self._run, self._nodes, self._tell, self._gone = courier._run, courier._nodes, courier.tell, courier.gone
        self._away = courier._away
        self._requests, self._deadline = requests, deadline
        self._due = dict.fromkeys(requests, 0.0)  # when a request is sent, by name
        self._sent: dict[str, str] = {}  # whose a request is, by its id
        self._missed: dict[str, float] = {}  # when it was said last that somebody is not connected
        self._said = time.monotonic()
        self._replies = replies

    def collect(self) -> None:
        """Until everybody has answered who is there, or the deadline."""
        wait, failures = QUICK, self._run.call.failures
        while (left := self._deadline - time.monotonic()) > 0 and len(self._replies) < len(self._requests):
            self._send(left)
            before = len(self._replies)
            for message in self._run.pull(list(self._sent)):
                self._hear(message)
            if self._run.call.failures != failures:  # what was under way may be lost
                failures = self._run.call.failures
                self._due = dict.fromkeys(self._due, 0.0)
            wait = QUICK if len(self._replies) > before else min(wait * SLOWER, LONGEST)
            if self._waits():
                return
            if len(self._replies) < len(self._requests):
                time.sleep(min(wait, left))

    def _send(self, left: float) -> None:
        """Whatever is due, of use for as long as somebody waits for it."""
        now = time.monotonic()
        names = [name for name, due in self._due.items() if due <= now and name not in self._replies]
        messages = [envelope.request(self._run.id, self._run.task, self._nodes[name], left, self._requests[name]) for name in names]
        if messages:
            self._run.push(messages)
        self._sent |= {message.metadata.message_id: name for name, message in zip(names, messages, strict=True)}
        self._due |= dict.fromkeys(names, now + LOST)

    def _hear(self, message: Message) -> None:
        """A reply, or the SuperLink's word that a node is not there."""
        name = self._sent.pop(message.metadata.reply_to_message_id, None)
        if name is None or name in self._replies:
            return
        content = envelope.payload(message)
        if content is None or message.metadata.src_node_id != self._nodes[name]:
            now = time.monotonic()
            self._due[name], self._missed[name] = now + AWAY, now
            self._away.setdefault(name, now)
        else:
            self._replies[name] = content
            self._away.pop(name, None)

    def _waits(self) -> bool:
        """Whether nobody is waited for any more, because all who have not answered are gone; else says for whom, every now and then."""
        now, waits = time.monotonic(), [name for name in self._requests if name not in self._replies]
        if all(self._absent(name, now) > self._gone for name in waits):
            return True
        if now > self._said + SAY:
            self._said = now
            words = ", ".join(f"{name} (not connected)" if self._absent(name, now) else name for name in waits)
            self._tell(f"waits for {words}, for {self._deadline - now:.0f} s at most")
        return False

    def _absent(self, name: str, now: float) -> float:
        """Seconds for which somebody has not been connected, in earlier exchanges too; 0 for who is, or came back."""
        return now - self._away[name] if now - self._missed.get(name, -math.inf) < BACK else 0.0
