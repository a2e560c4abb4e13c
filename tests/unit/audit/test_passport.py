import base64
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from audit import verify
from audit.dsse import seal
from audit.merkle import IntegrityError
from audit.passport import (
    Approval,
    Block,
    Charge,
    FairnessVerdict,
    LogProof,
    NoisyTable,
    Passport,
    Privacy,
    ReadSet,
    digest,
    dump,
    issue,
    parse,
    proof_in,
    prove,
    read,
)
from governance.accounting import RESERVED_DRAWS, epsilon_of, mu_squared_of
from tests.evidence import Evidence, body, signer

MU = mu_squared_of(1.0, 1e-5)
SHARED = mu_squared_of(0.1, 1e-5, 256)
LINES = (
    Charge("all/counts", "count", "ALL", str(MU / 4), 1.0, 1.0 / float(MU / 4) ** 0.5, 6),
    Charge("all/learn", "moments", "TRAIN", str(MU * 3 / 4), 2.5, 2.5 / float(MU * 3 / 4) ** 0.5, 240),
)
PASSPORT = Passport(
    segment="shoppers",
    build="b-1",
    purpose="marketing",
    spec="11" * 32,
    policy="22" * 32,
    contract="33" * 32,
    consent_root="44" * 32,
    consent_leaves=50_000,
    read_sets=(ReadSet("spend_90d", ("transactions.amount", "transactions.bought_on")),),
    exclusions=NoisyTable(("admitted", "withdrawn"), (20_000.5, 31.0), 12.25),
    snapshot=Privacy(
        str(SHARED), 256, 1e-5, epsilon_of(SHARED, 256, 1e-5), "exact", (Charge("all", "admission", "ALL", str(SHARED), 1.0, 99.0, 10),)
    ),
    privacy=Privacy(str(MU), RESERVED_DRAWS, 1e-5, epsilon_of(MU, RESERVED_DRAWS, 1e-5), "exact", LINES),
    utility={"silhouette": 0.5},
    fairness=(FairnessVerdict("age", "selection rate", "selected", "19-24", "inconclusive", 0.2, 1.0, 0.5),),
    approvals=(Approval("olga", "approve", "2026-11-22T08:00:00.000000Z"),),
    recipients=("crm",),
)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    evidence = Evidence(tmp_path)
    evidence.add(*(body(number) for number in range(5)))
    return evidence


def intent(passport: Passport, action: str = verify.RELEASED) -> bytes:
    """The entry that records the release."""
    return json.dumps({"action": action, "facts": {"build": passport.build, "passport": digest(passport)}, "v": 1}).encode()


def proof_of(evidence: Evidence, passport: Passport, action: str = verify.RELEASED) -> LogProof:
    index = evidence.add(intent(passport, action))
    evidence.add(body(9))
    checkpoint = evidence.file.read()
    assert checkpoint is not None
    with evidence.read() as connection:
        return prove(connection, index, checkpoint)


def forged(passport: Passport, proof: LogProof, **changes: Any) -> bytes:
    """An envelope rightly signed over a changed statement: what a fault of ours, or a stolen key, could bring forth."""
    statement = json.loads(base64.b64decode(json.loads(issue(passport, proof, signer()))["payload"]))
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = statement
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        inner[int(last) if isinstance(inner, list) else last] = value
    return seal(verify.PAYLOAD_TYPE, json.dumps(statement).encode(), signer())


def test_a_passport_reads_back(evidence: Evidence) -> None:
    proof = proof_of(evidence, PASSPORT)
    assert read(issue(PASSPORT, proof, signer()), signer().verifier) == (PASSPORT, proof)
    assert parse(dump(PASSPORT)) == PASSPORT


def test_an_entry_that_is_no_release_makes_no_passport(evidence: Evidence) -> None:
    with pytest.raises(IntegrityError, match="is no release"):
        issue(PASSPORT, proof_of(evidence, PASSPORT, "release.intended"), signer())


def test_the_envelope_is_an_in_toto_statement(evidence: Evidence) -> None:
    envelope = json.loads(issue(PASSPORT, proof_of(evidence, PASSPORT), signer()))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://consentric.dev/passport/v1"
    assert [subject["name"] for subject in statement["subject"]] == ["shoppers/b-1"]
    assert statement["predicate"]["passport"]["privacy"]["mu_squared"] == str(MU)


@pytest.mark.parametrize("change", ["keyid", "sig", "payloadType", "payload", "spelling"])
def test_every_field_of_the_envelope_counts(evidence: Evidence, change: str) -> None:
    envelope = json.loads(issue(PASSPORT, proof_of(evidence, PASSPORT), signer()))
    (made,) = envelope["signatures"]
    if change in made:
        made[change] = "A" + made[change][1:]
    elif change == "spelling":  # base64 that only a careless reader decodes to the same
        made["sig"] = made["sig"][:-3] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[made["sig"][-3]] + "=="
    else:
        envelope[change] = "A" + envelope[change][1:]
    with pytest.raises(IntegrityError, match=r"is not signed by|malformed"):
        read(json.dumps(envelope).encode(), signer().verifier)


def test_a_proof_that_is_spelt_otherwise_is_a_finding_and_no_fault(evidence: Evidence) -> None:
    """The stand-alone verifier reads the keys of an object like a list."""
    log = asdict(proof := proof_of(evidence, PASSPORT))
    assert proof_in({"log": log}) == proof
    with pytest.raises(IntegrityError, match="log proof is not as Consentric writes it"):
        proof_in({"log": log | {"hashes": dict.fromkeys(log["hashes"], 1)}})


def test_it_can_be_issued_again_after_the_log_has_grown(evidence: Evidence) -> None:
    first = proof_of(evidence, PASSPORT)
    evidence.add(*(body(number) for number in range(20, 40)))
    checkpoint = evidence.file.read()
    assert checkpoint is not None
    with evidence.read() as connection:
        later = prove(connection, first.index, checkpoint)
    assert later.checkpoint != first.checkpoint
    for proof in (first, later):
        assert read(issue(PASSPORT, proof, signer()), signer().verifier)[0] == PASSPORT


def test_an_entry_above_the_checkpoint_cannot_be_proved(evidence: Evidence) -> None:
    checkpoint = evidence.file.read()
    assert checkpoint is not None
    index = evidence.add(intent(PASSPORT), publish=False)
    with evidence.read() as connection, pytest.raises(IntegrityError, match="entry 5 is not under the checkpoint of size 5"):
        prove(connection, index, checkpoint)


def test_a_passport_that_the_log_does_not_know_is_not_issued(evidence: Evidence) -> None:
    proof = proof_of(evidence, PASSPORT)
    for changed in (replace(PASSPORT, recipients=("crm", "broker")), replace(PASSPORT, build="b-2")):
        with pytest.raises(IntegrityError, match="its log entry is about another passport or build"):
            issue(changed, proof, signer())


def test_numbers_are_real_however_they_were_given() -> None:
    whole = replace(PASSPORT, exclusions=NoisyTable(("a", "b"), (3, 4), 1))
    assert parse(dump(whole)) == replace(PASSPORT, exclusions=NoisyTable(("a", "b"), (3.0, 4.0), 1.0))


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump(replace(PASSPORT, utility={"auc": float("nan")}))


@pytest.mark.parametrize("change", [{"unknown": 1}, {"segment": None}, {"consent_leaves": "50000"}, {"recipients": "crm"}])
def test_a_field_more_or_of_another_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="not a passport"):
        parse(verify.canonical({**json.loads(dump(PASSPORT)), **change}))


def test_a_block_is_told_and_no_less_than_what_is_within_it(evidence: Evidence) -> None:
    block = Block(2.0, 1e-5, "samples", "deep.network", "train", "sampled", "1/16", 150, 500, 1.0, 3.5)
    floating = replace(PASSPORT.privacy, assurance="floating point: gradients are computed in batches")
    deep = replace(PASSPORT, privacy=replace(floating, block=block))
    assert parse(dump(deep)) == deep
    assert b'"block"' not in dump(PASSPORT)
    proof = proof_of(evidence, deep)
    assert read(issue(deep, proof, signer()), signer().verifier) == (deep, proof)
    for changed in (replace(block, epsilon=0.9), replace(block, delta=1e-6)):
        lie = replace(PASSPORT, privacy=replace(floating, block=changed))
        with pytest.raises(IntegrityError, match="its block costs less than the draws within it"):
            issue(lie, proof_of(evidence, lie), signer())
    for odd, problem in ((replace(PASSPORT.privacy, block=block), "not what its assurance says"), (floating, "names no block")):
        lie = replace(PASSPORT, privacy=odd)
        with pytest.raises(IntegrityError, match=problem):
            issue(lie, proof_of(evidence, lie), signer())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "expected a https://consentric.dev/passport/v1 statement"),
        ({"predicateType": "other"}, "expected a https://consentric.dev/passport/v1 statement, got other"),
        ({"subject": []}, "its subject is not its log entry"),
        ({"subject__0__digest": {"sha256": "00" * 32}}, "its subject is not its log entry"),
        ({"predicate__passport__purpose": "science"}, "its log entry is about another passport or build"),
        ({"predicate__passport__exclusions__sigma": 1.0}, "its log entry is about another passport or build"),
        ({"predicate__log__entry": intent(PASSPORT).decode() + " "}, "the inclusion proof does not lead to the signed root"),
        ({"predicate__log__index": 4}, "the inclusion proof does not lead to the signed root"),
        ({"predicate__log__index": 99}, "the inclusion proof does not lead to the signed root"),
        ({"predicate__log__hashes": []}, "the inclusion proof does not lead to the signed root"),
        ({"predicate__log__checkpoint": ""}, "not signed by"),
        ({"predicate__log": {}}, "is malformed"),
        ({"predicate__passport__privacy": None}, "is malformed"),
        ({"predicate__passport__privacy__mu_squared": "1/0"}, "is malformed"),
        ({"predicate__passport__utility": {"auc": float("nan")}}, "is malformed"),
        ({"predicate__passport__privacy__epsilon": 0.9}, "ε is larger at δ 1e-05 than it claims, 0.9"),
        ({"predicate__passport__privacy__epsilon": 1.0001}, "ε is smaller at δ 1e-05 than it claims, 1.0001"),
        ({"predicate__passport__privacy__delta": 1e-6}, "at δ 1e-06 than it claims, 1"),
        ({"predicate__passport__privacy__mu_squared": str(MU * 2)}, "at δ 1e-05 than it claims, 1"),
        ({"predicate__passport__privacy__mu_squared": str(MU / 2)}, "its privacy transcript adds up to more than was charged"),
        ({"predicate__passport__privacy__draws": 245}, "its privacy transcript adds up to more than was charged"),
        ({"predicate__passport__privacy__transcript__0__mu_squared": "-1"}, "has a negative line"),
        ({"predicate__passport__privacy__transcript__0__sigma": 0.1}, "line `all/counts` of its privacy transcript costs more than its μ²"),
        ({"predicate__passport__privacy__transcript__1__bound": 2.6}, "line `all/learn` of its privacy transcript costs more than its μ²"),
    ],
)
def test_a_signed_lie_is_found(evidence: Evidence, changes: dict[str, Any], problem: str) -> None:
    envelope = forged(PASSPORT, proof_of(evidence, PASSPORT), **changes)
    with pytest.raises(IntegrityError, match=re.escape(problem)):
        read(envelope, signer().verifier)


@pytest.mark.parametrize("shows", [{"utility": {"AUC": 0.9}}, {"recipients": ("crm",)}, {"fairness": PASSPORT.fairness}])
def test_without_privacy_nothing_may_be_shown(evidence: Evidence, shows: dict[str, Any]) -> None:
    nothing = Privacy("0", 0, 1e-5, None, "none: exact", ())
    bare = replace(PASSPORT, privacy=nothing, utility={}, fairness=(), recipients=())
    proof = proof_of(evidence, bare)
    assert read(issue(bare, proof, signer()), signer().verifier) == (bare, proof)
    lies = {
        f"it shows `{next(iter(shows))}` and names no ε": replace(bare, **shows),
        "it names no ε, and does not say why": replace(bare, privacy=replace(nothing, assurance="exact")),
        "is malformed": replace(bare, privacy=replace(nothing, draws=1)),
        "its snapshot names no ε": replace(bare, snapshot=nothing),
    }
    for problem, lie in lies.items():
        with pytest.raises(IntegrityError, match=problem):
            issue(lie, proof_of(evidence, lie), signer())


def test_another_signer_is_found(evidence: Evidence) -> None:
    envelope = issue(PASSPORT, proof_of(evidence, PASSPORT), signer())
    with pytest.raises(IntegrityError, match="is not signed by"):
        read(envelope, signer(2).verifier)
    for raw in (b"", b"[]", b"{}", envelope[:-20], envelope.replace(b"in-toto", b"out-toto")):
        with pytest.raises(IntegrityError):
            read(raw, signer().verifier)


@pytest.mark.parametrize("epsilon", [0.001, 0.01, 0.1, 0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("draws", [0, 1000, RESERVED_DRAWS])
@pytest.mark.parametrize("delta", [1e-5, 1e-7, 1e-9])
def test_epsilon_is_what_the_ledger_charges(epsilon: float, draws: int, delta: float) -> None:
    """Two programs, written apart, and one number, also where discreteness alone exceeds δ at the ε that was asked for."""
    mu_squared = mu_squared_of(epsilon, delta, draws)
    charged = epsilon_of(mu_squared, draws, delta)
    privacy = {"mu_squared": str(mu_squared), "draws": draws, "delta": delta, "transcript": [], "assurance": "exact"}
    assert not [*verify.check_privacy({**privacy, "epsilon": charged})]
    assert [*verify.check_privacy({**privacy, "epsilon": charged * 0.999})] == [
        f"ε is larger at δ {delta:g} than it claims, {charged * 0.999:.9g}"
    ]
    assert [*verify.check_privacy({**privacy, "epsilon": charged * 1.001})]


def test_epsilon_at_the_ends() -> None:
    privacy = {"mu_squared": "0", "draws": 0, "delta": 1e-5, "transcript": [], "assurance": "exact"}
    assert not [*verify.check_privacy({**privacy, "epsilon": 0.0})]
    assert [*verify.check_privacy({**privacy, "epsilon": 0.001})]
    assert [*verify.check_privacy({**privacy, "mu_squared": str(10**9), "epsilon": 700.0})]
