"""RFC 6962 proofs of transparency-dev/merkle and a signed tiled log of transparency-dev/tessera, which others wrote."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import tiles, verify
from audit.checkpoint import Verifier, read_checkpoint
from audit.merkle import (
    CompactRange,
    IntegrityError,
    Place,
    consistency_ranges,
    hashes_of,
    inclusion_ranges,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.evidence import Evidence

FOLDER = os.environ.get("CONSENTRIC_VECTORS_DIR")
KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"

if FOLDER is None:
    pytest.skip("CONSENTRIC_VECTORS_DIR is not set", allow_module_level=True)
TLOG = Path(FOLDER) / "tlog"
TESSERA = TLOG / "tessera/testdata/log"


def proofs(kind: str) -> list[Any]:
    root = TLOG / "merkle/testdata" / kind
    return [pytest.param(json.loads(path.read_text()), id=str(path.relative_to(root))) for path in sorted(root.rglob("*.json"))]


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def accepts(error: type[Exception], check: Callable[[], None]) -> bool:
    try:
        check()
    except error:
        return False
    return True


@pytest.mark.parametrize("vector", proofs("inclusion"))
def test_inclusion(vector: dict[str, Any]) -> None:
    hashes = [decoded(each) for each in vector["proof"] or []]
    given = vector["leafIdx"], vector["treeSize"], decoded(vector["leafHash"]), hashes, decoded(vector["root"])
    expected = not vector["wantErr"]
    assert accepts(IntegrityError, lambda: verify_inclusion(*given)) is expected
    assert accepts(verify.Broken, lambda: verify.verify_inclusion(*given)) is expected


@pytest.mark.parametrize("vector", proofs("consistency"))
def test_consistency(vector: dict[str, Any]) -> None:
    hashes = [decoded(each) for each in vector["proof"] or []]
    given = vector["size1"], vector["size2"], hashes, decoded(vector["root1"]), decoded(vector["root2"])
    assert accepts(IntegrityError, lambda: verify_consistency(*given)) is not vector["wantErr"]


def test_there_are_vectors() -> None:
    assert len(proofs("inclusion")) == 98
    assert len(proofs("consistency")) == 98


def bundle(size: int) -> list[bytes]:
    """Entries of the tiled log: each with its length before it, in two bytes."""
    raw = (TESSERA / "tile/entries/000.p" / str(size)).read_bytes() if size else b""
    entries = []
    while raw:
        length = int.from_bytes(raw[:2], "big")
        entries.append(raw[2 : 2 + length])
        raw = raw[2 + length :]
    return entries


@pytest.mark.parametrize("size", range(16))
def test_signed_checkpoints(size: int) -> None:
    note = (TESSERA / f"checkpoint.{size}").read_text()
    checkpoint = read_checkpoint(note, Verifier.parse(KEY))
    head = verify.read_head(note, verify.parse_key(KEY))
    tree = CompactRange()
    nodes = {Place(level, index): value for body in bundle(size) for level, index, value in tree.append(leaf_hash(body))}
    assert (checkpoint.size, checkpoint.root) == head == (tree.size, tree.root()) == (size, tree.root())
    leaves = [nodes[Place(0, index)] for index in range(size)]
    if size:
        tile = (TESSERA / "tile/0/000.p" / str(size)).read_bytes()
        assert tile == b"".join(leaves)
    for index in range(size):
        verify_inclusion(index, size, leaves[index], hashes_of(inclusion_ranges(index, size), nodes), checkpoint.root)
    for old in range(1, size):
        before = read_checkpoint((TESSERA / f"checkpoint.{old}").read_text(), Verifier.parse(KEY))
        verify_consistency(old, size, hashes_of(consistency_ranges(old, size), nodes), before.root, checkpoint.root)


@pytest.mark.parametrize("size", range(16))
def test_tiles_of_a_log_that_others_published(size: int, tmp_path: Path) -> None:
    """Its folder verifies at each size, and what is written here of the same entries is the same, byte for byte."""
    report = verify.verify_log(TESSERA, TESSERA / f"checkpoint.{size}", verify.parse_key(KEY), tmp_path / "seen")
    assert (report.findings, report.entries, report.covered) == ((), size, size)
    evidence = Evidence(tmp_path)
    evidence.add(*bundle(size))
    with evidence.read() as connection:
        for tile in tiles.tiles(size):
            assert tiles.content(connection, tile) == (TESSERA / tile.path).read_bytes()


def test_a_checkpoint_does_not_verify_with_another_key() -> None:
    note = (TESSERA / "checkpoint.15").read_text()
    other = Verifier("example.com/log/testdata", bytes(32))
    with pytest.raises(IntegrityError, match="not signed by"):
        read_checkpoint(note, other)
