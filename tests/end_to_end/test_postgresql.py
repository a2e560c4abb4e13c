"""The main job with everything on PostgreSQL: the metadata database, and the tables that segments are built from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.workspace import Workspace
from governance.minimise import governed, prepare
from governance.room import Resources
from tests.scenes import ADS, AUDITOR, CONTRACT, CUSTOMERS, FILE, OFFICER, REFUSING, SUBJECTS, Shop, purchases

if TYPE_CHECKING:
    from tests.postgres import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def databases(postgres: Server) -> tuple[str, str]:
    """Of metadata, and of sources, which hold a column more than the contract knows."""
    metadata, sources = postgres.create(), postgres.create()
    table = purchases()
    with psycopg.connect(sources) as connection:
        connection.execute(
            "CREATE TABLE purchases (customer text, bought_on date, basket text, amount numeric(10,2), weight float8, street text, c text)"
        )
        names = ", ".join(table.column_names)
        with connection.cursor().copy(f"COPY purchases ({names}) FROM STDIN") as copy:
            for row in table.to_pylist():
                copy.write_row(list(row.values()))
        connection.execute("CREATE TABLE people (customer text, age text)")
        with connection.cursor().copy("COPY people FROM STDIN") as copy:
            for number, subject in enumerate(SUBJECTS):
                copy.write_row((subject, "young" if number % 2 else "old"))
        # nobody reads `street`, which the policy forbids, nor `c`, which the contract doesn't know: reading either would fail
        connection.execute("CREATE ROLE shopkeeper LOGIN")
        connection.execute("GRANT SELECT (customer, bought_on, basket, amount, weight) ON purchases TO shopkeeper")
        connection.execute("GRANT SELECT ON people TO shopkeeper")
    return metadata, sources.replace("postgres@", "shopkeeper@")


@pytest.fixture(scope="module")
def shop(databases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """`groups` and `returners` were built from tables, approved and released."""
    metadata, sources = databases
    made = Shop.make(tmp_path_factory.mktemp("postgresql") / "shop", metadata)
    settings = made.root / FILE
    settings.write_text(settings.read_text() + f'\n[connections]\nshop = "{sources}"\n')
    tables: dict[str, Any] = CONTRACT["tables"]
    located = {name: table | {"source": f"postgresql:shop/public.{name}"} for name, table in tables.items()}
    made.write("contracts", CONTRACT | {"tables": located})
    for file in (made.root / "data").glob("*.parquet"):
        file.unlink()
    for segment in ("groups", "returners"):
        built = made.run("build", segment)
        assert built.code == 0, built.err
        approved = made.run("approve", segment, by=OFFICER)
        assert approved.code == 0, approved.err
    yield made


def test_segments_are_released_and_hold_nobody_who_refused(shop: Shop) -> None:
    members = shop.members("groups")
    assert CUSTOMERS * 0.7 < len(members) <= CUSTOMERS - len(REFUSING)
    assert members.isdisjoint(shop.pseudonyms(REFUSING))
    assert shop.whole("groups") and shop.whole("returners")


def test_whoever_withdraws_is_gone_at_once(shop: Shop) -> None:
    gone = SUBJECTS[0]
    assert shop.pseudonyms([gone]) <= shop.members("groups")
    assert shop.run("consent", "withdraw", gone, ADS, by=OFFICER).code == 0
    assert not shop.pseudonyms([gone]) & shop.members("groups")


def test_nothing_but_the_checkpoint_is_kept_beside_the_database(shop: Shop) -> None:
    assert not list(shop.root.rglob("metadata.db*"))
    assert not list(shop.root.rglob("fetched*"))


def test_the_log_verifies_and_a_change_behind_its_back_is_found(shop: Shop, databases: tuple[str, str]) -> None:
    assert shop.run("audit", "verify", by=AUDITOR).code == 0
    with psycopg.connect(databases[0]) as connection:
        (body,) = connection.execute("SELECT body FROM log_entries WHERE idx = 2").fetchone() or ()
        connection.execute("UPDATE log_entries SET body = %s WHERE idx = 2", (bytes(body).replace(b"ana", b"eve"),))
    try:
        found = shop.run("audit", "verify", by=AUDITOR)
        assert found.code == 6 and "entry 2" in found.out
    finally:
        with psycopg.connect(databases[0]) as connection:
            connection.execute("UPDATE log_entries SET body = %s WHERE idx = 2", (body,))
    assert shop.run("audit", "verify", by=AUDITOR).code == 0
    assert not list((shop.root / ".consentric").glob("verify-*"))


def test_doctor_looks_at_both_databases(shop: Shop) -> None:
    checks = {check["name"]: check for check in shop.run("doctor", "--json").data["checks"]}
    assert checks["database"]["detail"] == "PostgreSQL" and checks["schema"]["ok"]
    assert "fsync" in checks["durability"]["detail"]  # of a server that only tests could want
    assert checks["connection shop"]["ok"]
    gone = {"CONSENTRIC_CONNECTIONS_SHOP": "postgresql://u:password@127.0.0.1:1/db"}
    found = shop.run("doctor", "--json", env=gone)
    checks = {check["name"]: check for check in found.data["checks"]}
    assert not checks["connection shop"]["ok"] and "password" in checks["connection shop"]["remedy"]
    assert "u:password" not in found.out + found.err


def test_a_database_that_is_gone_is_one_clear_error(shop: Shop) -> None:
    gone = {"CONSENTRIC_DATABASE_URL": "postgresql://u:password@127.0.0.1:1/db"}
    for words in (("segments", "list"), ("doctor",), ("audit", "verify")):
        ran = shop.run(*words, env=gone)
        assert ran.code == 1 and "refused" in ran.out + ran.err and "u:password" not in ran.out + ran.err


def test_a_source_that_is_gone_stops_a_plan_with_one_clear_error(shop: Shop) -> None:
    ran = shop.run("plan", "groups", env={"CONSENTRIC_CONNECTIONS_SHOP": "postgresql://u:password@127.0.0.1:1/db"})
    assert ran.code == 1 and "did not answer" in ran.err and "u:password" not in ran.err


def test_a_workspace_is_not_made_in_the_database_of_another(shop: Shop, databases: tuple[str, str], tmp_path: Path) -> None:
    environment = {"CONSENTRIC_DATABASE_URL": databases[0], "CONSENTRIC_SUPPRESSION_FOLDER": str(tmp_path / "outside")}
    with pytest.raises(Exception, match="holds the log of a workspace already"):
        Workspace.create(tmp_path / "second", environment=environment)
    assert shop.run("audit", "verify", by=AUDITOR).code == 0


def test_the_same_rows_in_a_file_give_the_same_features(shop: Shop, tmp_path: Path) -> None:
    rows = purchases()
    pq.write_table(rows, tmp_path / "purchases.parquet")
    workspace = shop.workspace()
    contract, segment = workspace.contract("shop"), workspace.segment("groups")
    granted = {"purchases": frozenset({"customer", "bought_on", "basket", "amount"})}
    now = dt.datetime(2025, 7, 2, tzinfo=dt.UTC)
    found = []
    for resolve in (workspace.source, lambda _: tmp_path / "purchases.parquet"):
        prepared = prepare(contract, segment, granted, resolve, now)
        with governed(prepared, pa.table({"subject": SUBJECTS}), Resources(tmp_path)) as inside:
            found.append(pa.Table.from_batches(inside.batches()).sort_by("subject"))
    assert found[0].equals(found[1]) and found[0].num_rows == CUSTOMERS
