"""100 builds, withdrawals and approvals over eight processes, on both databases: nothing overspent, nobody in a list who withdrew,
no deadlock. A million rows of memberships are looked at on the way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from governance.budget import Status as Spent
from tests import crowd
from tests.scenes import ADS, CONTRACT, GROUPS, POLICY, SUBJECTS, Shop, purchases, write_consents

pytestmark = pytest.mark.slow

COPIES = 5
EVERYBODY = tuple(f"person-{number:05d}" for number in range(COPIES * len(SUBJECTS)))
CAP, PRICE = 4.0, 1.6


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """15,000 customers, `groups` released once, and budget left for some of the builds to come."""
    database = None if request.param == "sqlite" else request.getfixturevalue("postgres").create()
    made = Shop.make(tmp_path / "shop", database)
    rows = purchases()
    number = pa.array([int(subject[7:]) for subject in rows["customer"].to_pylist()])
    tables = []
    for copy in range(COPIES):
        names = pa.array([f"person-{each.as_py() + copy * len(SUBJECTS):05d}" for each in number])
        tables.append(rows.set_column(0, "customer", names))
    pq.write_table(pa.concat_tables(tables), made.root / "data" / "purchases.parquet")
    write_consents(made.root / "data" / "more.csv", [s for s in EVERYBODY if s not in SUBJECTS])
    assert made.run("consent", "import", str(made.root / "data" / "more.csv")).code == 0
    made.write("contracts", CONTRACT | {"subject": CONTRACT["subject"] | {"max_subjects": 20000}})
    budgets = {"cap": {"epsilon": CAP}, "purposes": {ADS: {"epsilon": CAP, "period": "lifetime"}}}
    made.write("policies", POLICY | {"budgets": POLICY["budgets"] | budgets})
    made.write("segments", GROUPS | {"privacy": {"epsilon": PRICE}})
    for words, by in ((("build", "groups"), "ana"), (("approve", "groups"), "olga")):
        ran = made.run(*words, by=by)
        assert ran.code == 0, ran.err
    return made


def test_eight_processes_at_once_keep_every_promise(shop: Shop) -> None:
    told = visit(shop)
    assert told["ended"] == [0] * crowd.PROCESSES  # none failed, none had to be ended
    assert [problem for each in told["told"] for problem in each["wrong"]] == []
    rows = sum(each["rows"] for each in told["told"])
    assert rows >= 1_000_000
    counted = sum((Counter(each["counted"]) for each in told["told"]), Counter[str]())
    assert sum(counted.values()) == len(crowd.COMMANDS) == 100
    assert counted["withdraw"] == crowd.COMMANDS.count("withdraw")
    # some builds fitted the budget and some did not; what is spent is what fits, and what the log says
    assert counted["build"] >= 2 and counted["build: BudgetExceeded"] >= 2
    assert 0 < shop.spent() <= CAP
    held = [row for row in shop.ledger().reservations if f"status='{Spent.RELEASED}'" not in row]
    assert len(held) == 1 + 1 + counted["build"]  # the snapshot's, the first build's, and theirs
    assert shop.run("audit", "verify").code == 0
    # whoever withdrew is in no list, and after a sweep in no file
    gone = shop.root.with_name("withdrawn").read_text().split()
    assert len(gone) == len(set(gone)) == counted["withdraw"]
    assert shop.members("groups").isdisjoint(shop.pseudonyms(gone))
    assert shop.run("sweep", by="olga").code == 0
    for file in (shop.root / ".consentric" / "builds").glob("*/membership.parquet"):
        assert set(pq.read_table(file)["subject"].to_pylist()).isdisjoint(gone)
    for file in (shop.root / ".consentric" / "releases").glob("*/membership.parquet"):
        assert set(pq.read_table(file)["pseudonym"].to_pylist()).isdisjoint(shop.pseudonyms(gone))
    assert shop.whole("groups")


def visit(shop: Shop) -> dict[str, Any]:
    """What the crowd tells."""
    here = Path(crowd.__file__)
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CONSENTRIC_ENGINE_THREADS": "1"}
    environment = os.environ | {"PYTHONPATH": str(here.parents[1])} | single
    words = [sys.executable, "-W", "ignore", str(here), str(shop.root)]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, cwd=here.parents[1], check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told
