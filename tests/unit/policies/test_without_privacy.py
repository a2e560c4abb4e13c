"""`privacy: none`: for a purpose that somebody assessed, inside alone, and never under a pack that takes it away."""

from __future__ import annotations

from typing import Any

import pytest

from policies import reading
from policies.contract import Contract
from policies.deciding import INSIDE, Request, decide, decide_destination, for_admission
from policies.decisions import Allow, Cause, Deny
from policies.expectations import PolicyTest
from policies.extending import extend
from policies.mutants import policy_mutants
from policies.pack import Pack
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment
from policies.testing import policy_checks, run
from tests.houses import house

CONTRACT = Contract.model_validate(
    {
        "name": "c",
        "controller": "x",
        "subject": {"key": "id", "namespace": "n", "registered_in": "t"},
        "tables": {"t": {"source": "t.parquet", "columns": {"id": {"category": "user.unique_id"}}}},
    }
)
ASSESSED = {"by": "the officer", "reason": "for our own counter"}
DESTINATIONS = {"ours": {"description": "our own shop", "kind": "internal"}}
SEGMENT = """\
kind: segment
name: regulars
purpose: marketing
dataset: shop
policy: house
as_of: 2026-06-30
features: {spend: {table: purchases, agg: sum(amount), bounds: [0, 5000]}}
model: {type: clusters, k: 4}
"""


def allowing(**changes: Any) -> Policy:
    purposes = {"marketing": {"basis": {"default": "consent"}, "unsafe_without_privacy": ASSESSED}}
    return house(
        purposes={**purposes, "essential.legal_obligation": {"basis": {"default": "consent"}}}, destinations=DESTINATIONS, **changes
    )


def asked(purpose: str = "marketing", destination: str | None = None) -> Request:
    return Request(purpose, CONTRACT, (), "clusters", destination, private=False)


def test_a_purpose_that_somebody_assessed_may() -> None:
    decision = decide(allowing(), asked())
    assert isinstance(decision, Allow)
    assert [(found.reason, found.condition) for found in decision.because if "assessed" in found.condition] == [
        (ASSESSED["reason"], "assessed by the officer")
    ]
    assert for_admission(allowing(), asked()) == allowing()


def test_no_other_purpose_may() -> None:
    for policy, request in ((house(), asked()), (allowing(), asked("essential.legal_obligation"))):
        decision = decide(policy, request)
        assert isinstance(decision, Deny)
        (found,) = decision.because
        assert (found.cause, found.subject) == (Cause.NO_PERMIT, request.purpose)
        assert found.remedy == "ask for an `epsilon` under `privacy`"
        assert for_admission(policy, request).purposes[request.purpose].basis_in("eu") is None


def test_it_goes_to_nobody_not_even_of_the_house() -> None:
    for destination in ("ours", "elsewhere"):
        for decision in (decide(allowing(), asked(destination=destination)), decide_destination(allowing(), destination, asked())):
            assert isinstance(decision, Deny)
            assert INSIDE in [found.rule for found in decision.because]
    assert isinstance(decide_destination(allowing(), None, asked()), Allow)


def test_no_purpose_is_assessed_under_a_pack_that_says_so() -> None:
    pack = Pack.model_validate({"name": "p", "limits": [{"id": "l", "reason": "because", "private": True}]})
    assert not allowing().private and house().private
    bound = extend(allowing(), [pack])
    assert bound.private and isinstance(decide(bound, asked()), Deny)
    assert bound == extend(house(purposes=bound.purposes, destinations=DESTINATIONS), [pack])
    assert [extend(allowing(), [reading.shipped_pack(name)]).private for name in ("strict", "gdpr", "ccpa")] == [True, False, False]


@pytest.mark.parametrize("test", [{"figures": {"private": False}}, {"cases": [{"name": "n", "privacy": "none", "expect": "allow"}]}])
def test_a_lost_assessment_is_noticed(test: dict[str, Any]) -> None:
    for case in test.get("cases", ()):
        case["purpose"] = "marketing"
    checks = policy_checks(PolicyTest.model_validate({"name": "t", "policy": "house", **test}), None)
    (lost,) = (mutant for mutant in policy_mutants(allowing()) if "unsafe_without_privacy" in mutant.what)
    assert not run(checks, allowing()) and run(checks, lost.mutated)
    assert not [mutant for mutant in policy_mutants(house()) if "unsafe_without_privacy" in mutant.what]


def test_an_assessment_names_who_and_why() -> None:
    for incomplete in ("", {}, {"by": "x"}, {"reason": "because"}, True):
        with pytest.raises(ValueError, match="unsafe_without_privacy"):
            house(purposes={"marketing": {"basis": {"default": "consent"}, "unsafe_without_privacy": incomplete}})


def test_a_segment_says_none_in_one_word() -> None:
    spec = reading.read_segment(f"{SEGMENT}privacy: none\n".encode(), "s.yaml")
    assert not spec.private
    assert Segment.model_validate_json(spec.model_dump_json(by_alias=True)) == spec
    with pytest.raises(ValueError, match="expected an ε"):
        _ = spec.asked


@pytest.mark.parametrize("asking", ["prepare: {components: 2}", "embed: {type: autoencoder, width: 2}"])
def test_what_asks_the_door_is_not_asked_for_without_privacy(asking: str) -> None:
    text = SEGMENT.replace("k: 4}", f"k: 4, {asking}}}")
    assert reading.read_segment(f"{text}privacy: {{epsilon: 1}}\n".encode(), "s.yaml").private
    with pytest.raises(DocumentError, match="got one, expected none beside `privacy: none`"):
        reading.read_segment(f"{text}privacy: none\n".encode(), "s.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("privacy: None", "s.yaml:9: privacy: got `None`, expected one of `none`; did you mean `none`?"),
        ("privacy: {epsilon: 0}", "s.yaml:9: privacy.epsilon: got `0`, expected more than 0.0"),
        ("privacy: {}", "s.yaml:9: privacy.epsilon: a required field, got nothing, expected a value"),
        (
            "privacy: none\nfairness: [{table: a, column: b}]",
            "s.yaml:10: fairness: is shown, and what is shown costs ε, got attributes, expected none beside `privacy: none`",
        ),
    ],
)
def test_what_else_is_said_there_is_refused_in_its_line(text: str, said: str) -> None:
    with pytest.raises(DocumentError) as error:
        reading.read_segment(f"{SEGMENT}{text}\n".encode(), "s.yaml")
    assert str(error.value) == said
