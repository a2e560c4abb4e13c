"""Decisions: what is allowed, what is denied, and that each denial says all that is needed to mend it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.contract import Contract
from policies.deciding import NO_RULE, Request, Use, decide, decide_destination, judge
from policies.decisions import Allow, Cause, Deny, Finding
from policies.policy import Policy

PURPOSE = "marketing.advertising"
AUDIT = "essential.legal_obligation"
DELICATE = {"sensitivity": ["sensitive"], "ground": "explicit_consent"}
PERMIT = {
    "id": "buying",
    "effect": "permit",
    "categories": ["user.behavior.*"],
    "purposes": ["marketing.*"],
    "reason": "it tells what fits",
}
FORBID = {
    "id": "no-contact",
    "effect": "forbid",
    "categories": ["user.contact"],
    "reason": "nobody's address",
    "legal": "art. 5",
    "remedy": "leave it",
}
FAIRNESS = {
    "id": "audit",
    "effect": "fairness_only",
    "categories": ["user.demographic.*"],
    "purposes": [AUDIT],
    "sensitivity": ["plain", "sensitive"],
    "ground": "substantial_public_interest",
    "reason": "to check for unequal treatment",
}


def policy(*rules: dict[str, Any], **changes: Any) -> Policy:
    return Policy.model_validate(
        {
            "name": "p",
            "purposes": {PURPOSE: {"basis": {"eu": "consent"}}, AUDIT: {"basis": {"default": "legitimate_interest"}}},
            "rules": rules or (PERMIT, FORBID, FAIRNESS),
            "budgets": {"cap": {"epsilon": 4}, "purposes": {PURPOSE: {"epsilon": 1}}, "snapshot": {"interval": "7d"}},
            "fairness": {"purpose": AUDIT},
            "destinations": {"mailer": "the mailing system"},
            **changes,
        }
    )


CONTRACT = Contract.model_validate(
    {
        "name": "c",
        "controller": "x",
        "subject": {"key": "id", "namespace": "n", "registered_in": "people"},
        "tables": {
            "people": {
                "source": "p.parquet",
                "columns": {
                    "id": {"category": "user.unique_id"},
                    "amount": {"category": "user.behavior.purchase_history"},
                    "diagnosis": {"category": "user.behavior", "sensitivity": "sensitive"},
                    "email": {"category": "user.contact.email"},
                    "gender": {"category": "user.demographic.gender", "sensitivity": "sensitive"},
                    "odd": {"category": "user.nonsense"},
                },
            }
        },
    }
)


def use(column: str, *, fairness: bool = False, table: str = "people") -> Use:
    return Use(table, column, ("features.f",), "because", fairness)


def request(*uses: Use, purpose: str = PURPOSE) -> Request:
    return Request(purpose, CONTRACT, uses, "clusters")


def denied(decision: Allow | Deny) -> tuple[Finding, ...]:
    assert isinstance(decision, Deny)
    return decision.because


def test_a_permit_allows_and_says_why() -> None:
    decision = decide(policy(), request(use("amount")))
    assert isinstance(decision, Allow)
    (finding,) = (finding for finding in decision.because if finding.subject == "people.amount")
    assert (finding.cause, finding.rule, finding.reason) == (Cause.PERMIT, "buying", "it tells what fits")
    assert finding.policy == policy().digest()
    assert "`features.f`: because" in finding.condition


def test_a_forbid_wins_and_is_complete() -> None:
    everything = {"id": "all", "effect": "permit", "categories": ["*"], "reason": "why not"}
    (finding,) = denied(decide(policy(everything, FORBID), request(use("email"))))
    assert (finding.cause, finding.subject, finding.rule) == (Cause.FORBID, "people.email", "no-contact")
    assert (finding.reason, finding.legal, finding.remedy) == ("nobody's address", "art. 5", "leave it")
    assert finding.condition == "`user.contact.email` (plain) for `marketing.advertising`, needed by `features.f`"


def test_a_forbid_without_remedy_gets_one() -> None:
    (finding,) = denied(decide(policy(PERMIT, {**FORBID, "remedy": None}), request(use("email"))))
    assert finding.remedy is not None and "`features.f`" in finding.remedy and "`no-contact`" in finding.remedy


def test_a_forbid_of_other_purposes_or_sensitivity_does_not_speak() -> None:
    elsewhere = {"id": "no", "effect": "forbid", "categories": ["user.behavior"], "purposes": ["sales"], "reason": "not for sales"}
    delicate = {"id": "no", "effect": "forbid", "categories": ["user.behavior"], "sensitivity": ["sensitive"], "reason": "too delicate"}
    assert isinstance(decide(policy(PERMIT, elsewhere), request(use("amount"))), Allow)
    assert isinstance(decide(policy(PERMIT, delicate), request(use("amount"))), Allow)


def test_a_forbid_reaches_below_its_categories_and_purposes() -> None:
    rule = {"id": "no", "effect": "forbid", "categories": ["user.behavior"], "purposes": ["marketing"], "reason": "not for marketing"}
    (finding,) = denied(decide(policy(PERMIT, rule), request(use("amount"))))
    assert finding.rule == "no"


def test_all_columns_are_told_at_once() -> None:
    findings = denied(decide(policy(), request(use("email"), use("amount"), use("nope"), use("gender"), use("id"))))
    assert [(finding.subject, finding.cause) for finding in findings] == [
        ("people.email", Cause.FORBID),
        ("people.nope", Cause.GAP),
        ("people.gender", Cause.FORBID),
        ("people.id", Cause.NO_PERMIT),
    ]
    assert all(finding.remedy and finding.condition and finding.reason for finding in findings)


def test_silence_denies_and_names_the_nearest_rule() -> None:
    (finding,) = denied(decide(policy(), request(use("id"))))
    assert finding.rule == NO_RULE
    assert "nearest rule `buying`: it covers categories `user.behavior.*`, got `user.unique_id`" in finding.condition


def test_of_equally_near_rules_the_closest_category_is_named() -> None:
    def rule(name: str, effect: str, category: str) -> dict[str, Any]:
        return {"id": name, "effect": effect, "categories": [category], "reason": "a reason"}

    far, near, audit = (
        rule("a", "permit", "user.contact.*"),
        rule("b", "permit", "user.unique_id.*"),
        rule("a-audit", "fairness_only", "user.name"),
    )
    contract = CONTRACT.model_copy(deep=True)
    contract.tables["people"].columns["email"] = (
        CONTRACT.tables["people"].columns["email"].model_copy(update={"category": "user.name.first"})
    )
    (finding,) = denied(decide(policy(far, near, rule("z", "permit", "user.name.last")), replace(request(use("email")), contract=contract)))
    assert "nearest rule `z`" in finding.condition
    (finding,) = denied(decide(policy(near, audit), request(use("email"))))
    assert "nearest rule `b`" in finding.condition


def test_a_sensitive_column_must_be_named() -> None:
    (finding,) = denied(decide(policy(), request(use("diagnosis"))))
    assert finding.cause is Cause.NO_PERMIT
    assert "nearest rule `buying`: it does not name the sensitivity `sensitive`" in finding.condition
    assert isinstance(decide(policy({**PERMIT, **DELICATE}), request(use("diagnosis"))), Allow)
    assert isinstance(decide(policy({**PERMIT, **DELICATE}), request(use("amount"))), Deny)


def test_fairness_only_serves_the_audit_and_nothing_else() -> None:
    everything = {
        "id": "all",
        "effect": "permit",
        "categories": ["*"],
        "sensitivity": ["sensitive"],
        "ground": "explicit_consent",
        "reason": "why not",
    }
    rules = policy(PERMIT, FAIRNESS, everything)
    assert isinstance(decide(rules, request(use("gender", fairness=True))), Allow)
    (finding,) = denied(decide(rules, request(use("gender"))))
    assert (finding.cause, finding.rule) == (Cause.FORBID, "audit")


def test_a_fairness_use_is_judged_under_the_fairness_purpose() -> None:
    (finding,) = denied(decide(policy(PERMIT), request(use("amount", fairness=True))))
    assert finding.cause is Cause.NO_PERMIT and f"got `{AUDIT}`" in finding.condition


def test_a_fairness_use_without_a_fairness_purpose_is_a_gap() -> None:
    (finding,) = denied(decide(policy(fairness=None), request(use("gender", fairness=True))))
    assert (finding.cause, finding.subject) == (Cause.GAP, "people.gender")


def test_the_fairness_purpose_needs_a_basis_where_it_is_used() -> None:
    bases = {PURPOSE: {"basis": {"eu": "consent"}}, AUDIT: {"basis": {"us": "opt_out"}}}
    (finding,) = denied(decide(policy(purposes=bases), request(use("gender", fairness=True))))
    assert (finding.subject, finding.cause) == (AUDIT, Cause.NO_PERMIT)
    assert isinstance(decide(policy(purposes=bases), request(use("amount"))), Allow)


@pytest.mark.parametrize(
    ("column", "table", "hint"),
    [("amuont", "people", "`amount`"), ("amount", "peopel", "`people`"), ("odd", "people", "`user.nonsense` is no data category")],
)
def test_gaps_deny(column: str, table: str, hint: str) -> None:
    (finding,) = denied(decide(policy(), request(use(column, table=table))))
    assert finding.cause is Cause.GAP and hint in finding.condition


def test_an_unknown_purpose_is_denied() -> None:
    findings = denied(decide(policy(), request(use("amount"), purpose="marketing.advertisin")))
    assert findings[0].cause is Cause.GAP and "did you mean `marketing.advertising`?" in findings[0].condition


def test_a_purpose_without_basis_here_is_denied() -> None:
    us = CONTRACT.model_copy(update={"jurisdiction": "us"})
    (finding,) = denied(decide(policy(), replace(request(use("amount")), contract=us)))
    assert finding.cause is Cause.NO_PERMIT and "got jurisdiction `us`" in finding.condition


def test_a_purpose_without_budget_is_denied() -> None:
    findings = denied(decide(policy(), request(purpose=AUDIT)))
    assert [finding.reason for finding in findings] == ["no privacy budget for this purpose"]


def test_an_error_while_deciding_is_a_denial() -> None:
    broken = CONTRACT.model_copy(update={"tables": None})
    findings = denied(decide(policy(), replace(request(use("amount")), contract=broken)))
    assert [(finding.subject, finding.cause, finding.condition) for finding in findings] == [
        ("people.amount", Cause.ERROR, "`TypeError` while deciding")
    ]
    nothing = denied(decide(policy().model_copy(update={"budgets": None}), request(use("amount"))))
    assert {finding.cause for finding in nothing} == {Cause.ERROR}


def test_no_column_is_fine_where_the_purpose_is() -> None:
    assert isinstance(decide(policy(), request()), Allow)


def test_judge_shows_permits_beside_blocks() -> None:
    causes = {finding.subject: finding.cause for finding in judge(policy(), request(use("email"), use("amount")))}
    assert causes == {PURPOSE: Cause.PERMIT, "people.email": Cause.FORBID, "people.amount": Cause.PERMIT}


def test_approvals_follow_the_model() -> None:
    rules = policy(approvals={"required": 2, "models": ["propensity"]})
    assert (rules.approvals.needed("clusters"), rules.approvals.needed("propensity")) == (0, 2)
    assert any("approvals before release: 2" in f.condition for f in judge(rules, replace(request(), model="propensity")))


def test_destinations() -> None:
    assert isinstance(decide_destination(policy(), None), Allow)
    assert isinstance(decide_destination(policy(), "mailer"), Allow)
    (finding,) = denied(decide_destination(policy(), "mailr"))
    assert finding.cause is Cause.NO_PERMIT and "did you mean `mailer`?" in finding.condition and finding.remedy
