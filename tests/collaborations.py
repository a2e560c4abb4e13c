"""Partners with keys, and contracts among them: shared by the tests of `federated`."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import Signer
from federated.contract import Agreed, Collaboration, agreed, join, sign

TODAY = dt.date(2026, 11, 22)
PURPOSE = "marketing.advertising.first_party.targeted"


def signers(n: int) -> list[Signer]:
    """Partners `p0`, `p1`, …, always with the same keys."""
    return [Signer(Ed25519PrivateKey.from_private_bytes(bytes([place + 1]) * 32), f"p{place}") for place in range(n)]


def fields(n: int, **changed: Any) -> dict[str, Any]:
    """A valid contract of `n` partners without dropouts, as YAML would hold it; fields can be changed."""
    return {
        "name": "joint",
        "purpose": PURPOSE,
        "partners": [str(signer.verifier) for signer in signers(n)],
        "features": {"spend": {"meaning": "euros spent in the last 90 days", "bounds": ["0", "5000"], "scale": "log"}},
        "model": {"type": "clusters", "k": 4},
        "clip": 1e12,
        "privacy": {"epsilon": 1.0, "delta": 1e-5},
        "rounds": 20,
        "max_subjects": 100_000,
        "least_partners": n,
        "expires": "2026-12-31",
    } | changed


def contract(n: int = 3, **changed: Any) -> Collaboration:
    """The same as a model."""
    return Collaboration.model_validate_json(json.dumps(fields(n, **changed)), strict=True)


def signed(n: int = 3, **changed: Any) -> Agreed:
    """The same with every signature."""
    made = contract(n, **changed)
    return agreed(join(sign(made, signer) for signer in signers(n)), made.digest())
