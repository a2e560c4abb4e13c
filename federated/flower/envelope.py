"""Bytes as a Flower message, and back: one configuration record with one value, within the message itself.

Flower's own nodes send a message's headers and each object of its content in calls of their own, and fetch them likewise: eleven calls
for a request and its reply. Messages here hold their content, as Flower's format allows: four calls, and a quarter of the SuperLink's
processor time, which is what bounds a round of many partners. What a reply says beside its bytes is in its headers, and nothing in them
depends on what was answered but for when: run, node, the request's id, type, when it was made, how long it is of use. An error of
Flower's is never sent, because it carries text.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flwr.proto.message_pb2 import Message, Metadata, ObjectTree

KEY = "consentric"
SUPERLINK = 1
"""Number of the node that stands for the coordinator."""
KIND = "query"
"""Of Flower's types of message the one that is neither training nor evaluation."""


def request(run: int, task: int, node: int, seconds: float, payload: bytes) -> Message:
    """From the coordinator to a node, of use for `seconds`."""
    from federated.flower.protobuf import message_pb2

    return _sealed(
        message_pb2.Metadata(
            run_id=run,
            src_node_id=SUPERLINK,
            dst_node_id=node,
            src_task_id=task,
            message_type=KIND,
            created_at=time.time(),
            ttl=seconds,
        ),
        payload,
    )


def reply(asked: Metadata, payload: bytes) -> Message:
    """To a request with these headers, as stock nodes head one; of use for as long as the request is."""
    from federated.flower.protobuf import message_pb2

    now = time.time()
    return _sealed(
        message_pb2.Metadata(
            run_id=asked.run_id,
            src_node_id=asked.dst_node_id,
            dst_node_id=asked.src_node_id,
            dst_task_id=asked.src_task_id if asked.HasField("src_task_id") else None,
            reply_to_message_id=asked.message_id,
            group_id=asked.group_id,
            message_type=asked.message_type,
            created_at=now,
            ttl=asked.created_at + asked.ttl - now,
        ),
        payload,
    )


def tree(message: Message) -> ObjectTree:
    """What a SuperLink is told of a message's objects: there is one, and it is not sent."""
    from federated.flower.protobuf import message_pb2

    return message_pb2.ObjectTree(object_id=message.metadata.message_id)


def headers(message: Message) -> Metadata:
    """A copy of a message's headers: a part of a message keeps all of it in memory."""
    from federated.flower.protobuf import message_pb2

    copied = message_pb2.Metadata()
    copied.CopyFrom(message.metadata)
    return copied


def payload(message: Message) -> bytes | None:
    """The bytes in a message, None for one of another make, or with an error."""
    items = message.content.items
    if message.HasField("error") or len(items) != 1 or items[0].key != KEY or len(items[0].config_record.items) != 1:
        return None
    value = items[0].config_record.items[0].value
    return bytes(value.bytes) if value.WhichOneof("value") == "bytes" else None


def _sealed(headers: Metadata, payload: bytes) -> Message:
    """Under an id that is a digest of it, like all of Flower's."""
    from federated.flower.protobuf import message_pb2, recorddict_pb2

    value = recorddict_pb2.ConfigRecordValue(bytes=payload)
    record = recorddict_pb2.ConfigRecord(items=[recorddict_pb2.ConfigRecord.Item(key=KEY, value=value)])
    content = recorddict_pb2.RecordDict(items=[recorddict_pb2.RecordDict.Item(key=KEY, config_record=record)])
    message = message_pb2.Message(metadata=headers, content=content)
    digest = hashlib.sha256(headers.SerializeToString(deterministic=True))
    digest.update(payload)
    message.metadata.message_id = digest.hexdigest()
    return message
