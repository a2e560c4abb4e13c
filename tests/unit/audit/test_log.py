from pathlib import Path

import pytest
from sqlalchemy import delete, update

from audit import log
from audit.checkpoint import make_checkpoint
from audit.merkle import EMPTY_ROOT, IntegrityError, leaf_hash, root_of, verify_consistency, verify_inclusion
from tests.evidence import Evidence, body, signer


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(tmp_path)


def test_an_empty_log(evidence: Evidence) -> None:
    with evidence.read() as connection:
        assert log.size(connection) == 0
        assert log.root(connection, 0) == EMPTY_ROOT
        assert list(log.entries(connection)) == []


def test_entries_come_back_as_written(evidence: Evidence) -> None:
    assert [evidence.add(body(number)) for number in range(5)] == [0, 1, 2, 3, 4]
    assert evidence.add(*(body(number) for number in range(5, 3000))) == 5
    with evidence.read() as connection:
        found = list(log.entries(connection))
        assert [(entry.index, entry.body) for entry in found] == [(number, body(number)) for number in range(3000)]
        assert [entry.index for entry in log.entries(connection, 7, 9)] == [7, 8]
        assert found[7].parsed["facts"] == {"number": 7}


def test_appending_nothing_changes_nothing(evidence: Evidence) -> None:
    evidence.add(body(0))
    assert evidence.add() == 1
    assert evidence.verify().entries == 1


def test_one_by_one_and_in_batches_is_one_tree(evidence: Evidence, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Evidence(tmp_path / "other")
    bodies = [body(number) for number in range(37)]
    for each in bodies:
        evidence.add(each)
    other.add(*bodies[:11])
    other.add(*bodies[11:])
    leaves = [leaf_hash(each) for each in bodies]
    with evidence.read() as first, other.read() as second:
        for size in range(38):
            assert log.root(first, size) == log.root(second, size) == root_of(leaves[:size])


def test_a_rolled_back_entry_leaves_no_trace(evidence: Evidence) -> None:
    evidence.add(body(0))
    with evidence.read() as connection:
        log.append(connection, body(1))
        connection.rollback()
        assert log.size(connection) == 1
    assert evidence.add(body(2)) == 1
    assert evidence.verify().findings == ()


def test_proofs_from_stored_nodes(evidence: Evidence) -> None:
    bodies = [body(number) for number in range(21)]
    evidence.add(*bodies)
    with evidence.read() as connection:
        for size in (1, 2, 13, 16, 21):
            for index in range(size):
                proof = log.inclusion_proof(connection, index, size)
                verify_inclusion(index, size, leaf_hash(bodies[index]), proof, log.root(connection, size))
            for old in range(1, size + 1):
                proof = log.consistency_proof(connection, old, size)
                verify_consistency(old, size, proof, log.root(connection, old), log.root(connection, size))


def test_a_missing_node_is_named(evidence: Evidence) -> None:
    evidence.add(*(body(number) for number in range(4)))
    with evidence.read() as connection:
        connection.execute(delete(log.log_nodes).where(log.log_nodes.c.level == 2))
        with pytest.raises(IntegrityError, match="node at level 2, index 0 is missing"):
            log.root(connection, 4)


def test_check_against_a_checkpoint(evidence: Evidence) -> None:
    evidence.add(*(body(number) for number in range(6)))
    checkpoint = evidence.file.read()
    evidence.add(body(6))
    with evidence.read() as connection:
        log.check_against(connection, checkpoint)
        longer = make_checkpoint(signer(), 8, b"r" * 32)
        with pytest.raises(IntegrityError, match="the log was cut: the checkpoint covers 8 entries, the log holds 7"):
            log.check_against(connection, longer)
        with pytest.raises(IntegrityError, match="nothing vouches for the log's 7 entries"):
            log.check_against(connection, None)
        connection.execute(update(log.log_nodes).values(hash=b"r" * 32))
        with pytest.raises(IntegrityError, match="root over 6 entries is not the one that was signed"):
            log.check_against(connection, checkpoint)


def test_an_empty_log_needs_no_checkpoint(evidence: Evidence) -> None:
    with evidence.read() as connection:
        log.check_against(connection, None)
