"""Who acts: the operating system's user, the bearer of a signed token, or in demo workspaces whoever was claimed.

A token is a JWT (RFC 7519) in `CONSENTRIC_TOKEN`, or in the file that `CONSENTRIC_TOKEN_FILE` names. It is held against the
public keys in `[tokens]` of consentric.toml and nothing that it brings along (RFC 8725): the algorithm is that of the key, the
header chooses no key, issuer, audience, subject and times are required. Its principal is called `sub@issuer`; no user of the
operating system has an `@` in its name here, so that neither passes for the other.

Not here: what a principal may do (`roles.cedar`).
"""

from __future__ import annotations

import datetime as dt
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from governance.roles import Role

UNSAFE_VARIABLE = "CONSENTRIC_UNSAFE_PRINCIPAL"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "CONSENTRIC_TOKEN", "CONSENTRIC_TOKEN_FILE"

LEEWAY = 30
"""Seconds by which the clocks of issuer and workspace may differ."""

LONGEST = 16 * 1024
"""Bytes of a token."""

RSA_BITS = 2048
"""Least size of an RSA key (RFC 7518, section 3.3)."""

_HEADERS = {"alg", "typ", "kid"}
"""What a header may hold. `kid` is not looked at; `jku`, `jwk`, `x5u`, `x5c` bring keys of their own, `crit` asks for more."""

_SUBJECT = re.compile(r"[!-~]{1,128}")
"""Printable ASCII without spaces."""


class PrincipalError(Exception):
    """The principal cannot be established here."""


class Established(StrEnum):
    """How it is known who acts."""

    OS = "os"
    TOKEN = "token"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever acts. `roles`: those that a token claims, where the workspace trusts its issuer with them."""

    name: str
    established: Established = Established.OS
    roles: frozenset[Role] = frozenset()

    @property
    def unsafe(self) -> bool:
        """Whether the name was claimed and not proved; every entry says so."""
        return self.established is Established.UNSAFE


@dataclass(frozen=True, slots=True)
class Trust:
    """`[tokens]` of consentric.toml: whose tokens count. `keys`: public keys as PEM. `max_lifetime`: seconds from `iat` to `exp`."""

    issuer: str
    name: str
    audience: str
    keys: tuple[bytes, ...]
    trust_roles: bool = False
    max_lifetime: int = 12 * 3600


def current(environment: Mapping[str, str], demo: bool, trust: Trust | None = None) -> Principal:
    """The acting principal. Raises PrincipalError where it was named in two ways, or cannot be proved."""
    given = [name for name in (UNSAFE_VARIABLE, TOKEN_VARIABLE, TOKEN_FILE_VARIABLE) if environment.get(name)]
    match given:
        case []:
            return _user()
        case [only] if only == UNSAFE_VARIABLE:
            if not demo:
                raise PrincipalError(f"`{UNSAFE_VARIABLE}` is accepted by workspaces marked `demo` only; unset it")
            return Principal(environment[only], Established.UNSAFE)
        case [only]:
            return _bearer(environment[only] if only == TOKEN_VARIABLE else _read(Path(environment[only])), trust)
        case _:
            raise PrincipalError(f"`{'` and `'.join(given)}` name a principal each, expected one of them; unset the others")


def verified(token: str, trust: Trust) -> Principal:
    """The bearer of a token, after every check. Raises PrincipalError, which shows nothing of the token."""
    import jwt

    if len(token) > LONGEST:
        raise PrincipalError(f"the token is refused: expected at most {LONGEST} bytes")
    keys = [_public(pem) for pem in trust.keys]
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, UnicodeEncodeError):  # of a variable that is not UTF-8
        raise PrincipalError("the token is refused: it is not a signed JWT") from None
    if more := header.keys() - _HEADERS:
        raise PrincipalError(f"the token is refused: its header holds more than {sorted(_HEADERS)}: {len(more)} other fields")
    fitting = [key for key, algorithm in keys if algorithm == header.get("alg")]
    if not fitting:
        accepted = sorted({algorithm for _, algorithm in keys})
        raise PrincipalError(f"the token is refused: its algorithm is not that of a key in `tokens.keys`, expected one of {accepted}")
    return _principal(_claims(token, fitting, header["alg"], trust), trust)


def check_keys(trust: Trust) -> None:
    """Raises PrincipalError unless every key is one that tokens may be signed for."""
    for pem in trust.keys:
        _public(pem)


def _user() -> Principal:
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid:{uid}"
    return Principal(f"uid:{uid}" if "@" in name else name)


def _bearer(token: str, trust: Trust | None) -> Principal:
    if trust is None:
        raise PrincipalError("a token was given, but consentric.toml has no `[tokens]` that says whose tokens count")
    return verified(token.strip(), trust)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST + 1).decode("ascii")
    except OSError as error:
        raise PrincipalError(f"`{TOKEN_FILE_VARIABLE}`: `{path}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PrincipalError(f"`{TOKEN_FILE_VARIABLE}`: `{path}` holds no token") from None


def _claims(token: str, keys: list[Any], algorithm: str, trust: Trust) -> dict[str, Any]:
    """What the first key that verifies it says. Raises PrincipalError."""
    import jwt

    for key in keys:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=trust.audience,
                issuer=trust.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError:
            raise PrincipalError("the token has expired; get a new one") from None
        except jwt.ImmatureSignatureError:
            raise PrincipalError("the token is not valid yet: its `nbf` or `iat` lies in the future") from None
        except jwt.InvalidAudienceError:
            raise PrincipalError(f"the token is for somebody else, expected audience `{trust.audience}`") from None
        except jwt.InvalidIssuerError:
            raise PrincipalError(f"the token is of another issuer, expected `{trust.issuer}`") from None
        except jwt.MissingRequiredClaimError as error:
            raise PrincipalError(f"the token is refused: claim `{error.claim}` is missing") from None
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
            raise PrincipalError("the token is refused: its claims have a wrong form") from None
    raise PrincipalError("the token is refused: no key in `tokens.keys` has signed it")


def _principal(claims: Mapping[str, Any], trust: Trust) -> Principal:
    if not _SUBJECT.fullmatch(claims["sub"]):
        raise PrincipalError("the token is refused: expected a `sub` of 1 to 128 printable characters without spaces")
    lifetime = float(claims["exp"]) - float(claims["iat"])
    if not 0 < lifetime <= trust.max_lifetime:
        longest = dt.timedelta(seconds=trust.max_lifetime)
        raise PrincipalError(f"the token is refused: expected it to expire within {longest} of when it was issued")
    roles: frozenset[Role] = frozenset()
    if trust.trust_roles:
        claimed = claims.get("roles", [])
        if not isinstance(claimed, list):
            raise PrincipalError("the token is refused: expected `roles` to be a list of names")
        roles = frozenset(role for role in Role if role.value in claimed)  # an issuer may know roles that are not ours
    return Principal(f"{claims['sub']}@{trust.name}", Established.TOKEN, roles)


def _public(pem: bytes) -> tuple[Any, str]:
    """A public key and the one algorithm that goes with it. Raises PrincipalError."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except ValueError:
        raise PrincipalError("`tokens.keys`: expected public keys as PEM, each in a file of its own") from None
    match key:
        case Ed25519PublicKey():
            return key, "EdDSA"
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return key, "ES256"
        case RSAPublicKey() if key.key_size >= RSA_BITS:
            return key, "RS256"
    raise PrincipalError(f"`tokens.keys`: expected keys of Ed25519, P-256 or RSA with at least {RSA_BITS} bits")
