"""Fairness from declared attributes to facts, passport, page and terminal: groups, their crossings, and what stands for them."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import passport as passports
from audit.fairness import Measure, Verdict
from audit.proxies import MEASURE, Told
from engine.group_tables import SCORED
from governance.builds import Build
from tests.fakes import ZeroNoise
from tests.scenes import ANALYST, CONTRACT, GROUPS, OFFICER, RETURNERS, Shop

SHIFTS = [f"shift {number}" for number in range(40)]
"""More than can be crossed with anything here."""


@pytest.fixture(scope="module")
def shop(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Everybody has a sex, which tells nothing, and a habit, which features tell: how often people buy goes by their number."""
    shop = made.copy(tmp_path_factory.mktemp("fair") / "shop")
    people = pq.read_table(shop.root / "data" / "people.parquet")
    places = np.arange(people.num_rows)
    columns = {"sex": ["f", "m"], "habit": ["often", "seldom"], "shift": SHIFTS}
    values = {"sex": places // 3 % 2, "habit": (places % 3 != 2).astype(int), "shift": places // 3 % len(SHIFTS)}
    contract = copy.deepcopy(CONTRACT)
    for name, domain in columns.items():
        people = people.append_column(name, pa.array([domain[place] for place in values[name]]))
        contract["tables"]["people"]["columns"][name] = {"category": "user.demographic.profile", "domain": domain}
    pq.write_table(people, shop.root / "data" / "people.parquet")
    shop.write("contracts", contract)
    shop.write("segments", _asking(RETURNERS, "sex", "habit"))
    shop.write("segments", _asking(GROUPS, "sex", "shift"))
    return shop


@pytest.fixture(scope="module")
def returners(shop: Shop) -> Build:
    return shop.build("returners", ZeroNoise())


def _asking(segment: dict[str, Any], *columns: str) -> dict[str, Any]:
    return copy.deepcopy(segment) | {"fairness": [{"table": "people", "column": column} for column in columns]}


def test_groups_and_crossings_are_counted_under_every_measure(shop: Shop, returners: Build) -> None:
    findings = {finding["attribute"]: finding for finding in returners.facts["fairness"]}
    assert list(findings) == ["people.sex", "people.habit", "people.sex × people.habit"]
    for attribute, finding in findings.items():
        assert {group["measure"] for group in finding["groups"]} == {*Measure}
        chosen = [group for group in finding["groups"] if group["measure"] == Measure.SELECTION]
        assert sum(group["subjects"] for group in chosen) == pytest.approx(2400, abs=1)
        selected = sum(group["subjects"] * group["rate"]["value"] for group in chosen)
        assert selected == pytest.approx(len(shop.inside(returners.id)), abs=1), attribute
    crossed = {group["group"] for group in findings["people.sex × people.habit"]["groups"]}
    assert crossed == {"f and often", "f and seldom", "m and often", "m and seldom"}
    assert findings["people.habit"]["verdict"] == Verdict.FAIL  # who buys often is who buys again
    assert all(group["detectable"] for group in findings["people.sex"]["groups"])


def test_features_tell_a_habit_and_not_a_sex(returners: Build) -> None:
    told = {finding["attribute"]: finding["proxy"] for finding in returners.facts["fairness"]}
    assert told["people.habit"]["verdict"] == Told.TOLD and told["people.sex"]["verdict"] != Told.TOLD
    assert told["people.sex × people.habit"] is None
    assert {each["feature"] for each in told["people.habit"]["standing"]} >= {"frequency"} and told["people.sex"]["standing"] == []
    assert "does not make a segment blind to it" in told["people.habit"]["reason"]


def test_it_is_paid_in_three_rounds_and_stands_in_the_transcript(returners: Build) -> None:
    paid = {line["step"]: line for line in returners.facts["report"]["privacy"]["transcript"] if "fairness" in line["step"]}
    assert list(paid) == ["all/fairness/tables", "all/fairness/means", "all/fairness/guesses"]
    assert paid["all/fairness/tables"]["draws"] == 3 * (4 * 2 * 2 + 1) * 2  # two attributes and a crossing; counts and sums of scores
    prices = [line["mu_squared"] for line in paid.values()]
    assert prices[0] == pytest.approx(3 * prices[1]) and prices[1] == pytest.approx(prices[2])
    sigma = (SCORED * (1 + 1 + 0.25) / prices[0]) ** 0.5
    shown = [group for group in returners.facts["fairness"][0]["groups"] if group["measure"] == Measure.TRUE_POSITIVE]
    assert {round(group["sigma"], 6) for group in shown} == {round(2**0.5 * sigma, 6)}


def test_the_passport_says_all_of_it(returners: Build) -> None:
    said = passports.parse(returners.facts["passport"].encode()).fairness
    groups = [(finding["attribute"], group) for finding in returners.facts["fairness"] for group in finding["groups"]]
    guessed = [group for finding in returners.facts["fairness"] if finding["proxy"] for group in finding["proxy"]["groups"]]
    assert len(said) == len(groups) + len(guessed)
    measures = [(each.attribute, each.measure, each.group, each.verdict) for each in said if each.measure != MEASURE]
    assert measures == [(attribute, group["measure"], group["group"], group["verdict"]) for attribute, group in groups]
    assert {each.group: each.low for each in said if each.measure == MEASURE} == {each["group"]: each["told"]["low"] for each in guessed}


def test_the_terminal_shows_verdicts_and_what_could_not_have_been_seen(shop: Shop, returners: Build) -> None:
    shown = shop.run("fairness", "returners", by=OFFICER)
    assert shown.code == 0
    for words in ("smallest gap visible", "people.sex × people.habit: ", "comparisons", "a ratio of 0.", "told by features: told"):
        assert words in shown.out
    assert json.loads(shop.run("fairness", "returners", "--json", by=ANALYST).out)["findings"] == returners.facts["fairness"]


def test_combinations_that_could_not_be_judged_are_not_paid_for_and_never_pass(shop: Shop) -> None:
    build = shop.build("groups", ZeroNoise())
    crossed = build.facts["fairness"][-1]
    assert crossed["attribute"] == "people.sex × people.shift" and crossed["verdict"] == Verdict.INCONCLUSIVE and crossed["groups"] == []
    assert "80 combinations" in crossed["reason"] and build.facts["verdict"] != Verdict.PASS
    [paid] = [line for line in build.facts["report"]["privacy"]["transcript"] if line["step"] == "all/fairness/tables"]
    assert paid["draws"] == 2 * (40 * 3 + 1)
    sex = build.facts["fairness"][0]
    assert [each["outcome"] for each in sex["balance"]] == [*(part["name"] for part in build.facts["parts"]), ""]
    assert all(each["value"] > 0.9 for each in sex["balance"])
    page = (shop.root / "reports" / "groups.html").read_text()
    assert "80 combinations" in page and "How segments are made up" in page
