"""The calls of Flower's Fleet API that an agent makes: protobuf over HTTPS, each signed by the node's key.

A call shows the node's public key, the time, and the key's signature of that time (ECDSA on P-384 with SHA-256), as a stock SuperNode's
does. Flower's own client does the same, and brings all of Flower with it (`federated.flower.protobuf`).
"""

from __future__ import annotations

import datetime as dt
import ssl
from base64 import b64encode
from typing import Protocol, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no stubs of its own

from federated.flower.calls import PUBLIC_KEY, SIGNATURE, TIMESTAMP, versions
from federated.flower.http import httpx
from federated.flower.pinned import TransportError
from federated.flower.protobuf import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2

MEDIA_TYPE = "application/protobuf"
SECONDS = 30.0
"""For a call to get on; a heartbeat has less, so that it is late rather than in the way."""
BEAT_SECONDS = 5.0
HEARTBEAT = 30
"""Seconds that a SuperLink expects between heartbeats: it takes a node for lost after twice as many."""


class Sent(Protocol):
    """A message of protobuf's, on its way out."""

    def SerializeToString(self, *, deterministic: bool) -> bytes: ...


class Parsed(Protocol):
    """One that is read."""

    def ParseFromString(self, data: bytes) -> int: ...


Answer = TypeVar("Answer", bound=Parsed)


class Fleet:
    """A node's line to a SuperLink. Calls raise httpx.HTTPError."""

    def __init__(self, address: str, ca: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        self._key, self._public = key, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        shown = {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE, PUBLIC_KEY: b64encode(self._public).decode()} | versions("SuperNode")
        trust = ssl.create_default_context(cadata=ca.decode("ascii"))
        self._http = httpx.Client(base_url=f"https://{address}/v1/fleet/", headers=shown, verify=trust, timeout=SECONDS)
        self._node = node_pb2.Node()

    def activate(self) -> None:
        """Says that this node is there; its number comes of it."""
        request = fleet_pb2.ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT)
        self._node = node_pb2.Node(node_id=self._call("activate-node", request, fleet_pb2.ActivateNodeResponse).node_id)

    def beat(self) -> None:
        """Says that it is there still."""
        request = heartbeat_pb2.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT)
        self._call("send-node-heartbeat", request, heartbeat_pb2.SendNodeHeartbeatResponse, BEAT_SECONDS)

    def pull(self) -> message_pb2.Message | None:
        """The next request, if there is one."""
        found = self._call("pull-messages", fleet_pb2.PullMessagesRequest(node=self._node), fleet_pb2.PullMessagesResponse)
        return found.messages_list[0] if found.messages_list else None

    def push(self, reply: message_pb2.Message, tree: message_pb2.ObjectTree) -> None:
        """A reply."""
        request = fleet_pb2.PushMessagesRequest(node=self._node, messages_list=[reply], message_object_trees=[tree])
        self._call("push-messages", request, fleet_pb2.PushMessagesResponse)

    def deactivate(self) -> None:
        """Says that it is there no more."""
        self._call("deactivate-node", fleet_pb2.DeactivateNodeRequest(node_id=self._node.node_id), fleet_pb2.DeactivateNodeResponse)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _call(self, path: str, request: Sent, answer: type[Answer], seconds: float = SECONDS) -> Answer:
        time = dt.datetime.now(dt.UTC).isoformat()
        signature = self._key.sign(time.encode("ascii"), ec.ECDSA(SHA256()))
        signed = {TIMESTAMP: time, SIGNATURE: b64encode(signature).decode()}
        said = self._http.post(path, content=request.SerializeToString(deterministic=True), headers=signed, timeout=seconds)
        said.stream = httpx.ByteStream(b"")  # its own knows it: both bodies would stay until Python looks for circles
        said.raise_for_status()
        answered = answer()
        try:
            answered.ParseFromString(said.content)
        except DecodeError:
            raise TransportError(f"what answers at `{self._http.base_url.host}` speaks another protocol; is it a SuperLink?") from None
        return answered
