"""Attacks from inside a locked room, by somebody who may run any SQL there: no path, no source, no setting, no other column."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from governance.minimise import Governed, Resources, governed
from governance.reads import MinimisationError, ReadSets
from tests.attacks.test_minimisation_evasion import PEOPLE, SECRET, ready

REACHES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM people",
    "SELECT * FROM query('SELECT * FROM people')",
    "SELECT * FROM query_table('people')",
    "SET threads = 1",
    "SET GLOBAL memory_limit = '1TB'",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/etc/passwd']",
    "SET allowed_directories = ['/']",
    "SET lock_configuration = false",
    "SET temp_directory = '{folder}'",
    "SET python_enable_replacements = true",
    "SET log_query_path = '{folder}/log'",
    "SET profile_output = '{folder}/profile'; PRAGMA enable_profiling",
    "PRAGMA threads = 4",
    "RESET lock_configuration",
    "RESET allowed_paths",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/x.duckdb_extension'",
    "FORCE INSTALL sqlite",
    "ATTACH '{folder}/other.db'",
    "ATTACH 'postgres:host=localhost' AS pg (TYPE postgres)",
    "COPY (SELECT 1) TO '{folder}/leak.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY inside.tx FROM '/etc/passwd'",
    "EXPORT DATABASE '{folder}/leak'",
    "IMPORT DATABASE '{folder}/leak'",
    "CREATE SECRET (TYPE s3)",
    "CREATE PERSISTENT SECRET s (TYPE http)",
    "SELECT getenv('HOME')",
    "SELECT * FROM sniff_csv('{folder}/people.csv')",
    "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM read_csv('/proc/self/maps')",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{folder}/log'}})",
]


@pytest.mark.parametrize("strict", [False, True])
def test_the_locked_room_reaches_nothing_outside(tmp_path: Path, strict: bool) -> None:
    people = PEOPLE  # noqa: F841  a Python variable must not become a table
    (tmp_path / "people.csv").write_text("a\n1\n")
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path), strict=strict) as room:
        before = files(tmp_path)
        for sql in REACHES:
            with pytest.raises(duckdb.Error):
                room._connection.execute(sql.format(folder=tmp_path)).fetchall()
        assert files(tmp_path) == before


def files(folder: Path) -> set[Path]:
    """Everything in a folder, what the room spills aside."""
    return {path for path in folder.rglob("*") if "spill-" not in str(path)}


SOURCE = [
    "SELECT email FROM read_parquet('{folder}/tx.parquet')",
    "SELECT * FROM '{folder}/tx.parquet'",
    "SELECT * FROM parquet_schema('{folder}/tx.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/tx.parquet')",
    "SELECT * FROM read_blob('{folder}/tx.parquet')",
    "SELECT * FROM read_text('{folder}/../{name}/tx.parquet')",
    "COPY (SELECT 1) TO '{folder}/tx.parquet' (USE_TMP_FILE false)",
    "ATTACH '{folder}/tx.parquet' AS other (READ_ONLY)",
]


@pytest.mark.parametrize("memory", ["2GB", "60MB"])
def test_a_strict_room_does_not_even_reach_its_source(tmp_path: Path, memory: str) -> None:
    prepared = ready(tmp_path)
    with governed(prepared, PEOPLE, Resources(tmp_path, memory), strict=True) as room:
        for sql in SOURCE:
            with pytest.raises(duckdb.Error):
                room._connection.execute(sql.format(folder=tmp_path, name=tmp_path.name)).fetchall()
        (tmp_path / "tx.parquet").unlink()
        assert sum(batch.num_rows for batch in room.batches()) == PEOPLE.num_rows


def test_views_over_the_source_are_why_only_generated_sql_runs(tmp_path: Path) -> None:
    """The control of the test above: without `strict` the fence of the language stands alone before the file."""
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path)) as room:
        assert SECRET in repr(room._connection.execute(SOURCE[0].format(folder=tmp_path)).fetchall())


@pytest.mark.parametrize("strict", [False, True])
def test_relations_hold_neither_other_columns_nor_other_people(tmp_path: Path, strict: bool) -> None:
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path), strict) as room:
        held = room._connection.sql('SELECT * FROM inside."tx"')
        assert held.columns == ["#id", "amount", "bought_on", "channel"]
        assert {row[0] for row in held.fetchall()} == {0, 1, 2}
        assert room.read_sets.physical == {("tx", "amount"), ("tx", "bought_on"), ("tx", "channel")}


def rows(room: Governed, sql: str) -> list[tuple[object, ...]]:
    return room._connection.execute(sql).fetchall()


def test_nothing_else_exists_in_a_strict_room(tmp_path: Path) -> None:
    """Every catalogue that could name a path, a source or a column."""
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path), strict=True) as room:
        assert sorted(rows(room, "SELECT schema_name, table_name FROM duckdb_tables()")) == [("inside", "#admitted"), ("inside", "tx")]
        columns = rows(room, "SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal")
        assert {name for (name,) in columns} == {"#id", "subject", "BIGINT", "amount", "bought_on", "channel"}
        databases = rows(room, "SELECT database_name, path FROM duckdb_databases() WHERE NOT internal")
        assert databases == [("memory", None)]
        settings = {str(name): str(value) for name, value in rows(room, "SELECT name, value FROM duckdb_settings()")}
        assert settings["allowed_paths"] == "[]" and settings["enable_external_access"] == "false"
        assert settings["lock_configuration"] == "true" and settings["autoload_known_extensions"] == "false"
        for catalogue in (
            "duckdb_views()",
            "duckdb_tables()",
            "duckdb_sequences()",
            "duckdb_types()",
            "duckdb_indexes()",
        ):
            assert "tx.parquet" not in repr(rows(room, f"SELECT * FROM {catalogue}"))
        shown = repr(rows(room, 'SELECT * FROM inside."tx"')) + repr(rows(room, 'SELECT * FROM inside."#admitted"'))
        assert SECRET not in shown


def test_a_strict_room_spills_nothing_that_was_not_granted(tmp_path: Path) -> None:
    """Bytes of the denied column are in no file that the room writes, while it writes some."""
    prepared = ready(tmp_path)
    with governed(prepared, PEOPLE, Resources(tmp_path, "60MB"), strict=True) as room:
        room._connection.execute(
            "CREATE TABLE inside.big AS SELECT i, hash(i) AS h, repeat('x', 100) || i AS t FROM range(2000000) AS t(i)"
        )
        spilled = [path for folder in tmp_path.glob("spill-*") for path in folder.rglob("*") if path.is_file()]
        assert spilled
        found = subprocess.run(["grep", "-rlF", SECRET, *map(str, tmp_path.glob("spill-*"))], capture_output=True, text=True, check=False)
        assert found.stdout == ""
    assert not list(tmp_path.glob("spill-*"))


@pytest.mark.parametrize("strict", [False, True])
def test_the_spill_folder_is_closed_to_others_and_removed(tmp_path: Path, strict: bool) -> None:
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path), strict) as room:
        [spill] = tmp_path.glob("spill-*")
        assert spill.stat().st_mode & 0o077 == 0
        list(room.batches())
    assert not list(tmp_path.glob("spill-*"))


def test_a_room_that_holds_more_than_was_granted_is_not_opened(tmp_path: Path) -> None:
    """Faults of ours in the SQL of a relation: the read set of the room is what is there, not what was meant."""
    prepared = ready(tmp_path)
    [held] = prepared.held
    wider = replace(held, sql=held.sql.replace(' AS "channel"', ' AS "channel", s."email" AS "email"'))
    assert wider != held
    for strict in (False, True):
        with (
            pytest.raises(MinimisationError, match=r"the room would read `tx\.email`"),
            governed(replace(prepared, held=(wider,)), PEOPLE, Resources(tmp_path), strict),
        ):
            pass
    with pytest.raises(MinimisationError):
        ReadSets(frozenset(), frozenset(), frozenset(), physical=frozenset({("tx", "email")})).check()
