"""The passport of a joint model: under which contract, asked what, charged how much at each partner, signed, and tied to a log.

An in-toto Statement v1 in a DSSE envelope, like that of a segment (`audit.passport`), and issued like it: the entry that releases the model
names the passport's digest, and the passport carries the proof of that entry. It carries what others signed too: the contract, and of each
partner what it said when it took the model, with the head of its own signed transcript: whoever holds both sees that the transcript was
neither cut nor written anew. What a partner knows alone (who its people are, how many, by which consent) is in that partner's own
passports. Verified by `audit.joint_verify`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from audit import dsse, joint_verify, verify
from audit.checkpoint import Signer, Verifier
from audit.fairness import worst
from audit.joint_verify import PREDICATE_TYPE
from audit.merkle import IntegrityError
from audit.passport import FairnessVerdict, LogProof, Privacy, proof_in
from audit.proxies import MEASURE as PROXY


@dataclass(frozen=True, slots=True)
class Share:
    """One partner. `key`: of the contract; `head`: of its transcript, empty where nothing had left; `mu_squared` (a fraction `p/q`) and ε:
    what it says it charged; `missed`: μ² of the questions in whose rounds it was lost, which it may not have charged."""

    name: str
    key: str
    head: str
    mu_squared: str
    epsilon: float
    missed: str


@dataclass(frozen=True, slots=True)
class JointPassport:
    """Digests are SHA-256 in hexadecimal. `outcome`: of what partners were told, the model in it; `privacy`: what the questions cost a
    subject at each partner where it is; `silent`: partners who have not acknowledged the model; `fairness`: of the groups that the contract
    names, empty where it names none."""

    collaboration: str
    contract: str
    purpose: str
    outcome: str
    rounds: int
    partners: tuple[Share, ...]
    silent: tuple[str, ...]
    privacy: Privacy
    utility: Mapping[str, float]
    fairness: tuple[FairnessVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    """What partners signed, as DSSE envelopes: the contract, and each partner of the passport, in its order, what it said of the model."""

    contract: bytes
    acknowledged: tuple[bytes, ...]


_PASSPORT = TypeAdapter(JointPassport)
_PROOF = TypeAdapter(LogProof)


def dump(passport: JointPassport) -> bytes:
    """Canonical JSON, which `digest` is over."""
    return verify.canonical(_plain(passport))


def parse(raw: bytes) -> JointPassport:
    """The inverse. Raises IntegrityError."""
    try:
        found = _PASSPORT.validate_json(raw)
    except ValidationError as error:
        raise IntegrityError(f"not a joint passport: {len(error.errors())} fields are wrong") from None
    if dump(found) != raw:
        raise IntegrityError("not a joint passport as Consentric writes it")
    return found


def digest(passport: JointPassport) -> str:
    """SHA-256 of `dump`, in hexadecimal."""
    return hashlib.sha256(dump(passport)).hexdigest()


def verdicts(passport: JointPassport) -> Iterator[tuple[str, str]]:
    """The worst of each attribute, and of each crossing that was judged; how well features tell groups decides nothing."""
    for attribute in dict.fromkeys(row.attribute for row in passport.fairness):
        yield attribute, worst(row for row in passport.fairness if row.attribute == attribute and row.measure != PROXY)


def issue(passport: JointPassport, proof: LogProof, signed: Signed, signer: Signer) -> bytes:
    """The signed envelope. Raises IntegrityError if it would not verify: nothing is signed that an outsider would refuse."""
    subject = {"name": f"joint/{passport.collaboration}", "digest": {"sha256": hashlib.sha256(proof.entry.encode()).hexdigest()}}
    statement = {
        "_type": verify.STATEMENT_TYPE,
        "subject": [subject],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "passport": _plain(passport),
            "log": _PROOF.dump_python(proof, mode="json"),
            "signed": {"contract": json.loads(signed.contract), "acknowledged": [json.loads(each) for each in signed.acknowledged]},
        },
    }
    envelope = dsse.seal(verify.PAYLOAD_TYPE, verify.canonical(statement), signer)
    read(envelope, signer.verifier)
    return envelope


def read(envelope: bytes, verifier: Verifier) -> JointPassport:
    """Verify a passport as an outsider does, and parse it. Raises IntegrityError with every finding."""
    findings: list[verify.Finding] = []
    with verify.found(findings, "joint passport"):
        joint_verify.verify_joint(envelope, verify.parse_key(str(verifier)))
    if findings:
        raise IntegrityError("; ".join(f"{finding.place} {finding.problem}" for finding in findings))
    return contents(envelope)[0]


def contents(envelope: bytes) -> tuple[JointPassport, LogProof]:
    """What an envelope holds, unverified. Raises IntegrityError for what is no joint passport."""
    predicate = _statement(envelope)["predicate"]
    return parse(verify.canonical(predicate["passport"])), proof_in(predicate)


def is_joint(envelope: bytes) -> bool:
    """Whether it says that it is a joint passport, and is to be verified as one."""
    try:
        return bool(_statement(envelope)["predicateType"] == PREDICATE_TYPE)
    except verify.MALFORMED:
        return False


def _statement(envelope: bytes) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return statement


def _plain(passport: JointPassport) -> dict[str, Any]:
    plain: dict[str, Any] = _PASSPORT.dump_python(_PASSPORT.validate_python(asdict(passport)), mode="json")
    del plain["privacy"]["block"]
    if not passport.fairness:  # as in passports before contracts could name groups
        del plain["fairness"]
    return plain
