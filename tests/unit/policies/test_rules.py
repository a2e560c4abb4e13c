"""Rules: conditions, grounds, generalisation, destinations, children, compatibility; each with what it denies."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from policies.bases import Basis, Ground
from policies.contract import Contract
from policies.deciding import Request, Use, decide, decide_destination, for_admission, generalisations, judge, nearest_miss
from policies.decisions import Allow, Cause, Deny, Finding
from policies.policy import Policy
from policies.rules import Rule
from policies.taxonomy import special

OFFERS, AUDIT = "marketing.advertising", "essential.legal_obligation"
EVERYTHING = {
    "id": "all",
    "effect": "permit",
    "categories": ["*"],
    "sensitivity": ["plain", "pseudonymous", "sensitive"],
    "ground": "explicit_consent",
    "reason": "why not",
}


def policy(*rules: dict[str, Any], **changes: Any) -> Policy:
    return Policy.model_validate(
        {
            "name": "p",
            "purposes": {OFFERS: {"basis": {"eu": "consent", "us": "opt_out"}}, AUDIT: {"basis": {"default": "legal_obligation"}}},
            "rules": [EVERYTHING, *rules],
            "budgets": {"cap": {"epsilon": 4}, "purposes": {OFFERS: {"epsilon": 1}, AUDIT: {"epsilon": 1}}, "snapshot": {"interval": "7d"}},
            "fairness": {"purpose": AUDIT},
            "destinations": {
                "ours": {"description": "our own system", "kind": "internal"},
                "mailer": {"description": "a mailing house", "kind": "processor", "jurisdiction": "us", "safeguard": "clauses"},
                "unknown": "somebody",
            },
            **changes,
        }
    )


COLUMNS = {
    "id": {"category": "user.unique_id"},
    "amount": {"category": "user.behavior.purchase_history", "type": "decimal(10,2)"},
    "faith": {"category": "user.demographic.religious_belief"},
    "born": {"category": "user.demographic.date_of_birth", "type": "date"},
    "zip": {"category": "user.contact.address.postal_code"},
    "email": {"category": "user.contact.email"},
}


def contract(jurisdiction: str = "eu", **subject: str) -> Contract:
    return Contract.model_validate(
        {
            "name": "c",
            "controller": "x",
            "jurisdiction": jurisdiction,
            "subject": {"key": "id", "namespace": "n", "registered_in": "t", **subject},
            "tables": {"t": {"source": "t.parquet", "columns": COLUMNS}},
        }
    )


def ask(column: str, place: str = "eu", purpose: str = OFFERS, to: str | None = None, **use: Any) -> Request:
    return Request(purpose, contract(place), (Use("t", column, ("f",), **use),), "clusters", to)


def blocking(decision: Allow | Deny) -> list[str]:
    return [finding.rule for finding in decision.because if finding.blocks]


def forbid(name: str, **conditions: Any) -> dict[str, Any]:
    return {"id": name, "effect": "forbid", "categories": ["*"], "reason": "because", **conditions}


class TestConditions:
    @pytest.mark.parametrize(
        ("conditions", "hit", "missed"),
        [
            ({"jurisdictions": ["us"]}, ask("amount", "us-ca"), ask("amount", "eu")),
            ({"bases": ["opt_out"]}, ask("amount", "us"), ask("amount", "eu")),
            ({"uses": ["fairness"]}, ask("amount", fairness=True), ask("amount")),
            ({"uses": ["admission"]}, ask("born", admission=True), ask("born")),
            ({"sensitivity": ["sensitive"]}, ask("faith"), ask("amount")),
            ({"recipients": ["third_party"]}, ask("amount", to="unknown"), ask("amount", to="ours")),
            ({"recipients": ["third_party", "processor", "internal"]}, ask("amount", to="ours"), ask("amount")),
            ({"transfers": ["none"]}, ask("amount", to="unknown"), ask("amount", to="mailer")),
            ({"transfers": ["clauses"]}, ask("amount", to="mailer"), ask("amount", "us", to="mailer")),
            ({"grounds": ["explicit_consent"]}, ask("faith"), ask("amount")),
        ],
    )
    def test_a_forbid_speaks_where_all_its_conditions_hold(self, conditions: dict[str, Any], hit: Request, missed: Request) -> None:
        rules = policy(forbid("no", **conditions))
        assert blocking(decide(rules, hit)) == ["no"]
        assert isinstance(decide(rules, missed), Allow)

    def test_what_hands_nothing_over_has_no_recipient(self) -> None:
        rules = policy(forbid("no", recipients=["third_party"]))
        assert isinstance(decide(rules, ask("amount", to="unknown", fairness=True)), Allow)
        assert isinstance(decide(rules, ask("born", to="unknown", admission=True)), Allow)

    def test_circumstances_are_said(self) -> None:
        (finding,) = decide(policy(forbid("no", bases=["opt_out"], jurisdictions=["us"])), ask("amount", "us")).because
        assert "in `us`" in finding.condition and "on the basis `opt_out`" in finding.condition

    def test_a_permit_has_conditions_too(self) -> None:
        only_here = {
            "id": "here",
            "effect": "permit",
            "categories": ["user.contact.*"],
            "jurisdictions": ["us"],
            "reason": "there it is fine",
        }
        rules = policy().model_copy(update={"rules": (Rule.model_validate(only_here),)})
        assert isinstance(decide(rules, ask("email", "us")), Allow)
        (finding,) = decide(rules, ask("email", "eu")).because
        assert "it covers jurisdictions `us`, got `eu`" in finding.condition


class TestSensitive:
    def test_special_categories_are_sensitive_whatever_the_contract_says(self) -> None:
        plain = {**EVERYTHING, "id": "plain", "sensitivity": None, "ground": None}
        rules = policy().model_copy(update={"rules": (Rule.model_validate(plain),)})
        (finding,) = decide(rules, ask("faith")).because
        assert finding.cause is Cause.NO_PERMIT and "does not name the sensitivity `sensitive`" in finding.condition

    def test_explicit_consent_needs_an_opt_in(self) -> None:
        allowed = decide(policy(), ask("faith"))
        assert isinstance(allowed, Allow)
        assert {finding.ground for finding in allowed.because if finding.subject == "t.faith"} == {Ground.EXPLICIT_CONSENT}
        (finding,) = decide(policy(), ask("faith", "us")).because
        assert "needs an opt-in basis in `us`, got `opt_out`" in finding.condition

    def test_explicit_consent_is_not_lent(self) -> None:
        lent = {OFFERS: {"basis": {"eu": "consent"}, "compatible_with": {AUDIT: {"by": "the officer", "reason": "close enough"}}}}
        rules = policy(purposes={**lent, AUDIT: {"basis": {"default": "consent"}}})
        assert isinstance(decide(rules, ask("amount")), Allow)
        (finding,) = decide(rules, ask("faith")).because
        assert f"needs consent to `{OFFERS}` itself" in finding.condition

    def test_a_key_above_a_special_category_may_hold_it(self) -> None:
        assert [special(key) for key in ("user", "user.demographic", "user.authorization")] == [True] * 3
        assert [special(key) for key in ("user.demographic.gender", "user.behavior", "user.contact", "system")] == [False] * 4

    @pytest.mark.parametrize("effect", ["permit", "fairness_only"])
    def test_a_permit_of_the_sensitive_names_its_ground(self, effect: str) -> None:
        with pytest.raises(ValidationError, match="`ground` is needed"):
            Rule.model_validate({**EVERYTHING, "effect": effect, "ground": None})

    def test_articles(self) -> None:
        assert Ground.EXPLICIT_CONSENT.article == "GDPR art. 9(2)(a)" and Ground.RESEARCH.article == "GDPR art. 9(2)(j)"

    def test_only_consent_reads_silence_as_no(self) -> None:
        assert [basis for basis in Basis if basis.opt_in] == [Basis.CONSENT]


def bases(rules: Policy, request: Request, purpose: str = OFFERS) -> dict[str, Basis | None]:
    """By what admission admits people of some places."""
    narrowed = for_admission(rules, request).purposes[purpose]
    return {place: narrowed.basis_in(place) for place in ("de", "gb", "us", "us-ca", "br") if narrowed.basis_in(place)}


class TestAdmission:
    """People of other places among those of a contract: each is admitted where the answer would be yes at home, too."""

    def test_where_every_answer_is_yes_all_bases_stay(self) -> None:
        assert bases(policy(), ask("amount")) == {"de": Basis.CONSENT, "us": Basis.OPT_OUT, "us-ca": Basis.OPT_OUT}
        assert for_admission(policy(), ask("amount")).purposes[AUDIT] == policy().purposes[AUDIT]

    def test_whoever_was_never_asked_gave_no_explicit_consent_wherever_they_live(self) -> None:
        assert bases(policy(), ask("faith")) == {"de": Basis.CONSENT}
        assert "us" in bases(policy(), ask("amount", purpose=OFFERS))

    @pytest.mark.parametrize("home", ["eu", "us", "br"])
    def test_a_rule_of_another_place_holds_for_its_people(self, home: str) -> None:
        """Not for those of the contract's place, nor the other way round; `br` has no narrower rule than `default`."""
        rules = policy(
            forbid("no-silence", jurisdictions=["eu", "uk"], bases=["opt_out"]),
            forbid("not-here", jurisdictions=["us-ca"]),
            purposes={OFFERS: {"basis": {"default": "opt_out"}}, AUDIT: {"basis": {"default": "consent"}}},
        )
        assert bases(rules, ask("amount", home)) == {"us": Basis.OPT_OUT, "br": Basis.OPT_OUT}

    def test_a_place_without_a_basis_stays_so_whatever_is_said_around_it(self) -> None:
        rules = policy(purposes={OFFERS: {"basis": {"default": "consent", "us": None}}, AUDIT: {"basis": {"default": "consent"}}})
        assert bases(rules, ask("amount")) == {place: Basis.CONSENT for place in ("de", "gb", "br")}
        assert isinstance(decide(rules, ask("amount", "us-ca")), Deny)
        assert (
            rules.digest()
            != policy(purposes={OFFERS: {"basis": {"default": "consent"}}, AUDIT: {"basis": {"default": "consent"}}}).digest()
        )

    def test_whoever_receives_is_judged_from_where_people_are(self) -> None:
        rules = policy(forbid("stays", transfers=["clauses", "none"]))
        assert bases(rules, ask("amount")) == {"de": Basis.CONSENT, "us": Basis.OPT_OUT, "us-ca": Basis.OPT_OUT}
        assert bases(rules, ask("amount", to="mailer")) == {"us": Basis.OPT_OUT, "us-ca": Basis.OPT_OUT}

    def test_columns_are_read_as_coarsely_as_the_law_of_everybody_asks(self) -> None:
        here, there = ({**YEAR, "jurisdictions": [place]} for place in ("eu", "us"))
        assert bases(policy(there), ask("born")) == {"de": Basis.CONSENT}
        assert bases(policy(here), ask("born")) == {"de": Basis.CONSENT, "us": Basis.OPT_OUT, "us-ca": Basis.OPT_OUT}
        assert "us" in bases(policy(there), ask("amount"))

    def test_a_place_that_must_know_children_has_no_basis_without_knowing(self) -> None:
        rules = policy(children={"us": {"age": 13, "unknown": "refuse"}})
        assert bases(rules, ask("amount")) == {"de": Basis.CONSENT}
        assert for_admission(rules, ask("amount")).children == rules.children

    def test_the_audit_is_decided_by_what_it_reads(self) -> None:
        rules = policy(
            forbid("no-audit", uses=["fairness"], jurisdictions=["us"]),
            purposes={each: {"basis": {"default": "consent"}} for each in (OFFERS, AUDIT)},
        )
        audited = Request(OFFERS, contract(), (Use("t", "amount", ("f",)), Use("t", "born", ("fairness",), fairness=True)), "clusters")
        assert set(bases(rules, audited)) == {"de", "gb", "us", "us-ca", "br"}
        assert set(bases(rules, audited, AUDIT)) == {"de", "gb", "br"}

    def test_what_cannot_be_decided_admits_nobody(self) -> None:
        assert bases(policy(extends=["gdpr"]), ask("amount")) == {}


YEAR = {"id": "year", "effect": "generalise", "categories": ["user.demographic"], "to": {"truncate": "year"}, "reason": "enough"}


class TestGeneralising:
    def test_what_is_permitted_becomes_coarser(self) -> None:
        decision = decide(policy(YEAR), ask("born"))
        assert isinstance(decision, Allow)
        (finding,) = (finding for finding in decision.because if finding.cause is Cause.GENERALISE)
        assert (finding.rule, finding.blocks) == ("year", False) and "the start of the year" in finding.condition
        (steps,) = generalisations(policy(YEAR), ask("born")).values()
        assert [step.truncate for step in steps] == ["year"]

    def test_what_cannot_become_coarser_is_denied(self) -> None:
        (finding,) = (f for f in decide(policy(YEAR), ask("faith")).because if f.blocks)
        assert finding.rule == "year" and "type `text` cannot" in finding.condition and finding.remedy

    def test_a_subject_key_is_not_made_coarser(self) -> None:
        rule = {**YEAR, "categories": ["user.unique_id"], "to": {"prefix": 2}}
        assert blocking(decide(policy(rule), ask("id"))) == ["year"]

    def test_steps_that_a_type_cannot_take_are_left_out(self) -> None:
        rule = {**YEAR, "categories": ["*"], "to": {"band": 10, "truncate": "year", "prefix": 2}}
        found = {column: generalisations(policy(rule), ask(column)) for column in ("amount", "born", "zip")}
        steps = {column: [step.model_dump(exclude_none=True) for (made,) in found[column].values() for step in [made]] for column in found}
        assert {column: list(made[0]) for column, made in steps.items()} == {"amount": ["band"], "born": ["truncate"], "zip": ["prefix"]}

    def test_rules_follow_each_other_by_id_and_do_not_repeat(self) -> None:
        rules = [{**YEAR, "id": name, "categories": ["user.contact"], "to": {"prefix": n}} for name, n in (("b", 3), ("a", 5), ("c", 3))]
        (steps,) = generalisations(policy(*rules), ask("zip")).values()
        assert [step.prefix for step in steps] == [5, 3]

    def test_who_is_a_child_is_told_by_the_column_as_it_is(self) -> None:
        assert not generalisations(policy(YEAR), ask("born", admission=True))
        assert isinstance(decide(policy(YEAR), ask("born", admission=True)), Allow)

    @pytest.mark.parametrize(("effect", "to"), [("generalise", None), ("forbid", {"prefix": 2})])
    def test_to_belongs_to_generalise(self, effect: str, to: dict[str, int] | None) -> None:
        with pytest.raises(ValidationError, match="`to` and the effect `generalise` go together"):
            Rule.model_validate({**YEAR, "effect": effect, "to": to})


class TestFairnessOnly:
    @pytest.mark.parametrize("conditions", [{"uses": ["fairness"]}, {"bases": ["legal_obligation"]}, {"recipients": ["internal"]}])
    def test_it_forbids_every_other_use_whatever_narrows_what_it_permits(self, conditions: dict[str, Any]) -> None:
        rules = policy({"id": "audit", "effect": "fairness_only", "categories": ["user.behavior"], "reason": "for the audit", **conditions})
        assert blocking(decide(rules, ask("amount"))) == ["audit"]

    def test_people_and_columns_that_it_is_not_about_stay_free(self) -> None:
        about: dict[str, Any] = {"effect": "fairness_only", "categories": ["user.behavior"], "reason": "for the audit"}
        rules = policy({**about, "id": "there", "jurisdictions": ["us"]}, {**about, "id": "marked", "sensitivity": ["pseudonymous"]})
        assert isinstance(decide(rules, ask("amount")), Allow)


class TestExact:
    def test_what_takes_away_exactly_spares_what_is_below(self) -> None:
        only = {"categories": ["user.contact", "user.behavior.*"], "exact": True}
        assert isinstance(decide(policy(forbid("no", **only)), ask("email")), Allow)
        assert blocking(decide(policy(forbid("no", **only)), ask("amount"))) == ["no"]
        assert isinstance(decide(policy(forbid("no", purposes=["marketing"], exact=True)), ask("amount")), Allow)
        assert blocking(decide(policy(forbid("no", purposes=[OFFERS], exact=True)), ask("amount"))) == ["no"]

    @pytest.mark.parametrize("effect", ["permit", "fairness_only"])
    def test_permits_are_exact_anyway(self, effect: str) -> None:
        with pytest.raises(ValidationError, match="`exact` belongs to what takes away"):
            Rule.model_validate({**EVERYTHING, "effect": effect, "exact": True})


class TestPurposes:
    def test_the_audit_borrows_no_consent_that_nobody_assessed(self) -> None:
        lent = {AUDIT: {"basis": {"default": "consent"}, "compatible_with": [OFFERS]}, OFFERS: {"basis": {"eu": "consent"}}}
        (finding,) = decide(policy(purposes=lent), ask("amount", fairness=True)).because
        assert finding.cause is Cause.GAP and finding.legal == "GDPR art. 6(4)" and OFFERS in finding.condition
        assert isinstance(decide(policy(purposes=lent), ask("amount")), Allow)

    def test_a_compatibility_that_nobody_assessed_is_a_gap(self) -> None:
        rules = policy(purposes={OFFERS: {"basis": {"eu": "consent"}, "compatible_with": [AUDIT]}, AUDIT: {"basis": {"eu": "consent"}}})
        (finding,) = decide(rules, ask("amount")).because
        assert finding.cause is Cause.GAP and finding.legal == "GDPR art. 6(4)" and AUDIT in finding.condition

    def test_states_fall_back_on_their_country(self) -> None:
        assert isinstance(decide(policy(), ask("amount", "us-ca")), Allow)
        assert isinstance(decide(policy(), ask("amount", "de")), Allow)
        assert isinstance(decide(policy(), ask("amount", "br")), Deny)

    def test_whoever_must_know_children_is_denied_without_knowing(self) -> None:
        assert isinstance(decide(policy(children={"eu": {"age": 16}}), ask("amount")), Allow)
        rules = policy(children={"eu": {"age": 16, "unknown": "refuse"}})
        (finding,) = decide(rules, ask("amount")).because
        assert finding.cause is Cause.GAP and "neither `subject.born` nor `subject.child`" in finding.condition
        told = Request(OFFERS, contract(born="t.born"), (Use("t", "amount", ("f",)),), "clusters")
        assert isinstance(decide(rules, told), Allow)
        assert isinstance(decide(rules, ask("amount", "us")), Allow)


class TestDestinations:
    def test_the_columns_are_judged_again_for_whoever_receives(self) -> None:
        rules = policy(forbid("no", recipients=["third_party"]))
        assert isinstance(decide_destination(rules, "ours", ask("amount")), Allow)
        assert blocking(decide_destination(rules, "unknown", ask("amount"))) == ["no"]

    def test_what_is_not_said_counts_at_its_worst(self) -> None:
        where = policy().destinations
        said = {name: (each.kind, each.transfer("eu")) for name, each in where.items()}
        assert said == {"ours": ("internal", "within"), "mailer": ("processor", "clauses"), "unknown": ("third_party", "none")}
        assert where["mailer"].transfer("us-ca") == "within"

    def test_adequacy_is_that_of_a_place(self) -> None:
        nowhere = {"d": {"description": "somebody", "kind": "processor", "safeguard": "adequacy"}}
        with pytest.raises(ValidationError, match="a decision about a place"):
            policy(destinations=nowhere)
        assert policy(destinations={"d": {**nowhere["d"], "jurisdiction": "jp"}}).destinations["d"].transfer("eu") == "adequacy"


class TestNearMisses:
    def test_what_would_turn_a_denial(self) -> None:
        rules = policy().model_copy(update={"rules": (Rule.model_validate({**EVERYTHING, "purposes": ["sales"]}),)})
        request = ask("amount")
        assert (
            nearest_miss(rules, request, request.uses[0])
            == "nearest rule `all` (permit): it covers purposes `sales`, got `marketing.advertising`"
        )

    def test_what_would_turn_a_permit(self) -> None:
        request = ask("amount")
        assert "nearest rule `no` (forbid): it covers bases `opt_out`, got `consent`" in str(
            nearest_miss(policy(forbid("no", bases=["opt_out"])), request, request.uses[0])
        )
        assert nearest_miss(policy(), request, request.uses[0]) is None


def test_extending_by_hand_denies_everything() -> None:
    """A policy whose packs were not laid under it would be weaker than it says."""
    found: tuple[Finding, ...] = judge(policy(extends=["gdpr"]), ask("amount"))
    assert {finding.cause for finding in found} == {Cause.ERROR}
