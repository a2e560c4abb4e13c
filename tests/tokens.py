"""An issuer of tokens, for tests: its keys, what a workspace trusts it with, and tokens as they should be, or not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from governance.principals import Trust

ISSUER, AUDIENCE, NAME = "https://login.example", "consentric", "house"


class Issuer:
    """Whoever signs with `algorithm`."""

    def __init__(self, algorithm: str = "EdDSA") -> None:
        self.algorithm = algorithm
        self.key: Any = _KEYS[algorithm]()
        self.public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.trust = Trust(ISSUER, NAME, AUDIENCE, (self.public,))

    def trusting(self, **changes: Any) -> Trust:
        """Other settings."""
        return replace(self.trust, **changes)

    def token(self, headers: dict[str, Any] | None = None, lifetime: int = 600, **claims: Any) -> str:
        """A good token; `claims` replace what it says, and None leaves a claim out."""
        now = int(dt.datetime.now(dt.UTC).timestamp())
        said = {"sub": "olga", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + lifetime} | claims
        return jwt.encode({key: value for key, value in said.items() if value is not None}, self.key, self.algorithm, headers)

    def settings(self, folder: Path, trust_roles: bool = False) -> str:
        """The section of consentric.toml that trusts it, with its key beside."""
        (folder / "issuer.pem").write_bytes(self.public)
        return (
            f'[tokens]\nissuer = "{ISSUER}"\nname = "{NAME}"\naudience = "{AUDIENCE}"\n'
            f'keys = ["{{workspace}}/issuer.pem"]\ntrust_roles = {str(trust_roles).lower()}\n'
        )


_KEYS = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
}
