"""The suppression list: who asked to be erased or objected, kept so that a restored backup or a later import cannot undo it.

After an erasure this is the one thing that still knows a subject (GDPR art. 17(3)(b), 21(3); the EDPB's guidelines on
art. 17 accept it): not by name, but as HMAC-SHA256 of the log's name and the subject under a key that is used for nothing
else. Key and list stand in a folder outside workspace and backups, which this module refuses to have inside:

    suppression.key   32 random bytes
    suppressed        one line an entry: time, kind, purpose, HMAC (`governance.journal`)
    newest            what was last promised about budget and log (`governance.outside`)

An entry is durable before what it announces is done, so that whatever a crash leaves can be found by it and finished. Key and
list are of use together only; without the key nobody can test a subject, and a lost key makes the list void, which is a
fault. A workspace's consent ledger is one namespace: the same key in two datasets is one subject.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from governance.consent import EVERY_PURPOSE, ConsentEvent, Status
from governance.journal import Journal, JournalError
from governance.key_files import make_folder, put
from governance.keys import fingerprint
from governance.store import stamp
from policies.taxonomy import ancestors

FOLDER_VARIABLE = "CONSENTRIC_SUPPRESSION_FOLDER"
"""Becomes `folder` under `[suppression]` of a new consentric.toml. Afterwards the environment says nothing about it."""

_WHERE = f"`folder` under [suppression] of consentric.toml, or {FOLDER_VARIABLE} for a new workspace"

KEY, LIST, NEWEST = "suppression.key", "suppressed", "newest"

_TAG = b"consentric.dev/suppression/v1"
_KEY_BYTES = 32
ANEW = "bring it from the old machine, or let an officer begin a new one: consentric rights replay --anew"


class SuppressionError(Exception):
    """The folder outside the workspace cannot be used; `remedy` says what to do."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(f"{fault}; {remedy}")
        self.remedy = remedy


class Kind(StrEnum):
    """What somebody asked for."""

    ERASED = "erased"
    OBJECTED = "objected"


@dataclass(frozen=True, slots=True)
class Entry:
    """What was asked for, when (aware), and for which purpose (`*`: all)."""

    kind: Kind
    purpose: str
    at: dt.datetime

    def covers(self, purpose: str) -> bool:
        """Whether it speaks of a purpose: the same, one above it, or all."""
        return self.purpose in (EVERY_PURPOSE, purpose, *ancestors(purpose))


class Suppression:
    """Key and list in `folder`; `namespace` (the log's name) goes into each HMAC. Raises SuppressionError where it cannot be used."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder = folder
        self._namespace = namespace.encode()
        self._journal = Journal(folder / LIST, "suppression")
        self._secret: bytes | None = None
        self._known: tuple[tuple[str, ...], dict[str, tuple[Entry, ...]]] = (), {}

    @property
    def exists(self) -> bool:
        """Whether it was made on this machine."""
        return (self.folder / KEY).exists()

    def create(self) -> None:
        """Make key and empty list; those that are there stay. The key comes last, so that its presence says that all are there."""
        try:
            make_folder(self.folder)
            self._journal.create()
            Journal(self.folder / NEWEST, "outside").create()
            if not self.exists:
                put(self.folder / KEY, secrets.token_bytes(_KEY_BYTES))
        except OSError as error:
            fault = f"folder `{self.folder}` cannot be made: {error.strerror}"
            raise SuppressionError(fault, f"choose another: {_WHERE}") from None

    def add(self, subject: str, kind: Kind, at: dt.datetime, purpose: str = EVERY_PURPOSE) -> None:
        """Put a subject on the list; durable on return. The same once more changes nothing."""
        entry = Entry(kind, purpose, at)
        if entry not in self.entries(subject):
            with file_faults():
                self._journal.append(f"{stamp(at)} {kind} {purpose} {self._mac(subject)}")

    def entries(self, subject: str) -> tuple[Entry, ...]:
        """What a subject asked for, in order."""
        known = self._entries()
        return known.get(self._mac(subject), ()) if known else ()

    def marks(self, subject: str) -> bool:
        """Whether a subject is on the list."""
        return bool(self.entries(subject))

    def drops(self, event: ConsentEvent) -> bool:
        """Whether an event is not to be taken (again): from before the subject's erasure, or consent from before an objection to
        its purpose. A newer one is a new relation."""
        return any(
            event.event_time <= entry.at and (entry.kind is Kind.ERASED or (event.status is Status.GIVEN and entry.covers(event.purpose)))
            for entry in self.entries(event.subject)
        )

    def among(self, subjects: Iterable[str]) -> Mapping[str, tuple[Entry, ...]]:
        """Those of `subjects` who are on the list, with what they asked for. About a second for a million."""
        known = self._entries()
        if not known:
            return {}
        return {subject: known[mac] for subject in subjects if (mac := self._mac(subject)) in known}

    @property
    def fingerprint(self) -> str:
        """By what the key is known again."""
        return fingerprint(self._key())

    def faults(self) -> tuple[SuppressionError, ...]:
        """What is wrong with it, for `doctor`."""
        try:
            self._entries()
            self._key()
        except SuppressionError as fault:
            return (fault,)
        return ()

    def _entries(self) -> dict[str, tuple[Entry, ...]]:
        """Entries by HMAC, read anew where the list grew."""
        self._check(self.folder, 0o700)
        with file_faults():
            lines = self._journal.lines()
        if lines is not self._known[0]:
            found: dict[str, tuple[Entry, ...]] = {}
            for line in lines:
                at, kind, purpose, mac = line.split(" ")
                found[mac] = (*found.get(mac, ()), Entry(Kind(kind), purpose, dt.datetime.fromisoformat(at)))
            self._known = lines, found
        return self._known[1]

    def _key(self) -> bytes:
        if self._secret is None:
            path = self.folder / KEY
            self._check(path, 0o600)
            self._secret = path.read_bytes()
        if len(self._secret) != _KEY_BYTES:
            raise SuppressionError(f"key `{self.folder / KEY}` is damaged: got {len(self._secret)} bytes, expected {_KEY_BYTES}", ANEW)
        return self._secret

    def _mac(self, subject: str) -> str:
        parts = (_TAG, self._namespace, subject.encode(errors="surrogatepass"))
        return hmac.digest(self._key(), b"".join(len(part).to_bytes(8, "big") + part for part in parts), "sha256").hex()

    def _check(self, path: Path, mode: int) -> None:
        try:
            found = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:
            raise SuppressionError(f"`{path}`, which keeps objections and spent budget outside the workspace, is missing", ANEW) from None
        except OSError as error:
            raise SuppressionError(f"`{path}` cannot be read: {error.strerror}", "run as its owner") from None
        if found & 0o077:
            raise SuppressionError(f"`{path}` is open to others: mode {found:04o}, expected {mode:04o}", f"chmod {mode:o} {path}")


@contextmanager
def file_faults() -> Iterator[None]:
    """Faults of a file that is kept outside as SuppressionError."""
    try:
        yield
    except JournalError as error:
        raise SuppressionError(str(error).removesuffix(f"; {error.remedy}"), error.remedy) from None
    except FileNotFoundError as error:
        raise SuppressionError(f"`{error.filename}`, a list that is kept outside the workspace, is missing", ANEW) from None
    except OSError as error:
        raise SuppressionError(f"the suppression list cannot be used: {error.strerror}", "free the disk, or run as its owner") from None


def default_location(verifier_key: str, environment: Mapping[str, str]) -> Path:
    """Where the folder of a new workspace is to be: below XDG_STATE_HOME, named after its log and the log's key."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", verifier_key.partition("+")[0])
    state = Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "consentric" / f"{name}-{hashlib.sha256(verifier_key.encode()).hexdigest()[:16]}"


def check_outside(folder: Path, root: Path) -> None:
    """Raises SuppressionError where `folder` lies inside the workspace at `root`, whose backups would hold it."""
    if root.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise SuppressionError(
            f"the suppression list is to be kept in `{folder}`, inside the workspace, whose backups would hold it",
            f"choose a folder outside: {_WHERE}",
        )
