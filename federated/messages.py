"""What is said in a round: who may sit in it, what they sign, what they open. Statements are canonical JSON (RFC 8785) in DSSE's encoding.

Every statement names contract, round and question, so that none is of use in another. Not here: what comes when (`federated.seat`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

import rfc8785

from audit.checkpoint import Verifier
from audit.dsse import pae
from federated.contract import Agreed
from federated.masking import Round
from federated.replies import Code, RefusedError

KEYS, LIST = "application/vnd.consentric.round.keys+json", "application/vnd.consentric.round.survivors+json"
"""Types of signed statements: none is ever taken for another."""


class Step(StrEnum):
    """What a coordinator may ask, in the order of a round; `HELLO` and `FINISH` stand outside of rounds."""

    HELLO = "hello"
    KEYS = "keys"
    SHARES = "shares"
    VECTOR = "vector"
    ATTEST = "attest"
    OPENING = "opening"
    FINISH = "finish"


@dataclass(frozen=True)
class Terms:
    """Who may sit in a round, in the order of the contract, and how many have to. Without `dropouts` all have to. `subjects`: most that all
    of them together have; None where nothing is said."""

    partners: tuple[Verifier, ...]
    least: int
    dropouts: int
    subjects: int | None = None

    @classmethod
    def of(cls, agreed: Agreed) -> Terms:
        """Those of a contract."""
        contract = agreed.contract
        return cls(contract.identities, contract.least_partners, contract.dropouts, len(contract.partners) * contract.max_subjects)

    @property
    def needed(self) -> int:
        """How many have to be there after every step."""
        return self.least if self.dropouts else len(self.partners)

    def place(self, name: str) -> int:
        """Where a partner's shares lie, from 1. Raises RefusedError for a stranger."""
        if (place := self._places.get(name)) is None:
            raise RefusedError(Code.ROSTER)
        return place

    def verify(self, name: str, statement: bytes, signature: bytes) -> None:
        """Raises RefusedError unless this partner signed the statement, which is `encoded`."""
        if not _signed(self.partners[self.place(name) - 1], statement, signature):
            raise RefusedError(Code.SIGNATURE)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {verifier.name: place for place, verifier in enumerate(self.partners, start=1)}


@lru_cache(1 << 12)  # partners in one process are shown the same signatures
def _signed(verifier: Verifier, statement: bytes, signature: bytes) -> bool:
    return verifier.verify(signature, statement)


@dataclass(frozen=True, slots=True)
class Keys:
    """Step 1. `channel` and `mask`: X25519 public keys; `seed`: commitment to the seed of the partner's own mask."""

    name: str
    channel: bytes
    mask: bytes
    seed: str
    signature: bytes

    def statement(self, round: Round) -> bytes:
        """What is signed."""
        return _stated(self, round)


@lru_cache(1 << 12)  # partners in one process are shown the same keys
def _stated(keys: Keys, round: Round) -> bytes:
    said = {"channel": keys.channel.hex(), "mask": keys.mask.hex(), "name": keys.name, "seed": keys.seed}
    return encoded(KEYS, round, said)


@dataclass(frozen=True, slots=True)
class Survivors:
    """Step 4: whose vectors the coordinator has, and whose it has not, of those who shared."""

    alive: tuple[str, ...]
    dead: tuple[str, ...]

    def statement(self, round: Round) -> bytes:
        """What is signed."""
        return encoded(LIST, round, {"alive": list(self.alive), "dead": list(self.dead)})


@dataclass(frozen=True, slots=True)
class Opening:
    """Step 5: one partner's shares, of seeds of the living and of mask keys of the dead."""

    seeds: Mapping[str, bytes]
    keys: Mapping[str, bytes]


def encoded(kind: str, round: Round, said: Mapping[str, Any]) -> bytes:
    """What a signature covers: the kind of statement, the round, and what is said in it."""
    return pae(kind, rfc8785.dumps({"asked": round.asked, "contract": round.contract, "round": round.number, **said}))
