"""Attempts to read what was not granted: through the language, through the relations, through the connection."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from governance.expressions import ExpressionError, Scope, compile_expression
from governance.minimise import Prepared, Resources, governed, prepare
from governance.reads import MinimisationError
from governance.sources import SourceError
from policies.contract import Column, Contract
from policies.segment import Segment

COLUMNS = {
    name: ("tx", Column(category="user", type=kind))
    for name, kind in {"amount": "decimal(10,2)", "bought_on": "date", "channel": "text", "email": "text"}.items()
}

WHOLE_ROW = [
    "max(tx)",
    "count(tx)",
    "to_json(tx)",
    "max(tx.amount)",
    "max(main.tx.amount)",
    "count(tx.*)",
    "hash(tx.*)",
    "max(row(amount))",
]
STARS = ["count(* exclude (amount))", "max(columns('e.*'))", "max(columns(*))", "*", "count(distinct *)", "sum(columns(c -> c like 'e%'))"]
QUERIES = [
    "(select max(email) from tx)",
    "select max(amount) from tx",
    "max((select email from tx limit 1))",
    "count(*) > (select 1)",
    "exists(select 1)",
    "sum(amount) in (select amount from tx)",
    "max(amount in (select 1))",
    "max(amount = any(select 1))",
    "from tx select max(email)",
    "with t as (select 1) select 1",
    "values (1)",
    "pivot tx on channel using sum(amount)",
    "summarize tx",
    "describe tx",
    "table tx",
]
TABLE_FUNCTIONS = [
    "max(read_csv('/etc/passwd'))",
    "read_parquet('x')",
    "max(glob('/*'))",
    "max(unnest([1]))",
    "max(range(3))",
    "sum(query('select 1'))",
]
STRUCTURES = [
    "max(amount[1])",
    "max(tx['email'])",
    "max(channel[1:3])",
    "max([amount])",
    "max({'a': amount})",
    "max(struct_pack(a := amount))",
    "list(email)",
    "array_agg(email)",
    "string_agg(email, ',')",
    "histogram(channel)",
    "map_from_entries(list((amount, email)))",
    "max(channel -> '$.a')",
    "max(channel ->> 'a')",
    "max(json_extract(channel, '$'))",
]
LAMBDAS = ["max(list_transform([amount], x -> x + 1))", "list_sum(list(amount))", "max(apply([1], lambda x: x))", "max(x -> x)"]
WINDOWS = ["sum(amount) over ()", "row_number() over (order by amount)", "max(lag(amount) over (order by bought_on))", "sum(amount) over w"]
ORDERED = [
    "sum(amount order by email)",
    "first(email)",
    "any_value(email)",
    "max(amount, 3)",
    "arg_max(email, amount)",
    "mode(channel)",
    "sum(distinct amount)",
]
ENVIRONMENT = [
    "max(getenv('HOME'))",
    "max(current_setting('threads'))",
    "max(error('x'))",
    "count(*) + error(max(email))",
    "max(version())",
    "max(current_user)",
    "current_database()",
    "max(nextval('s'))",
    "max(getvariable('x'))",
    "max(pg_typeof(amount))",
    "max(txid_current())",
    "@",
    "sum(@)",
    "-",
    "write_log('x')",
]
UNREPEATABLE = [
    "now()",
    "count(*) + random()",
    "max(current_date)",
    "max(current_timestamp)",
    "max(today())",
    "max(uuid())",
    "days_since(now())",
    "max(get_current_time())",
]
PARAMETERS = ["sum(amount) + ?", "sum(amount) + $1", "sum(:email)", "sum(@amount) + $email", "max($email)"]
STATEMENTS = [
    "sum(amount); drop table tx",
    "sum(amount);",
    "sum(amount) -- everything",
    "sum(amount) /* everything */",
    "sum(amount) from tx",
    "sum(amount) as email",
    "sum(amount), max(email)",
    "copy tx to 'x'",
    "attach 'x'",
    "set threads = 1",
    "pragma version",
    "install httpfs",
    "create table x as select 1",
    "",
    " ",
    "\x00sum(amount)",
]
NAMES = [
    "sum(Amount)",
    "sum(AMOUNT)",
    'sum("Amount")',
    "sum(\uff41mount)",
    "sum(am\u043eunt)",
    "sum(amount\u200b)",
    "sum(\u2064amount)",
    'sum("amount ")',
    'sum("amount"" + ""email")',
    'sum("sum(amount)")',
    "sum(rowid)",
    "max(filename)",
    "max(file_row_number)",
    "sum(password)",
    "max(`amount`)",
]
BESIDE = [
    "amount",
    "sum(amount) + amount",
    "max(email) || channel",
    "sum(sum(amount))",
    "max(days_since(max(bought_on)))",
    "sum(amount) filter (where count(*) > 1)",
    "sum(amount) filter (where amount > 1) filter (where email = '')",
    "1",
    "'x'",
    "null",
]
TYPES = [
    "max(amount::struct(a int))",
    "max(cast(amount as int[]))",
    "max(channel::regclass)",
    "max(channel::json)",
    "max(channel::blob)",
    "max(cast(channel as varchar collate nocase))",
]
OPERATORS = [
    "max(channel ~ email)",
    "max(channel similar to email)",
    "max(channel like email)",
    "max(channel glob email)",
    "max(amount collate nocase)",
    "bit_xor(amount)",
    "max(amount & 1)",
]
TOO_LARGE = [
    "sum(" * 60 + "amount" + ")" * 60,
    "+".join(["sum(amount)"] * 200),
    "not " * 300 + "max(amount) > 1",
    "sum(" + "-" * 1500 + "amount)",
    "sum(" + "(" * 900 + "amount" + ")" * 900 + ")",
]
EVASIONS = [
    *[*WHOLE_ROW, *STARS, *QUERIES, *TABLE_FUNCTIONS, *STRUCTURES, *LAMBDAS, *WINDOWS, *ORDERED, *ENVIRONMENT, *UNREPEATABLE],
    *[*PARAMETERS, *STATEMENTS, *NAMES, *BESIDE, *TYPES, *OPERATORS, *TOO_LARGE],
]


@pytest.mark.parametrize("text", EVASIONS)
def test_expression_that_reads_around_the_list_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression("f", text, Scope("tx", COLUMNS), dt.date(2024, 1, 1))


@pytest.mark.parametrize(
    "text", ["sum(amount)", 'sum("amount")', "SUM ( amount )", "max(channel = 'select * from tx -- ;') or false", "count(*)"]
)
def test_honest_neighbours_of_the_evasions_are_accepted(text: str) -> None:
    reads = compile_expression("f", text, Scope("tx", COLUMNS), dt.date(2024, 1, 1)).reads
    assert reads <= {("tx", "amount"), ("tx", "channel")}


def test_literals_cannot_leave_their_quotes() -> None:
    hostile = """x' OR "email" = '"""
    text = hostile.replace("'", "''")
    compiled = compile_expression("f", f"count_if(channel = '{text}')", Scope("tx", COLUMNS), dt.date(2024, 1, 1))
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE tx (channel VARCHAR, email VARCHAR)")
        connection.execute("INSERT INTO tx VALUES (?, 'a'), ('b', '')", [hostile])
        assert connection.execute(f"SELECT {compiled.sql} FROM tx").fetchall() == [(1.0,)]


def workspace(folder: Path, features: dict[str, object] | None = None) -> tuple[Contract, Segment]:
    with duckdb.connect() as connection:
        bought = "CAST(i AS DECIMAL(10, 2)) AS amount, DATE '2023-01-01' + CAST(i AS INTEGER) AS bought_on"
        rows = f"SELECT CAST(i % 5 AS BIGINT) AS uid, {bought}, 'm' || i AS email FROM range(20) AS t(i)"
        connection.execute(f"COPY ({rows}) TO '{folder}/tx.parquet'")
    columns = {name: column.model_dump(by_alias=True) for name, (_, column) in COLUMNS.items() if name != "channel"}
    table = {"source": "tx.parquet", "event_time": "bought_on", "columns": columns | {"uid": {"category": "user", "type": "integer"}}}
    subject = {"key": "uid", "namespace": "shop", "registered_in": "tx"}
    contract = Contract.model_validate({"name": "c", "controller": "Shop", "subject": subject, "tables": {"tx": table}})
    fixed = {
        "name": "s",
        "purpose": "p",
        "dataset": "c",
        "policy": "p",
        "as_of": "2024-01-01",
        "model": {"type": "clusters"},
        "privacy": {"epsilon": 1},
    }
    wanted = features or {"spend": {"table": "tx", "agg": "sum(amount)", "bounds": [0, 100]}}
    return contract, Segment.model_validate({**fixed, "features": wanted})


def ready(folder: Path) -> Prepared:
    contract, spec = workspace(folder)
    granted = {"tx": frozenset({"uid", "amount", "bought_on"})}
    return prepare(contract, spec, granted, lambda name: folder / name, dt.datetime(2024, 2, 1, tzinfo=dt.UTC))


PEOPLE = pa.table({"subject": ["0", "1", "2"]})


def test_a_column_without_grant_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    contract, spec = workspace(tmp_path, {"mails": {"table": "tx", "agg": "count(distinct email)", "bounds": [0, 100]}})
    (tmp_path / "tx.parquet").unlink()
    with pytest.raises(MinimisationError, match=r"`tx\.email`"):
        prepare(contract, spec, {"tx": frozenset({"uid", "amount", "bought_on"})}, lambda name: tmp_path / name, dt.datetime.now(dt.UTC))


def test_relations_hold_neither_other_columns_nor_other_people(tmp_path: Path) -> None:
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path)) as room:
        held = room._connection.sql('SELECT * FROM inside."tx"')
        assert held.columns == ["#id", "amount", "bought_on"]
        assert {row[0] for row in held.fetchall()} == {0, 1, 2}


REACHES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM people",
    "SET threads = 1",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/etc/passwd']",
    "RESET lock_configuration",
    "INSTALL httpfs",
    "LOAD httpfs",
    "ATTACH '{folder}/other.db'",
    "COPY (SELECT 1) TO '{folder}/leak.csv'",
    "EXPORT DATABASE '{folder}/leak'",
    "SELECT getenv('HOME')",
]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("sql", REACHES)
def test_the_locked_room_reaches_nothing_outside(tmp_path: Path, sql: str, strict: bool) -> None:
    people = PEOPLE  # noqa: F841  a Python variable must not become a table
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path), strict=strict) as room, pytest.raises(duckdb.Error):
        room._connection.execute(sql.format(folder=tmp_path)).fetchall()


@pytest.mark.parametrize(
    "sql", ["SELECT email FROM read_parquet('{folder}/tx.parquet')", "COPY (SELECT 1) TO '{folder}/tx.parquet' (USE_TMP_FILE false)"]
)
def test_a_strict_room_does_not_even_reach_its_source(tmp_path: Path, sql: str) -> None:
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path), strict=True) as room, pytest.raises(duckdb.Error):
        room._connection.execute(sql.format(folder=tmp_path)).fetchall()


def test_a_folder_adds_no_column_and_a_pattern_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "region=north"
    folder.mkdir()
    assert [sorted(held.source.types) for held in ready(folder).held] == [["amount", "bought_on", "email", "uid"]]
    contract, spec = workspace(tmp_path)
    with pytest.raises(SourceError, match="without any of"):
        prepare(
            contract, spec, {"tx": frozenset({"uid", "amount", "bought_on"})}, lambda _: tmp_path / "*.parquet", dt.datetime.now(dt.UTC)
        )


def test_the_spill_folder_is_removed(tmp_path: Path) -> None:
    with governed(ready(tmp_path), PEOPLE, Resources(tmp_path)) as room:
        list(room.batches())
    assert not list(tmp_path.glob("spill-*"))
