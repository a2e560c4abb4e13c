"""Random tamperings of a log of a thousand entries: a verifier that holds a last-seen checkpoint finds every one, and names what it is.

A seeded sample runs always; `TAMPERINGS=10000` runs as many as it says. The forger is careless (the database is edited),
careful (every node above is made anew), or has the key (whatever is asked for is signed); one of the witnesses helps it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import verify
from audit.checkpoint import SLOT, Checkpoint, CheckpointFile, make_checkpoint, pack_slot
from audit.merkle import CompactRange, leaf_hash
from audit.witness import Cosigner
from tests.evidence import Evidence, body, signer

SIZE, SEEN = 1000, 900
NAMED = re.compile(r"entry \d+|checkpoint")

Rows = list[bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    evidence = Evidence(tmp_path_factory.mktemp("original"))
    evidence.add(*(body(number) for number in range(SEEN)))
    assert evidence.verify(evidence.database.parent / "seen").findings == ()
    evidence.add(*(body(number) for number in range(SEEN, SIZE)))
    return evidence


def head(rows: Rows, size: int, seed: int = 1) -> Checkpoint:
    tree = CompactRange()
    tree.extend([leaf_hash(row) for row in rows[:size]])
    return make_checkpoint(signer(seed), size, tree.root())


def careless(database: Path, draw: random.Random, kind: str) -> None:
    index, other = sorted(draw.sample(range(SIZE), 2))
    statements = {
        "edit": [f"UPDATE log_entries SET body = CAST(replace(body, '{index}', '{index + 1}') AS BLOB) WHERE idx = {index}"],
        "delete": [f"DELETE FROM log_entries WHERE idx = {index}"],
        "reorder": [
            f"UPDATE log_entries SET idx = -1 WHERE idx = {index}",
            f"UPDATE log_entries SET idx = {index} WHERE idx = {other}",
            f"UPDATE log_entries SET idx = {other} WHERE idx = -1",
        ],
        "insert": [
            f"UPDATE log_entries SET idx = -idx - 2 WHERE idx >= {index}",
            "UPDATE log_entries SET idx = -idx - 1 WHERE idx < 0",
            f"INSERT INTO log_entries VALUES ({index}, x'7b7d')",
        ],
        "cut": [f"DELETE FROM log_entries WHERE idx >= {index}"],
    }[kind]
    with sqlite3.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def careful(draw: random.Random, kind: str) -> Rows:
    rows = [body(number) for number in range(SIZE)]
    index, other = sorted(draw.sample(range(SEEN), 2))
    match kind:
        case "edit":
            rows[index] = body(SIZE + index)
        case "delete":
            del rows[index]
        case "reorder":
            rows[index], rows[other] = rows[other], rows[index]
        case "insert":
            rows.insert(index, body(SIZE))
        case "cut":
            del rows[index:]
    return rows


def write(database: Path, rows: Rows) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DELETE FROM log_entries")
        connection.execute("DELETE FROM log_nodes")
        connection.executemany("INSERT INTO log_entries VALUES (?, ?)", enumerate(rows))
        nodes = CompactRange().extend([leaf_hash(row) for row in rows])
        connection.executemany("INSERT INTO log_nodes VALUES (?, ?, ?)", map(tuple, nodes))
    connection.close()


def slots(path: Path, *checkpoints: Checkpoint) -> None:
    path.write_bytes(b"".join(pack_slot(each.note) for each in checkpoints))


KINDS = ("edit", "delete", "reorder", "insert", "cut")


def tampered(folder: Path, draw: random.Random) -> str:
    """Tampers with the log in `folder`; says how."""
    database, checkpoint = folder / "log.db", folder / "checkpoint"
    kind, how = draw.choice(KINDS), draw.choice(("careless", "careful", "fork", "swapped key", "replayed", "bytes"))
    if how == "careless":
        careless(database, draw, kind)
    elif how == "bytes":  # of the checkpoint file
        raw, spot = bytearray(checkpoint.read_bytes()), draw.randrange(2 * SLOT)
        raw[spot] ^= 1 << draw.randrange(8)
        checkpoint.write_bytes(raw)
    elif how == "replayed":  # an older database with its older checkpoint
        size = draw.randrange(1, SEEN)
        rows = [body(number) for number in range(size)]
        write(database, rows)
        slots(checkpoint, *[head(rows, size)] * 2)
    else:
        rows = careful(draw, kind)
        write(database, rows)
        if how != "careful":  # signed, by whoever has the key or by another
            slots(checkpoint, *[head(rows, len(rows), 1 if how == "fork" else 2)] * 2)
    return f"{how}, {kind}"


def test_every_random_tampering_is_found_and_named(original: Evidence, tmp_path: Path) -> None:
    count = int(os.environ.get("TAMPERINGS", "200"))
    draw, files = random.Random(20261122), ("log.db", "checkpoint", "seen")
    key, witness = original.key, Cosigner(Ed25519PrivateKey.from_private_bytes(b"w" * 32), "witness.example/1")
    trust = verify.parse_policy(f"log {signer().verifier}\nwitness w {witness.vkey}\nquorum w\n".encode())
    kept = {name: (original.database.parent / name).read_bytes() for name in files}
    verifying: Callable[..., verify.Report] = verify.verify_log
    for number in range(count):
        for name, raw in kept.items():
            (tmp_path / name).write_bytes(raw)
        if number % 10 == 0:  # a witness that cosigns two histories: with a quorum for each, the one who remembers the other finds it
            rows = careful(draw, draw.choice(KINDS[:-1]))
            note = head(rows, len(rows)).note
            note += witness.cosign(note, draw.randrange(2**31))
            assert verify.read_head(note, trust, quorum=True)
            held, how = [("checkpoint held", note)], "equivocating cosignature"
        else:
            held, how = [], tampered(tmp_path, draw)
        findings = verifying(tmp_path / "log.db", tmp_path / "checkpoint", trust if held else key, tmp_path / "seen", held).findings
        assert findings, (number, how)
        assert any(NAMED.search(finding.place) for finding in findings), (number, how, findings)
        assert (tmp_path / "seen").read_bytes() == kept["seen"], (number, how)
    shutil.copy(original.database, tmp_path / "log.db")
    shutil.copy(original.checkpoint, tmp_path / "checkpoint")
    assert verifying(tmp_path / "log.db", tmp_path / "checkpoint", key, tmp_path / "seen").findings == ()


def test_the_untouched_log_and_its_growth_are_fine(original: Evidence, tmp_path: Path) -> None:
    for name in ("log.db", "checkpoint", "seen"):
        shutil.copy(original.database.parent / name, tmp_path / name)
    assert CheckpointFile(tmp_path / "checkpoint", None, signer().verifier).read()
    assert verify.verify_log(tmp_path / "log.db", tmp_path / "checkpoint", original.key, tmp_path / "seen").findings == ()
