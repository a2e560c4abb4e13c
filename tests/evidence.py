"""A small log with its checkpoint file, as a workspace keeps them, for the tests of `audit`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, create_engine

from audit import log, verify
from audit.checkpoint import CheckpointFile, Signer

ORIGIN = "example.com/workspace"


def signer(seed: int = 1, origin: str = ORIGIN) -> Signer:
    """A key that repeats."""
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), origin)


def body(number: int) -> bytes:
    """An entry as the store writes them."""
    return json.dumps({"action": "noted", "facts": {"number": number}, "v": 1}, sort_keys=True).encode()


class Seen(NamedTuple):
    """A checkpoint that the stand-alone verifier believes."""

    size: int
    root: bytes


def read_slots(path: Path, key: verify.Key) -> tuple[list[Seen], list[verify.Finding]]:
    """The checkpoints in a file of two slots, and what is wrong with it, as the stand-alone verifier sees it."""
    notes, findings = verify.slots(path)
    heads = list[Seen]()
    for place, note in notes:
        with verify.found(findings, place):
            heads.append(Seen(*verify.read_head(note, key)))
    return heads, findings


class Evidence:
    """Database `log.db` and file `checkpoint` in a folder; a rollback journal, so that copying the one file is enough."""

    def __init__(self, folder: Path, by: Signer | None = None) -> None:
        self.database, self.checkpoint = folder / "log.db", folder / "checkpoint"
        self.signer = by or signer()
        self.file = CheckpointFile(self.checkpoint, self.signer)
        self._engine = create_engine(f"sqlite:///{self.database}")
        log.metadata.create_all(self._engine)

    @property
    def key(self) -> verify.Key:
        """What an outsider holds."""
        return verify.parse_key(str(self.signer.verifier))

    def add(self, *bodies: bytes, publish: bool = True) -> int:
        """Commit entries, then publish; returns the index of the first."""
        with self._engine.begin() as connection:
            first = log.append_many(connection, bodies)
        if publish:
            self.publish()
        return first

    def publish(self) -> None:
        """Sign the present head."""
        with self.read() as connection:
            size = log.size(connection)
            self.file.publish(size, log.root(connection, size))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read the log with."""
        with self._engine.connect() as connection:
            yield connection

    def verify(self, last_seen: Path | None = None) -> verify.Report:
        """What an outsider finds."""
        return verify.verify_log(self.database, self.checkpoint, self.key, last_seen)
