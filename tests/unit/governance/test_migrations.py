"""An older database becomes what a new one is, with all that it held; one of another version is refused with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from audit import log
from governance import migrations
from governance.databases import open_engine
from governance.store import SchemaError, StoreError
from tests.ledgers import MemorySeal, store, url

pytestmark = [
    pytest.mark.usefixtures("database"),
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
]

BODY = b'{"action":"workspace.created","at":"2026-05-20T11:00:00.000000Z","facts":{},"principal":"ana","v":1}'


def first(folder: Path, marked: bool = False, populated: bool = True) -> dict[str, Any]:
    """A database of the first schema in `folder`; gives its rows."""
    with writing(folder) as connection:
        migrations.upgrade(connection, migrations.FIRST)
        if not marked:
            migrations.marks.drop(connection)
        if populated:
            log.append(connection, BODY)
            for table in reflected(connection).values():
                if not table.name.startswith(("log_", "alembic")):
                    connection.execute(sa.insert(table), [{column.name: value(column, n) for column in table.columns} for n in (1, 2)])
        return rows(connection)


def value(column: sa.Column[Any], number: int) -> Any:
    """One that fits."""
    kind = column.type
    if column.nullable and number == 2:
        return None
    if isinstance(kind, sa.LargeBinary):
        return bytes([number])
    if isinstance(kind, sa.Integer | sa.Float):
        return number
    return f"{column.name} {number}"


@contextmanager
def writing(folder: Path) -> Iterator[Connection]:
    engine = open_engine(url(folder))
    with engine.execution_options(write=True).begin() as connection:
        yield connection
    engine.dispose()


def reflected(connection: Connection) -> dict[str, sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables}


def rows(connection: Connection) -> dict[str, Any]:
    found = reflected(connection)
    return {name: sorted(map(repr, connection.execute(sa.select(table)).mappings())) for name, table in found.items()}


def schema(connection: Connection) -> dict[str, Any]:
    """All that is known of each table."""
    inspector = sa.inspect(connection)
    found = {}
    for table in inspector.get_table_names():
        columns = {
            column["name"]: (repr(column["type"]), column["nullable"], str(column["default"]).replace(f"{table}_", ""))
            for column in inspector.get_columns(table)
        }
        indexes = sorted((index["name"], index["column_names"], index["unique"]) for index in inspector.get_indexes(table))
        found[table] = columns, indexes, inspector.get_pk_constraint(table), inspector.get_unique_constraints(table)
    return found


def indexed(connection: Connection) -> bool:
    """Whether entries are found by the index over their beginning, which reflection does not show on SQLite."""
    if connection.dialect.name == "sqlite":
        plan = "EXPLAIN QUERY PLAN SELECT idx FROM log_entries WHERE substr(body, 12, 72) BETWEEN x'61' AND x'62'"
        return "ix_log_entries_beginning" in str(connection.execute(sa.text(plan)).all())
    return "ix_log_entries_beginning" in {index["name"] for index in sa.inspect(connection).get_indexes("log_entries")}


@pytest.mark.parametrize(("marked", "populated"), [(False, True), (True, False)])
def test_an_older_database_becomes_what_a_new_one_is(tmp_path: Path, marked: bool, populated: bool) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.mkdir(), old.mkdir()
    store(new)
    before = first(old, marked, populated)
    assert store(old, create=False).migrate() == migrations.FIRST
    with writing(new) as made, writing(old) as migrated:
        assert schema(migrated) == schema(made)
        assert indexed(migrated) and indexed(made)
        after = rows(migrated)
        for name, found in before.items():
            if name not in ("alembic_version", "log_entries", "log_nodes"):
                assert len(after[name]) == len(found) == (2 if populated else 0)
                for row in found:
                    assert row.removeprefix("{").removesuffix("}") in "".join(after[name])


def test_a_migration_is_an_entry_and_sealed(tmp_path: Path) -> None:
    first(tmp_path)
    seal = MemorySeal()
    opened = store(tmp_path, create=False, seal=seal)
    opened.migrate()
    with opened.read() as session:
        old, new = log.entries(session.connection())
    assert old.body == BODY
    assert new.parsed["action"] == "database.migrated"
    assert new.parsed["facts"] == {"before": migrations.FIRST, "after": migrations.HEAD}
    assert seal.size == 2
    opened.migrate()
    with opened.read() as session:
        assert log.size(session.connection()) == 2


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = first(tmp_path)
    monkeypatch.setattr(log.Tail, "append", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store(tmp_path, create=False).migrate()
    with writing(tmp_path) as connection:
        assert rows(connection) == before
        assert migrations.revision(connection) == migrations.FIRST


def test_a_workspace_is_not_made_in_a_database_that_has_a_log(tmp_path: Path) -> None:
    before = first(tmp_path)
    with pytest.raises(StoreError, match="holds the log of a workspace already"):
        store(tmp_path)
    with writing(tmp_path) as connection:
        assert rows(connection) == before


def test_a_schema_of_another_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    opened = store(tmp_path)
    opened.require_schema()
    head = migrations.HEAD
    for found, remedy in (("0001", f"`{head}`; run `consentric migrate`"), ("0099", f"at most `{head}`; use the version")):
        with writing(tmp_path) as connection:
            connection.execute(sa.update(migrations.marks).values(version_num=found))
        with pytest.raises(SchemaError, match=f"schema `{found}`, expected {remedy}"):
            opened.require_schema()
    with pytest.raises(SchemaError, match="0099"):
        opened.migrate()


def test_an_empty_database_is_not_taken_for_a_workspaces(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="is empty; restore it"):
        store(tmp_path, create=False).require_schema()
    with pytest.raises(StoreError):
        store(tmp_path, create=False).migrate()


def test_the_newest_revision_is_the_one_that_tables_describe() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_current_head() == migrations.HEAD
    assert [revision.revision for revision in script.walk_revisions()][-1] == migrations.FIRST
