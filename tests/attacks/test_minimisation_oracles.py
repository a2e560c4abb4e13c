"""Errors as oracles: a row that would make a cast, an overflow, a division, a date or `error()` fail changes nothing that is seen.

Two shops that differ in planted rows alone, with the same noise: every output, file for readers and log entry is the same.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine.bench
from tests.fakes import SeededNoise
from tests.scenes import CONTRACT, GROUPS, OFFICER, POLICY, RETURNERS, SUBJECTS, Ran, Shop, purchases

MARK = "person-00000"
"""Somebody who is admitted, with rows of their own."""

FEATURES: dict[str, str] = {
    "cast_": "sum(cast(basket as bigint))",
    "decimals": "avg(amount)",
    "overflow": "max(power(weight, 9))",
    "division": "avg(amount / weight)",
    "modulus": "max(1 / (weight - floor(weight / 2) * 2))",
    "logarithm": "avg(ln(weight))",
    "root": "max(sqrt(weight))",
    "dates": "min(days_since(cast(street as date)))",
    "months": "max(date_diff('month', cast(street as date), bought_on))",
    "part": "max(date_part('year', cast(street as timestamp)))",
    "text": "max(cast(substring(street, 1, 2) as double))",
    "spread": "stddev(amount)",
    "chosen": "max(case when street like '-%' then cast(basket as integer) / weight end)",
}
PLANTED: tuple[dict[str, Any], ...] = (
    {"basket": "1e999", "amount": "NaN", "weight": 0.0, "street": "infinity"},
    {"basket": "99999999999999999999", "amount": "1e40", "weight": -5e-324, "street": "-290000-01-01"},
    {"basket": "0x1G", "amount": "-Infinity", "weight": float("nan"), "street": "2025-02-30"},
    {"basket": "", "amount": "", "weight": float("-inf"), "street": "\u00f6" * 1_000_000},
    {"basket": "1_000_", "amount": "12,50", "weight": float("inf"), "street": "x'; SELECT error('y') --"},
    {"basket": None, "amount": None, "weight": None, "street": None},
    {"basket": "\\", "amount": "--1", "weight": -1.0, "street": "%_\\"},
)
"""Each value is one that no feature counts: without TRY, several of the expressions would fail on it."""


def furnished(shop: Shop, planted: tuple[dict[str, Any], ...]) -> None:
    """Documents, and purchases with `planted` rows among them."""
    columns = {name: {key: value for key, value in column.items() if key in ("category", "type", "sensitivity")} for name, column in
               CONTRACT["tables"]["purchases"]["columns"].items()}  # fmt: skip
    columns["street"]["category"] = columns["amount"]["category"]
    table = CONTRACT["tables"]["purchases"] | {"columns": columns, "duplicates": "keep"}
    shop.write("contracts", CONTRACT | {"tables": CONTRACT["tables"] | {"purchases": table}})
    features = {name: {"table": "purchases", "agg": agg, "bounds": [0, 1000]} for name, agg in FEATURES.items()}
    for segment in (GROUPS, RETURNERS):
        shop.write("segments", segment | {"features": features, "privacy": {"epsilon": 3.0}})
    rows = purchases()
    texts = {
        "basket": pa.array([str(i % 50) for i in range(rows.num_rows)]),
        "amount": rows["amount"].cast(pa.string()),
        "street": pa.array([f"20{i % 24:02}-0{1 + i % 9}-11" for i in range(rows.num_rows)]),
    }
    for name, values in texts.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    day = rows["bought_on"][0].as_py()
    more = [{"customer": MARK, "bought_on": day, **row} for row in planted]
    pq.write_table(pa.concat_tables([rows, pa.Table.from_pylist(more, rows.schema)]), shop.root / "data" / "purchases.parquet")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """With consents, before anything is planned."""
    return Shop.make(tmp_path_factory.mktemp("template") / "shop")


@pytest.fixture
def pair(template: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Shop, Shop]:
    """The same shop without and with planted rows; noise is the same in both."""
    shops = template.copy(tmp_path / "clean" / "shop"), template.copy(tmp_path / "planted" / "shop")
    for shop, rows in zip(shops, ((), PLANTED), strict=True):
        furnished(shop, rows)
    monkeypatch.setattr(engine.bench, "SystemNoise", lambda: SeededNoise(11))
    return shops


def plain(text: str, shop: Shop) -> str:
    """Less names, salts and times, which differ from run to run."""
    text = text.replace(str(shop.root), "ROOT")
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d| UTC)?|\d\d:\d\d UTC", "TIME", text)
    return re.sub(r"\b(sha256:)?[0-9a-f]{8,}\b…?|[A-Za-z0-9+/]{43}=", "NAME", text)


def seen(shop: Shop, *words: str, by: str | None = None) -> tuple[int, str, str]:
    """What a command shows."""
    ran: Ran = shop.run(*words, **({"by": by} if by else {}))
    return ran.code, plain(ran.out, shop), plain(ran.err, shop)


def entries(shop: Shop) -> list[str]:
    """The log, entry by entry."""
    return [plain(json.dumps({"action": entry["action"], "facts": entry["facts"]}, sort_keys=True), shop) for entry in shop.log()]


@pytest.mark.slow
@pytest.mark.parametrize("segment", ["groups", "returners"])
@pytest.mark.parametrize("strict", [False, True])
def test_planted_rows_change_nothing_that_is_seen(pair: tuple[Shop, Shop], segment: str, strict: bool) -> None:
    for shop in pair:
        shop.write("policies", POLICY | {"strict": strict})
    for words in (("plan", segment), ("plan", segment, "--json"), ("build", segment), ("segments", "show", segment)):
        clean, planted = (seen(shop, *words) for shop in pair)
        assert clean == planted and clean[0] == 0, words
    for shop in pair:
        assert shop.run("approve", segment, by=OFFICER).code == 0
    clean, planted = (entries(shop) for shop in pair)
    assert clean == planted
    reports = [plain((shop.root / "reports" / f"{segment}.html").read_text(), shop) for shop in pair]
    assert reports[0] == reports[1]
    inside = [sorted(shop.inside(shop.newest(segment).id)) for shop in pair]
    assert inside[0] == inside[1]


def test_the_planted_rows_make_unguarded_sql_fail(pair: tuple[Shop, Shop]) -> None:
    """The control: the same features, as an analyst would write them elsewhere, run on the clean rows and fail on the planted."""
    failing = {
        "cast_": "sum(cast(basket as bigint))",
        "decimals": "avg(cast(amount as decimal(10,2)))",
        "dates": "min(date '2025-07-01' - cast(street as date))",
        "part": "max(date_part('year', cast(street as timestamp)))",
        "chosen": "max(case when street like '-%' then cast(basket as integer) / weight end)",
    }
    assert failing.keys() < FEATURES.keys()
    for agg in failing.values():
        with duckdb.connect() as connection:
            sql = "SELECT {} FROM read_parquet('{}/data/purchases.parquet')"
            connection.execute(sql.format(agg, pair[0].root)).fetchall()
            with pytest.raises(duckdb.Error):
                connection.execute(sql.format(agg, pair[1].root)).fetchall()


@pytest.mark.parametrize("agg", ["sum(amount) + error(max(street))", "max(if(street > '9', error('found'), 1))"])
def test_error_is_refused_alike(pair: tuple[Shop, Shop], agg: str) -> None:
    for shop in pair:
        shop.write("segments", GROUPS | {"features": {"asked": {"table": "purchases", "agg": agg, "bounds": [0, 1]}}})
    clean, planted = (seen(shop, "build", "groups") for shop in pair)
    assert clean == planted and clean[0] == 2 and "asked" in clean[2]


@pytest.mark.slow
def test_planted_rows_take_no_more_time_than_others(pair: tuple[Shop, Shop]) -> None:
    """Within a factor that no reader can tell from the machine's own ups and downs: the fastest of three plans and builds."""

    def fastest(shop: Shop) -> Iterator[float]:
        for _ in range(3):
            start = time.process_time()
            assert shop.run("plan", "groups").code == 0
            yield time.process_time() - start

    clean, planted = (min(fastest(shop)) for shop in pair)
    assert planted < 2 * clean + 0.5


@pytest.mark.slow
def test_somebody_who_is_not_admitted_can_plant_what_they_like(pair: tuple[Shop, Shop]) -> None:
    """Rows of a subject who refused, huge values and all: the members inside are the same."""
    _, planted = pair
    rows = pq.read_table(planted.root / "data" / "purchases.parquet")
    refused = [
        {"customer": SUBJECTS[4], "bought_on": rows["bought_on"][0].as_py(), **row, "basket": "7", "amount": "499"} for row in PLANTED
    ]
    pq.write_table(pa.concat_tables([rows, pa.Table.from_pylist(refused, rows.schema)]), planted.root / "data" / "purchases.parquet")
    assert seen(pair[0], "build", "groups") == seen(planted, "build", "groups")
    assert entries(pair[0]) == entries(planted)
