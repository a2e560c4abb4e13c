"""Flower's messages, without Flower: the classes that protobuf made of its definitions.

Flower's package imports servers, strategies and a command line before it lets anybody see a message: 22 MB, of which an agent needs
nothing. So the modules of messages are imported under a package of the same name that is empty, and the real one can be imported later.
Import this module where it is used, after `pinned.require`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["fleet_pb2", "heartbeat_pb2", "message_pb2", "node_pb2", "recorddict_pb2"]

PACKAGE = "flwr"


def _messages() -> list[ModuleType]:
    if PACKAGE in sys.modules:
        return [import_module(f"{PACKAGE}.proto.{name}") for name in __all__]
    found, empty = find_spec(PACKAGE), ModuleType(PACKAGE)
    assert found is not None and found.submodule_search_locations is not None
    empty.__path__ = list(found.submodule_search_locations)
    sys.modules[PACKAGE] = empty
    try:
        return [import_module(f"{PACKAGE}.proto.{name}") for name in __all__]
    finally:
        for name in (PACKAGE, f"{PACKAGE}.proto"):
            sys.modules.pop(name, None)


if TYPE_CHECKING:
    from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, recorddict_pb2
else:
    fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, recorddict_pb2 = _messages()
