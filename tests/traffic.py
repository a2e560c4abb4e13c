"""What an agent says on the wire, taken apart to the last byte: payloads, and the named headers and fields around them.

`payloads` reads a recording (`tests.proxy`) strictly: whatever is not named here, or is not as it is named here, is an AssertionError. The
tables below are all that Flower's transport adds to what a partner's transcript holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tests.proxy import Recorded, Request, requests

HEX, WHOLE, NUMBER, BASE64 = "[0-9a-f]{64}", "[0-9]{1,20}", r"[0-9.e+-]{1,25}", "[A-Za-z0-9+/=]{1,300}"

HEADERS: Mapping[str, tuple[str, str]] = {
    "host": ("the SuperLink, as the partner calls it", r"127\.0\.0\.1:[0-9]+"),
    "accept": ("what the client reads", "application/x?-?protobuf"),
    "accept-encoding": ("how it reads it, by what is installed", "[a-z, ]+"),
    "connection": ("stays open", "keep-alive"),
    "user-agent": ("the HTTP library and its version", r"python-httpx/[0-9.]+"),
    "content-type": ("what the body is", "application/x?-?protobuf"),
    "content-length": ("how long the body is", WHOLE),
    "flwr-package-name": ("Flower", "flwr"),
    "flwr-package-version": ("its version", r"1\.41\.0"),
    "flwr-component-name": ("what speaks", "SuperNode"),
    "flwr-public-key": ("the node's key, registered at the SuperLink", BASE64),
    "flwr-timestamp": ("when the call was made", r"[0-9T:.+-]{20,35}"),
    "flwr-signature": ("of that time, by the node's key", BASE64),
}
"""Header: what it is, and what it may be."""

CALLS: Mapping[str, str] = {
    "/v1/fleet/activate-node": "ActivateNodeRequest",
    "/v1/fleet/deactivate-node": "DeactivateNodeRequest",
    "/v1/fleet/send-node-heartbeat": "SendNodeHeartbeatRequest",
    "/v1/fleet/pull-messages": "PullMessagesRequest",
    "/v1/fleet/push-messages": "PushMessagesRequest",
}
"""Path: the body."""

PAYLOAD = "ConfigRecordValue.bytes"
"""The one field with bytes of ours in it."""

FIELDS: Mapping[str, tuple[str, str]] = {
    "ActivateNodeRequest.public_key": ("the node's key", ".*"),
    "ActivateNodeRequest.heartbeat_interval": ("seconds between signs of life, always the same", r"30\.0"),
    "SendNodeHeartbeatRequest.heartbeat_interval": ("the same", r"30\.0"),
    "DeactivateNodeRequest.node_id": ("the node, a number of the SuperLink's", WHOLE),
    "Node.node_id": ("the same", WHOLE),
    "Metadata.run_id": ("the run, a number of the SuperLink's", WHOLE),
    "Metadata.message_id": ("digest of headers and payload", HEX),
    "Metadata.reply_to_message_id": ("digest of the request", HEX),
    "Metadata.src_node_id": ("the node", WHOLE),
    "Metadata.dst_node_id": ("the SuperLink, always the same number", "1"),
    "Metadata.dst_task_id": ("whom of the run it is for, as in the request", WHOLE),
    "Metadata.ttl": ("seconds until the request runs out", NUMBER),
    "Metadata.created_at": ("when the reply was packed", NUMBER),
    "Metadata.message_type": ("always the same", "query"),
    "ObjectTree.object_id": ("digest of headers and payload", HEX),
    "Item.key": ("of the record and of its one value, always the same", "consentric"),
}
"""Field: what it is, and what it may be, as text."""


def payloads(record: Recorded) -> list[bytes]:
    """What a partner's answerer gave, in the order in which it left; all other bytes are as the tables say."""
    return [payload for sent in record.sent for request in requests(bytes(sent)) for payload in _payloads(request)]


def _payloads(request: Request) -> Iterator[bytes]:
    assert request.method == "POST"
    for name, value in request.headers:
        assert name in HEADERS, f"header {name}: {value}"
        assert re.fullmatch(HEADERS[name][1], value), f"header {name}: {value}"
    assert len({name for name, _ in request.headers}) == len(request.headers)
    read = _read(CALLS[request.path], request.body)
    for name, value in _fields(read):
        if name == PAYLOAD:
            yield value
        else:
            assert name in FIELDS, f"field {name}: {value!r}"
            assert re.fullmatch(FIELDS[name][1], str(value), re.DOTALL), f"field {name}: {value!r}"
    for message in getattr(read, "messages_list", ()):
        said, message.metadata.message_id = message.metadata.message_id, ""
        carried = b"".join(value for name, value in _fields(message) if name == PAYLOAD)
        assert said == hashlib.sha256(message.metadata.SerializeToString(deterministic=True) + carried).hexdigest()


def _read(name: str, data: bytes) -> Any:
    """A message of Flower's, of which these are all the bytes: no unknown field, no other spelling."""
    from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2

    kind = next(getattr(each, name) for each in (fleet_pb2, heartbeat_pb2, message_pb2) if hasattr(each, name))
    read = kind.FromString(data)
    read.DiscardUnknownFields()
    assert read.SerializeToString(deterministic=True) == data
    return read


def _fields(message: Any) -> Iterator[tuple[str, Any]]:
    """Every value of a message and of those within, with its name."""
    for field, value in message.ListFields():
        for each in value if field.is_repeated else [value]:
            if field.message_type:
                yield from _fields(each)
            else:
                yield f"{message.DESCRIPTOR.name}.{field.name}", each


def found(needles: list[bytes], sent: bytes) -> set[bytes]:
    """Those of at least eight bytes each that stand anywhere in what was sent."""
    assert all(len(needle) >= 8 for needle in needles)
    begins = np.array([int.from_bytes(needle[:8], "little") for needle in needles], dtype=np.uint64)
    there: set[int] = set()
    for shift in range(8):
        count = (len(sent) - shift) // 8
        if count > 0:
            there |= set(np.intersect1d(np.frombuffer(sent, "<u8", count, shift), begins).tolist())
    return {needle for needle, begin in zip(needles, begins.tolist(), strict=True) if begin in there and needle in sent}
