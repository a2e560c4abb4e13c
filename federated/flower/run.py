"""A run of a SuperLink, held by the coordinator: what lets it send messages to nodes.

Flower gives messages to whoever holds a *run*, and runs are held by a process that a SuperExec starts, which unpacks and executes the run's
app bundle. There is no app here. A run is started (Control API, by the SuperLink's secret) with a bundle that names no code; its task is
acquired as a SuperExec would (Runtime API, by the same secret), and spoken for as a ServerApp would, from the process of the coordinator:
nothing is unpacked, installed or executed anywhere. Other ways were tried and left: a stock ServerApp costs 6 to 10 s a round (a process a
message, waits of 3 s in its grid) and runs a bundle; Flower's in-memory grid wants the SuperLink in the coordinator's process, and ends
with it.
"""

from __future__ import annotations

import io
import secrets
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from federated.flower.calls import Caller, Headers, Patience, RejectedError, Tell, versions
from federated.flower.certificates import registered
from federated.flower.envelope import tree
from federated.flower.pinned import TransportError
from federated.flower.server import word

if TYPE_CHECKING:
    from flwr.proto.message_pb2 import Message
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient

BEAT = 10.0
"""Seconds between signs of life; a SuperLink ends a run after 60 without one."""
TIMES = 3
"""How often a run is started: one whose task was acquired while the line broke is lost, and expires."""
BATCH = 32 << 20
"""Bytes of messages in one call, unless one alone is larger."""
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
ONLINE = "online"
UNKNOWN = "this coordinator; take the secret of the folder in which it was started"
BUNDLE = """[project]
name = "consentric"
version = "1.0.0"
description = "messages of a collaboration; there is no app ({nonce})"
[tool.flwr.app]
publisher = "consentric"
[tool.flwr.app.components]
serverapp = "none:none"
clientapp = "none:none"
"""


class Run:
    """From its start to `end`. Methods raise TransportError where the SuperLink does not come back, RejectedError where it says no,
    UnknownError where it has ended the run, or was started anew and knows of none."""

    def __init__(self, address: str, ca: bytes, secret: bytes, patience: Patience, tell: Tell, stop: threading.Event) -> None:
        """`stop` ends waits. Raises TransportError: no SuperLink there, another CA, another secret; StoppedError."""
        self._over = threading.Event()
        self.call = Caller(address, patience, stop, tell, UNKNOWN)
        self._address, self._ca, self._secret = address, ca, secret
        for _ in range(TIMES):
            if (token := self._acquired()) is not None:
                break
        else:
            raise TransportError(f"the SuperLink at `{address}` gives no run to hold; see its log")
        self._client = self._runtime(Headers({_token_header(): token}))
        self._begin()
        self._heart = threading.Thread(target=self._beat, name="run heartbeat", daemon=True)
        self._heart.start()

    def nodes(self, keys: Mapping[str, bytes]) -> dict[str, int]:
        """The node of each public key (OpenSSH) by the same names; those that are not registered yet are."""
        from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest

        wanted = {name: registered(public) for name, public in keys.items()}
        with self._control() as control:
            known = {bytes(node.public_key) for node in self.call(lambda: control.ListNodes(ListNodesRequest())).nodes_info}
            for request in (RegisterNodeRequest(public_key=public) for public in set(wanted.values()) - known):
                with suppress(RejectedError):  # registered a moment ago, by a call whose answer was lost
                    self.call(partial(control.RegisterNode, request))
            there = {bytes(node.public_key): node for node in self.call(lambda: control.ListNodes(ListNodesRequest())).nodes_info}
        return {name: there[public].node_id for name, public in wanted.items()}

    def online(self) -> frozenset[int]:
        """Nodes that are connected now."""
        from flwr.proto.control_pb2 import ListNodesRequest

        with self._control() as control:
            found = self.call(lambda: control.ListNodes(ListNodesRequest())).nodes_info
        return frozenset(node.node_id for node in found if node.status == ONLINE)

    def push(self, messages: Sequence[Message]) -> None:
        """To their nodes; in several calls where they are large."""
        from flwr.proto.runtime_pb2 import PushAppMessagesRequest

        for some in _batches(messages):
            request = PushAppMessagesRequest(messages_list=some, message_object_trees=[tree(each) for each in some])
            self.call(partial(self._client.PushMessages, request))

    def pull(self, ids: Sequence[str]) -> list[Message]:
        """Replies to requests of these ids that were not given yet; among them the SuperLink's own, with an error, where a node is gone."""
        from flwr.proto.runtime_pb2 import PullAppMessagesRequest

        return list(self.call(lambda: self._client.PullMessages(PullAppMessagesRequest(message_ids=ids))).messages_list)

    def end(self) -> None:
        """The SuperLink forgets the run, and all messages of it."""
        from flwr.proto.control_pb2 import StopRunRequest

        self._over.set()
        self._heart.join()
        self._client.close()
        with suppress(Exception), self._control() as control:  # a SuperLink that is gone ends it by itself
            control.StopRun(StopRunRequest(run_id=self.id))

    def _acquired(self) -> str | None:
        """The token of a run of our own, None where somebody else or nobody has it."""
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.proto.fab_pb2 import Fab
        from flwr.proto.runtime_pb2 import AcquireTaskRequest
        from flwr.supercore.inflatable.inflatable_object import get_object_id
        from flwr.supercore.interceptors import SuperExecAuthHttpInterceptor

        bundle = _bundle()
        hash = get_object_id(bundle)
        with self._control() as control:
            self.call(lambda: control.StartRun(StartRunRequest(fab=Fab(hash_str=hash, content=bundle))))
        with self._runtime(SuperExecAuthHttpInterceptor(master_secret=self._secret, protected_methods=[ACQUIRE])) as executor:
            return self.call(lambda: executor.AcquireTask(AcquireTaskRequest(agentapp_fab_hashes=[hash]))).token or None

    def _begin(self) -> None:
        from flwr.proto.runtime_pb2 import PullTaskInputRequest

        given = self.call(lambda: self._client.PullTaskInput(PullTaskInputRequest()))
        self.id, self.task = given.run.run_id, given.task_id

    def _control(self) -> ControlHttpClient:
        from flwr.supercore.control.control_http_client import ControlHttpClient

        shown = Headers({"Authorization": f"Bearer {word(self._secret)}"} | versions("flwr CLI"))
        return ControlHttpClient.from_server_address(self._address, False, self._ca, [shown])

    def _runtime(self, shown: Headers | SuperExecAuthHttpInterceptor) -> RuntimeHttpClient:
        from flwr.supercore.runtime import RuntimeHttpClient

        return RuntimeHttpClient.from_server_address(self._address, False, self._ca, [Headers(versions("flwr-serverapp")), shown])

    def _beat(self) -> None:
        from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest

        while not self._over.wait(BEAT):
            with suppress(Exception):  # the next call meets the same fault, and tells it
                self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    for message in messages:
        if batch and sum(each.ByteSize() for each in batch) + message.ByteSize() > BATCH:
            yield batch
            batch = []
        batch.append(message)
    yield batch


def _token_header() -> str:
    from flwr.supercore.constant import TASK_TOKEN_HEADER

    return TASK_TOKEN_HEADER


def _bundle() -> bytes:
    """Flower knows a run by its bundle's digest: each is another, so that nobody else's task is acquired."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("pyproject.toml", BUNDLE.format(nonce=secrets.token_hex(16)))
    return made.getvalue()
