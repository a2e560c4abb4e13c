"""Files that one command reads while another puts a new one in their place."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.files import read_parquet, whole_file


def test_a_file_that_is_replaced_while_it_is_read_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path, done = tmp_path / "membership.parquet", threading.Event()

    def replace(rows: int) -> None:
        with whole_file(path, "test") as partial:
            pq.write_table(pa.table({"subject": [f"person-{number:05d}" for number in range(rows)], "rows": [rows] * rows}), partial)

    def shrink() -> None:
        rows = 3000
        while not done.is_set():
            replace(rows := rows - 7 if rows > 500 else 3000)

    replace(3000)
    writer = threading.Thread(target=shrink)
    writer.start()
    try:
        for _ in range(400):
            table = read_parquet(path)
            assert table["rows"].unique().to_pylist() == [table.num_rows] == [len(table["subject"].unique())]
    finally:
        done.set()
        writer.join()
    assert read_parquet(path, ["rows"]).column_names == ["rows"]
