"""Test documents: what a case stands for, what fails and how it is said, and the packs held to their own."""

from __future__ import annotations

from typing import Any

import pytest

from policies import reading, shipped
from policies.contract import Contract
from policies.expectations import PolicyTest
from policies.testing import Failure, pack_checks, policy_checks, run
from tests.houses import house

CONTRACT = Contract.model_validate(
    {
        "name": "c",
        "controller": "x",
        "subject": {"key": "id", "namespace": "n", "registered_in": "t"},
        "tables": {
            "t": {
                "source": "t.parquet",
                "columns": {
                    "id": {"category": "user.unique_id"},
                    "email": {"category": "user.contact.email"},
                    "born": {"category": "user.demographic.date_of_birth", "type": "date"},
                    "health": {"category": "user.health_and_medical"},
                },
            }
        },
    }
)
RULES = [
    {
        "id": "everything",
        "effect": "permit",
        "categories": ["*"],
        "sensitivity": ["plain", "sensitive"],
        "ground": "explicit_consent",
        "reason": "why not",
    },
    {"id": "no-mail", "effect": "forbid", "categories": ["user.contact"], "reason": "nobody's address", "legal": "art. 5"},
    {"id": "year", "effect": "generalise", "categories": ["user.demographic"], "to": {"truncate": "year"}, "reason": "enough"},
]
UNKNOWN = [f"{key}.*" for key in ("analytics", "collect", "employment", "finance", "functional", "operations", "personalize", "sales")]
UNKNOWN += ["third_party_sharing.*", "train_ai_system", "marketing.advertising.*", "marketing.communications.*"]
UNKNOWN += ["essential", "essential.service.*", "essential.fraud_detection"]
"""Data uses that are no purposes of the policy."""

TESTED = house(rules=RULES, destinations={"ours": {"description": "us", "kind": "internal"}})


def failures(expect: Any, *, figures: dict[str, Any] | None = None, references: dict[str, str] | None = None, **case: Any) -> list[str]:
    asked = [{"name": "x", "purpose": "marketing", "expect": expect, **case}] if case else []
    test = PolicyTest.model_validate({"name": "t", "policy": "house", "cases": asked, "figures": figures, "references": references or {}})
    return [failure.what for failure in run(policy_checks(test, CONTRACT), TESTED)]


@pytest.mark.parametrize(
    ("case", "expect"),
    [
        ({"column": "t.email"}, "deny"),
        ({"column": "t.email"}, {"answer": "deny", "rule": "no-mail", "cause": "forbid", "basis": "consent"}),
        ({"column": "t.id"}, {"answer": "allow", "rule": ["everything"], "to": [], "ground": []}),
        ({"column": "t.born"}, {"answer": "allow", "to": {"truncate": "year"}}),
        ({"column": "t.born", "use": "admission"}, {"answer": "allow", "to": []}),
        ({"column": "t.health"}, {"answer": "allow", "ground": "explicit_consent"}),
        ({"column": "t.health", "jurisdiction": "us-ca"}, {"answer": "deny", "rule": "-", "cause": "no permit", "basis": "opt_out"}),
        ({"column": ["t.id", "t.email"], "destination": "nobody"}, "deny"),
        ({"column": "t.id", "destination": "ours"}, "allow"),
        ({"destination": "ours"}, "allow"),
        ({"destination": "nobody"}, {"answer": "deny", "cause": "no permit"}),
        ({"column": "t.email", "purpose": "sales"}, {"answer": "deny", "rule": ["-", "no-mail"]}),
        ({"category": "user.contact.*"}, {"answer": "deny", "rule": "no-mail"}),
        ({"category": ["*"], "without": ["user.contact.*", "user.demographic.*"]}, {"answer": "allow", "to": []}),
        ({"category": "user.demographic.gender", "type": "integer"}, {"answer": "deny", "rule": "year"}),
        ({"category": "user.behavior", "use": "fairness", "purpose": ["*"], "without": UNKNOWN}, "allow"),
    ],
)  # fmt: skip
def test_what_is_so(case: dict[str, Any], expect: Any) -> None:
    assert failures(expect, **case) == []


@pytest.mark.parametrize(
    ("case", "expect", "said"),
    [
        ({"column": "t.email"}, "allow", "got deny (no-mail), expected allow"),
        ({"column": "t.id"}, {"answer": "deny", "rule": "no-mail"}, "got allow (everything), expected deny (no-mail)"),
        ({"column": "t.email"}, {"answer": "deny", "rule": ["no-mail", "year"]}, "rule: got `no-mail`, expected `no-mail`, `year`"),
        ({"column": "t.email"}, {"answer": "deny", "cause": "gap"}, "cause: got `forbid`, expected `gap`"),
        ({"column": "t.email"}, {"answer": "deny", "basis": "contract"}, "basis: got `consent`, expected `contract`"),
        ({"column": "t.health"}, {"answer": "allow", "ground": "research"}, "ground: got `explicit_consent`, expected `research`"),
        ({"column": "t.born"}, {"answer": "allow", "to": []}, "to: got the start of the year, expected as it is"),
        ({"column": "t.id"}, {"answer": "allow", "to": {"prefix": 3}}, "to: got as it is, expected the first 3 characters"),
    ],
)
def test_what_is_not_so_is_said(case: dict[str, Any], expect: Any, said: str) -> None:
    assert failures(expect, **case) == [said]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"cohort_floor": 40, "strict": False, "approvals": {"clusters": 1}, "retention": {"releases": "365d"}}, []),
        ({"budgets": {"epsilon": 8, "interval": "1d"}, "fairness": {"on_fail": "allow"}, "children": {"eu": None}}, []),
        ({"cohort_floor": 41}, ["got `40`, expected `41`"]),
        ({"approvals": {"propensity": 2}}, ["got `1`, expected `2`"]),
        ({"budgets": {"purpose_epsilon": 3}}, ["got `1.0`, `3.0`, expected `3.0`"]),
        (
            {"children": {"eu": {"age": 16}}},
            ["got `None`, expected `age=16 treatment=<Treatment.EXCLUDE: 'exclude'> unknown=<Unknown.LEAVE_OUT: 'leave_out'>`"],
        ),
    ],
)
def test_figures(figures: dict[str, Any], said: list[str]) -> None:
    assert failures("allow", figures=figures) == said


def test_references() -> None:
    assert failures("allow", references={"no-mail": "art. 5"}) == []
    assert failures("allow", references={"no-mail": "art. 6", "nothing": "art. 7"}) == [
        "got `art. 5`, expected `art. 6`",
        "got `no such rule`, expected `art. 7`",
    ]


def test_lists_combine_together_or_apart() -> None:
    lists = {"column": ["t.id", "t.born"], "purpose": ["marketing", "sales"], "jurisdiction": ["eu", "uk", "us"]}
    cases = [{"name": "x", "expect": "allow", **lists, "vary": vary} for vary in ("together", "apart")]
    together, apart = (
        policy_checks(PolicyTest.model_validate({"name": "t", "policy": "house", "cases": [case]}), CONTRACT) for case in cases
    )
    assert (len(together), len(apart)) == (12, 5)
    assert {check.about for check in apart} < {check.about for check in together}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("expect: maybe", "cases.0.expect: got `maybe`, expected"),
        ("category: user.contct", "cases.0.category: not a data category of fideslang, got `user.contct`"),
        ("use: seg", "cases.0.use"),
        ("colunm: t.id", "cases.0.colunm: an unknown field"),
    ],
)
def test_a_broken_document_is_named_at_its_line(edit: str, said: str) -> None:
    rest = "" if edit.startswith("expect") else "    expect: deny\n"
    text = f"kind: policy-test\nname: t\npolicy: p\ncases:\n  - name: x\n    purpose: marketing\n{rest}    {edit}\n"
    with pytest.raises(reading.DocumentError) as caught:
        reading.read_policy_test(text.encode(), "p.test.yaml")
    assert f"p.test.yaml:{8 if rest else 7}: {said}" in str(caught.value)


def test_a_test_without_anything_tests_nothing() -> None:
    with pytest.raises(reading.DocumentError, match="expected one or more of `cases`"):
        reading.read_policy_test(b"kind: policy-test\nname: t\npolicy: p\n", "p.test.yaml")


@pytest.mark.parametrize("name", shipped.names())
def test_packs_hold_what_their_tests_expect(name: str) -> None:
    pack, test = reading.shipped_pack(name), reading.read_policy_test(*shipped.test_source(name))
    checks = pack_checks(test)
    found: tuple[Failure, ...] = run(checks, pack)
    assert found == () and len(checks) > 500
    assert set(test.references) == {each.id for each in (*pack.rules, *pack.limits)}
    named = {rule for case in test.cases for rule in case.expected.rule or ()}
    generalising = {rule.id for rule in pack.rules if rule.effect == "generalise"}
    assert {rule.id for rule in pack.rules} - generalising <= named
