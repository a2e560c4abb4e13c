"""Somebody rewrites the database, the checkpoint file, or both, without the signing key: it is found, whatever it is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from audit import log
from audit.checkpoint import SLOT, CheckpointFile, make_checkpoint, pack_slot
from audit.merkle import leaf_hash, node_hash
from tests.evidence import Evidence, body, signer

SIZE = 50
COVERED = 48
"""Entries under the newest checkpoint; two more were committed after it."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    evidence = Evidence(tmp_path_factory.mktemp("original"))
    evidence.add(*(body(number) for number in range(30)))
    evidence.add(*(body(number) for number in range(30, COVERED)))
    evidence.add(*(body(number) for number in range(COVERED, SIZE)), publish=False)
    return evidence


@pytest.fixture
def evidence(original: Evidence, tmp_path: Path) -> Evidence:
    return copy(original, tmp_path)


def copy(original: Evidence, folder: Path) -> Evidence:
    shutil.copy(original.database, folder / "log.db")
    shutil.copy(original.checkpoint, folder / "checkpoint")
    return Evidence(folder)


def tamper(evidence: Evidence, *statements: str) -> list[str]:
    """Run SQL on a copy of the database; returns what is found, and puts the database back."""
    kept = evidence.database.read_bytes()
    connection = sqlite3.connect(evidence.database, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    for statement in statements:
        connection.execute(statement)
    connection.close()
    assert evidence.database.read_bytes() != kept
    found = places(evidence)
    evidence.database.write_bytes(kept)
    return found


def places(evidence: Evidence, last_seen: Path | None = None) -> list[str]:
    return [finding.place for finding in evidence.verify(last_seen).findings]


def rebuild(evidence: Evidence, bodies: list[bytes]) -> None:
    """What a careful forger does: every node made anew."""
    connection = sqlite3.connect(evidence.database)
    connection.execute("DELETE FROM log_entries")
    connection.execute("DELETE FROM log_nodes")
    connection.commit()
    connection.close()
    engine = create_engine(f"sqlite:///{evidence.database}")
    with engine.begin() as writing:
        log.append_many(writing, bodies)


def test_the_untouched_log_verifies(evidence: Evidence) -> None:
    report = evidence.verify()
    assert (report.findings, report.entries, report.covered, len(report.trust.logs)) == ((), SIZE, COVERED, 1)


@pytest.mark.slow
def test_every_edited_body_is_named(evidence: Evidence) -> None:
    for index in range(SIZE):
        for change in ("body || x'20'", "CAST('{}' AS BLOB)", "CAST(replace(body, 'noted', 'Noted') AS BLOB)", "x''"):
            found = tamper(evidence, f"UPDATE log_entries SET body = {change} WHERE idx = {index}")
            assert found[0] == f"entry {index}"
            assert ("checkpoint slot 0" in found, "checkpoint slot 1" in found) == (index < 30, index < COVERED)


def test_the_same_body_as_text_is_found(evidence: Evidence) -> None:
    assert "entry 7" in tamper(evidence, "UPDATE log_entries SET body = CAST(body AS TEXT) WHERE idx = 7")


def test_every_deleted_entry_is_named(evidence: Evidence) -> None:
    for index in range(SIZE - 1):
        assert tamper(evidence, f"DELETE FROM log_entries WHERE idx = {index}")[0] == f"entry {index}"
    assert tamper(evidence, f"DELETE FROM log_entries WHERE idx = {SIZE - 1}") == ["log_nodes"]


@pytest.mark.slow
def test_every_moved_entry_is_found(evidence: Evidence) -> None:
    for index in range(SIZE):
        for to in (-1, -(2**40), SIZE + 1, 2**62):
            assert tamper(evidence, f"UPDATE log_entries SET idx = {to} WHERE idx = {index}")


def test_every_pair_of_neighbours_swapped_is_found(evidence: Evidence) -> None:
    for index in range(SIZE - 1):
        found = tamper(
            evidence,
            f"UPDATE log_entries SET idx = -7 WHERE idx = {index}",
            f"UPDATE log_entries SET idx = {index} WHERE idx = {index + 1}",
            f"UPDATE log_entries SET idx = {index + 1} WHERE idx = -7",
        )
        assert found[:2] == [f"entry {index}", f"entry {index + 1}"]


def test_every_inserted_entry_is_found(evidence: Evidence) -> None:
    for index in range(SIZE + 1):
        found = tamper(
            evidence,
            f"UPDATE log_entries SET idx = -idx - 2 WHERE idx >= {index}",
            "UPDATE log_entries SET idx = -idx - 1 WHERE idx < 0",
            f"INSERT INTO log_entries VALUES ({index}, x'7b7d')",
        )
        assert found[0] == f"entry {index}"


@pytest.mark.slow
def test_every_field_of_every_node_is_checked(evidence: Evidence) -> None:
    connection = sqlite3.connect(evidence.database)
    nodes = connection.execute("SELECT level, idx FROM log_nodes").fetchall()
    connection.close()
    assert len(nodes) == 2 * SIZE - SIZE.bit_count()
    for level, index in nodes:
        key = f"level = {level} AND idx = {index}"
        place = f"node at level {level}, index {index}" if level else f"entry {index}"
        fields = ("hash = x'00'", "hash = CAST(hash AS TEXT)", "hash = zeroblob(32)", "level = 99", "level = -1", "idx = 9999", "idx = -1")
        for change in fields:
            assert place in tamper(evidence, f"UPDATE log_nodes SET {change} WHERE {key}"), change
        assert place in tamper(evidence, f"DELETE FROM log_nodes WHERE {key}")


@pytest.mark.parametrize("node", [(99, 0), (-1, 0), (0, SIZE), (3, 6), (0, -1)])
def test_a_node_too_many_is_found(evidence: Evidence, node: tuple[int, int]) -> None:
    assert tamper(evidence, f"INSERT INTO log_nodes VALUES ({node[0]}, {node[1]}, zeroblob(32))") == ["log_nodes"]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE log_entries ADD COLUMN remark TEXT DEFAULT 'x'",
        "ALTER TABLE log_nodes RENAME COLUMN hash TO digest",
        "CREATE TRIGGER later AFTER INSERT ON log_entries BEGIN DELETE FROM log_entries WHERE idx = 0; END",
        "DROP TABLE log_nodes",
    ],
)
def test_tables_unlike_those_that_were_made_are_found(evidence: Evidence, statement: str) -> None:
    assert tamper(evidence, statement) == [f"log `{evidence.database}`"]


def test_a_careful_cut_below_the_checkpoint_is_found(evidence: Evidence) -> None:
    for size in (0, 1, 29, 30, 31, COVERED - 1):
        rebuild(evidence, [body(number) for number in range(size)])
        assert places(evidence) == [f"checkpoint slot {slot}" for slot, covers in ((0, 30), (1, COVERED)) if size < covers]


def test_a_careful_cut_above_the_checkpoint_is_not_provable(evidence: Evidence) -> None:
    """What was committed and never acknowledged: the report says how much is not covered."""
    rebuild(evidence, [body(number) for number in range(COVERED)])
    assert evidence.verify().findings == ()


@pytest.mark.slow
def test_a_careful_rewrite_is_found(evidence: Evidence) -> None:
    for index in range(COVERED):
        rebuild(evidence, [body(number if number != index else 999) for number in range(SIZE)])
        assert places(evidence) == (["checkpoint slot 0"] if index < 30 else []) + ["checkpoint slot 1"]


@pytest.mark.slow
def test_every_byte_of_the_checkpoint_file_is_checked(evidence: Evidence) -> None:
    raw = evidence.checkpoint.read_bytes()
    spots = [*range(320), *range(SLOT, SLOT + 320), *range(320, 2 * SLOT, 97), SLOT - 1, 2 * SLOT - 1]
    for spot in spots:
        evidence.checkpoint.write_bytes(raw[:spot] + bytes([raw[spot] ^ 1]) + raw[spot + 1 :])
        assert places(evidence) == [f"checkpoint slot {spot // SLOT}"]


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b"",
        lambda raw: raw[:SLOT],
        lambda raw: raw + b"\0",
        lambda raw: raw[SLOT:] + raw[:1],
        lambda raw: pack_slot(make_checkpoint(signer(2), COVERED, b"r" * 32).note) * 2,
        lambda raw: raw[:SLOT] + pack_slot(make_checkpoint(signer(2), COVERED, b"r" * 32).note),
        lambda raw: raw[:SLOT] + pack_slot(make_checkpoint(signer(1, "another.example"), COVERED, b"r" * 32).note),
    ],
)
def test_a_checkpoint_file_made_by_somebody_else_is_found(evidence: Evidence, change: Callable[[bytes], bytes]) -> None:
    evidence.checkpoint.write_bytes(change(evidence.checkpoint.read_bytes()))
    assert evidence.verify().findings


def test_a_deleted_checkpoint_file_is_found(evidence: Evidence) -> None:
    evidence.checkpoint.unlink()
    assert places(evidence) == [f"checkpoint file `{evidence.checkpoint}`"]


def test_a_log_signed_anew_with_another_key_is_found(evidence: Evidence) -> None:
    """The whole workspace is replaced, but the verifier has the key from elsewhere."""
    rebuild(evidence, [body(0)])
    evidence.checkpoint.unlink()
    forger = CheckpointFile(evidence.checkpoint, signer(2))
    with evidence.read() as connection:
        forger.publish(1, log.root(connection, 1))
    assert [finding.problem[:13] for finding in evidence.verify().findings] == ["not signed by"] * 2


class TestLastSeen:
    """What only somebody who remembers a checkpoint can find."""

    @pytest.fixture
    def last_seen(self, evidence: Evidence, tmp_path: Path) -> Path:
        path = tmp_path / "seen"
        assert evidence.verify(path).findings == ()
        assert path.read_text().splitlines()[1] == str(COVERED)
        return path

    def test_it_moves_on_with_the_log(self, evidence: Evidence, last_seen: Path) -> None:
        evidence.publish()
        assert evidence.verify(last_seen).covered == SIZE
        assert last_seen.read_text().splitlines()[1] == str(SIZE)

    def test_a_restored_older_workspace_is_found(self, evidence: Evidence, last_seen: Path) -> None:
        rebuild(evidence, [body(number) for number in range(30)])
        raw = evidence.checkpoint.read_bytes()
        evidence.checkpoint.write_bytes(raw[:SLOT] * 2)
        assert evidence.verify().findings == ()
        assert places(evidence, last_seen) == ["last-seen checkpoint", "checkpoint file"]
        assert last_seen.read_text().splitlines()[1] == str(COVERED)

    def test_a_fork_by_whoever_holds_the_key_is_found(self, evidence: Evidence, last_seen: Path) -> None:
        rebuild(evidence, [body(number + 1000) for number in range(SIZE)])
        evidence.checkpoint.unlink()
        evidence.publish()
        assert evidence.verify().findings == ()
        assert places(evidence, last_seen) == ["last-seen checkpoint"]

    def test_a_damaged_memory_is_reported(self, evidence: Evidence, last_seen: Path) -> None:
        last_seen.write_text(last_seen.read_text().replace("48", "47"))
        assert places(evidence, last_seen) == ["last-seen checkpoint"]

    def test_an_intact_log_that_only_grew_is_fine(self, evidence: Evidence, last_seen: Path) -> None:
        evidence.add(*(body(number) for number in range(SIZE, 80)))
        assert evidence.verify(last_seen).findings == ()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_what_is_covered_is_found(original: Evidence, evidence: Evidence, data: st.DataObject) -> None:
    """Random edits to random fields, with every node above made to fit again: the checkpoint still knows."""
    copy(original, evidence.database.parent)
    index = data.draw(st.integers(0, COVERED - 1))
    changed = bytearray(body(index))
    spot = data.draw(st.integers(0, len(changed) - 1))
    changed[spot] ^= data.draw(st.integers(1, 255))
    connection = sqlite3.connect(evidence.database)
    connection.execute("UPDATE log_entries SET body = ? WHERE idx = ?", (bytes(changed), index))
    fit = data.draw(st.integers(0, 6))  # levels that the forger mends
    value = leaf_hash(bytes(changed))
    for level in range(fit):
        place = index >> level
        connection.execute("UPDATE log_nodes SET hash = ? WHERE level = ? AND idx = ?", (value, level, place))
        other = connection.execute("SELECT hash FROM log_nodes WHERE level = ? AND idx = ?", (level, place ^ 1)).fetchone()
        if other is None:
            break
        value = node_hash(other[0], value) if place & 1 else node_hash(value, other[0])
    connection.commit()
    connection.close()
    assert "checkpoint slot 1" in places(evidence)
