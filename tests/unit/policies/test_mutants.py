"""Mutants: what counts as a mistake, what changes nothing and so is none, and that the packs' tests notice them."""

from __future__ import annotations

from typing import Any

import pytest

from policies import reading, shipped
from policies.expectations import PolicyTest
from policies.mutants import pack_mutants, policy_mutants, rule_changes
from policies.pack import Pack
from policies.rules import Rule
from policies.testing import hunt, pack_checks, policy_checks
from tests.houses import house

LENT = {"by": "the officer", "reason": "people expect it"}


def changes(**fields: Any) -> set[str]:
    rule = Rule.model_validate({"id": "r", "effect": "forbid", "categories": ["user.contact"], "reason": "because", **fields})
    return {what for what, _ in rule_changes(rule)}


class TestChanges:
    def test_effects_are_turned_round(self) -> None:
        assert {"effect: permit", "effect: fairness_only"} <= changes()
        assert "effect: fairness_only" not in changes(uses=["segment"])  # which is what it does already
        assert {"effect: forbid", "effect: permit"} <= changes(effect="generalise", to={"prefix": 2})

    def test_patterns_are_dropped_widened_and_narrowed(self) -> None:
        assert "categories: `user.contact` widened" in changes()
        assert "categories: `user.contact` without `user.contact.email`" in changes()
        assert "categories: `user.contact` dropped" not in changes()  # a rule without categories is no rule
        assert "categories: `user.name` dropped" in changes(categories=["user.contact", "user.name"])

    def test_a_pattern_that_another_covers_may_go(self) -> None:
        assert "categories: `user.contact.email` dropped" not in changes(categories=["user.contact", "user.contact.email"])

    def test_a_permit_covers_only_what_it_names(self) -> None:
        exact = changes(effect="permit")
        assert not any("without" in what for what in exact if what.startswith("categories"))
        assert any("without itself" in what for what in changes(effect="permit", categories=["user.contact.*"]))

    def test_special_categories_are_sensitive_anyway(self) -> None:
        assert "sensitivity: only `sensitive`" not in changes(categories=["user.health_and_medical"])
        assert "sensitivity: only `plain`" in changes(categories=["user.health_and_medical"])
        assert "sensitivity: only `sensitive`" in changes()

    def test_conditions_are_removed_and_moved(self) -> None:
        found = changes(jurisdictions=["us"], bases=["opt_out"], recipients=["third_party"], transfers=["none"])
        assert {f"{name}: removed" for name in ("jurisdictions", "bases", "recipients", "transfers")} <= found
        assert "jurisdictions: `eu` put in" in found
        assert "jurisdictions: `us-ca` put in" not in found  # it is part of `us`
        assert {"bases: `consent` put in", "recipients: `internal` put in"} <= found

    def test_figures_move_by_a_step(self) -> None:
        found = changes(effect="generalise", to={"prefix": 3, "truncate": "year"})
        assert {"to: `prefix`: 2", "to: `prefix`: 4", "to: `prefix` left out", "to: `truncate` month"} <= found

    def test_exactly_may_be_forgotten(self) -> None:
        assert "exact: true" in changes() and "exact: false" in changes(exact=True)
        assert "exact: true" not in changes(categories=["user.name.first"])  # there is nothing below it
        assert not any("without" in what for what in changes(exact=True) if what.startswith("categories"))

    def test_a_reference_may_be_lost(self) -> None:
        assert "legal reference removed" in changes(legal="art. 5") and "legal reference removed" not in changes()


def test_no_two_mutants_are_the_same_and_none_is_the_original() -> None:
    for name in shipped.names():
        pack = reading.shipped_pack(name)
        documents = [mutant.mutated.canonical() for mutant in pack_mutants(pack)]
        assert len(set(documents)) == len(documents) > 900 and pack.canonical() not in documents


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped.names())
def test_mutants_of_packs_are_caught(name: str) -> None:
    """In at least 99 of 100 cases; the survivors are shown."""
    checks = pack_checks(reading.read_policy_test(*shipped.test_source(name)))
    found = list(hunt(checks, pack_mutants(reading.shipped_pack(name))))
    survivors = [(mutant.rule, mutant.what) for mutant, caught in found if not caught]
    assert len(survivors) <= 0.01 * len(found), survivors


def test_a_test_that_looks_at_little_misses_much() -> None:
    test = PolicyTest.model_validate(
        {
            "name": "t",
            "policy": "p",
            "cases": [{"name": "x", "category": "user.contact.email", "purpose": "marketing", "expect": {"answer": "deny", "rule": "r"}}],
        }
    )
    rule = {"id": "r", "effect": "forbid", "categories": ["user.contact"], "reason": "because"}
    pack = Pack.model_validate({"name": "p", "rules": [rule]})
    caught = {mutant.what: noticed for mutant, noticed in hunt(pack_checks(test), pack_mutants(pack))}
    assert caught["dropped"] and caught["categories: `user.contact` without `user.contact.email`"]
    assert not caught["categories: `user.contact` widened"] and not caught["categories: `user.contact` without `user.contact.address`"]


def test_a_rule_that_acts_alike_is_not_asked_again_and_nothing_is_missed_for_it() -> None:
    """The short cut of the hunt finds what asking every check finds."""
    pack = reading.shipped_pack("ccpa")
    checks = pack_checks(reading.read_policy_test(*shipped.test_source("ccpa")))[::40]
    mutants = list(pack_mutants(pack))[::12]
    plainly = [any(check.wrong(mutant.mutated) is not None for check in checks) for mutant in mutants]
    assert [noticed for _, noticed in hunt(checks, mutants)] == plainly
    assert any(plainly) and not all(plainly)


def test_policies_have_mutants_of_their_figures_too() -> None:
    test = PolicyTest.model_validate({"name": "t", "policy": "house", "figures": {"cohort_floor": 40, "approvals": {"clusters": 1}}})
    caught = {mutant.what: noticed for mutant, noticed in hunt(policy_checks(test, None), policy_mutants(house()))}
    assert caught["cohort_floor: 39"] and caught["cohort_floor: 41"] and caught["approvals.required: 0"]
    assert not caught["budgets.snapshot.epsilon: 0.05"] and not caught["dropped"]


class TestPurposesAndDestinations:
    HOUSE = house(
        purposes={
            "marketing": {"basis": {"eu": "consent", "de": "consent", "us": "opt_out"}, "compatible_with": {"analytics": LENT}},
            "analytics": {"basis": {"default": "consent"}},
        },
        budgets={"cap": {"epsilon": 1}, "purposes": {"marketing": {"epsilon": 1}}, "snapshot": {"interval": "1d"}},
        fairness=None,
        destinations={"mail": {"description": "a mailing house", "kind": "processor", "jurisdiction": "us", "safeguard": "clauses"}},
    )

    def test_another_basis_and_another_recipient_are_mistakes(self) -> None:
        found = {mutant.what for mutant in policy_mutants(self.HOUSE) if mutant.rule == "figures"}
        assert {
            "purposes.marketing.basis.eu: opt_out",
            "purposes.marketing.basis.us: none",
            "purposes.marketing.basis.us: dropped",
        } - found == {
            "purposes.marketing.basis.us: none"  # which says what dropping it says
        }
        assert {"purposes.marketing dropped", "purposes.marketing.compatible_with.analytics: not assessed"} <= found
        assert {"destinations.mail dropped", "destinations.mail.kind: third_party", "destinations.mail.safeguard: none"} <= found
        assert "destinations.mail.jurisdiction: eu" in found

    def test_what_changes_nothing_is_none(self) -> None:
        found = {mutant.what for mutant in policy_mutants(self.HOUSE)}
        assert "purposes.marketing.basis.de: dropped" not in found and "purposes.marketing.basis.eu: consent" not in found
        assert "destinations.mail.jurisdiction: us-ca" not in found  # data of the United States is as much at home there

    def test_a_test_document_can_notice_every_one(self) -> None:
        case = {"category": "user.behavior", "use": "segment"}
        said = {place: basis for place, basis in (("eu", "consent"), ("de", "consent"), ("us", "opt_out"))}
        cases = [
            {"name": p, **case, "purpose": "marketing", "jurisdiction": p, "expect": {"answer": "allow", "basis": b}}
            for p, b in said.items()
        ]
        cases += [{"name": "no", **case, "purpose": "marketing", "jurisdiction": ["br", "uk", "ch"], "expect": "deny"}]
        test = PolicyTest.model_validate({"name": "t", "policy": "house", "cases": cases})
        mutants = [mutant for mutant in policy_mutants(self.HOUSE) if mutant.what.startswith("purposes.marketing")]
        assert len(mutants) > 15 and all(noticed for _, noticed in hunt(policy_checks(test, None), mutants))
