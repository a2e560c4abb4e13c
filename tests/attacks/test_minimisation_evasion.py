"""Attempts to read what was not granted, against each of three fences alone: the language, the binder, and the locked room.

The corpus is `evasions.yaml`. Each attempt is refused by the language with its reason; were it not, the binder would not
bind it or find granted columns alone, and a strict room would not hold what it is after.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import yaml

from governance.binding import bound_reads, stand_in
from governance.expressions import ExpressionError, Scope, compile_expression
from governance.minimise import Prepared, Resources, governed, prepare
from governance.reads import MinimisationError, as_reads
from governance.relations import Relations
from governance.selection import Selection
from governance.sources import SourceError, open_sources
from governance.spans import Span
from policies.contract import Column, Contract
from policies.segment import Segment

SECRET = "secret@example.org"
AS_OF = dt.date(2024, 1, 1)
NOW = dt.datetime(2024, 2, 1, tzinfo=dt.UTC)
KINDS = {"amount": "decimal(10,2)", "bought_on": "date", "channel": "text", "email": "text"}
COLUMNS = {name: ("tx", Column(category="user", type=kind)) for name, kind in KINDS.items()}
GRANTED = {"tx": frozenset({"uid", "amount", "bought_on", "channel"})}
PEOPLE = pa.table({"subject": ["0", "1", "2"]})

TOO_LARGE = [
    "sum(" * 60 + "amount" + ")" * 60,
    "+".join(["sum(amount)"] * 200),
    "not " * 300 + "max(amount) > 1",
    "sum(" + "-" * 1500 + "amount)",
    "sum(" + "(" * 900 + "amount" + ")" * 900 + ")",
    "[" * 900 + "]" * 900,
    "case when true then " * 100 + "1" + " end" * 100,
    "max(amount in (" + ", ".join(["1"] * 500) + "))",
    "max('" + "x" * 2500 + "')",
    "sum(amount) + 1" + "0" * 300,
    "sum(amount) + 0." + "0" * 300 + "1",
    "sum(amount) + 1e400",
    "sum(amount) + 1e-400",
]


@cache
def corpus() -> dict[str, list[list[str]]]:
    """Attempts by kind: the text, a piece of the reason, and perhaps what it does where nobody guards."""
    found: dict[str, list[list[str]]] = yaml.safe_load((Path(__file__).parent / "evasions.yaml").read_text())
    return found


GROUPS = sorted(corpus())


def workspace(folder: Path, features: dict[str, object] | None = None) -> tuple[Contract, Segment]:
    """Purchases of five people, each with the same address, and a segment that may not see it."""
    with duckdb.connect() as connection:
        bought = "CAST(i AS DECIMAL(10, 2)) AS amount, DATE '2023-01-01' + CAST(i AS INTEGER) AS bought_on, '7' || i AS channel"
        rows = f"SELECT {bought}, '{SECRET}' AS email, CAST(i % 5 AS BIGINT) AS uid FROM range(20) AS t(i)"
        connection.execute(f"COPY ({rows}) TO '{folder}/tx.parquet'")
    columns = {name: column.model_dump(by_alias=True) for name, (_, column) in COLUMNS.items()}
    table = {"source": "tx.parquet", "event_time": "bought_on", "columns": columns | {"uid": {"category": "user", "type": "integer"}}}
    subject = {"key": "uid", "namespace": "shop", "registered_in": "tx"}
    contract = Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": {"tx": table}})
    wanted = features or {
        "spend": {"table": "tx", "agg": "sum(amount)", "bounds": [0, 100]},
        "kinds": {"table": "tx", "agg": "count(channel)", "bounds": [0, 9]},
    }
    fixed = {"name": "s", "purpose": "p", "dataset": "c", "policy": "p", "as_of": AS_OF, "privacy": {"epsilon": 1}}
    return contract, Segment.model_validate({**fixed, "model": {"type": "clusters"}, "features": wanted})


def ready(folder: Path) -> Prepared:
    contract, spec = workspace(folder)
    return prepare(contract, spec, GRANTED, lambda name: folder / name, NOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the source file."""
    found = tmp_path_factory.mktemp("shop")
    workspace(found)
    return found


@pytest.fixture(scope="module")
def unguarded(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as the table `tx`, with a variable and a macro that give the address away."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE tx AS SELECT * FROM '{folder}/tx.parquet'")
        connection.execute(f"SET VARIABLE secret = '{SECRET}'")
        connection.execute("CREATE MACRO steal() AS (SELECT max(email) FROM tx)")
        connection.execute("CREATE MACRO steal_rows() AS TABLE SELECT max(email) FROM tx")
        yield connection


@pytest.fixture(scope="module")
def strict(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A strict room's connection, as no analyst ever has it."""
    with governed(ready(folder), PEOPLE, Resources(folder, "300MB"), strict=True) as room:
        yield room._connection


def test_the_corpus_is_large_and_attacks_something() -> None:
    every = [attempt for attempts in corpus().values() for attempt in attempts]
    print(f"{len(every)} evasions, of which {sum(len(attempt) > 2 for attempt in every)} are shown to steal where nobody guards")
    assert len({text for text, *_ in every}) == len(every) >= 600
    assert sum(len(attempt) > 2 for attempt in every) >= 150


@pytest.mark.parametrize("group", GROUPS)
def test_each_attempt_is_refused_with_its_reason(group: str, folder: Path) -> None:
    for text, reason, *_ in corpus()[group]:
        with pytest.raises(ExpressionError) as refused:
            compile_expression("f", text.replace("{file}", f"{folder}/tx.parquet"), Scope("tx", COLUMNS), AS_OF)
        assert reason in refused.value.expected, text
        assert str(refused.value).startswith("`f`: got `")


@pytest.mark.parametrize("group", GROUPS)
def test_the_corpus_steals_where_nobody_guards(group: str, folder: Path, unguarded: duckdb.DuckDBPyConnection) -> None:
    for text, _, *done in corpus()[group]:
        if done and done != ["exhausts"]:
            sql = f"SELECT {text} FROM tx" if done == ["steals"] else done[0]
            assert SECRET in repr(unguarded.execute(sql.replace("{file}", f"{folder}/tx.parquet")).fetchall()), text


@pytest.mark.parametrize("group", GROUPS)
def test_a_strict_room_does_not_hold_what_they_are_after(group: str, folder: Path, strict: duckdb.DuckDBPyConnection) -> None:
    """As they are, and in the names that only somebody inside knows."""
    for text, _, *done in corpus()[group]:
        sql = f"SELECT {text} FROM tx" if done in ([], ["steals"]) else done[0]
        for attempt in (sql, sql.replace("FROM tx", 'FROM inside."tx" AS tx').replace("from tx", 'from inside."tx"')):
            assert done == ["exhausts"] or SECRET not in outcome(strict, attempt.replace("{file}", f"{folder}/tx.parquet")), text


def outcome(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Everything that a statement shows, its error too; nothing that it changed stays."""
    connection.execute("BEGIN")
    try:
        return repr(connection.execute(sql).fetchall())
    except duckdb.Error as error:
        return str(error).replace(sql, "")
    finally:
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("group", GROUPS)
def test_the_binder_finds_granted_columns_or_nothing(group: str, folder: Path) -> None:
    """Each attempt that steals, in the place of the one query, as if the language had let it through."""
    contract, _ = workspace(folder)
    sources = open_sources(contract, ["tx"], lambda name: folder / name)
    relations = Relations(contract, {"tx": GRANTED["tx"] - {"uid"}}, sources, NOW.replace(tzinfo=None), {})
    held = [("tx", relations.held("tx", stand_in(sources, "tx")))]
    rows = (("features.tx", relations.rows("tx", Span(None, dt.datetime(2024, 1, 1)))),)
    for text, _, *done in corpus()[group]:
        if not done or done == ["exhausts"]:
            continue
        query = f"SELECT {text} FROM features.tx AS tx".replace("from tx", "from features.tx")
        try:
            found = bound_reads(contract, sources, ("BIGINT",), held, Selection(rows, query, "SELECT 1"))
        except MinimisationError:
            continue
        assert found <= as_reads(GRANTED), text


@pytest.mark.parametrize("text", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_what_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression("f", text, Scope("tx", COLUMNS), AS_OF)


@pytest.mark.parametrize("text", ["sum(am\u200bount)", "max('a\u202eb')", "sum(amount)\u2028", "sum(amount\ud800)", "\ufeffsum(amount)"])
def test_what_cannot_be_seen_is_refused_and_named(text: str) -> None:
    """Not shown as it is: who reads the refusal would not see it either."""
    with pytest.raises(ExpressionError, match=r"got `U\+[0-9A-F]{4}` at position \d+, expected characters that can be seen"):
        compile_expression("f", text, Scope("tx", COLUMNS), AS_OF)


@pytest.mark.parametrize(
    "text",
    [
        "sum(amount)",
        'sum("amount")',
        "SUM ( amount )",
        "max(channel = 'select * from tx -- ;') or false",
        "count(*)",
        "count_if(channel = 'می\u200cخواهم')",
        "max(amount)\n\t+ 1",
        '"sum"(amount)',
        "max(@amount)",
        "max(channel notnull)",
    ],
)
def test_honest_neighbours_of_the_evasions_are_accepted(text: str) -> None:
    reads = compile_expression("f", text, Scope("tx", COLUMNS), AS_OF).reads
    assert reads <= {("tx", "amount"), ("tx", "channel")}


def test_literals_cannot_leave_their_quotes() -> None:
    hostile = """x' OR "email" = '"""
    text = hostile.replace("'", "''")
    compiled = compile_expression("f", f"count_if(channel = '{text}')", Scope("tx", COLUMNS), AS_OF)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE tx (channel VARCHAR, email VARCHAR)")
        connection.execute("INSERT INTO tx VALUES (?, 'a'), ('b', '')", [hostile])
        assert connection.execute(f"SELECT {compiled.sql} FROM tx").fetchall() == [(1.0,)]


@pytest.mark.parametrize(
    "agg",
    [
        "count(distinct email)",
        "count(*) filter (where email like 's%')",
        "max(case when email is null then amount end)",
        "sum(amount) + count(nullif(email, ''))",
        "n_distinct(email)",
        "share_of(length(email) > 3)",
        "max(coalesce(channel, email) = 'x')",
        "count_if(false and email = '')",
    ],
)
def test_a_column_without_grant_is_refused_wherever_it_stands_before_anything_is_read(tmp_path: Path, agg: str) -> None:
    contract, spec = workspace(tmp_path, {"mails": {"table": "tx", "agg": agg, "bounds": [0, 100]}})
    (tmp_path / "tx.parquet").unlink()
    with pytest.raises(MinimisationError, match=r"`tx\.email`"):
        prepare(contract, spec, GRANTED, lambda name: tmp_path / name, NOW)


def test_look_ups_that_clash_are_refused(tmp_path: Path) -> None:
    contract, spec = workspace(tmp_path, {"mails": {"table": "tx", "agg": "count(channel)", "bounds": [0, 100]}})
    columns = {"amount": {"category": "user", "type": "decimal(10,2)"}, "channel": {"category": "user"}}
    tables = {"tx": contract.tables["tx"].model_dump(by_alias=True), "other": {"source": "o.csv", "reference": True, "columns": columns}}
    shop = Contract.model_validate(contract.model_dump() | {"tables": tables})
    joined = Segment.model_validate(spec.model_dump() | {"lookup": {"table": "other", "on": "amount"}})
    with pytest.raises(ExpressionError, match="do not share"):
        prepare(shop, joined, {**GRANTED, "other": frozenset(columns)}, lambda name: tmp_path / name, NOW)


@pytest.mark.parametrize("name", ["admitted", "Consent", "given", "tx_1", "files", "inside"])
def test_tables_may_have_the_names_of_what_the_room_keeps_for_itself(tmp_path: Path, name: str) -> None:
    contract, spec = workspace(tmp_path)
    renamed = contract.model_dump(by_alias=True)
    renamed["tables"] = {name: renamed["tables"]["tx"]}
    renamed["subject"]["registered_in"] = name
    wanted = spec.model_dump()
    for feature in wanted["features"].values():
        feature["table"] = name
    shop, segment = Contract.model_validate(renamed), Segment.model_validate(wanted)
    prepared = prepare(shop, segment, {name: GRANTED["tx"]}, lambda source: tmp_path / source, NOW)
    with governed(prepared, PEOPLE, Resources(tmp_path)) as room:
        assert sum(batch.num_rows for batch in room.batches()) == 3


def test_a_folder_adds_no_column_and_a_pattern_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "region=north"
    folder.mkdir()
    assert [sorted(held.source.types) for held in ready(folder).held] == [["amount", "bought_on", "channel", "email", "uid"]]
    contract, spec = workspace(tmp_path)
    with pytest.raises(SourceError, match="without any of"):
        prepare(contract, spec, GRANTED, lambda _: tmp_path / "*.parquet", NOW)
