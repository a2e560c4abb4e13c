"""The collaboration contract: what partners sign before any of them reads a row.

YAML becomes a strict model, the model canonical JSON (RFC 8785), and that a DSSE envelope with a signature of every partner.
The digest of the canonical JSON is bound in every message and in every key derivation (`federated.masking`), so that one
changed field leaves partners who cannot understand each other.

What the validator keeps, with n partners, threshold t (`least_partners`), d dropouts and c colluders (Bonawitz et al. 2017, section 6.2):

    t ≤ n − d         whoever is left when d are gone can open the sum
    2t > n + c        two lists of survivors cannot both be signed by t: an honest partner would have signed twice
    d = 0             nothing is shared, all n are needed, and n − 2 may collude

Either way at least two honest partners are in every sum that is opened. Not here: how a sum is made (`federated.seat`), what noise
it gets (`federated.shares`), where contracts are kept.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import AfterValidator, Field, ValidationError, model_validator

from audit import dsse
from audit.checkpoint import Signer, Verifier
from audit.joint_verify import CONTRACT
from audit.merkle import IntegrityError
from federated.groups import Fairness
from governance.accounting import RESERVED_DRAWS
from governance.grid import GRID
from policies.contract import MAX_SUBJECTS, Name
from policies.documents import Digest, Document, refuse
from policies.reading import read
from policies.segment import Clusters, Privacy, Propensity, Uplift, Value
from policies.taxonomy import Vocabulary

MAX_PARTNERS = 1000

ROOM = 1 << 62
"""Most that a sum without noise may reach, in grid units: half of what int64 holds is left for noise."""


class ContractError(Exception):
    """A contract that a partner does not accept."""


def _verifier(text: str) -> str:
    try:
        Verifier.parse(text)
    except ValueError:
        raise ValueError("expected a verifier key `name+hash+key`, as `consentric partner init` prints it at that partner") from None
    return text


class Measured(Document):
    """A number that every partner works out of its own data, at home. Bounds are public: they must not come from looking at data."""

    meaning: str = Field(min_length=1, max_length=2000, description="what it is, in words that every partner can hold its own data against")
    bounds: tuple[Decimal, Decimal] = Field(description="public lower and upper bound; beyond them it is clipped")
    scale: Literal["linear", "log"] = Field("linear", description="`log`: even steps of log(1 + value - lower)")
    unit: str = Field("", max_length=40, description="what it is counted in, such as `EUR`")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"`bounds` must ascend, got `{self.bounds[0]}` and `{self.bounds[1]}`")
        return self


class Condition(Document):
    """A label that is true or false."""

    meaning: str = Field(min_length=1, max_length=2000, description="when it is true")


class Grid(Document):
    """Whole numbers that stand for features and for contributions."""

    feature: int = Field(1 << 15, ge=1, le=1 << 20, description="steps from the middle of a feature's range to either end")
    contribution: int = Field(GRID, description="steps that a contribution as large as its query's bound spans")

    @model_validator(mode="after")
    def _the_door_sums_on_it(self) -> Self:
        if self.contribution != GRID:
            raise ValueError(f"`contribution` must be what the door sums on, got `{self.contribution}`, expected `{GRID}`")
        return self


class Collaboration(Document):
    """What partners agree on. Every field is under every signature."""

    kind: Literal["collaboration"] = "collaboration"
    name: Name
    purpose: str = Field(description="fideslang data use")
    partners: tuple[Annotated[str, AfterValidator(_verifier)], ...] = Field(
        min_length=2, max_length=MAX_PARTNERS, description="their Ed25519 verifier keys, `name+hash+key`"
    )
    features: dict[Name, Measured] = Field(min_length=1, max_length=64)
    label: Measured | Condition | None = None
    model: Annotated[Clusters | Propensity | Value | Uplift, Field(discriminator="type")]
    grid: Grid = Grid()
    clip: float = Field(gt=0, le=2.0**256, description="largest L2 bound of a query, in the units of its step")
    privacy: Privacy = Field(description="what all rounds together may cost a subject, at every partner where it is present")
    rounds: int = Field(ge=1, le=10_000, description="rounds that may be begun, aborted ones too")
    max_subjects: int = Field(ge=1, le=MAX_SUBJECTS, description="most subjects of one partner; more garble the sum, and cost no privacy")
    least_partners: int = Field(ge=2, description="fewest whose sum may be opened")
    dropouts: int = Field(0, ge=0, description="partners that may be lost in a round; 0: any loss aborts it")
    colluders: int = Field(0, ge=0, description="partners that may pool what they see with each other and with the coordinator")
    presence: int = Field(1, ge=1, description="partners at which one subject may be present: sensitivity grows as much")
    cohort_floor: int = Field(0, ge=0, description="fewest subjects, at all partners together, of a segment that is told of")
    fairness: Fairness | None = Field(None, description="groups that must fare alike; without it nobody is asked about any")
    expires: dt.date = Field(description="last day, in UTC, on which a round may begin")

    def canonical(self) -> bytes:
        """Canonical JSON (RFC 8785), which is what is signed. What nothing is said of groups is left out, as in contracts before them."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True, exclude=set() if self.fairness else {"fairness"}))

    @property
    def identities(self) -> tuple[Verifier, ...]:
        """The partners, in the order of the contract."""
        return tuple(map(Verifier.parse, self.partners))

    @property
    def honest(self) -> int:
        """Fewest partners in an opened sum whose noise no colluder knows; at least two."""
        return self.least_partners - self.colluders

    @model_validator(mode="after")
    def _partners_differ(self) -> Self:
        verifiers = self.identities
        same = [*_twice(each.name for each in verifiers), *_twice(each.public.hex() for each in verifiers)]
        refuse(f"`partners` must differ in name and key, got `{each}` more than once" for each in same)
        return self

    @model_validator(mode="after")
    def _survives(self) -> Self:
        refuse(self._numbers())
        return self

    def _numbers(self) -> Iterator[str]:
        n, least, dropouts, colluders = len(self.partners), self.least_partners, self.dropouts, self.colluders
        if least > n - dropouts:
            yield f"`least_partners` must be there after dropouts, got `{least}`, expected at most {max(n - dropouts, 0)}"
        if dropouts == 0 and least < n:
            yield f"`least_partners` must be all without dropouts, got `{least}`, expected {n}"
        if dropouts == 0 and colluders > n - 2:
            yield f"`colluders` must leave two honest partners, got `{colluders}`, expected at most {n - 2}"
        if dropouts > 0 and 2 * least <= n + colluders:
            yield f"`least_partners` must be a majority whatever colluders sign, got `{least}`, expected above {(n + colluders) / 2:g}"
        if self.presence > n:
            yield f"`presence` must not exceed the partners, got `{self.presence}`, expected at most {n}"
        if n * self.max_subjects * GRID > ROOM:
            yield f"`max_subjects` must leave room for noise, got `{self.max_subjects}`, expected at most {ROOM // GRID // n}"
        if self.fairness and self.clip < (bound := self.fairness.bound(len(self.features))):
            yield f"`clip` must allow what is asked of groups, got `{self.clip:g}`, expected at least {bound:.4g}"
        if self.fairness and (most := self.fairness.numbers(self._cells)) > RESERVED_DRAWS:
            yield f"`fairness` must fit one answer, got {most:,} numbers, expected at most {RESERVED_DRAWS:,}: fewer attributes or groups"

    @property
    def _cells(self) -> int:
        """Numbers of a group in a table: of each part, of outliers and of none; or selected or not, by label or not seen, with scores."""
        return self.model.most + 2 if isinstance(self.model, Clusters) else 12

    @model_validator(mode="after")
    def _can_be_summed(self) -> Self:
        match self.model:
            case Clusters(embed=embed) if embed is not None:
                raise ValueError("`model` must be learned from sums, got `embed`, expected none")
            case Propensity(learner="network"):
                raise ValueError("`model` must be learned from sums, got the learner `network`, expected another")
        return self

    @model_validator(mode="after")
    def _label_fits(self) -> Self:
        learns = {"clusters": "none", "value": "one with `bounds`"}.get(self.model.type, "a condition, without `bounds`")
        given = (
            "none" if self.label is None else "one with `bounds`" if isinstance(self.label, Measured) else "a condition, without `bounds`"
        )
        if given != learns:
            raise ValueError(f"`label` must be what `{self.model.type}` learns from, got {given}, expected {learns}")
        return self


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def read_collaboration(data: bytes, name: str) -> Collaboration:
    """The contract that YAML holds; `name` is the file's in messages. Raises DocumentError."""
    return read(data, name, Collaboration, ((Vocabulary.USE, "purpose", False), (Vocabulary.USE, "fairness/purpose", False)))


def proposed(contract: Collaboration) -> bytes:
    """An envelope that nobody signed yet."""
    document = {"payload": base64.b64encode(contract.canonical()).decode(), "payloadType": CONTRACT, "signatures": []}
    return json.dumps(document, indent=1).encode() + b"\n"


def sign(contract: Collaboration, signer: Signer) -> bytes:
    """An envelope with this partner's signature. Raises ContractError where the contract does not name its key."""
    if str(signer.verifier) not in contract.partners:
        raise ContractError(f"the contract does not name the key of `{signer.origin}`")
    return dsse.seal(CONTRACT, contract.canonical(), signer)


def join(envelopes: Iterable[bytes]) -> bytes:
    """One envelope with all signatures of several over the same contract. Raises ContractError; `agreed` verifies."""
    documents = [_document(each) for each in envelopes]
    payloads = {(each["payloadType"], each["payload"]) for each in documents}
    if len(payloads) != 1:
        raise ContractError(f"expected envelopes over one contract, got {len(payloads)}")
    signatures = {(each["keyid"], each["sig"]): each for document in documents for each in document["signatures"]}
    return json.dumps(documents[0] | {"signatures": list(signatures.values())}, indent=1).encode() + b"\n"


def contents(envelope: bytes) -> Collaboration:
    """The contract of an envelope, whoever signed it, in canonical form, so that nobody reads it differently. Raises ContractError."""
    try:
        payload = base64.b64decode(_document(envelope)["payload"], validate=True)
        contract = Collaboration.model_validate_json(payload, strict=True)
    except (binascii.Error, ValidationError):
        raise ContractError("the envelope holds no contract of this release") from None
    if contract.canonical() != payload:
        raise ContractError("the contract is not in canonical form (RFC 8785)")
    return contract


def signed_by(envelope: bytes, contract: Collaboration) -> tuple[Verifier, ...]:
    """Partners whose key signed the payload, as a contract and as nothing else."""

    def signed(verifier: Verifier) -> bool:
        try:
            return dsse.unseal(CONTRACT, envelope, verifier) == contract.canonical()
        except IntegrityError:
            return False

    return tuple(verifier for verifier in contract.identities if signed(verifier))


@dataclass(frozen=True, slots=True)
class Agreed:
    """A contract that every partner signed. `envelope`: with all signatures, as it was read."""

    contract: Collaboration
    digest: Digest
    envelope: bytes = field(default=b"", compare=False, repr=False)


def agreed(envelope: bytes, expected: Digest) -> Agreed:
    """The contract of an envelope. Raises ContractError unless its digest is `expected`, which whoever asks wrote down when it signed,
    and every partner that it names signed it.

    (1) The payload is the canonical form of a valid contract; (2) its digest is the expected one; (3) each partner's key signed it.
    """
    contract = contents(envelope)
    if contract.digest() != expected:
        raise ContractError(f"another contract: got `{contract.digest()}`, expected `{expected}`")
    signers = signed_by(envelope, contract)
    missing = [verifier.name for verifier in contract.identities if verifier not in signers]
    if missing:
        raise ContractError("the contract is not signed by " + ", ".join(f"`{name}`" for name in missing))
    return Agreed(contract, expected, envelope)


def _document(envelope: bytes) -> dict[str, Any]:
    try:
        document = json.loads(envelope)
        texts = [document["payload"], document["payloadType"]]
        texts += [each[key] for each in document["signatures"] for key in ("keyid", "sig")]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ContractError("not a DSSE envelope") from None
    if not all(isinstance(text, str) for text in texts):
        raise ContractError("not a DSSE envelope")
    return dict(document)
