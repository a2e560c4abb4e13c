"""`consentric.toml`: what it says, where the environment may say otherwise, and how a new one looks.

Who holds a role, whose tokens count and what the workspace is never come from the environment: whoever runs a command sets it.
What decides who may do what has a digest, so that a change is an entry in the log before anything else happens.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from governance.principals import PrincipalError, Trust, check_keys
from governance.roles import SECTION, Holders, Role

FILE = "consentric.toml"
HIDDEN = ".consentric"
HOUSE = "roles.cedar"
"""Policies of the house beside the shipped ones (`governance.authorisation`)."""

_NEW = """\
# A Consentric workspace. What stands under database, keys and engine can also come from the environment, as
# CONSENTRIC_DATABASE_URL and so on; who holds a role and what the workspace is never does.
[workspace]
name = {name}
demo = {demo}             # demo workspaces accept CONSENTRIC_UNSAFE_PRINCIPAL, and every entry of the log says so
notes = {notes}           # stand at the top of every report

[database]
url = "sqlite:///{{workspace}}/.consentric/metadata.db"

[keys]
folder = "{{workspace}}/.consentric/keys"

# Whoever was erased or objected, and what is spent, is kept outside the workspace and its backups, so that restoring one undoes
# neither; nothing stands here: below $XDG_STATE_HOME/consentric.
[suppression]
folder = {suppression}

# Names of users of this machine, or of tokens as `sub@name` (see [tokens]). `consentric roles` shows what each may do; a change
# here is an entry in the log before the next command does anything.
[roles]
{roles}

# Whose signed tokens (JWT in CONSENTRIC_TOKEN, or in the file that CONSENTRIC_TOKEN_FILE names) say who acts.
# [tokens]
# issuer = "https://login.example.com"
# name = "example"                          # somebody's name here: sub@example
# audience = "consentric"
# keys = ["{{workspace}}/issuer.pem"]         # public keys: Ed25519, P-256, or RSA
# trust_roles = false                       # whether the token's `roles` count as well
# max_lifetime = 43200                      # seconds

# Our id in the global vendor list of the IAB: for whom TCF strings are read; 0: we are none, and only publisher TC speaks for us.
[consent]
vendor = 0

# Databases that sources are in: a contract names a table of one as postgresql:shop/public.purchases. A password belongs into the
# environment (CONSENTRIC_CONNECTIONS_SHOP), or where PostgreSQL's own tools look for it.
# [connections]
# shop = "postgresql://reader@host/database"

# What a record of processing says (GDPR art. 30) and no other document does, by the controller's name in contracts.
# [controllers."Shop Ltd"]
# contact = "Market Street 1, Springfield; privacy@shop.example"
# joint = []                                # joint controllers
# representative = ""                       # art. 27, of a controller outside the Union
# officer = ""                              # data protection officer
# measures = []                             # of security (art. 32), beside those that this workspace takes itself

[engine]
threads = 2
memory_limit = "2GB"
"""

CONNECTION = "CONSENTRIC_CONNECTIONS_"
"""Variables that name a database of sources; the rest of the name is the connection's."""

_FROM_ENVIRONMENT = frozenset({"database", "keys", "engine"})
"""Sections that describe the machine."""

_CONTROLLER = ("contact", "joint", "representative", "officer", "measures")

_TOKENS: Mapping[str, type] = {"issuer": str, "name": str, "audience": str, "keys": list, "trust_roles": bool, "max_lifetime": int}


class SettingsError(Exception):
    """The settings cannot be used: usage, exit 2."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `consentric.toml` says, and `CONSENTRIC_*` of the machine. `house`: the bytes of `roles.cedar`, None where there is none;
    `controllers`: by a controller's name, what its record of processing says of it."""

    name: str
    demo: bool
    notes: tuple[str, ...]
    database_url: str
    keys: Path
    suppression: str
    roles: Holders
    tokens: Trust | None
    house: bytes | None
    threads: int
    memory_limit: str
    vendor: int | None = None
    connections: Mapping[str, str] = field(default_factory=dict, repr=False)
    controllers: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def access(self) -> dict[str, Any]:
        """What decides who may do what, as it goes into the log."""
        tokens = self.tokens and {
            "issuer": self.tokens.issuer,
            "name": self.tokens.name,
            "audience": self.tokens.audience,
            "keys": [hashlib.sha256(key).hexdigest() for key in self.tokens.keys],
            "trust_roles": self.tokens.trust_roles,
            "max_lifetime": self.tokens.max_lifetime,
        }
        house = None if self.house is None else hashlib.sha256(self.house).hexdigest()
        return {"roles": {role.value: list(names) for role, names in self.roles.items()}, "tokens": tokens, "house": house}

    @property
    def access_digest(self) -> str:
        """Digest of `access`."""
        return "sha256:" + hashlib.sha256(json.dumps(self.access, sort_keys=True).encode()).hexdigest()


def draft(name: str, demo: bool, notes: Sequence[str], roles: Holders, suppression: str) -> str:
    """The text of a new workspace's settings; `suppression`: a folder, or nothing."""
    width = max(map(len, SECTION))
    lists = "\n".join(f"{key.ljust(width)} = {_text(list(roles.get(role, ())))}" for key, role in SECTION.items())
    return _NEW.format(name=_text(name), demo=str(demo).lower(), notes=_text([*notes]), roles=lists, suppression=_text(suppression))


def read(root: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of the workspace at `root`. Raises SettingsError."""
    try:
        text = (root / FILE).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"`{root / FILE}` cannot be read: {error}") from error
    return parse(root, text, environment)


def parse(root: Path, text: str, environment: Mapping[str, str]) -> Settings:
    """The settings that `text` says for a workspace at `root`. Raises SettingsError."""
    try:
        toml = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"`{root / FILE}` cannot be read: {error}") from error

    def setting(section: str, key: str, default: Any) -> Any:
        value = _section(toml, section).get(key, default)
        if section in _FROM_ENVIRONMENT:
            value = environment.get(f"CONSENTRIC_{section}_{key}".upper(), value)
        if not isinstance(value, type(default)) and not isinstance(value, str):
            raise _wrong(f"{section}.{key}", value, type(default).__name__)
        return _placed(root, value) if isinstance(value, str) else value

    threads = str(setting("engine", "threads", 2))
    if not threads.isdigit() or not int(threads):
        raise _wrong("engine.threads", threads, "a number from 1")
    return Settings(
        name=str(setting("workspace", "name", root.name)),
        demo=_section(toml, "workspace").get("demo") is True,
        notes=_listed("workspace.notes", setting("workspace", "notes", [])),
        database_url=str(setting("database", "url", f"sqlite:///{root}/{HIDDEN}/metadata.db")),
        keys=Path(str(setting("keys", "folder", f"{root}/{HIDDEN}/keys"))),
        suppression=str(setting("suppression", "folder", "")),
        roles=_roles(_section(toml, "roles")),
        tokens=_tokens(root, _section(toml, "tokens")) if "tokens" in toml else None,
        house=_house(root),
        threads=int(threads),
        memory_limit=str(setting("engine", "memory_limit", "2GB")),
        vendor=_vendor(_section(toml, "consent").get("vendor", 0)),
        connections=_connections(_section(toml, "connections"), environment),
        controllers={name: _controller(name, said) for name, said in _section(toml, "controllers").items()},
    )


def _controller(name: str, said: object) -> dict[str, tuple[str, ...]]:
    """A text, or a list of texts; an address may have commas."""
    if not isinstance(said, dict):
        raise _wrong(f"controllers.{name}", said, "a section")
    if unknown := sorted(said.keys() - {*_CONTROLLER}):
        raise _wrong(f"controllers.{name}", unknown[0], f"one of {list(_CONTROLLER)}")
    lists = {key: [value] if isinstance(value, str) else value for key, value in said.items()}
    return {key: _listed(f"controllers.{name}.{key}", value) for key, value in lists.items()}


def _connections(section: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Addresses of databases that sources are in, by name in lower case; those of the environment go before."""
    if wrong := [name for name, url in section.items() if not isinstance(url, str)]:
        raise SettingsError(f"`connections.{wrong[0]}` in {FILE}: expected a text, such as `postgresql://host/database`")
    given = {name.removeprefix(CONNECTION): url for name, url in environment.items() if name.startswith(CONNECTION)}
    return {name.lower(): url for name, url in {**section, **given}.items()}


def _vendor(value: object) -> int | None:
    if type(value) is not int or not 0 <= value < 1 << 16:
        raise _wrong("consent.vendor", value, "a vendor id of the global vendor list, or 0")
    return value or None


def _roles(section: Mapping[str, Any]) -> Holders:
    """A list that is not known is a mistake: somebody would believe that it names officers."""
    if unknown := sorted(section.keys() - SECTION.keys()):
        raise _wrong("roles", unknown[0], f"one of {list(SECTION)}")
    found: dict[Role, tuple[str, ...]] = {role: _listed(f"roles.{key}", section.get(key, [])) for key, role in SECTION.items()}
    return found


def _tokens(root: Path, section: Mapping[str, Any]) -> Trust:
    for key, value in section.items():
        expected = _TOKENS.get(key)
        if expected is None:
            raise _wrong("tokens", key, f"one of {list(_TOKENS)}")
        if type(value) is not expected or value in ("", []):
            raise _wrong(f"tokens.{key}", value, expected.__name__)
    if missing := [key for key in ("issuer", "name", "audience", "keys") if key not in section]:
        raise SettingsError(f"`tokens` in {FILE}: `{missing[0]}` is missing")
    if "@" in section["name"] or not section["name"].isprintable():
        raise _wrong("tokens.name", section["name"], "a short name without `@`, which stands behind the one in people's names")
    if section.get("max_lifetime", 1) < 1:
        raise _wrong("tokens.max_lifetime", section["max_lifetime"], "seconds from 1")
    keys = tuple(_key(Path(_placed(root, name))) for name in _listed("tokens.keys", section["keys"]))
    trust = Trust(**{**section, "keys": keys})
    try:
        check_keys(trust)
    except PrincipalError as error:
        raise SettingsError(f"{error}") from None
    return trust


def _key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"`tokens.keys` in {FILE}: `{path}` cannot be read: {error.strerror}") from error


def _house(root: Path) -> bytes | None:
    """A file that is there and cannot be read is not the same as none."""
    try:
        return (root / HOUSE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"`{root / HOUSE}` cannot be read: {error.strerror}") from error


def _section(toml: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = toml.get(name, {})
    if not isinstance(section, dict):
        raise _wrong(name, section, "a section")
    return section


def _listed(key: str, value: object) -> tuple[str, ...]:
    """A list of texts, or one text with commas."""
    items = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _wrong(key, value, "a list of texts")
    return tuple(item for item in items if item)


def _placed(root: Path, value: str) -> str:
    return value.replace("{workspace}", str(root))


def _text(value: object) -> str:
    """As TOML, whose texts and lists of texts are written as those of JSON."""
    return json.dumps(value, ensure_ascii=False)


def _wrong(key: str, got: object, expected: str) -> SettingsError:
    return SettingsError(f"`{key}` in {FILE}: got `{got}`, expected {expected}")
