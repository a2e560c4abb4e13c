"""The collaboration contract: what is refused in it, what its digest covers, and whose signatures it needs."""

from __future__ import annotations

import base64
import json
import math
from itertools import combinations
from typing import Any

import pytest
import rfc8785
import yaml
from pydantic import ValidationError

from audit import dsse
from engine import group_tables
from federated.contract import ROOM, Collaboration, ContractError, agreed, join, read_collaboration, sign
from federated.groups import Fairness
from governance.door import Part
from governance.grid import GRID
from policies.documents import Digest
from policies.parsing import DocumentError
from tests.collaborations import contract, fields, signed, signers


def read(**changed: Any) -> Collaboration:
    return read_collaboration(yaml.safe_dump(fields(3, **changed)).encode(), "joint.yaml")


def refused(n: int, **changed: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        contract(n, **changed)
    return str(caught.value)


def test_yaml_is_read_and_complaints_name_the_line() -> None:
    assert read() == contract(3)
    with pytest.raises(DocumentError, match=r"joint\.yaml:\d+: purpose: not a data use of fideslang, got `marketing.advertizing`"):
        read(purpose="marketing.advertizing")
    with pytest.raises(DocumentError, match=r"joint\.yaml:\d+: clipp"):
        read(clipp=1)


def test_the_canonical_form_is_that_of_rfc_8785_and_reads_back() -> None:
    made = contract(3)
    document = json.loads(made.canonical())
    assert rfc8785.dumps(document) == made.canonical()
    assert document["privacy"] == {"delta": 0.00001, "epsilon": 1}
    assert b'"delta":0.00001,"epsilon":1' in made.canonical()  # numbers as ECMAScript writes them
    assert Collaboration.model_validate_json(made.canonical(), strict=True) == made


THRESHOLDS = [
    (n, least, dropouts, colluders) for n in range(2, 8) for least in range(2, 9) for dropouts in range(4) for colluders in range(7)
]


def test_the_validator_is_the_design_s_and_leaves_two_honest_partners() -> None:
    """t ≤ n − dropouts and 2t > n + colluders; without dropouts all are needed, and n − 2 may collude."""
    accepted = set()
    for n, least, dropouts, colluders in THRESHOLDS:
        try:
            made = contract(n, least_partners=least, dropouts=dropouts, colluders=colluders)
        except ValidationError:
            continue
        accepted.add((n, least, dropouts, colluders))
        assert made.honest >= 2
    assert accepted == {(n, t, d, c) for n, t, d, c in THRESHOLDS if (t == n and c <= n - 2 if d == 0 else t <= n - d and 2 * t > n + c)}


AGES: dict[str, Any] = {
    "purpose": "analytics.reporting",
    "attributes": {"age": {"meaning": "below or above 40", "groups": ["young", "old"]}},
}
MANY = {"meaning": "anything", "groups": [f"group {number}" for number in range(400)]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"least_partners": 2}, "`least_partners` must be all without dropouts, got `2`, expected 3"),
        ({"dropouts": 1}, "`least_partners` must be there after dropouts, got `3`, expected at most 2"),
        ({"dropouts": 1, "least_partners": 2, "colluders": 1}, "expected above 2"),
        ({"colluders": 2}, "expected at most 1"),
        ({"presence": 4}, "`presence` must not exceed the partners"),
        ({"partners": fields(3)["partners"][:1]}, "at least 2"),
        ({"partners": [fields(3)["partners"][0]] * 3}, "must differ"),
        ({"partners": ["nobody"] * 3}, "expected a verifier key"),
        ({"model": {"type": "clusters", "k": 4, "embed": {"type": "autoencoder"}}}, "must be learned from sums"),
        ({"model": {"type": "propensity", "threshold": 0.5}}, "expected a condition"),
        ({"label": {"meaning": "bought again"}}, "expected none"),
        ({"grid": {"contribution": 1 << 20}}, "must be what the door sums on"),
        ({"features": {"spend": {"meaning": "x", "bounds": ["1", "1"]}}}, "must ascend"),
        ({"clip": float("nan")}, "clip"),
        ({"rounds": 0}, "rounds"),
        ({"fairness": {**AGES, "attributes": {}}}, "at least 1"),
        ({"fairness": {**AGES, "attributes": {"age": {"meaning": "age", "groups": ["young"]}}}}, "at least 2"),
        ({"fairness": {**AGES, "attributes": {"age": {"meaning": "age", "groups": ["a", "a"]}}}}, "must differ, got `a` more than once"),
        ({"fairness": AGES, "clip": 1.0}, "`clip` must allow what is asked of groups, got `1`, expected at least 1.414"),
        ({"fairness": {**AGES, "attributes": {name: MANY for name in "abcdefgh"}}}, "`fairness` must fit one answer"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], said: str) -> None:
    assert said in refused(3, **changed)


def test_a_contract_that_names_no_groups_has_the_digest_that_it_had_before_contracts_could() -> None:
    assert contract(3).digest() == "sha256:7d3c70a16e93442d112e985bf2a5d41ea069d79d18a1e0505d4b4185d634482f"
    assert b"fairness" not in contract(3).canonical() and b"fairness" in contract(3, fairness=AGES).canonical()
    with pytest.raises(DocumentError, match=r"joint\.yaml:\d+: fairness\.purpose: not a data use of fideslang, got `fair.play`"):
        read(fairness={**AGES, "purpose": "fair.play"})


@pytest.mark.parametrize("sizes", [(2,), (2, 3), (5, 2, 2, 4)])
@pytest.mark.parametrize("features", [1, 12])
def test_the_clip_allows_every_question_about_groups_and_an_answer_has_room(sizes: tuple[int, ...], features: int) -> None:
    fairness = Fairness.model_validate(
        {**AGES, "attributes": {f"a{n}": {"meaning": "any", "groups": tuple(map(str, range(size)))} for n, size in enumerate(sizes)}}
    )
    places = range(len(sizes))
    asked = group_tables.Asked(sizes, (*((place,) for place in places), *combinations(places, 2)), 2, Part.HOLDOUT)
    bounds = asked.bound, math.sqrt(len(sizes) * (1 + features)), math.sqrt(len(sizes))
    assert fairness.bound(features) == pytest.approx(max(bounds))
    numbers = len(asked.blocks) * (max(map(asked.groups, asked.blocks)) * asked.outcomes * asked.states + 1) * 2
    assert fairness.numbers(asked.outcomes * asked.states * 2) >= max(numbers, len(sizes) * max(sizes) ** 2)


def test_the_sum_without_noise_fits_the_ring() -> None:
    most = ROOM // GRID // 100
    assert 100 * contract(100, max_subjects=most).max_subjects * GRID <= ROOM < 2**63
    assert "must leave room for noise" in refused(100, max_subjects=most + 1)


def changes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every leaf."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in changes(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for place in range(len(value)) for leaf in changes(value[place], (*path, place))]
    return [path]


WHOLE = json.loads(contract(3, label=None, fairness=AGES).canonical())


@pytest.mark.parametrize("path", changes(WHOLE), ids=lambda path: ".".join(map(str, path)))
def test_any_changed_field_is_another_contract_and_nobody_accepts_it(path: tuple[Any, ...]) -> None:
    made = contract(3, fairness=AGES)
    envelope = join(sign(made, signer) for signer in signers(3))
    document = json.loads(made.canonical())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = _other(inner[path[-1]])
    assert rfc8785.dumps(document) != made.canonical()
    changed = json.loads(envelope) | {"payload": base64.b64encode(rfc8785.dumps(document)).decode()}
    with pytest.raises(ContractError):
        agreed(json.dumps(changed).encode(), made.digest())
    try:
        digest = Collaboration.model_validate_json(rfc8785.dumps(document), strict=True).digest()
    except ValidationError:
        return  # not even a contract
    assert digest != made.digest()
    with pytest.raises(ContractError, match=r"is not signed by|not in canonical form"):
        agreed(json.dumps(changed).encode(), digest)  # not by those who expect the change either


def _other(value: Any) -> Any:
    match value:
        case bool() | None:
            return "x"
        case int():
            return value + 1
        case float():
            return value / 2
        case str():
            return value + "1"


def test_every_partner_has_to_sign_it_as_a_contract() -> None:
    made, partners = contract(3), signers(3)
    whole = join(sign(made, signer) for signer in partners)
    assert agreed(whole, made.digest()).contract == made
    with pytest.raises(ContractError, match="is not signed by `p2`"):
        agreed(join(sign(made, signer) for signer in partners[:2]), made.digest())
    other = dsse.seal("text/plain", made.canonical(), partners[2])
    signatures = [json.loads(each)["signatures"][0] for each in (sign(made, partners[0]), sign(made, partners[1]), other)]
    mixed = json.loads(whole) | {"signatures": signatures}
    with pytest.raises(ContractError, match="is not signed by `p2`"):
        agreed(json.dumps(mixed).encode(), made.digest())


def test_a_stranger_cannot_sign_and_another_contract_is_not_joined() -> None:
    with pytest.raises(ContractError, match="does not name the key of `p3`"):
        sign(contract(3), signers(4)[3])
    with pytest.raises(ContractError, match="over one contract, got 2"):
        join([sign(contract(3), signers(3)[0]), sign(contract(3, rounds=21), signers(3)[1])])


def test_an_older_contract_that_all_signed_is_refused_by_whoever_expects_the_newer() -> None:
    old = contract(3, rounds=19)
    with pytest.raises(ContractError, match="another contract"):
        agreed(join(sign(old, signer) for signer in signers(3)), signed(3).digest)


def test_another_spelling_of_the_same_contract_is_refused() -> None:
    made = contract(3)
    loose = json.dumps(json.loads(made.canonical())).encode()
    envelopes = [dsse.seal("application/vnd.consentric.collaboration+json", loose, signer) for signer in signers(3)]
    with pytest.raises(ContractError, match="not in canonical form"):
        agreed(join(envelopes), made.digest())


@pytest.mark.parametrize(
    "envelope", [b"", b"[]", b"{}", b'{"payload": 1, "payloadType": "", "signatures": []}', b"[" * 100_000, b'{"payload": "!"}']
)
def test_garbage_is_refused(envelope: bytes) -> None:
    with pytest.raises(ContractError):
        agreed(envelope, Digest("sha256:0"))
