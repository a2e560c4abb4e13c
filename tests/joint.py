"""Partners in this process who see released models, sign for what they get, and can be lost: shared by the tests of joint runs."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bench import Bench
from engine.collaborations import running
from engine.models import Partition, parts_of, released
from engine.workspace import Workspace
from federated import wire
from federated.acknowledgement import Acknowledgement
from federated.contract import Agreed
from federated.courier import Courier
from federated.desk import Desk, MemoryBook
from federated.messages import Step
from federated.partner import Partner
from federated.questions import Asked
from federated.seat import ShortMemory
from federated.shares import Sharing, whole
from governance.door import MemoryMeter, Part, ReservationId
from governance.principals import UNSAFE_VARIABLE
from governance.suppression import FOLDER_VARIABLE
from policies.documents import Digest
from tests.collaborations import TODAY, signed, signers
from tests.fakes import SeededNoise, ZeroNoise
from tests.partners import Columns, Household, parted

LOGISTIC: dict[str, Any] = {
    "model": {"type": "propensity", "top": 0.3, "learner": "logistic"},
    "label": {"meaning": "came again within 30 days"},
}
LEADER = "lea"
NOTHING = Digest("sha256:" + "0" * 64)


class Seeing(Household):
    """With the columns that come of a released model."""

    def shapes(self, model: bytes) -> dict[str, tuple[int, ...]]:
        """See `Home.shapes`."""
        return {name: column.shape[1:] for name, column in self._seen(model).items()}

    def rows(self, asked: Asked) -> Columns:
        """See `Home.rows`."""
        return self._seen(asked.model)

    def _seen(self, model: bytes) -> dict[str, NDArray[Any]]:
        if not model:
            return dict(self.columns)
        facts, features = json.loads(model), self.columns["features"]
        known = released(facts)
        columns = {} if isinstance(known, Partition) else {"score": known.score(features)}
        if isinstance(known, Partition) or "threshold" in facts:
            columns["segment"] = parts_of(facts, features)
        return {**self.columns, **columns}


@dataclass
class Place:
    """One partner: its people, its ledger, its seats; `told`: outcomes that it got."""

    agreed: Agreed
    number: int
    columns: Columns
    meter: MemoryMeter
    told: list[bytes] = field(default_factory=list)
    memory: ShortMemory = field(default_factory=ShortMemory)
    book: MemoryBook = field(default_factory=MemoryBook)
    noise: SeededNoise | None = None

    def __post_init__(self) -> None:
        self.noise = SeededNoise(self.number)
        self.start()

    def start(self) -> None:
        """A process begins; what it remembers is on its disk."""
        signer = signers(self.number + 1)[-1]
        assert self.noise is not None
        home = Seeing(self.columns, self.meter, ReservationId("memory"), self.noise)

        def finished(outcome: bytes) -> bytes:
            self.told.append(outcome)
            digest = Digest("sha256:" + hashlib.sha256(outcome).hexdigest())
            return Acknowledgement(self.agreed.digest, digest, NOTHING, sum(self.meter.spent.values(), Fraction(0))).signed(signer)

        self.desk = Desk(Partner(self.agreed, signer, home, self.memory, clock=lambda: TODAY), self.book, finished)

    def lose(self) -> None:
        """Another process, and the disk has lost the secret of the round."""
        self.memory.latest = None
        self.start()


@dataclass
class Partners:
    """A courier to partners in this process. `before`: is told of each exchange before it happens, and may raise; `gone`: who does not
    answer; `after`: is told once the replies are there."""

    places: Mapping[str, Place]
    before: Callable[[int, Step], None] = lambda number, step: None
    after: Callable[[int, Step], None] = lambda number, step: None
    gone: set[str] = field(default_factory=set)
    steps: list[tuple[int, Step]] = field(default_factory=list)

    def exchange(self, requests: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `Courier.exchange`."""
        first = wire.message(next(iter(requests.values())))
        self.steps.append((first.round, first.step))
        self.before(first.round, first.step)
        replies = {name: self.places[name].desk.answer(request) for name, request in requests.items() if name not in self.gone}
        self.after(first.round, first.step)
        return replies


def partners(agreed: Agreed, columns: Columns, sizes: tuple[int, ...]) -> Partners:
    """One for each part of `columns`, each with a ledger that has what the contract costs and nothing more."""
    limit = Sharing.of(agreed.contract).price(whole(agreed.contract), ReservationId("memory")).mu_squared
    rows = parted(columns, sizes)
    return Partners({f"p{place}": Place(agreed, place, each, MemoryMeter(limit)) for place, each in enumerate(rows)})


def blobs(n: int = 1_500, seed: int = 3) -> dict[str, NDArray[Any]]:
    """Three groups of subjects in two features, a label that goes with the second, and the split."""
    generator = np.random.default_rng(seed)
    centres = np.array([[-18_000, -15_000], [0, 16_000], [20_000, -9_000]])
    features = np.clip(centres[generator.integers(0, 3, n)] + generator.normal(0, 2_500, (n, 2)), -32_768, 32_768).astype(np.int32)
    label = (generator.random(n) < 1 / (1 + np.exp(-features[:, 1] / 6_000))).astype(np.int32)
    return {"features": features, "label": label, "part": np.where(generator.random(n) < 0.75, Part.TRAIN, Part.HOLDOUT).astype(np.int8)}


def agreed(n: int = 3, **changed: Any) -> Agreed:
    """Over two features of `blobs`, with ε enough for them."""
    features = {
        "spend": {"meaning": "euros spent in the last 90 days", "bounds": ["0", "5000"], "scale": "log", "unit": "EUR"},
        "visits": {"meaning": "visits in the last 90 days", "bounds": ["0", "60"]},
    }
    privacy = {"epsilon": 4.0, "delta": 1e-5}
    return signed(n, **({"features": features, "model": {"type": "clusters", "k": 3}, "privacy": privacy, "rounds": 60} | changed))


def leader(root: Path) -> Workspace:
    """The coordinator's workspace."""
    environment = {UNSAFE_VARIABLE: LEADER, FOLDER_VARIABLE: "{workspace}.outside"}
    Workspace.create(root, demo=True, environment=environment)
    return opened(root)


def opened(root: Path) -> Workspace:
    """Opened anew, as a new process would."""
    return Workspace.find(root, {UNSAFE_VARIABLE: LEADER}).open()


def run(workspace: Workspace, agreed: Agreed, courier: Courier) -> running.Ran:
    """A run without words."""
    return running.run(Bench(workspace, ZeroNoise(), lambda _: None), agreed, courier)


class Killed(BaseException):
    """As if the process had ended here."""


@dataclass
class Line:
    """A courier to partners in another process: one request and one reply at a time, over a socket."""

    socket: socket.socket

    def exchange(self, requests: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `Courier.exchange`."""
        send(self.socket, dict(requests))
        replies = receive(self.socket)
        assert replies is not None
        return replies


def send(line: socket.socket, messages: Mapping[str, bytes]) -> None:
    """All of it."""
    raw = pickle.dumps(dict(messages))
    line.sendall(len(raw).to_bytes(8, "big") + raw)


def receive(line: socket.socket) -> dict[str, bytes] | None:
    """None where the other end is gone."""
    head = line.recv(8, socket.MSG_WAITALL)
    if len(head) < 8:
        return None
    found: dict[str, bytes] = pickle.loads(line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
    return found


def forked(root: Path, agreed: Agreed, partners: Partners, environment: Mapping[str, str]) -> int:
    """A run in a child, which may be killed, with the partners here; its exit code, negative for a signal."""
    here, there = socket.socketpair()

    def lead() -> None:
        here.close()
        run(opened(root), agreed, Line(there))

    begun = _begun(lead, environment)
    there.close()
    while (requests := receive(here)) is not None:
        try:
            send(here, partners.exchange(requests))
        except BrokenPipeError:
            break
    here.close()
    return os.waitstatus_to_exitcode(os.waitpid(begun, 0)[1])


def child(work: Callable[[], None], environment: Mapping[str, str]) -> int:
    """Done in a child, which may be killed; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(_begun(work, environment), 0)[1])


def _begun(work: Callable[[], None], environment: Mapping[str, str]) -> int:
    begun = os.fork()
    if not begun:
        code = 1
        try:
            os.environ.update(environment)
            work()
            code = 0
        finally:
            os._exit(code)
    return begun
