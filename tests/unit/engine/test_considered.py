"""Whom a build considered: leaves that open, a tree that stays when somebody is blanked, and nothing of them that stays."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.commitments import check_opening
from audit.merkle import IntegrityError
from engine import considered
from governance.admission import Reason

PEOPLE = [f"person-{number}" for number in range(50)]
SIZE = 120


@pytest.fixture
def reasons() -> pa.Table:
    return pa.table({"subject": PEOPLE, "reason": pa.array([n % 3 for n in range(50)], pa.int8())})


def trained(reasons: pa.Table) -> pa.Array:
    return pa.array([s for s, r in zip(reasons["subject"].to_pylist(), reasons["reason"].to_pylist(), strict=True) if r == 0])


def test_everybody_can_open_their_own_leaf(reasons: pa.Table, tmp_path: Path) -> None:
    made = considered.write(tmp_path / "c.parquet", "b1", reasons, trained(reasons), SIZE)
    assert made.size == SIZE
    for number, subject in enumerate(PEOPLE):
        found = considered.opening(tmp_path / "c.parquet", "b1", subject)
        assert found is not None
        assert (found.reason, found.trained, found.root) == (Reason(number % 3), number % 3 == 0, made.root)
        check_opening(found.value, found.salt, found.index, found.proof, found.size, made.root)
        with pytest.raises(IntegrityError):
            check_opening(found.value.replace("b1", "b2"), found.salt, found.index, found.proof, found.size, made.root)
    assert considered.opening(tmp_path / "c.parquet", "b1", "somebody else") is None


def test_two_builds_give_other_leaves_in_another_order(reasons: pa.Table, tmp_path: Path) -> None:
    kept = []
    for name in ("a", "b"):
        considered.write(tmp_path / name, "b1", reasons, trained(reasons), SIZE)
        kept.append(pq.read_table(tmp_path / name))
    assert kept[0]["subject"].to_pylist() != kept[1]["subject"].to_pylist()
    assert not set(kept[0]["leaf"].to_pylist()) & set(kept[1]["leaf"].to_pylist())
    assert kept[0].schema.metadata != kept[1].schema.metadata


def test_the_tree_stays_when_somebody_is_blanked_and_says_nothing_of_them(reasons: pa.Table, tmp_path: Path) -> None:
    made = considered.write(tmp_path / "c.parquet", "b1", reasons, trained(reasons), SIZE)
    gone = considered.opening(tmp_path / "c.parquet", "b1", PEOPLE[7])
    assert gone is not None
    pq.write_table(considered.blanked(pq.read_table(tmp_path / "c.parquet"), pa.array([PEOPLE[7]])), tmp_path / "d.parquet")
    after = pq.read_table(tmp_path / "d.parquet")
    assert considered.commitments(after).root == made.root
    assert considered.opening(tmp_path / "d.parquet", "b1", PEOPLE[7]) is None
    raw = (tmp_path / "d.parquet").read_bytes()
    assert PEOPLE[7] not in after["subject"].to_pylist()
    assert gone.salt not in raw and gone.salt not in after["salt"].to_pylist()
    others = considered.opening(tmp_path / "d.parquet", "b1", PEOPLE[8])
    assert others is not None
    check_opening(others.value, others.salt, others.index, others.proof, others.size, made.root)


def test_beyond_the_public_number_there_is_no_leaf_and_no_error(reasons: pa.Table, tmp_path: Path) -> None:
    made = considered.write(tmp_path / "c.parquet", "b1", reasons, trained(reasons), 20)
    table = pq.read_table(tmp_path / "c.parquet")
    assert made.size == 20 and table.num_rows == 50 and table["leaf"].null_count == 30
    assert considered.commitments(table).root == made.root
    assert sum(considered.opening(tmp_path / "c.parquet", "b1", subject) is not None for subject in PEOPLE) == 20
