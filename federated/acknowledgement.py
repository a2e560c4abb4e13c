"""What a partner says when it took the joint model: which outcome it got, where its transcript stands, and what all rounds cost it, signed.

The head is that of the transcript before this very message, which is in the transcript too. Whoever holds an acknowledgement can tell a
transcript that was cut or written anew (`federated.transcript`). Not here: messages (`federated.payloads`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from fractions import Fraction

import rfc8785

from audit import dsse
from audit.checkpoint import Signer, Verifier
from audit.joint_verify import ACKNOWLEDGED, exact
from audit.merkle import IntegrityError
from policies.documents import Digest

_DIGEST = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """`outcome`: digest of what came; `head`: of the partner's transcript, empty where nothing left before; `spent`: μ² that its ledger
    charged under the contract; `envelope`: as it was signed, of one that was read."""

    contract: Digest
    outcome: Digest
    head: Digest
    spent: Fraction
    envelope: bytes = field(default=b"", compare=False, repr=False)

    def signed(self, signer: Signer) -> bytes:
        """By the key that the contract names."""
        said = {"contract": self.contract, "head": self.head, "outcome": self.outcome, "spent": str(self.spent)}
        return dsse.seal(ACKNOWLEDGED, rfc8785.dumps(said), signer)


def read(envelope: bytes, partner: Verifier) -> Acknowledgement:
    """The inverse. Raises IntegrityError for what this partner did not sign."""
    payload = dsse.unseal(ACKNOWLEDGED, envelope, partner)
    try:
        said = json.loads(payload)
        contract, outcome, head = (Digest(said[name]) for name in ("contract", "outcome", "head"))
        spent = exact(said["spent"])
        if not all(map(_DIGEST.fullmatch, (contract, outcome, head or outcome))) or str(spent) != said["spent"]:
            raise ValueError("expected digests, and a fraction in lowest terms")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IntegrityError(f"`{partner.name}` signed what is no acknowledgement") from None
    return Acknowledgement(contract, outcome, head, spent, envelope)
