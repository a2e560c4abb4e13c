"""A workspace is a folder: `consentric.toml`, `contracts/`, `policies/`, `segments/`, and `.consentric/` for what the engine keeps.

Opening one establishes who acts, holds the log against the checkpoint outside the database, and catches up a
checkpoint that a crash left behind. Here, and only here, paths, keys, clock and database meet.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import tomllib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from audit.checkpoint import Checkpoint, CheckpointFile
from governance import principals
from governance.keys import KeyFolder
from governance.principals import Principal
from governance.store import Store
from policies import parsing, reading
from policies.contract import Contract
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment

FILE = "consentric.toml"
HIDDEN = ".consentric"
FOLDERS = ("contracts", "policies", "segments", "data", "reports")

_SETTINGS = """\
# A Consentric workspace. What stands under database, keys and engine can also come from the environment, as
# CONSENTRIC_DATABASE_URL and so on; who holds a role and what the workspace is never does.
[workspace]
name = "{name}"
demo = {demo}             # demo workspaces accept CONSENTRIC_UNSAFE_PRINCIPAL, and every entry of the log says so
notes = {notes}           # stand at the top of every report

[database]
url = "sqlite:///{{workspace}}/.consentric/metadata.db"

[keys]
folder = "{{workspace}}/.consentric/keys"

[roles]
officers = {officers}    # who may see exact counts and a subject's consent history

[engine]
threads = 2
memory_limit = "2GB"
"""


_FROM_ENVIRONMENT = frozenset({"database", "keys", "engine"})
"""Sections that describe the machine. Roles and what the workspace is do not: whoever runs a command sets its environment."""


class WorkspaceError(Exception):
    """The workspace or its settings cannot be used: usage, exit 2."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `consentric.toml` says, and `CONSENTRIC_*` of the machine."""

    name: str
    demo: bool
    notes: tuple[str, ...]
    database_url: str
    keys: Path
    officers: tuple[str, ...]
    threads: int
    memory_limit: str


class Workspace:
    """One opened workspace."""

    def __init__(self, root: Path, settings: Settings, environment: Mapping[str, str]) -> None:
        self.root = root
        self.settings = settings
        self.principal: Principal = principals.current(environment, settings.demo)

    # -- finding and making ------------------------------------------------------------------------------------------

    @classmethod
    def find(cls, start: Path | None, environment: Mapping[str, str] = os.environ) -> Workspace:
        """The workspace that holds `start` (default: the current folder). Raises WorkspaceError, PrincipalError."""
        here = (start or Path(environment.get("CONSENTRIC_WORKSPACE") or Path.cwd())).resolve()
        for folder in (here, *here.parents):
            if (folder / FILE).is_file():
                return cls(folder, _settings(folder, environment), environment)
        raise WorkspaceError(f"no workspace at or above `{here}`; make one with `consentric init`, or name it with --workspace")

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        demo: bool = False,
        notes: Sequence[str] = (),
        officers: Sequence[str] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> Workspace:
        """Make a workspace at `root`: folders, settings, keys, database and the first entry of its log."""
        root = root.resolve()
        if (root / FILE).exists():
            raise WorkspaceError(f"`{root}` is a workspace already")
        owner = principals.current(environment, demo)
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)
        hidden = root / HIDDEN
        hidden.mkdir(mode=0o700, exist_ok=True)
        hidden.chmod(0o700)
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in root.name) or "workspace"
        text = _SETTINGS.format(
            name=name, demo=str(demo).lower(), notes=json.dumps([*notes]), officers=json.dumps(list(officers) or [owner.name])
        )
        partial = root / f".{FILE}.partial"
        partial.write_text(text)
        workspace = cls(root, _parse(root, tomllib.loads(text), environment), environment)
        workspace.keys.create(origin=f"consentric/{name}")
        workspace.store.create()
        with workspace.store.transaction("workspace") as write:
            write.record("workspace.created", name=name, demo=demo, verifier_key=workspace.keys.verifier_key)
        partial.rename(root / FILE)  # last, so that a half-made workspace is never found
        return workspace

    def open(self, alone: bool = False) -> Workspace:
        """Hold log and checkpoint against each other. Raises IntegrityError, StoreError, KeyFault, WorkspaceError.

        Commands share an opened workspace until they end; `alone` it is for repairs, which must not meet a build that runs.
        """
        from audit import log as audit_log

        self._in_use(alone)
        checkpoint = self.checkpoint_file.read()
        with self.store.read() as session:
            audit_log.check_against(session.connection(), checkpoint)
            first = next(iter(audit_log.entries(session.connection(), 0, 1)), None)
        demo = bool(first and first.parsed["facts"].get("demo"))
        if self.settings.demo and not demo:
            raise WorkspaceError("`workspace.demo` is true in consentric.toml, but the log says that this workspace was not made as a demo")
        self.store.seal()  # catches up after a crash between commit and checkpoint, and mends a torn slot
        return self

    def _in_use(self, alone: bool) -> None:
        """Held as long as this workspace is."""
        handle = os.open(self.hidden / "in-use", os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            raise WorkspaceError("another command is at work in this workspace; try again when it has ended") from None

    # -- what is inside ----------------------------------------------------------------------------------------------

    @property
    def hidden(self) -> Path:
        """Folder of what the engine keeps."""
        return self.root / HIDDEN

    @cached_property
    def keys(self) -> KeyFolder:
        """Signing and pseudonym keys."""
        return KeyFolder(self.settings.keys)

    @cached_property
    def checkpoint_file(self) -> CheckpointFile:
        """The signed tree head outside the database."""
        return CheckpointFile(self.hidden / "checkpoint", self.keys.signer, self.keys.signer.verifier)

    @cached_property
    def store(self) -> Store:
        """The metadata database."""
        return Store(self.settings.database_url, self.checkpoint_file, self.principal, now)

    def checkpoint(self) -> Checkpoint | None:
        """The newest signed tree head."""
        return self.checkpoint_file.read()

    def contract(self, name: str) -> Contract:
        """The dataset contract `contracts/NAME.yaml`."""
        return reading.read_contract(*self._document("contracts", name))

    def policy(self, name: str) -> Policy:
        """The policy `policies/NAME.yaml`."""
        return reading.read_policy(*self._document("policies", name))

    def segment(self, name: str) -> Segment:
        """The segment spec `segments/NAME.yaml`."""
        return reading.read_segment(*self._document("segments", name))

    def documents(self, folder: str) -> tuple[str, ...]:
        """Names of the documents in `contracts`, `policies` or `segments`."""
        return tuple(sorted(path.stem for path in (self.root / folder).glob("*.yaml") if path.is_file()))

    def complaint(self, folder: str, name: str, path: tuple[str, ...], got: str, expected: str) -> DocumentError:
        """What to raise against a document that can be read and not be used, with the line of `path` in it."""
        return DocumentError((parsing.parse(*self._document(folder, name)).problem(path, got, expected),))

    def source(self, location: str) -> Path:
        """Absolute path of a contract's source."""
        return (self.root / location).resolve()

    def _document(self, folder: str, name: str) -> tuple[bytes, str]:
        path = self.root / folder / f"{name}.yaml"
        if not _plain(name) or not path.is_file():
            raise WorkspaceError(f"no document `{folder}/{name}.yaml`, expected one of {list(self.documents(folder))}")
        try:
            return path.read_bytes(), f"{folder}/{name}.yaml"
        except OSError as error:
            raise WorkspaceError(f"`{folder}/{name}.yaml` cannot be read: {error.strerror}") from error


def now() -> dt.datetime:
    """The clock."""
    return dt.datetime.now(dt.UTC)


def _plain(name: str) -> bool:
    return bool(name) and "/" not in name and "\\" not in name and not name.startswith(".")


def _settings(root: Path, environment: Mapping[str, str]) -> Settings:
    try:
        return _parse(root, tomllib.loads((root / FILE).read_text()), environment)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise WorkspaceError(f"`{root / FILE}` cannot be read: {error}") from error


def _parse(root: Path, toml: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    def setting(section: str, key: str, default: Any) -> Any:
        value = toml.get(section, {}).get(key, default)
        if section in _FROM_ENVIRONMENT:
            value = environment.get(f"CONSENTRIC_{section}_{key}".upper(), value)
        if not isinstance(value, type(default)) and not isinstance(value, str):
            raise WorkspaceError(f"`{section}.{key}` in {FILE}: got `{value!r}`, expected {type(default).__name__}")
        return value.replace("{workspace}", str(root)) if isinstance(value, str) else value

    threads = str(setting("engine", "threads", 2))
    if not threads.isdigit() or not int(threads):
        raise WorkspaceError(f"`engine.threads` in {FILE}: got `{threads}`, expected a number from 1")
    return Settings(
        name=str(setting("workspace", "name", root.name)),
        demo=toml.get("workspace", {}).get("demo") is True,
        notes=_listed(setting("workspace", "notes", [])),
        database_url=str(setting("database", "url", f"sqlite:///{root}/{HIDDEN}/metadata.db")),
        keys=Path(str(setting("keys", "folder", f"{root}/{HIDDEN}/keys"))),
        officers=_listed(setting("roles", "officers", [])),
        threads=int(threads),
        memory_limit=str(setting("engine", "memory_limit", "2GB")),
    )


def _listed(value: object) -> tuple[str, ...]:
    """A list of texts, or one text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    return tuple(str(item) for item in items) if isinstance(items, list) else ()
