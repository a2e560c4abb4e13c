"""Policies as documents, on the command line: tests that pass, fail or are broken, mutants, explanations, and differences."""

from __future__ import annotations

from typing import Any

import yaml

from tests.scenes import ADS, POLICY, Shop

TEST = """\
kind: policy-test
name: what the rules let nobody do
policy: rules
contract: shop
cases:
  - {name: purchases choose offers, column: purchases.amount, purpose: %s, expect: {answer: allow, rule: buys, basis: consent}}
  - {name: nobody's street, column: purchases.street, purpose: %s, expect: {answer: ANSWER, rule: no-location}}
"""


def written(shop: Shop, **changes: str) -> None:
    text = TEST % (ADS, ADS)
    for old, new in {"ANSWER": "deny", **changes}.items():
        text = text.replace(old, new)
    (shop.root / "policies" / "rules.test.yaml").write_text(text)


def test_a_test_that_holds_and_one_that_does_not(shop: Shop) -> None:
    written(shop)
    assert shop.run("policy", "check").code == 0
    passed = shop.run("policy", "test")
    assert passed.code == 0 and "2 checks of rules, all passed" in passed.out and "ok    nobody's street (1)" in passed.out
    written(shop, ANSWER="allow")
    failed = shop.run("policy", "test", "rules", "--json")
    assert failed.code == 3
    assert failed.data["tests"][0]["failures"][0]["what"] == "got deny (no-location), expected allow (no-location)"


def test_a_broken_test_exits_2_with_its_line(shop: Shop) -> None:
    written(shop, **{"column: purchases.street": "column: purchases.stret"})
    broken = shop.run("policy", "test")
    assert broken.code == 2
    assert "policies/rules.test.yaml:7: cases.1.column.0: got `purchases.stret`, expected a column of contract `shop`" in broken.err
    assert shop.run("policy", "check").code == 2
    written(shop, **{"column: purchases.amount": "column: purchases.amount, recipient: internal"})
    assert "rules.test.yaml:6: cases.0.recipient: got `internal`, expected nothing" in shop.run("policy", "test").err
    written(shop, **{"purpose: ": "propose: "})
    assert "rules.test.yaml:6" in shop.run("policy", "test").err


def test_mutants_are_counted_and_survivors_named(shop: Shop) -> None:
    written(shop)
    hunted = shop.run("policy", "test", "rules", "--mutants", "--json").data
    assert 0 < hunted["caught"] < hunted["mutations"] == hunted["caught"] + len(hunted["survivors"])
    said = shop.run("policy", "test", "rules", "--mutants").out
    assert f"rules: {hunted['caught']} of {hunted['mutations']} mutations caught" in said and "survived: " in said


def test_a_policy_without_tests_says_so(shop: Shop) -> None:
    untested = shop.run("policy", "test", "rules")
    assert untested.code == 2 and "expected policies/NAME.test.yaml" in untested.err


def with_rules(shop: Shop, name: str, rules: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump({**POLICY, "name": name, "rules": rules}, sort_keys=False)
    (shop.root / "policies" / f"{name}.yaml").write_text(text)


def test_a_change_says_what_it_exposes(shop: Shop) -> None:
    open_street = {"id": "street", "effect": "permit", "categories": ["user.location.*"], "reason": "maps"}
    with_rules(shop, "wider", [*POLICY["rules"][:-1], open_street])
    found = shop.run("policy", "diff", "rules", "wider")
    assert found.code == 0 and "newly exposes 1 column to 1 purpose" in found.out and "shop: purchases.street" in found.out
    assert "takes away 1 column from 1 purpose" in shop.run("policy", "diff", "wider", str(shop.root / "policies" / "rules.yaml")).out
    back = shop.run("policy", "diff", "wider", "rules", "--json").data
    assert not back["opened"] and {change["column"] for change in back["closed"]} == {"purchases.street"}
    assert "nothing changes" in shop.run("policy", "diff", "rules", "rules").out


def test_a_pack_beside_a_policy_is_that_policy_laid_over_it(shop: Shop) -> None:
    found = shop.run("policy", "diff", "rules", "strict", "--json").data
    assert not found["opened"] and {row["figure"] for row in found["figures"]} >= {"cohort_floor", "approvals.required", "strict"}
    assert {row["segment"] for row in found["segments"]} == {"groups", "returners"}


def test_an_explanation_shows_what_a_column_becomes_and_what_came_near(shop: Shop) -> None:
    coarse = {"id": "steps", "effect": "generalise", "categories": ["user.behavior"], "to": {"band": 10, "prefix": 2, "truncate": "month"}}
    with_rules(shop, "coarse", [*POLICY["rules"], {**coarse, "reason": "enough to know"}])
    options = ("--dataset", "shop", "--policy", "coarse", "--purpose", ADS)
    said = shop.run("policy", "explain", "purchases.amount", *options)
    assert said.code == 0 and "read as: bands of 10" in said.out and "nearest rule `no-location` (forbid)" in said.out
    found = shop.run("policy", "explain", "purchases.bought_on", *options, "--jurisdiction", "de", "--json").data
    assert found["allowed"] and found["read_as"] == ["the start of the month"]
    assert "steps" in {finding["rule"] for finding in found["findings"] if finding["cause"] == "generalise"}
    assert shop.run("policy", "explain", "people.age", *options, "--fairness", "--json").data["allowed"]
    assert not shop.run("policy", "explain", "purchases.amount", *options, "--jurisdiction", "us", "--json").data["allowed"]
    nowhere = shop.run("policy", "explain", "purchases.amount", *options, "--jurisdiction", "germany")
    assert nowhere.code == 2 and "got jurisdiction `germany`, expected a code of ISO 3166" in nowhere.err
