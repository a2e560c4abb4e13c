"""What our agent says is what the stock SuperNode of the installed Flower says, but for where a message has its content.

Both speak to one SuperLink through a proxy that writes down what it hears, and both answer a message: ours an echo, and the stock node one
with objects of its own, to which it answers an error, because the run has no app. Where a newer Flower says something else, this fails.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from federated.flower.agent import Agent
from federated.flower.certificates import keep_server
from federated.flower.pinned import QUIET
from tests.links import HOST, Line, free_port, line
from tests.proxy import Recorded, Request, recording, requests

pytestmark = pytest.mark.slow

SECONDS = 120.0
OTHERWISE = "messages_list.content"
"""What ours has and theirs has not: the content of a message, which the stock node sends as objects."""


@dataclass(frozen=True)
class Said:
    """Every call of one node, by path."""

    calls: dict[str, list[Request]]

    def headers(self, path: str) -> set[str]:
        """Names that any call had."""
        return {name for each in self.calls[path] for name, _ in each.headers}

    def fields(self, path: str) -> set[str]:
        """Of the request's message and those in it, that any call had set."""
        return {field for each in self.calls[path] for field in set_fields(parsed(path, each.body))}


def parsed(path: str, body: bytes) -> Any:
    """As the SuperLink reads it."""
    from flwr.superlink.routers.fleet.router import router

    (route,) = [each for each in router.routes if each.path == path]
    return route.endpoint.__annotations__["request"].__origin__.FromString(body)


def set_fields(message: Any) -> Iterator[str]:
    for field, value in message.ListFields():
        yield field.name
        for each in value if field.is_repeated else [value]:
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                yield from (f"{field.name}.{below}" for below in set_fields(each))


def said(recorded: Recorded) -> Said:
    calls: dict[str, list[Request]] = {}
    for connection in recorded.sent:
        for each in requests(bytes(connection)):
            calls.setdefault(each.path, []).append(each)
    return Said(calls)


def stock(at: Line, folder: Path, address: str, ca: Path) -> subprocess.Popen[bytes]:
    """A SuperNode as Flower ships it, with a registered key."""
    programs = Path(sys.executable).parent  # a stock node looks others of Flower's up on the path
    command = [str(programs / "flower-supernode"), "--superlink", address, "--root-certificates", str(ca)]
    command += ["--auth-supernode-private-key", str(at.private("p1")), "--host", HOST, "--port", str(free_port())]
    with open(folder / "stock.log", "wb") as log:
        env = os.environ | QUIET | {"FLWR_HOME": str(folder / "home"), "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
        return subprocess.Popen(command, stdout=log, stderr=log, env=env)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Said]:
    """Ours, and theirs."""
    folder = tmp_path_factory.mktemp("protocol")
    (folder / "line").mkdir()
    at = line(folder / "line", 2)
    proxy = keep_server(folder / "proxy", "the test's own", [HOST], dt.datetime.now(dt.UTC))
    trust = proxy.ca.read_bytes()
    with (
        at.link,
        at.courier(seconds=SECONDS) as courier,
        recording(proxy.certificate, proxy.key, at.link.address, at.link.files.ca) as ours,
        recording(proxy.certificate, proxy.key, at.link.address, at.link.files.ca) as theirs,
    ):
        stop, node = threading.Event(), stock(at, folder, theirs.address, proxy.ca)
        agent = threading.Thread(target=Agent(ours.address, trust, at.private("p0").read_bytes(), bytes).run, args=(stop,))
        agent.start()
        try:
            assert courier.exchange({"p0": b"asked"}) == {"p0": b"asked"}
            answered_by_stock(at, courier)
            assert node.poll() is None
        finally:
            stop.set()
            agent.join()
            node.terminate()
            node.wait(60)
    return said(ours), said(theirs)


def answered_by_stock(at: Line, courier: Any) -> None:
    """The stock node gets a message as Flower's own grid sends one, and says something to it."""
    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.superlink.grid import HttpGrid

    deadline = time.monotonic() + SECONDS
    while not courier.online()["p1"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    run = courier._run
    (token,) = run._client._interceptors[-1].shown.values()
    grid = HttpGrid(at.link.address, False, at.ca, token=token)
    grid.set_run(Run.create_empty(run.id))
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run.id, 1, run.task
    (sent,) = grid.push_messages([Message(RecordDict({"a": ConfigRecord({"b": b"c"})}), courier._nodes["p1"], "query", ttl=SECONDS)])
    while not (replies := list(grid.pull_messages([sent]))):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    grid.close()
    assert replies[0].has_error()
    assert replies[0].metadata.src_node_id == courier._nodes["p1"]


def test_every_call_of_ours_is_one_of_theirs(both: tuple[Said, Said]) -> None:
    ours, theirs = both
    assert {"/v1/fleet/activate-node", "/v1/fleet/pull-messages", "/v1/fleet/push-messages", "/v1/fleet/deactivate-node"} <= set(ours.calls)
    assert set(ours.calls) <= set(theirs.calls)


def test_every_call_has_the_same_headers(both: tuple[Said, Said]) -> None:
    ours, theirs = both
    assert {path: ours.headers(path) for path in ours.calls} == {path: theirs.headers(path) for path in ours.calls}


def test_every_field_of_ours_is_one_of_theirs_but_for_content(both: tuple[Said, Said]) -> None:
    ours, theirs = both
    for path in ours.calls:
        more = {field for field in ours.fields(path) - theirs.fields(path) if not field.startswith(OTHERWISE)}
        assert not more, (path, more)


def test_ours_says_neither_how_long_it_took_nor_why_it_failed(both: tuple[Said, Said]) -> None:
    ours, theirs = both
    path = "/v1/fleet/push-messages"
    assert {"clientapp_runtime_list", "messages_list.error"} <= theirs.fields(path)
    assert not {field for field in ours.fields(path) if field.startswith(("clientapp_runtime_list", "messages_list.error"))}
