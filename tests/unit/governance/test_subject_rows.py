"""One subject's own rows, and nobody else's, from Parquet and CSV, by the key as it is spelled everywhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from governance.room import Resources
from governance.sources import SourceError
from governance.subject_rows import subject_keys, subject_rows
from policies.contract import Contract
from tests.ledgers import contract

ID = {"category": "user.unique_id", "type": "integer"}
BUYS = {"category": "user.behavior.purchase_history"}


@pytest.fixture
def shop(tmp_path: Path) -> Contract:
    pq.write_table(
        pa.table({"id": [7, 70, 7, None], "what": ["tea", "rum", "jam", "gin"], "secret": [1, 2, 3, 4]}), tmp_path / "buys.parquet"
    )
    (tmp_path / "people.csv").write_text('nr,name\n7,Anna\n007,Anna again\n70,"7"\nx,nobody\n')
    pq.write_table(pa.table({"what": ["tea"]}), tmp_path / "goods.parquet")
    tables = {
        "people": {"source": str(tmp_path / "people.csv"), "columns": {"id": ID | {"from": "nr"}, "name": {"category": "user.name"}}},
        "buys": {"source": str(tmp_path / "buys.parquet"), "columns": {"id": ID, "what": BUYS}},
        "goods": {"source": str(tmp_path / "goods.parquet"), "reference": True, "columns": {"what": BUYS}},
    }
    return contract(tables=tables)


def test_rows_of_one_subject_with_the_columns_of_the_contract(shop: Contract, tmp_path: Path) -> None:
    found = {
        name: sorted(map(tuple, (row.values() for row in rows.to_pylist())))
        for name, rows in subject_rows(shop, "7", Path, Resources(tmp_path)).items()
    }
    assert found == {"people": [("007", "Anna again"), ("7", "Anna")], "buys": [(7, "jam"), (7, "tea")]}
    assert not any(rows.num_rows for rows in subject_rows(shop, "'7' OR 1=1 --", Path, Resources(tmp_path)).values())


def test_every_key_once_a_table(shop: Contract, tmp_path: Path) -> None:
    assert sorted(subject_keys(shop, Path, Resources(tmp_path))) == ["7", "7", "70", "70"]


def test_a_source_that_is_gone_is_told(shop: Contract, tmp_path: Path) -> None:
    (tmp_path / "people.csv").unlink()
    with pytest.raises(SourceError, match="expected a file that exists"):
        subject_rows(shop, "7", Path, Resources(tmp_path))
