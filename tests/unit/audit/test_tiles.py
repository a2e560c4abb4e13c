"""The log as files: named as the specification says, written step by step, verified by the file alone and by another's Merkle tree."""

from __future__ import annotations

import random
from pathlib import Path

import pymerkle
import pytest

from audit import tiles, verify
from audit.checkpoint import Checkpoint
from audit.log import MOST_BYTES, EntryError
from audit.merkle import IntegrityError
from audit.proof import entry_proof
from audit.tiles import ENTRIES, Tile
from tests.evidence import Evidence, body, signer

KEY = str(signer().verifier)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(tmp_path)


def publish(evidence: Evidence, folder: Path, before: Checkpoint | None = None) -> Checkpoint:
    newest = evidence.file.read()
    assert newest is not None
    with evidence.read() as connection:
        tiles.publish(connection, folder, newest, before)
    return newest


def found(folder: Path) -> list[str]:
    report = verify.verify_log(folder, folder / "checkpoint", evidence_key())
    return [finding.place for finding in report.findings]


def evidence_key() -> verify.Key:
    return verify.parse_key(KEY)


def test_paths_are_those_of_the_specification() -> None:
    assert Tile(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Tile(2, 0, 17).path == "tile/2/000.p/17"
    assert Tile(ENTRIES, 999, 256).path == "tile/entries/999"
    assert Tile(ENTRIES, 1000, 1).path == "tile/entries/x001/000.p/1"


def test_the_tiles_of_seventy_thousand_entries_are_those_of_the_specifications_example() -> None:
    made = [tile for tile in tiles.tiles(70_000) if tile.level != ENTRIES]
    full = [tile for tile in made if tile.width == 256]
    assert len([tile for tile in full if tile.level == 0]) == 273 and [tile for tile in full if tile.level] == [Tile(1, 0, 256)]
    assert [tile for tile in made if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile for tile in tiles.tiles(256) if tile.level != ENTRIES] == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert [*tiles.tiles(0)] == []


@pytest.mark.parametrize("steps", [(1,), (255, 1, 1), (256,), (300, 212, 1), (3, 600)])
def test_published_in_steps_the_folder_is_that_of_one_step(evidence: Evidence, tmp_path: Path, steps: tuple[int, ...]) -> None:
    before, number = None, 0
    for step in steps:
        evidence.add(*(body(number + each) for each in range(step)))
        number += step
        before = publish(evidence, tmp_path / "out", before)
        assert found(tmp_path / "out") == []
    publish(evidence, tmp_path / "once")
    for path in (tmp_path / "once").rglob("*"):
        if path.is_file():
            assert (tmp_path / "out" / path.relative_to(tmp_path / "once")).read_bytes() == path.read_bytes()
    assert not [path for path in (tmp_path / "out").rglob("*.p") if path.with_suffix("").exists()]


def test_every_byte_of_a_published_folder_is_checked(evidence: Evidence, tmp_path: Path) -> None:
    evidence.add(*(body(number) for number in range(300)))
    out = tmp_path / "out"
    publish(evidence, out)
    draw = random.Random(3)
    for path in sorted(each for each in out.rglob("*") if each.is_file()):
        kept = path.read_bytes()
        for _ in range(12):
            spot = draw.randrange(len(kept))
            for changed in (kept[:spot] + bytes([kept[spot] ^ 1]) + kept[spot + 1 :], kept[:spot], kept + b"\0", b""):
                path.write_bytes(changed)
                assert found(out), (path, spot)
        path.unlink()
        assert found(out), path
        path.write_bytes(kept)
    assert found(out) == []


def test_what_is_published_does_not_go_back_or_fork(evidence: Evidence, tmp_path: Path) -> None:
    evidence.add(*(body(number) for number in range(20)))
    before = publish(evidence, tmp_path / "out")
    (tmp_path / "fork").mkdir()
    fork = Evidence(tmp_path / "fork")
    fork.add(*(body(number + 1) for number in range(10)))
    with pytest.raises(IntegrityError, match="was cut"):
        publish(fork, tmp_path / "out", before)
    fork.add(*(body(number) for number in range(30)))
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        publish(fork, tmp_path / "out", before)
    assert found(tmp_path / "out") == []


def test_an_entry_that_no_bundle_can_hold_is_refused(evidence: Evidence) -> None:
    evidence.add(b"x" * MOST_BYTES)
    with pytest.raises(EntryError, match=r"entry 1 of the log has 65536 bytes, expected at most 65535"):
        evidence.add(b"x" * (MOST_BYTES + 1))
    with evidence.read() as connection:
        assert tiles.content(connection, Tile(ENTRIES, 0, 1))[:2] == b"\xff\xff"


def test_a_proof_of_every_entry_verifies_and_of_no_other(evidence: Evidence) -> None:
    evidence.add(*(body(number) for number in range(9)))
    newest = evidence.file.read()
    assert newest is not None
    with evidence.read() as connection:
        proofs = [entry_proof(connection, index, newest) for index in range(9)]
        with pytest.raises(IntegrityError, match="entry 9 is not under"):
            entry_proof(connection, 9, newest)
    for index, text in enumerate(proofs):
        assert verify.verify_proof(text.encode(), evidence_key())[1:] == (index, body(index))
        for changed in (
            text.replace(f"index {index}", f"index {index ^ 1}"),
            text.replace("tlog-proof@v1", "tlog-proof@v2"),
            text.replace(".", "/", 1),
            text[:-3],
        ):
            with pytest.raises(verify.Broken):
                verify.verify_proof(changed.encode(), evidence_key())


def test_tiles_and_proofs_agree_with_somebody_elses_tree(evidence: Evidence, tmp_path: Path) -> None:
    """pymerkle, which others wrote: good enough to disagree with, though it asks not to be trusted."""
    evidence.add(*(body(number) for number in range(300)))
    newest = publish(evidence, tmp_path / "out")
    other = pymerkle.InmemoryTree(algorithm="sha256")
    raw = (tmp_path / "out" / "tile/entries/000").read_bytes() + (tmp_path / "out" / "tile/entries/001.p/44").read_bytes()
    while raw:
        end = 2 + int.from_bytes(raw[:2], "big")
        other.append_entry(raw[2:end])
        raw = raw[end:]
    assert other.get_root() == newest.root
    for index in (0, 7, 255, 256, 299):
        with evidence.read() as connection:
            hashes = entry_proof(connection, index, newest).partition("\n\n")[0].split("\n")[3:]
        # theirs begins with the leaf itself
        assert [verify.decode(line).hex() for line in hashes] == other.prove_inclusion(index + 1).serialize()["path"][1:]
