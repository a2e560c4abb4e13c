"""A joint passport is believed as far as others signed for it: whoever changes a field is found, and so is a coordinator who lies."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from audit import dsse, joint_passport, joint_verify, proxies, verify
from audit.checkpoint import Signer
from audit.joint_passport import JointPassport, Share, Signed
from audit.merkle import IntegrityError
from audit.passport import Charge, FairnessVerdict, LogProof, Privacy, prove
from federated import acknowledgement
from federated.acknowledgement import Acknowledgement
from federated.contract import MAX_PARTNERS, Agreed
from federated.transcript import epsilon
from governance.accounting import RESERVED_DRAWS, epsilon_of
from policies.documents import Digest
from tests.collaborations import signed as contract_of
from tests.collaborations import signers
from tests.evidence import Evidence

AGREED = contract_of(4, least_partners=3, dropouts=1)
SPENT = Fraction(1, 50)
LINES = tuple(
    Charge(path, "moments", "all", str(SPENT / 2), 1.0, 1.0 / float(SPENT / 2) ** 0.5, 6) for path in ("joint/subjects", "joint/train")
)
PASSPORT = JointPassport(
    collaboration="joint",
    contract=AGREED.digest.removeprefix("sha256:"),
    purpose=AGREED.contract.purpose,
    outcome="5a" * 32,
    rounds=2,
    partners=tuple(
        Share(each.origin, str(each.verifier), f"{place:02x}" * 32, str(SPENT), epsilon(SPENT, 1e-5), "0")
        for place, each in enumerate(signers(3))
    ),
    silent=("p3",),
    privacy=Privacy(str(SPENT), 12, 1e-5, epsilon_of(SPENT, 12, 1e-5), "exact", LINES),
    utility={"silhouette": 0.5},
)


def said(passport: JointPassport, by: list[Signer]) -> tuple[bytes, ...]:
    """What partners sign who take the model of a passport."""
    of = Digest(f"sha256:{passport.contract}"), Digest(f"sha256:{passport.outcome}")
    heads = [(Digest(f"sha256:{share.head}"), Fraction(share.mu_squared)) for share in passport.partners]
    return tuple(Acknowledgement(*of, *head).signed(each) for head, each in zip(heads, by, strict=True))


def statement(evidence: Evidence, passport: dict[str, Any], contract: Agreed, acknowledged: tuple[bytes, ...]) -> dict[str, Any]:
    """A passport that a coordinator's log releases, whatever it says."""
    named = {"passport": verify.sha(verify.canonical(passport)).hex(), "contract": f"sha256:{passport['contract']}"}
    facts = {**named, "collaboration": passport["collaboration"], "outcome": f"sha256:{passport['outcome']}"}
    index = evidence.add(json.dumps({"action": joint_verify.RELEASED, "facts": facts}).encode())
    checkpoint = evidence.file.read()
    assert checkpoint is not None
    with evidence.read() as connection:
        proof = prove(connection, index, checkpoint)
    envelope = {"contract": json.loads(contract.envelope), "acknowledged": [json.loads(each) for each in acknowledged]}
    subject = {"name": f"joint/{passport['collaboration']}", "digest": {"sha256": verify.sha(proof.entry.encode()).hex()}}
    log = {"index": proof.index, "entry": proof.entry, "hashes": list(proof.hashes), "checkpoint": proof.checkpoint}
    head = {"_type": verify.STATEMENT_TYPE, "subject": [subject], "predicateType": joint_verify.PREDICATE_TYPE}
    return head | {"predicate": {"passport": passport, "log": log, "signed": envelope}}


def sealed(said: dict[str, Any], by: Signer) -> bytes:
    return dsse.seal(verify.PAYLOAD_TYPE, verify.canonical(said), by)


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every place in a document that holds no others."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inside is None:
        yield at, value
    for name, each in inside or ():
        yield from leaves(each, (*at, name))


def changed(document: Any, at: tuple[str | int, ...]) -> Any:
    """A copy with another value in one place: of the same kind, so that nothing is found by its kind alone."""
    old = document
    for name in at:
        old = old[name]
    return replaced(document, at, old + 1 if isinstance(old, int) else old * 1.01 + 0.001 if isinstance(old, float) else other(old))


def replaced(document: Any, at: tuple[str | int, ...], value: Any) -> Any:
    """A copy with a value in one place."""
    copy = place = json.loads(json.dumps(document))
    for name in at[:-1]:
        place = place[name]
    place[at[-1]] = value
    return copy


def other(text: str) -> str:
    """Another fraction, another digest, or another word."""
    if text.replace("/", "").isdigit():
        return str(Fraction(text) * Fraction(11, 10) + Fraction(1, 997))
    return ("b" if text[:1] == "a" else "a") + text[1:]


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    made = Evidence(tmp_path)
    made.add(b"before")
    return made


@pytest.fixture
def honest(evidence: Evidence) -> dict[str, Any]:
    plain = json.loads(joint_passport.dump(PASSPORT))
    return statement(evidence, plain, AGREED, said(PASSPORT, signers(3)))


def test_an_honest_one_is_believed_and_says_who_signed(evidence: Evidence, honest: dict[str, Any]) -> None:
    raw = sealed(honest, evidence.signer)
    assert joint_verify.verify_joint(raw, evidence.key) == "is of collaboration joint, 2 rounds; 3 partners signed for it, p3 has not"
    assert joint_passport.read(raw, evidence.signer.verifier) == PASSPORT and joint_passport.is_joint(raw)
    log = honest["predicate"]["log"]
    proof = LogProof(log["index"], log["entry"], tuple(log["hashes"]), log["checkpoint"])
    issued = joint_passport.issue(PASSPORT, proof, Signed(AGREED.envelope, said(PASSPORT, signers(3))), evidence.signer)
    assert joint_passport.read(issued, evidence.signer.verifier) == PASSPORT
    assert joint_verify.DRAWS == RESERVED_DRAWS


def test_a_partner_of_whom_nothing_had_left_has_no_head(evidence: Evidence) -> None:
    """It came for the model alone, once others had answered; and whoever signed for no head has none."""
    late = replace(PASSPORT, partners=(replace(PASSPORT.partners[0], head=""), *PASSPORT.partners[1:]))
    heads = [Digest(f"sha256:{share.head}" if share.head else "") for share in late.partners]
    of = Digest(f"sha256:{late.contract}"), Digest(f"sha256:{late.outcome}")
    signed = tuple(Acknowledgement(*of, head, SPENT).signed(each) for head, each in zip(heads, signers(3), strict=True))
    assert acknowledgement.read(signed[0], signers(1)[0].verifier).head == ""
    raw = sealed(statement(evidence, json.loads(joint_passport.dump(late)), AGREED, signed), evidence.signer)
    assert joint_passport.read(raw, evidence.signer.verifier) == late
    raw = sealed(statement(evidence, json.loads(joint_passport.dump(PASSPORT)), AGREED, signed), evidence.signer)
    with pytest.raises(IntegrityError, match="partner `p0` signed for another `head`"):
        joint_passport.read(raw, evidence.signer.verifier)


def test_every_field_that_somebody_changes_is_found(evidence: Evidence, honest: dict[str, Any]) -> None:
    envelope = json.loads(sealed(honest, evidence.signer))
    fields = [(at, changed(envelope, at)) for at, _ in leaves(envelope)]
    assert {at[-1] for at, _ in fields} == {"payload", "payloadType", "keyid", "sig"}
    for at, _ in leaves(honest):
        payload = base64.b64encode(verify.canonical(changed(honest, at))).decode()
        fields.append((at, envelope | {"payload": payload}))
    assert len(fields) > 70
    for at, forged in fields:
        with pytest.raises((verify.Broken, *verify.MALFORMED)):
            joint_verify.verify_joint(json.dumps(forged).encode(), evidence.key)
            pytest.fail(f"nothing was found of {at}")


CLAIMED = {
    ("utility", "silhouette"),
    ("privacy", "assurance"),
    *(("privacy", "transcript", row, what) for row in (0, 1) for what in ("path", "step", "part")),
    *(("partners", place, "missed") for place in (0, 1, 2)),
}
"""The coordinator's word, which no partner signed: its own transcript has what it was asked, and in which rounds."""


def test_a_coordinator_who_writes_and_logs_another_passport_is_found(evidence: Evidence) -> None:
    """It has the log's key, and nobody else's."""
    plain, signed = json.loads(joint_passport.dump(PASSPORT)), said(PASSPORT, signers(3))
    for at, _ in leaves(plain):
        forged = changed(plain, at)
        raw = sealed(statement(evidence, forged, AGREED, signed), evidence.signer)
        if at in CLAIMED:
            assert joint_verify.verify_joint(raw, evidence.key)
            continue
        with pytest.raises((verify.Broken, *verify.MALFORMED)):
            joint_verify.verify_joint(raw, evidence.key)
            pytest.fail(f"nothing was found of {at}")


def test_what_partners_signed_cannot_be_changed_by_whoever_has_the_logs_key(evidence: Evidence, honest: dict[str, Any]) -> None:
    for at, _ in leaves(honest["predicate"]["signed"], ("predicate", "signed")):
        raw = sealed(changed(honest, at), evidence.signer)
        with pytest.raises((verify.Broken, *verify.MALFORMED)):
            joint_verify.verify_joint(raw, evidence.key)
            pytest.fail(f"nothing was found of {at}")


LIES: dict[str, tuple[str, JointPassport]] = {
    "a model that nobody got": ("signed for another `outcome`", replace(PASSPORT, outcome="6b" * 32)),
    "a round less": ("names 1 rounds, its transcript 2", replace(PASSPORT, rounds=1)),
    "somebody silent who signed": ("not those of its contract", replace(PASSPORT, silent=("p2", "p3"))),
    "nobody silent": ("not those of its contract", replace(PASSPORT, silent=())),
    "another purpose": ("its purpose is not that of its contract", replace(PASSPORT, purpose="essential.service")),
    "a charge that was less": (
        "charged less than what it answered",
        replace(
            PASSPORT,
            partners=(replace(PASSPORT.partners[0], mu_squared="1/100", epsilon=epsilon(Fraction(1, 100), 1e-5)), *PASSPORT.partners[1:]),
        ),
    ),
    "a loss that the contract has no room for": (
        "charged less than what it answered",
        replace(PASSPORT, partners=(replace(PASSPORT.partners[0], missed="3/100"), *PASSPORT.partners[1:])),
    ),
    "another ε": ("worth another ε", replace(PASSPORT, partners=(replace(PASSPORT.partners[0], epsilon=0.1), *PASSPORT.partners[1:]))),
    "more than the contract allows": (
        "cost more than its contract allows",
        replace(
            PASSPORT,
            privacy=Privacy(
                "1", 12, 1e-5, epsilon_of(Fraction(1), 12, 1e-5), "exact", tuple(replace(row, mu_squared="1/2", sigma=2.0) for row in LINES)
            ),
            partners=tuple(replace(share, mu_squared="1", epsilon=epsilon(Fraction(1), 1e-5)) for share in PASSPORT.partners),
        ),
    ),
}


@pytest.mark.parametrize(("says", "passport"), LIES.values(), ids=LIES)
def test_a_lie_is_named(evidence: Evidence, says: str, passport: JointPassport) -> None:
    signed = said(passport if "allows" in says or "less" in says else PASSPORT, signers(3))
    raw = sealed(statement(evidence, json.loads(joint_passport.dump(passport)), AGREED, signed), evidence.signer)
    with pytest.raises(IntegrityError, match=says):
        joint_passport.read(raw, evidence.signer.verifier)


def test_fairness_verdicts_are_about_the_groups_that_the_contract_names(evidence: Evidence) -> None:
    ages = {"purpose": "analytics.reporting", "attributes": {"age": {"meaning": "years", "groups": ["young", "old"]}}}
    agreed = contract_of(4, least_partners=3, dropouts=1, fairness=ages)
    rows = tuple(FairnessVerdict("age", "selection rate", "", group, "fail", 0.4, 0.6, 0.7) for group in ("young", "old"))
    whole = replace(PASSPORT, contract=agreed.digest.removeprefix("sha256:"), fairness=rows)

    def released(passport: JointPassport, of: Agreed) -> bytes:
        plain = json.loads(joint_passport.dump(passport))
        return sealed(statement(evidence, plain, of, said(passport, signers(3))), evidence.signer)

    found = joint_passport.read(released(whole, agreed), evidence.signer.verifier)
    assert found == whole and list(joint_passport.verdicts(found)) == [("age", "fail")]
    for said_otherwise in ({"measure": proxies.MEASURE}, {"verdict": "splendid"}):  # judged by nothing, or by a word that is none
        told = replace(whole, fairness=tuple(replace(row, **said_otherwise) for row in rows))
        assert list(joint_passport.verdicts(told)) == [("age", "inconclusive")]
    other = replace(rows[0], attribute="income")
    for forged, of in (
        (replace(whole, fairness=()), agreed),
        (replace(whole, fairness=rows[:1]), agreed),
        (replace(whole, fairness=(*rows, other)), agreed),
        (replace(PASSPORT, fairness=rows), AGREED),
    ):
        with pytest.raises(IntegrityError, match="fairness verdicts are not about the groups of its contract"):
            joint_passport.read(released(forged, of), evidence.signer.verifier)


@pytest.mark.parametrize("text", ["1e999999999", "-1/2", "1/0", "0.5", " 1", "1_0", "٣", "1" * 201, ""])
def test_a_charge_that_is_no_fraction_keeps_nobody_busy(evidence: Evidence, text: str) -> None:
    plain = json.loads(joint_passport.dump(PASSPORT))
    signed = dsse.seal(
        joint_verify.ACKNOWLEDGED, verify.canonical({"contract": "", "head": "", "outcome": "", "spent": text}), signers(1)[0]
    )
    with pytest.raises(IntegrityError, match="signed what is no acknowledgement"):
        acknowledgement.read(signed, signers(1)[0].verifier)
    for at in (
        ("partners", 0, "mu_squared"),
        ("partners", 0, "missed"),
        ("privacy", "mu_squared"),
        ("privacy", "transcript", 0, "mu_squared"),
    ):
        forged = replaced(plain, at, text)
        raw = sealed(statement(evidence, forged, AGREED, said(PASSPORT, signers(3))), evidence.signer)
        with pytest.raises((verify.Broken, *verify.MALFORMED)):
            joint_verify.verify_joint(raw, evidence.key)


def test_charges_without_a_common_denominator_keep_nobody_busy(evidence: Evidence) -> None:
    """Each is a fraction of 200 digits; 2,000 of them added up took 8 s, and 20,000 would take a night."""
    plain = json.loads(joint_passport.dump(PASSPORT))
    row = plain["privacy"]["transcript"][0]
    plain["privacy"]["transcript"] = [row | {"mu_squared": f"1/{10**199 + 2 * place + 1}"} for place in range(50)]
    raw = sealed(statement(evidence, plain, AGREED, said(PASSPORT, signers(3))), evidence.signer)
    with pytest.raises(IntegrityError, match="charges add up to no fraction of 200 digits"):
        joint_passport.read(raw, evidence.signer.verifier)


def test_more_partners_than_a_contract_has_are_not_looked_for(evidence: Evidence, honest: dict[str, Any]) -> None:
    """4,000 that somebody made up, with a signature of each, took 13 s, and twice as many four times that."""
    crowd = verify.canonical({"partners": [str(signers(1)[0].verifier)] * (joint_verify.PARTNERS + 1)})
    forged = replaced(honest, ("predicate", "signed", "contract"), json.loads(dsse.seal(joint_verify.CONTRACT, crowd, signers(1)[0])))
    with pytest.raises(verify.Broken, match="its contract names 1001 partners, expected at most 1000"):
        joint_verify.verify_joint(sealed(forged, evidence.signer), evidence.key)
    assert joint_verify.PARTNERS == MAX_PARTNERS


@pytest.mark.parametrize(
    "at", [(), ("predicate",), *(("predicate", *at) for at in (("log",), ("signed",), ("passport",), ("passport", "privacy")))], ids=str
)
def test_a_field_that_nothing_checks_is_in_no_passport_that_verifies(evidence: Evidence, at: tuple[str, ...]) -> None:
    """Its reader would take it for checked: a `block` beside what was charged, for one."""
    plain = json.loads(joint_passport.dump(PASSPORT))
    within = at[:2] == ("predicate", "passport")
    forged = replaced(plain, (*at[2:], "block"), {"epsilon": 9.0, "delta": 1e-5}) if within else plain
    made = statement(evidence, forged, AGREED, said(PASSPORT, signers(3)))
    with pytest.raises(verify.Broken, match="has other fields than a joint passport's"):
        joint_verify.verify_joint(sealed(made if within else replaced(made, (*at, "block"), None), evidence.signer), evidence.key)


def test_what_verifies_and_is_not_as_it_is_written_is_a_finding_and_no_fault(evidence: Evidence, honest: dict[str, Any]) -> None:
    hashes = honest["predicate"]["log"]["hashes"]
    forged = replaced(honest, ("predicate", "log", "hashes"), dict.fromkeys(hashes, 1))  # its keys are as good as a list of them
    with pytest.raises(IntegrityError, match="log proof is not as Consentric writes it"):
        joint_passport.read(sealed(forged, evidence.signer), evidence.signer.verifier)
    real = json.loads(joint_passport.dump(PASSPORT)) | {"rounds": 2.0}
    raw = sealed(statement(evidence, real, AGREED, said(PASSPORT, signers(3))), evidence.signer)
    with pytest.raises(verify.Broken, match="its rounds are no whole number"):
        joint_verify.verify_joint(raw, evidence.key)


def test_a_contract_that_somebody_did_not_sign_and_too_few_partners_are_found(evidence: Evidence, honest: dict[str, Any]) -> None:
    unsigned = json.loads(json.dumps(honest))
    unsigned["predicate"]["signed"]["contract"]["signatures"].pop()
    with pytest.raises(verify.Broken, match="contract is not signed by `p3`"):
        joint_verify.verify_joint(sealed(unsigned, evidence.signer), evidence.key)
    two = replace(PASSPORT, partners=PASSPORT.partners[:2], silent=("p2", "p3"))
    few = statement(evidence, json.loads(joint_passport.dump(two)), AGREED, said(two, signers(2)))
    with pytest.raises(verify.Broken, match="2 partners signed for the model, the contract needs 3"):
        joint_verify.verify_joint(sealed(few, evidence.signer), evidence.key)


def test_two_files_alone_verify_it_offline(evidence: Evidence, honest: dict[str, Any], tmp_path: Path) -> None:
    """As an auditor runs them, who has nothing else of ours."""
    folder = tmp_path / "auditor" / "audit"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()  # or the package that is installed here comes first
    for module in (verify, joint_verify):
        shutil.copy(str(module.__file__), folder)
    good, forged = tmp_path / "good.json", tmp_path / "forged.json"
    good.write_bytes(sealed(honest, evidence.signer))
    forged.write_bytes(sealed(changed(honest, ("predicate", "passport", "partners", 1, "head")), evidence.signer))
    key = str(evidence.signer.verifier)
    line = [sys.executable, "-m", "audit.joint_verify"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run([*line, key, str(good)], cwd=folder.parent, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and ran.stdout.endswith("3 partners signed for it, p3 has not\nnothing wrong found\n"), ran
    assert joint_verify.main([key, str(good), str(forged)]) == verify.BROKEN
    for wrong in ([], [key], ["abc", str(good)], [key, str(tmp_path / "none")]):
        assert joint_verify.main(wrong) == 2


def test_a_passport_of_a_segment_is_none_and_the_other_way_round(evidence: Evidence, honest: dict[str, Any]) -> None:
    raw = sealed(honest, evidence.signer)
    with pytest.raises(verify.Broken, match=r"expected a .*/passport/v1 statement"):
        verify.verify_passport(raw, evidence.key)
    segment = sealed(honest | {"predicateType": verify.PREDICATE_TYPE}, evidence.signer)
    with pytest.raises(verify.Broken, match=r"expected a .*/joint-passport/v1 statement"):
        joint_verify.verify_joint(segment, evidence.key)
    assert not joint_passport.is_joint(segment) and not joint_passport.is_joint(b"garbage")
