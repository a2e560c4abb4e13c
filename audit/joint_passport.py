"""The passport of a joint model: under which contract, asked what, charged how much at each partner, signed, and tied to a log.

An in-toto Statement v1 in a DSSE envelope, like that of a segment (`audit.passport`), and issued like it: the entry that releases the model
names the passport's digest, and the passport carries the proof of that entry. Each partner is there with the head of its own signed
transcript, as it acknowledged the model: whoever holds both sees that the transcript was neither cut nor written anew. What a partner knows
alone (who its people are, how many, by which consent) is in that partner's own passports.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from pydantic import TypeAdapter, ValidationError

from audit import dsse, verify
from audit.checkpoint import Signer, Verifier
from audit.merkle import IntegrityError
from audit.passport import LogProof, Privacy

PREDICATE_TYPE = "https://consentric.dev/joint-passport/v1"
RELEASED = "collaboration.released"
"""Action of the log's entry."""


@dataclass(frozen=True, slots=True)
class Share:
    """One partner. `key`: of the contract; `head`: of its transcript; `mu_squared` (a fraction `p/q`) and ε: what it says it charged;
    `missed`: μ² of the questions in whose rounds it was lost, which it may not have charged."""

    name: str
    key: str
    head: str
    mu_squared: str
    epsilon: float
    missed: str


@dataclass(frozen=True, slots=True)
class JointPassport:
    """Digests are SHA-256 in hexadecimal. `outcome`: of what partners were told, the model in it; `privacy`: what the questions cost a
    subject at each partner where it is; `silent`: partners who have not acknowledged the model."""

    collaboration: str
    contract: str
    purpose: str
    outcome: str
    rounds: int
    partners: tuple[Share, ...]
    silent: tuple[str, ...]
    privacy: Privacy
    utility: Mapping[str, float]


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


def issue(passport: JointPassport, proof: LogProof, signer: Signer) -> bytes:
    """The signed envelope. Raises IntegrityError if it would not verify."""
    subject = {"name": f"joint/{passport.collaboration}", "digest": {"sha256": hashlib.sha256(proof.entry.encode()).hexdigest()}}
    statement = {
        "_type": verify.STATEMENT_TYPE,
        "subject": [subject],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"passport": _plain(passport), "log": _PROOF.dump_python(proof, mode="json")},
    }
    envelope = dsse.seal(verify.PAYLOAD_TYPE, verify.canonical(statement), signer)
    read(envelope, signer.verifier)
    return envelope


def read(envelope: bytes, verifier: Verifier) -> JointPassport:
    """What an outsider verifies. Raises IntegrityError.

    (1) The log's key signed it, as a joint passport; (2) the log's entry releases this very passport, and its subject is that entry;
    (3) the entry is under the checkpoint that it carries; (4) the transcript adds up to ε; (5) no partner charged less
    than what it answered costs.
    """
    try:
        statement = json.loads(dsse.unseal(verify.PAYLOAD_TYPE, envelope, verifier))
        if (statement["_type"], statement["predicateType"]) != (verify.STATEMENT_TYPE, PREDICATE_TYPE):
            raise IntegrityError(f"expected a {PREDICATE_TYPE} statement, got {statement['predicateType']}")
        plain, proof = statement["predicate"]["passport"], _PROOF.validate_python(statement["predicate"]["log"])
        passport, entry = parse(verify.canonical(plain)), json.loads(proof.entry)
        named = entry["action"], entry["facts"].get("passport"), entry["facts"].get("contract")
        subjects = [subject["digest"].get("sha256") for subject in statement["subject"]]
        size, root = verify.read_head(proof.checkpoint, verify.parse_key(str(verifier)))
        leaf, path = verify.sha(b"\0", proof.entry.encode()), [base64.b64decode(each, validate=True) for each in proof.hashes]
        verify.verify_inclusion(proof.index, size, leaf, path, root)
        problems = verify.check_privacy(plain["privacy"])
    except verify.Broken as error:
        raise IntegrityError(f"its log proof fails: {error}") from None
    except (*verify.MALFORMED, ValidationError) as error:
        raise IntegrityError(f"not a joint passport: {type(error).__name__}") from None
    if named != (RELEASED, digest(passport), f"sha256:{passport.contract}"):
        raise IntegrityError("its log entry is no release of this passport")
    if subjects != [hashlib.sha256(proof.entry.encode()).hexdigest()]:
        raise IntegrityError("its subject is not its log entry")
    cost = Fraction(passport.privacy.mu_squared)
    less = [share.name for share in passport.partners if Fraction(share.mu_squared) + Fraction(share.missed) < cost]
    problems += [f"partner `{name}` charged less than what it answered costs" for name in less]
    if problems:
        raise IntegrityError("; ".join(problems))
    return passport


def _plain(passport: JointPassport) -> dict[str, Any]:
    plain: dict[str, Any] = _PASSPORT.dump_python(_PASSPORT.validate_python(asdict(passport)), mode="json")
    del plain["privacy"]["block"]
    return plain
