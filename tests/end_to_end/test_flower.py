"""A real SuperLink with TLS on loopback, and agents in processes of their own."""

from __future__ import annotations

import datetime as dt
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("flwr")

from federated import wire
from federated.courier import Answerer
from federated.flower import certificates
from federated.flower import courier as courier_module
from federated.flower.agent import Agent
from federated.flower.calls import Headers, Patience, versions
from federated.flower.courier import FlowerCourier
from federated.flower.fleet import Fleet
from federated.flower.pinned import TransportError
from federated.messages import Terms
from federated.questions import Asked
from federated.replies import Code
from federated.rounds import conduct
from governance.door import grid_sigma
from governance.grid import GRID
from tests.agents import contract, grant_of, question, subjects
from tests.links import Line, free_port, line

pytestmark = pytest.mark.slow

PARTNERS, SIZE = 3, 2_000
ONCE = Patience(tries=2, first=0.05)
LARGE = wire.MOST
TOO_LARGE = 64 << 20
RESIDENT = 180
"""MB that an agent may have after it: what it needs, and what the C library keeps at hand of 64; with two copies of it, 217."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    at = line(tmp_path_factory.mktemp("link"), PARTNERS)
    with at.link:
        yield at


@contextmanager
def answering(at: Line, name: str, answer: Answerer) -> Iterator[None]:
    """An agent in this process."""
    stop, faults = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            Agent(at.link.address, at.ca, at.private(name).read_bytes(), answer).run(stop)
        except Exception as fault:  # noqa: BLE001 (said where the block ends)
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not faults


def until_connected(courier: FlowerCourier, names: set[str]) -> None:
    deadline = time.monotonic() + 30
    while names - {name for name, online in courier.online().items() if online} and time.monotonic() < deadline:
        time.sleep(0.05)


def test_secure_rounds_and_a_superlink_that_is_killed_between_them(served: Line) -> None:
    """Rounds of desks in processes: the sum has the noise that the grant says, of everybody's subjects. Then the SuperLink is killed and
    started anew, and the next round goes on with agents and courier that were there before. What is larger than any message of a contract
    arrives, and is refused by its fixed word; the agent lets go of it."""
    agreed = contract(PARTNERS)
    held = np.concatenate([subjects(place, SIZE) for place in range(PARTNERS)])
    exact = np.bincount(held[:, 0], minlength=SIZE)
    with served.courier() as courier, served.agents(["desk", str(PARTNERS), str(SIZE)]) as agents:
        for number in (1, 2):
            grant = grant_of(agreed, number)
            summed = conduct(Terms.of(agreed), agreed.digest, Asked(number, question(SIZE), grant), courier)
            noise = summed.values - exact * (GRID / 1.0)
            assert summed.alive == tuple(served.keys)
            assert np.std(noise) == pytest.approx(grid_sigma(grant), rel=5 / math.sqrt(2 * SIZE))
            if number == 1:
                os.kill(served.link.pid, signal.SIGKILL)
                served.link.stop()
                served.link.start()
        assert courier.exchange({"p0": os.urandom(TOO_LARGE)}) == {"p0": wire.refusal(Code.MESSAGE)}
        now, _ = map(float, courier.exchange({"p0": b"rss"})["p0"].split())
        assert now < RESIDENT, "copies of a message stayed"
        assert all(process.poll() is None for process in agents.values())
        for process in agents.values():
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in agents.values()] == [0] * PARTNERS


def test_late_replies_are_never_taken_for_new_ones_and_large_messages_arrive(served: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "SAY", 0.5)
    held, told = threading.Event(), list[str]()

    def slow(request: bytes) -> bytes:
        if request == b"first":
            held.wait(30)
        return request

    with served.courier(seconds=1.5, tell=told.append) as courier, answering(served, "p0", slow), answering(served, "p1", slow):
        until_connected(courier, {"p0", "p1"})
        assert courier.exchange({"p0": b"first", "p1": b"other"}) == {"p1": b"other"}
        assert told and all(sentence.startswith("waits for p0") for sentence in told)
        courier.seconds = 60.0
        held.set()
        assert courier.exchange({"p0": b"second"}) == {"p0": b"second"}
        large = os.urandom(LARGE)
        assert courier.exchange({"p1": large}) == {"p1": large}
        assert courier.online() == {"p0": True, "p1": True, "p2": False}
        courier.gone, began = 4.0, time.monotonic()
        assert courier.exchange({"p0": b"second", "p2": b"nobody"}) == {"p0": b"second"}
        assert 4.0 < time.monotonic() - began < 30  # of 60 s that it would wait for somebody who is there
        assert told[-1].startswith("waits for p2 (not connected)")
        began = time.monotonic()
        assert courier.exchange({"p0": b"third", "p2": b"nobody"}) == {"p0": b"third"}
        assert time.monotonic() - began < 4.0  # who was gone before is not waited for as long again


def test_whoever_is_not_known_is_refused(served: Line) -> None:
    stop, stranger = threading.Event(), certificates.node()[0]
    other = certificates.authority("somebody else", dt.datetime.now(dt.UTC)).certificate
    private = served.private("p0").read_bytes()
    with pytest.raises(TransportError, match="does not know the key of this node"):
        Agent(served.link.address, served.ca, stranger, bytes, patience=ONCE).run(stop)
    absent = served.private("p2").read_bytes()
    with Fleet(served.link.address, served.ca, certificates.node_key(absent)) as killed:
        killed.activate()  # and no farewell
        with pytest.raises(TransportError, match="or takes it to be connected still, as it does for a minute after a process was killed"):
            Agent(served.link.address, served.ca, absent, bytes, patience=ONCE).run(stop)
        killed.deactivate()
    with pytest.raises(TransportError, match="no certificate of this CA"):
        Agent(served.link.address, other, private, bytes, patience=ONCE).run(stop)
    with pytest.raises(TransportError, match="failed 2 times in a row"):
        Agent(f"127.0.0.1:{free_port()}", served.ca, private, bytes, patience=ONCE).run(stop)
    with pytest.raises(TransportError, match="does not know this coordinator"), served.courier(secret=b"0" * 64):
        pass
    with pytest.raises(TransportError, match="no certificate of this CA"), served.courier(ca=other):
        pass
    with pytest.raises(TransportError, match="failed 2 times"), replace(served.courier(entry=ONCE), address=f"127.0.0.1:{free_port()}"):
        pass


def test_nobody_without_the_secret_operates_the_superlink(served: Line) -> None:
    """Stock Flower lets everybody who reaches the port register nodes and start runs."""
    import httpx
    from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, StartRunRequest
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.control.control_http_client import ControlHttpClient
    from flwr.supercore.runtime import RuntimeHttpClient

    stranger = [Headers(versions("flwr-serverapp"))]
    with (
        ControlHttpClient.from_server_address(served.link.address, False, served.ca, stranger) as control,
        RuntimeHttpClient.from_server_address(served.link.address, False, served.ca, stranger) as runtime,
    ):
        for call in (
            lambda: control.ListNodes(ListNodesRequest()),
            lambda: control.RegisterNode(RegisterNodeRequest(public_key=b"")),
            lambda: control.StartRun(StartRunRequest()),
            lambda: runtime.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"])),
        ):
            with pytest.raises(httpx.HTTPStatusError) as said:
                call()
            assert said.value.response.status_code == 401
