"""Data of a demo dealt to partners: everybody is with one, with all rows; and joint centres beside central ones."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.demo import beside, dealing


def written(folder: Path, **tables: dict[str, list[object]]) -> Path:
    folder.mkdir()
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def dealt(whole: Path, key: str, homes: dealing.Homes, folder: Path) -> list[Path]:
    parts = [folder / name for name in dealing.PARTNERS]
    for part in parts:
        part.mkdir()
    dealing.deal(whole, key, lambda _folder: homes, parts)
    return parts


def test_each_subject_is_with_one_partner_with_all_its_rows_and_consents(tmp_path: Path) -> None:
    rows: list[object] = [place % 7 for place in range(40)]
    whole = written(
        tmp_path / "whole",
        transactions={"household_id": rows, "row": list(range(40))},
        consents={"subject": [str(household) for household in range(7)], "household_id": ["x"] * 7},
        products={"product_id": ["a", "b"]},
    )
    homes = {str(household): household % 3 for household in range(7)}
    parts = dealt(whole, "household_id", homes, tmp_path)
    for place, part in enumerate(parts):
        theirs = {household for household, home in homes.items() if home == place}
        there = pq.read_table(part / "transactions.parquet")
        assert {str(each) for each in there["household_id"].to_pylist()} == theirs
        assert set(pq.read_table(part / "consents.parquet")["subject"].to_pylist()) == theirs
        assert pq.read_table(part / "products.parquet")["product_id"].to_pylist() == ["a", "b"]
    everywhere = [row for part in parts for row in pq.read_table(part / "transactions.parquet")["row"].to_pylist()]
    assert sorted(everywhere) == list(range(40))


def test_a_household_goes_to_the_store_of_most_baskets_and_of_two_to_the_lower(tmp_path: Path) -> None:
    visits = [(1, 4, "a"), (1, 4, "a"), (1, 4, "a"), (1, 5, "b"), (1, 5, "c"), (2, 8, "d"), (2, 7, "e")]
    names = ("household_id", "store_id", "basket_id")
    whole = written(tmp_path / "whole", transactions={name: [visit[place] for visit in visits] for place, name in enumerate(names)})
    assert dealing.by_store(whole) == {"1": 5 % 3, "2": 7 % 3}


def test_customers_go_by_number(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", purchases={"customer_id": ["00001", "00002", "00003", "00001"], "day": [dt.date(1997, 1, 1)] * 4})
    assert dealing.by_number(whole) == {"00001": 1, "00002": 2, "00003": 0}


def test_each_central_part_has_the_nearest_joint_one_and_none_has_two() -> None:
    central = {"centres": [[0, 0], [0, 3000], [30000, 0]]}
    joint = {"centres": [[30000, 6554], [0, 1000], [0, 3000]]}
    found = beside.pairs(joint, central)
    assert [(one, other) for one, other, _ in found] == [(0, 1), (1, 2), (2, 0)]
    assert [apart for *_, apart in found] == pytest.approx([1000 / 65536, 0, 0.1], abs=1e-4)
