"""The coordinator's link: who keeps it, who is told to be there and who is missing, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit import log as audit_log
from engine.bench import Bench
from engine.collaborations import link, running
from engine.collaborations.rounds import CollaborationError
from engine.workspace import Workspace, WorkspaceError
from federated.flower.certificates import node
from federated.flower.pinned import TransportError
from governance.key_files import make_folder
from tests.fakes import ZeroNoise
from tests.joint import agreed, leader
from tests.links import HOST, free_port

AGREED = agreed()
NAMES = ["p0", "p1", "p2"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = leader(tmp_path / "lead")
    keys = made.root / "collaborations" / link.NODES
    keys.mkdir(parents=True)
    for name in NAMES:
        (keys / f"{name}.pub").write_bytes(node()[1])
    return made


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LOOK": 0.01, "UP": 0.1, "MISSING": 0.3, "SPARE": 0.1, "AGAIN": 0.05}.items():
        monkeypatch.setattr(link, name, seconds)


def gathered(looks: list[set[str]], needed: int = 3) -> list[str]:
    """What is said where the last of `looks` stays as it is."""
    told = list[str]()

    def online() -> dict[str, bool]:
        there = looks.pop(0) if len(looks) > 1 else looks[0]
        return {name: name in there for name in NAMES}

    link.gather(online, NAMES, needed, told.append)
    return told


@pytest.mark.usefixtures("hurried")
def test_who_is_connected_and_who_is_missing_is_said_as_it_changes() -> None:
    assert gathered([set(), {"p1"}, {"p0", "p1"}, {*NAMES}]) == [
        "0 of 3 partners are connected; waits for p0, p1, p2",
        "1 of 3 partners are connected; waits for p0, p2",
        "2 of 3 partners are connected; waits for p2",
        "3 of 3 partners are connected",
    ]


@pytest.mark.usefixtures("hurried")
def test_it_ends_with_the_names_that_are_missing_and_goes_on_without_those_that_need_not_be_there() -> None:
    with pytest.raises(CollaborationError, match=r"`p0`, `p2` did not connect within \d+ seconds, .*`consentric partner run`"):
        gathered([{"p1"}])
    told = gathered([{"p0", "p1"}], needed=2)
    assert told.count("2 of 3 partners are connected; waits for p2") > 1  # it is said again while it waits
    assert told[-1] == "goes on without p2"


def test_nobody_is_reached_for_a_run_that_cannot_go_on(workspace: Workspace) -> None:
    with (
        pytest.raises(WorkspaceError, match="expired on 2026-01-01: no round may begin"),
        link.reached(workspace, agreed(expires="2026-01-01"), lambda _: None),
    ):
        pass


@pytest.mark.usefixtures("hurried")
def test_a_link_that_is_down_is_told_at_once(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no link was started for `joint`; consentric collaboration serve joint"):
        link.courier(workspace, AGREED)
    folder = running.folder(workspace, AGREED) / link.PLACE
    make_folder(folder)
    (folder / link.ADDRESS).write_text('{"address": "127.0.0.1:1", "connected": ["p0"]}')  # of one that was killed
    assert link.state(workspace, AGREED) == link.State("", ())
    began = time.monotonic()
    with pytest.raises(CollaborationError, match="the link of `joint` is down; consentric collaboration serve joint"):
        link.courier(workspace, AGREED)
    assert time.monotonic() - began < 1


def test_a_node_key_that_cannot_be_that_partners_is_told_by_its_file(workspace: Workspace) -> None:
    folder = workspace.root / "collaborations" / link.NODES
    own = (folder / "p1.pub").read_bytes()
    other = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    for content, said in (
        ((folder / "p0.pub").read_bytes(), "p1.pub`: got the key of `p0`, expected what `consentric partner init` prints at `p1`"),
        (other, "p1.pub`: expected a public key"),
        (b"p1+abc", "p1.pub`: expected a public key"),
    ):
        (folder / "p1.pub").write_bytes(content)
        with pytest.raises(WorkspaceError, match=said):
            link.node_keys(workspace, AGREED.contract)
    (folder / "p1.pub").write_bytes(own + b"\n")
    assert [*link.node_keys(workspace, AGREED.contract)] == NAMES
    pytest.importorskip("flwr")
    place = link.Place(HOST, 1, ["a b/c"])
    with pytest.raises(WorkspaceError, match="`--known-as`: got `a b/c`"):
        link.serve(Bench(workspace, ZeroNoise(), lambda _: None), AGREED, place, threading.Event(), lambda _name, _online: None)


class Serving:
    """A link in a thread. `told`: what its operator reads."""

    def __init__(self, workspace: Workspace, port: int) -> None:
        self.told, self.fault, self.stop = list[str](), list[Exception](), threading.Event()
        self._bench, self._place = Bench(workspace, ZeroNoise(), self.told.append), link.Place(HOST, port, [HOST])
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        try:
            link.serve(self._bench, AGREED, self._place, self.stop, lambda name, online: self.told.append(f"{name} {online}"))
        except Exception as fault:  # noqa: BLE001 (looked at by the test)
            self.fault.append(fault)


@contextmanager
def serving(workspace: Workspace) -> Iterator[Serving]:
    """Once it serves."""
    at = Serving(workspace, free_port())
    at.thread.start()
    try:
        deadline = time.monotonic() + 60
        while not link.state(workspace, AGREED).address and at.thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield at
    finally:
        at.stop.set()
        at.thread.join(60)
        assert not at.thread.is_alive()


def served(workspace: Workspace) -> int:
    """How often the log says that a link was served."""
    with workspace.store.read() as session:
        return [entry.parsed["action"] for entry in audit_log.entries(session.connection(), 0)].count("collaboration.served")


def test_a_port_that_is_taken_is_told_and_was_not_served(workspace: Workspace) -> None:
    pytest.importorskip("flwr")
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        place = link.Place(HOST, taken.getsockname()[1], [HOST])
        with pytest.raises(TransportError, match="choose another host or port"):
            link.serve(Bench(workspace, ZeroNoise(), lambda _: None), AGREED, place, threading.Event(), lambda _name, _online: None)
    assert served(workspace) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'click.utils.get_binary_stream' is deprecated:DeprecationWarning")  # by what Flower's CLI imports
def test_one_process_keeps_a_link_says_where_it_is_and_ends_when_it_is_told_or_the_link_is_gone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flwr")
    with serving(workspace) as at:
        assert served(workspace) == 1 and not at.fault
        second = Serving(workspace, free_port())
        second._serve()
        (fault,) = second.fault
        assert isinstance(fault, CollaborationError) and f"already at {link.state(workspace, AGREED).address}" in str(fault)
        monkeypatch.setattr(link, "MISSING", 0.0)
        told = list[str]()
        with pytest.raises(CollaborationError, match="`p0`, `p1`, `p2` did not connect"), link.reached(workspace, AGREED, told.append):
            pass
        began = time.monotonic()
        at.stop.set()
        at.thread.join(30)
        assert time.monotonic() - began < 12 and not at.fault
    assert link.state(workspace, AGREED) == link.State("", ())
    with serving(workspace) as at:
        assert served(workspace) == 2
        os.kill(_superlink(), signal.SIGKILL)
        at.thread.join(30)
        assert isinstance(at.fault[0], TransportError) and "ended by itself" in str(at.fault[0])
    stopped = Serving(workspace, free_port())
    stopped.stop.set()
    stopped._serve()
    assert not stopped.fault and served(workspace) == 2  # nothing was served


def _superlink() -> int:
    """The process that this one started as a SuperLink."""
    children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")
    tasks = [int(pid) for task in children.parents[1].glob("*/children") for pid in task.read_text().split()]
    (found,) = [pid for pid in tasks if b"federated.flower.server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found
