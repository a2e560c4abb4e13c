"""Packs laid under a policy: rules add up, the stricter figure counts, and no word of the policy weakens a pack."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from typing import Any

import pytest
import yaml

from policies import reading, shipped
from policies.contract import Contract
from policies.deciding import Request, Use, decide
from policies.decisions import Allow
from policies.extending import extend
from policies.pack import Pack
from policies.policy import Approvals, Policy
from policies.taxonomy import Vocabulary, ancestors, covers, keys
from tests.houses import POLICY, house


def pack(*limits: dict[str, Any]) -> Pack:
    return Pack.model_validate({"name": "p", "limits": [{"id": f"l{n}", "reason": "because", **limit} for n, limit in enumerate(limits)]})


STRICT = {
    "cohort_floor": 300,
    "most_segments": 5,
    "children": {"eu": {"age": 16, "treatment": "exclude"}},
    "retention": {"releases": "30d"},
    "approvals": {"required": 2, "models": ["clusters"]},
    "budgets": {"epsilon": 2, "delta": 1e-6, "purpose_epsilon": 0.5, "interval": "30d"},
    "fairness": {"min_ratio": 0.9, "max_gap": 0.05, "on_fail": "refuse"},
    "strict": True,
}


def test_the_stricter_figure_counts_from_either_side() -> None:
    looser, stricter = (
        house(),
        house(
            cohort_floor=500,
            most_segments=4,
            children={"eu": {"age": 17, "treatment": "exclude", "unknown": "refuse"}},
            retention={"releases": "7d", "memberships": "1d"},
            approvals={"required": 3},
            strict=True,
        ),
    )
    bound = extend(looser, [pack(STRICT)])
    assert (bound.cohort_floor, bound.most_segments, bound.strict) == (300, 5, True)
    assert bound.retention.releases == dt.timedelta(days=30)
    assert (bound.budgets.cap.epsilon, bound.budgets.cap.delta, bound.budgets.snapshot.interval) == (2, 1e-6, dt.timedelta(days=30))
    assert {each.epsilon for each in bound.budgets.purposes.values()} == {0.5}
    assert bound.fairness and (bound.fairness.min_ratio, bound.fairness.max_gap, bound.fairness.on_fail) == (0.9, 0.05, "refuse")
    kept = extend(stricter, [pack(STRICT)])
    assert (kept.cohort_floor, kept.most_segments) == (500, 4)
    assert (kept.retention, kept.approvals.required) == (stricter.retention, 3)
    assert kept.children_in("fr") == stricter.children_in("eu")


def test_children_take_the_stricter_of_what_holds_in_a_place() -> None:
    everywhere, here = {"default": {"age": 13, "treatment": "exclude"}}, {"eu": {"age": 16, "treatment": "guardian"}}
    bound = extend(house(children=everywhere), [pack({"children": here})])
    found = {place: bound.children_in(place) for place in ("de", "us")}
    assert {place: (said.age, said.treatment) for place, said in found.items() if said} == {"de": (16, "exclude"), "us": (13, "exclude")}


@pytest.mark.parametrize(("said", "held"), [("admit", "leave_out"), ("leave_out", "leave_out"), ("refuse", "refuse")])
def test_whose_age_is_unknown_is_no_adult_under_a_pack(said: str, held: str) -> None:
    """Unless the pack itself says so: a figure that nobody named is not the mildest."""
    bound = extend(house(children={"eu": {"age": 16, "unknown": said}}), [reading.shipped_pack("gdpr")]).children_in("de")
    assert bound and bound.unknown == held


def test_every_model_that_either_wants_approved_is() -> None:
    twice, once = {"required": 2, "models": ["propensity"]}, {"required": 1, "models": ["clusters"]}
    mixed = extend(house(approvals=twice), [pack({"approvals": once})])
    assert mixed.approvals == Approvals(required=2, models=("clusters", "propensity"))
    assert extend(house(approvals=twice), [pack({"approvals": {"required": 0}})]).approvals == Approvals.model_validate(twice)


def test_a_gate_is_tightened_where_there_is_one() -> None:
    assert extend(house(fairness=None), [pack(STRICT)]).fairness is None


def test_extending_again_changes_nothing() -> None:
    packs = [reading.shipped_pack(name) for name in shipped.names()]
    once = extend(house(), packs)
    assert extend(once, packs).digest() == once.digest() == extend(extend(house(), packs[:1]), packs[1:]).digest()
    assert once.extends == () and len(once.rules) == len(house().rules) + sum(len(each.rules) for each in packs)


def test_the_digest_covers_the_packs() -> None:
    texts = (POLICY, POLICY + "extends: [gdpr]\n", POLICY + "extends: [gdpr, strict]\n")
    read = {text: reading.read_policy(text.encode(), "p.yaml") for text in texts}
    assert len({policy.digest() for policy in read.values()}) == 3
    changed = reading.shipped_pack("gdpr").model_copy(update={"rules": reading.shipped_pack("gdpr").rules[1:]})
    assert extend(house(), [changed]).digest() != extend(house(), [reading.shipped_pack("gdpr")]).digest()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "extends: [gpdr]", "p.yaml:19: extends.0: no pack, got `gpdr`, expected one of `ccpa`, `gdpr`, `strict`"),
        ("id: everything", "id: gdpr-transfers", "p.yaml:7: rules.0.id: got `gdpr-transfers`, a rule of pack `gdpr`, expected an id"),
    ],
)
def test_what_cannot_be_laid_together_is_named_at_its_line(old: str, new: str, said: str) -> None:
    text = POLICY.replace(old, new, 1) + "extends: [gdpr]\n" if old else POLICY + new + "\n"
    with pytest.raises(reading.DocumentError) as caught:
        reading.read_policy(text.encode(), "p.yaml")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("effect", ["permit", "fairness_only"])
def test_a_pack_permits_nothing(effect: str) -> None:
    text = f"kind: pack\nname: p\nrules:\n  - {{id: a, effect: {effect}, categories: [user], reason: because}}\n"
    with pytest.raises(reading.DocumentError) as caught:
        reading.read_pack(text.encode(), "p.yaml")
    assert "p.yaml:4: rules.0.effect: of a pack takes away" in str(caught.value)


@cache
def under(pack_name: str, purpose: str, basis: str, ground: str) -> Policy:
    """A house that permits everything, and the rules of a pack."""
    houses = house(
        purposes={each: {"basis": {"default": basis}} for each in (purpose, "essential.legal_obligation")},
        budgets={"cap": {"epsilon": 1}, "purposes": {purpose: {"epsilon": 1}}, "snapshot": {"interval": "1d"}},
        destinations={"sold": {"description": "somebody else", "kind": "third_party", "jurisdiction": "us"}},
        rules=[{**yaml.safe_load(POLICY)["rules"][0], "ground": ground}],
    )
    return extend(houses, [reading.shipped_pack(pack_name).model_copy(update={"limits": ()})])


def allowed(
    name: str,
    place: str,
    purpose: str = "essential",
    basis: str = "consent",
    to: str | None = None,
    ground: str = "made_public",
    **column: str,
) -> bool:
    """Whether a pack leaves a column to a purpose."""
    columns = {"k": {"category": "user.unique_id.pseudonymous"}, "x": {"category": "user.behavior.purchase_history", **column}}
    subject = {"key": "k", "namespace": "n", "registered_in": "t"}
    tables = {"t": {"source": "t.csv", "columns": columns}}
    contract = Contract.model_validate({"name": "c", "controller": "x", "jurisdiction": place, "subject": subject, "tables": tables})
    request = Request(purpose, contract, (Use("t", "x", ("f",)),), "clusters", to)
    return isinstance(decide(under(name, purpose, basis, ground), request), Allow)


@pytest.mark.parametrize(("name", "place"), [("gdpr", "eu"), ("ccpa", "us-ca"), ("strict", "br")])
def test_no_key_holds_what_stays_out_below_it(name: str, place: str) -> None:
    """Except `user.behavior`: purchases are most of what it is used for, and one key below it must not close it."""
    closed = {key for key in keys(Vocabulary.CATEGORY) if not allowed(name, place, category=key, type="date")}
    above = {parent for key in closed for parent in ancestors(key)} - {"user.behavior"}
    assert {"user.contact", "user.contact.address", "user"} <= above <= closed and "user.behavior" not in closed


def test_a_sale_has_no_name_that_an_opt_out_does_not_reach() -> None:
    """Opt-outs of California are objections to third-party advertising and to sharing, and reach what is below them."""
    sold = {
        use
        for use in keys(Vocabulary.USE)
        for basis in ("opt_out", "legitimate_interest")
        if allowed("ccpa", "us-ca", use, basis, to="sold")
    }
    assert sold == {
        use for use in keys(Vocabulary.USE) if covers("marketing.advertising.third_party.*", use) or covers("third_party_sharing.*", use)
    }


def test_what_a_contract_marks_sensitive_is_asked_for_in_california() -> None:
    """Membership of a trade union has no category of its own (§ 1798.140(ae)(1)(D))."""
    union = {"category": "user.workplace", "sensitivity": "sensitive"}
    assert not allowed("ccpa", "us-ca", "analytics", "opt_out", **union)
    assert allowed("ccpa", "us-ca", "analytics", "consent", **union) and allowed("ccpa", "us-ca", "essential", "opt_out", **union)


@pytest.mark.parametrize("name", shipped.names())
class TestShipped:
    def test_every_rule_and_limit_says_what_why_and_by_which_law(self, name: str) -> None:
        found = reading.shipped_pack(name)
        for each in (*found.rules, *found.limits):
            assert each.id.startswith(f"{name}-") and len(each.reason) > 20 and re.search(r"art\.|§|reg\.|recital", each.legal or "")
        assert all(rule.remedy for rule in found.rules if rule.effect == "forbid")

    def test_the_header_says_what_it_cannot_do(self, name: str) -> None:
        text = shipped.pack_source(name)[0].decode()
        assert "no engine can see" in text.partition("kind: pack")[0]

    def test_it_can_be_extended(self, name: str) -> None:
        text = POLICY + f"extends: [{name}]\n"
        policy = reading.read_policy(text.encode(), "p.yaml")
        assert isinstance(policy, Policy) and {rule.id for rule in reading.shipped_pack(name).rules} < {rule.id for rule in policy.rules}
