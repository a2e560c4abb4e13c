"""A segment's passport: what was asked, allowed, read, spent and found, signed, and tied to the audit log.

An in-toto Statement v1 in a DSSE envelope. Its life, so that no passport can exist that the log doesn't know:

    1. `digest(passport)` goes into the entry `build.released`, with facts `build` and `passport`;
    2. that transaction commits and its checkpoint is sealed;
    3. `prove` takes the proof that the entry is under the checkpoint, and `issue` signs passport and proof.

Steps 2 and 3 change nothing in the passport, so a crash after step 1 is mended by doing them again, from `dump`. Counts in
it came through the door; people are in it as the root of salted commitments, and no digest of a file with people in it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from audit import dsse, log, verify
from audit.checkpoint import Checkpoint, Signer, Verifier
from audit.merkle import IntegrityError


@dataclass(frozen=True, slots=True)
class NoisyTable:
    """Counts that came through the door, each with Gaussian noise of standard deviation `sigma`, in subjects."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    sigma: float


@dataclass(frozen=True, slots=True)
class ReadSet:
    """The columns (`table.column`) that one feature or label was computed from."""

    feature: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Charge:
    """One query of the privacy transcript: μ² as a fraction `p/q`; `bound` and `sigma` in the query's own units."""

    path: str
    step: str
    part: str
    mu_squared: str
    bound: float
    sigma: float
    draws: int


@dataclass(frozen=True, slots=True)
class Block:
    """What a build with training by samples cost in all, its Gaussian draws included, as `dp-accounting` composes it: (ε, δ).

    Each of `steps` sums of `size` numbers was over a Poisson sample, every subject with probability `rate` (a fraction `p/q`); `bound`
    and `sigma` in the query's own units.
    """

    epsilon: float
    delta: float
    path: str
    step: str
    part: str
    mechanism: str
    rate: str
    steps: int
    size: int
    bound: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Privacy:
    """What the build was charged: (ε, δ) of `mu_squared` (a fraction `p/q`) over `draws` scalar draws, and for what.

    `block`: what it cost in all, where there was training by samples too.

    No ε: nothing bounds what was learned. Then nothing was charged, and the passport may show nothing of it (`verify`).
    """

    mu_squared: str
    draws: int
    delta: float
    epsilon: float | None
    assurance: str
    transcript: tuple[Charge, ...]
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class FairnessVerdict:
    """One group under one measure: interval of its ratio or gap, None where nothing could be judged."""

    attribute: str
    measure: str
    outcome: str
    group: str
    verdict: str
    low: float | None = None
    high: float | None = None
    detectable: float | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """Who said what about the build; `at` is RFC 3339 in UTC."""

    principal: str
    verdict: str
    at: str


@dataclass(frozen=True, slots=True)
class Partner:
    """One partner of a joint model. `transcript`: SHA-256 of the last line of its transcript until then; `epsilon`: what it charged, at the
    contract's δ."""

    name: str
    transcript: str
    epsilon: float


@dataclass(frozen=True, slots=True)
class Joint:
    """A model that was learned with partners under `contract` (SHA-256): what is known here of each, at a partner of itself alone."""

    collaboration: str
    contract: str
    partners: tuple[Partner, ...]


@dataclass(frozen=True, slots=True)
class Passport:
    """What a release says of itself. Digests are SHA-256 in hexadecimal.

    `exclusions` come from a snapshot that many builds share; `snapshot` is what that cost, `privacy` what this build did.
    `consent_root` is over salted commitments to each subject considered, `consent_leaves` its public, padded size. `model`: the
    build whose released model scored these people, where nothing was trained; a passport of a model has no such field. `joint`: with whom
    it was learned, where there were partners.
    """

    segment: str
    build: str
    purpose: str
    spec: str
    policy: str
    contract: str
    consent_root: str
    consent_leaves: int
    read_sets: tuple[ReadSet, ...]
    exclusions: NoisyTable
    snapshot: Privacy
    privacy: Privacy
    utility: Mapping[str, float]
    fairness: tuple[FairnessVerdict, ...]
    approvals: tuple[Approval, ...]
    recipients: tuple[str, ...]
    model: str | None = None
    joint: Joint | None = None


@dataclass(frozen=True, slots=True)
class LogProof:
    """That `entry` is at `index` of the log under `checkpoint`, a signed note; `hashes` in base64 (RFC 6962, section 2.1.1)."""

    index: int
    entry: str
    hashes: tuple[str, ...]
    checkpoint: str


def dump(passport: Passport) -> bytes:
    """The passport as canonical JSON, which `digest` is over. Raises ValueError for what JSON cannot hold, an infinite ε for one."""
    return verify.canonical(_plain(passport))


def parse(raw: bytes) -> Passport:
    """The inverse of `dump`. Raises IntegrityError, also for a field more or a number written differently."""
    try:
        passport = _passports().validate_json(raw)
    except ValidationError as error:
        raise IntegrityError(f"not a passport: {error.errors()[0]['msg']} at `{'.'.join(map(str, error.errors()[0]['loc']))}`") from error
    if dump(passport) != raw:
        raise IntegrityError("not a passport as Consentric writes it")
    return passport


def digest(passport: Passport) -> str:
    """SHA-256 of `dump`, in hexadecimal: what the log entry of the release holds."""
    return hashlib.sha256(dump(passport)).hexdigest()


def prove(connection: Connection, index: int, checkpoint: Checkpoint) -> LogProof:
    """Proof that entry `index` is under the checkpoint. Raises IntegrityError if it isn't."""
    if index >= checkpoint.size:
        raise IntegrityError(f"entry {index} is not under the checkpoint of size {checkpoint.size} yet")
    log.check_against(connection, checkpoint)
    (entry,) = log.entries(connection, index, index + 1)
    hashes = log.inclusion_proof(connection, index, checkpoint.size)
    return LogProof(index, entry.body.decode(), tuple(base64.b64encode(each).decode() for each in hashes), checkpoint.note)


def issue(passport: Passport, proof: LogProof, signer: Signer) -> bytes:
    """The signed envelope. Raises IntegrityError if it would not verify: nothing is signed that an outsider would refuse."""
    subject = {"name": f"{passport.segment}/{passport.build}", "digest": {"sha256": hashlib.sha256(proof.entry.encode()).hexdigest()}}
    statement = {
        "_type": verify.STATEMENT_TYPE,
        "subject": [subject],
        "predicateType": verify.PREDICATE_TYPE,
        "predicate": {"passport": _plain(passport), "log": _proofs().dump_python(proof, mode="json")},
    }
    envelope = dsse.seal(verify.PAYLOAD_TYPE, verify.canonical(statement), signer)
    read(envelope, signer.verifier)
    return envelope


def read(envelope: bytes, verifier: Verifier) -> tuple[Passport, LogProof]:
    """Verify a passport as an outsider does, and parse it. Raises IntegrityError with every finding."""
    findings: list[verify.Finding] = []
    with verify.found(findings, "passport"):
        verify.verify_passport(envelope, verify.parse_key(str(verifier)))
    if findings:
        raise IntegrityError("; ".join(f"{finding.place} {finding.problem}" for finding in findings))
    return contents(envelope)


def contents(envelope: bytes) -> tuple[Passport, LogProof]:
    """What an envelope holds, unverified. Raises IntegrityError."""
    predicate = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["predicate"]
    return parse(verify.canonical(predicate["passport"])), proof_in(predicate)


def proof_in(predicate: Mapping[str, Any]) -> LogProof:
    """That of a passport's statement, which has verified perhaps and is no proof as Consentric writes it. Raises IntegrityError."""
    try:
        return _proofs().validate_python(predicate["log"])
    except ValidationError:
        raise IntegrityError("its log proof is not as Consentric writes it") from None


def _plain(passport: Passport) -> object:
    """As JSON values, with whole numbers given for real ones made real."""
    plain: dict[str, Any] = _passports().dump_python(_passports().validate_python(asdict(passport)), mode="json")
    for cost in (plain["privacy"], plain["snapshot"]):
        if cost["block"] is None:
            del cost["block"]
    return {name: value for name, value in plain.items() if name not in ("model", "joint") or value is not None}


@cache
def _passports() -> TypeAdapter[Passport]:
    """Made when the first passport is read or written: it takes longer than most that asks for none."""
    return TypeAdapter(Passport)


@cache
def _proofs() -> TypeAdapter[LogProof]:
    return TypeAdapter(LogProof)
