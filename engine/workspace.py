"""A workspace is a folder: `consentric.toml`, `contracts/`, `policies/`, `segments/`, and `.consentric/` for what the engine keeps.

Opening one establishes who acts, holds the log against the checkpoint outside the database, and catches up a
checkpoint that a crash left behind. Here, and only here, paths, keys, clock and database meet.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from audit.checkpoint import Checkpoint, CheckpointFile, Verifier, read_checkpoint
from audit.failpoint import reach
from engine import settings as toml
from engine.settings import FILE, HIDDEN, Settings
from governance import access, principals
from governance.keys import KeyFolder
from governance.outside import Outside, check_key, pin
from governance.principals import Principal
from governance.remote_tables import SCHEME, RemoteTable, locate
from governance.roles import Holders, Role
from governance.rotation import check_log
from governance.store import Store
from governance.suppression import FOLDER_VARIABLE, Suppression, check_outside, default_location
from policies import parsing, reading
from policies.contract import Contract
from policies.expectations import PolicyTest
from policies.parsing import DocumentError
from policies.policy import Policy
from policies.segment import Segment

if TYPE_CHECKING:
    from federated.contract import Collaboration
    from governance.authorisation import Authoriser

TEST = ".test"
"""How the name of a test document ends, before `.yaml`."""

FOLDERS = ("contracts", "policies", "segments", "data", "reports")
FOUNDER = (Role.ADMINISTRATOR, Role.ANALYST, Role.OFFICER)
"""What whoever makes a workspace is in it, until others are named."""


class WorkspaceError(Exception):
    """The workspace cannot be used: usage, exit 2."""


class Workspace:
    """One opened workspace."""

    def __init__(self, root: Path, settings: Settings, environment: Mapping[str, str]) -> None:
        self.root = root
        self.settings = settings
        self.principal: Principal = principals.current(environment, settings.demo, settings.tokens)

    # -- finding and making ------------------------------------------------------------------------------------------

    @classmethod
    def find(cls, start: Path | None, environment: Mapping[str, str] = os.environ) -> Workspace:
        """The workspace that holds `start` (default: the current folder). Raises WorkspaceError, SettingsError, PrincipalError."""
        here = (start or Path(environment.get("CONSENTRIC_WORKSPACE") or Path.cwd())).resolve()
        for folder in (here, *here.parents):
            if (folder / FILE).is_file():
                return cls(folder, toml.read(folder, environment), environment)
        raise WorkspaceError(f"no workspace at or above `{here}`; make one with `consentric init`, or name it with --workspace")

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        demo: bool = False,
        notes: Sequence[str] = (),
        roles: Holders | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Workspace:
        """Make a workspace at `root`: folders, settings, keys, database and the first entries of its log.

        Where `roles` names nobody, whoever makes it is administrator, analyst and officer, and may name others.
        """
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
        kept = environment.get(FOLDER_VARIABLE, "")
        text = toml.draft(name, demo, notes, roles or dict.fromkeys(FOUNDER, (owner.name,)), kept)
        partial = root / f".{FILE}.partial"
        partial.write_text(text)
        workspace = cls(root, toml.parse(root, text, environment), environment)
        workspace.keys.create(origin=f"consentric/{name}")
        workspace.suppression.create()
        workspace.store.create()
        with workspace.store.transaction("workspace") as write:
            facts = {"name": name, "demo": demo, "verifier_key": workspace.keys.verifier_key}
            write.record("workspace.created", **facts, outside=pin(write, workspace.suppression))
            access.record(write, workspace.settings.access, workspace.settings.access_digest)
        with workspace.store.read() as session:
            workspace.outside.begin_epoch(session, ())
        reach("workspace:before-rename")
        partial.rename(root / FILE)  # last, so that a half-made workspace is never found
        reach("workspace:after-rename")
        return workspace

    def open(self, alone: bool = False, behind: bool = False, older: bool = False) -> Workspace:
        """Hold log and checkpoint against each other. Raises IntegrityError, StoreError, KeyFault, WorkspaceError.

        Commands share an opened workspace until they end; `alone` it is for repairs, which must not meet a build that runs.
        One whose database is older than what was promised last is opened only where that is said to be wanted (`behind`): to read
        its log, or to mend it. Raises BehindError, SuppressionError then too. One of an older schema is opened to be migrated (`older`).
        """
        from audit import log as audit_log

        self._in_use(alone)
        if not older:
            self.store.require_schema()
        checkpoint = self.checkpoint_file.read()
        with self.store.read() as session:
            audit_log.check_against(session.connection(), checkpoint)
            first = next(iter(audit_log.entries(session.connection(), 0, 1)), None)
            if not older:
                check_log(session, self.keys)
        if not behind:
            with self.store.read() as session:
                self.outside.hold(session)
                check_key(session, self.suppression)
        demo = bool(first and first.parsed["facts"].get("demo"))
        if self.settings.demo and not demo:
            raise WorkspaceError("`workspace.demo` is true in consentric.toml, but the log says that this workspace was not made as a demo")
        self.store.seal()  # catches up after a crash between commit and checkpoint, and mends a torn slot
        return self

    def _in_use(self, alone: bool) -> None:
        """Held as long as this workspace is."""
        try:
            handle = os.open(self.hidden / "in-use", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise WorkspaceError(
                f"`{self.hidden}` is another user's; people who share a workspace act through the one account that owns it, "
                "each with a signed token of their own (`[tokens]` in consentric.toml)"
            ) from None
        weakref.finalize(self, os.close, handle)
        self._use, self._alone = handle, alone
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BlockingIOError:
            raise WorkspaceError(
                "another command is at work in this workspace; try again when it has ended, or end it with Ctrl-C "
                "(`partner run` and builds go on where they were when they are begun again)"
            ) from None

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody else is at work here; if so, nobody comes in before the block ends."""
        if self._alone:
            yield True
            return
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            fcntl.flock(self._use, fcntl.LOCK_SH)

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
        signer = self.keys.signer
        return CheckpointFile(self.hidden / "checkpoint", signer, signer.verifier, self._former)

    @property
    def _former(self) -> tuple[Verifier, ...]:
        """Keys that the log was signed with before."""
        return tuple(map(Verifier.parse, self.keys.verifier_keys[:-1]))

    def sign_anew(self) -> None:
        """Take the keys as they are now: another one signs beside the present one."""
        for made in ("checkpoint_file", "store", "outside"):
            self.__dict__.pop(made, None)

    @cached_property
    def store(self) -> Store:
        """The metadata database."""
        return Store(self.settings.database_url, self.checkpoint_file, self.principal, now, self.outside)

    @cached_property
    def suppression(self) -> Suppression:
        """Who was erased or objected, kept outside. Raises SuppressionError where that is not outside."""
        folder = Path(self.settings.suppression or default_location(self.keys.verifier_keys[0], os.environ))
        check_outside(folder, self.root)
        return Suppression(folder, self.keys.signer.origin)

    @cached_property
    def outside(self) -> Outside:
        """What was promised last about log and budget, kept beside it."""
        return Outside(self.suppression.folder, self.keys.signer, self._former)

    @cached_property
    def authoriser(self) -> Authoriser:
        """Who may do what here."""
        from governance.authorisation import Authoriser

        return Authoriser(self.settings.roles, self.settings.house)

    def checkpoint(self) -> Checkpoint | None:
        """The newest signed tree head."""
        return self.checkpoint_file.read()

    def believed(self, note: str) -> Checkpoint:
        """A checkpoint of this log, by any key that it was signed with. Raises IntegrityError."""
        keys = (Verifier.parse(self.keys.verifier_key), *self._former)
        return read_checkpoint(note, next((key for key in keys if key.signed(note)), keys[0]))

    def contract(self, name: str) -> Contract:
        """The dataset contract `contracts/NAME.yaml`."""
        return reading.read_contract(*self._document("contracts", name))

    def policy(self, name: str) -> Policy:
        """The policy `policies/NAME.yaml`."""
        return reading.read_policy(*self._document("policies", name))

    def policy_test(self, name: str) -> PolicyTest:
        """The test document `policies/NAME.yaml`, where NAME ends in `.test`."""
        return reading.read_policy_test(*self._document("policies", name))

    def segment(self, name: str) -> Segment:
        """The segment spec `segments/NAME.yaml`."""
        return reading.read_segment(*self._document("segments", name))

    def collaboration(self, name: str) -> Collaboration:
        """The collaboration contract `collaborations/NAME.yaml`."""
        from federated.contract import read_collaboration

        return read_collaboration(*self._document("collaborations", name))

    def documents(self, folder: str) -> tuple[str, ...]:
        """Names of the documents in `contracts`, `policies` or `segments`; tests of policies are not among them."""
        return tuple(name for name in self._names(folder) if not name.endswith(TEST))

    def policy_tests(self) -> tuple[str, ...]:
        """Names of the test documents that stand beside the policies."""
        return tuple(name for name in self._names("policies") if name.endswith(TEST))

    def _names(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in (self.root / folder).glob("*.yaml") if path.is_file()))

    def complaint(self, folder: str, name: str, path: tuple[str | int, ...], got: str, expected: str) -> DocumentError:
        """What to raise against a document that can be read and not be used, with the line of `path` in it."""
        return DocumentError((parsing.parse(*self._document(folder, name)).problem(path, got, expected),))

    def source(self, location: str) -> Path | RemoteTable:
        """A contract's source: the absolute path of a file, or a table. Raises WorkspaceError."""
        if not location.startswith(SCHEME):
            return (self.root / location).resolve()
        try:
            return locate(location, self.settings.connections)
        except ValueError as error:
            raise WorkspaceError(f"a contract's source: {error}") from None

    def check_leaving(self, path: Path) -> None:
        """What is handed over leaves the folder, and keeps away from keys and suppression list. Raises WorkspaceError, SuppressionError."""
        kept = {"the workspace": self.root, "the folder of its keys": self.keys.folder, "its suppression folder": self.suppression.folder}
        for what, folder in kept.items():
            if path.resolve().is_relative_to(folder.resolve()):
                raise WorkspaceError(f"got `{path}`, expected a place outside {what}, `{folder}`, for what is handed over")

    def _document(self, folder: str, name: str) -> tuple[bytes, str]:
        path = self.root / folder / f"{name}.yaml"
        if not _plain(name) or not path.is_file():
            raise WorkspaceError(f"no document `{folder}/{name}.yaml`, expected one of {list(self.documents(folder))}")
        try:
            return path.read_bytes(), f"{folder}/{name}.yaml"
        except OSError as error:
            raise WorkspaceError(f"`{folder}/{name}.yaml` cannot be read: {error.strerror}") from error


def given(path: Path) -> bytes:
    """A file that somebody named. Raises WorkspaceError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WorkspaceError(f"`{path}` cannot be read: {error.strerror}") from None


def now() -> dt.datetime:
    """The clock."""
    return dt.datetime.now(dt.UTC)


def _plain(name: str) -> bool:
    return bool(name) and "/" not in name and "\\" not in name and not name.startswith(".")
