"""The key folder: what signs, what pseudonymises, what splits and what commits. One file a key, nobody else's to read.

    log.key                  Ed25519 private key of log and passports (PKCS #8, PEM)
    log.vkey                 its public half and the log's name, as signed-note's verifier key, for whoever verifies
    split.key                HMAC key of the split into training and hold-out
    commitment.key           secret that salts of commitments are derived from
    pseudonym/<purpose>.key  HMAC key of the pseudonyms of one purpose

`create` makes the first four, once; none is ever made again, because a new one in place of a lost one would start another
log, move subjects from hold-out to training, or give them other pseudonyms. A purpose's key is made, and recorded, when it is
first needed (`governance.pseudonyms`). Files appear whole (written
aside, fsynced, then linked under their name, which fails if it is taken) with mode 0600, in folders of mode 0700.

Not here: the formats of checkpoints and passports (`audit`), rotation and backup.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from audit.checkpoint import Signer, Verifier

SECRET_BYTES = 32
"""Length of an HMAC key: that of the hash (RFC 2104, section 3)."""

RESTORE = "restore it from a backup: a new one would not continue the old"
_PURPOSE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}")


class KeyFault(Exception):
    """A key is missing, damaged or open to others; `path` says which, `remedy` what to do."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(f"key `{path}` {fault}; {remedy}")
        self.path, self.remedy = path, remedy


class KeyFolder:
    """The keys of one workspace, read each time they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, origin: str) -> None:
        """Make the keys of a new workspace, whose log is named `origin`. Raises KeyFault if they are there already.

        The signing key comes last, so that its presence says that all are there.
        """
        if (self.folder / "log.key").exists():
            raise KeyFault(self.folder / "log.key", "exists already", "keys are made once; take another folder")
        _make_folder(self.folder)
        for name in ("split.key", "commitment.key"):
            _put(self.folder / name, secrets.token_bytes(SECRET_BYTES))
        signer = Signer(Ed25519PrivateKey.generate(), origin)
        (self.folder / "log.vkey").unlink(missing_ok=True)  # of a key that a crash kept from being written
        _put(self.folder / "log.vkey", f"{signer.verifier}\n".encode())
        _put(self.folder / "log.key", signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def signer(self) -> Signer:
        """The key of log and passports, under the log's name. Raises KeyFault."""
        path = self.folder / "log.key"
        try:
            key = load_pem_private_key(_get(path), password=None)
        except ValueError:
            raise KeyFault(path, "is truncated or not a private key", RESTORE) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFault(path, "is not an Ed25519 key", RESTORE)
        signer = Signer(key, Verifier.parse(self.verifier_key).name)
        if str(signer.verifier) != self.verifier_key:
            raise KeyFault(path, "does not belong to `log.vkey` beside it", RESTORE)
        return signer

    @property
    def verifier_key(self) -> str:
        """Public: `name+hash+key`. Raises KeyFault."""
        path = self.folder / "log.vkey"
        try:
            return str(Verifier.parse(_get(path).decode()))
        except ValueError:
            raise KeyFault(path, "is damaged", RESTORE) from None

    @property
    def split(self) -> bytes:
        """HMAC key of the split. Raises KeyFault."""
        return _secret(self.folder / "split.key")

    @property
    def commitment(self) -> bytes:
        """Secret of the salts of commitments. Raises KeyFault."""
        return _secret(self.folder / "commitment.key")

    def pseudonym(self, purpose: str) -> bytes:
        """The key of one purpose. Raises KeyFault, where it was never made too."""
        return _secret(self.pseudonym_path(purpose))

    def create_pseudonym(self, purpose: str) -> bytes:
        """Make the key of a purpose that has none; if two processes do at once, both get the same. Raises KeyFault."""
        path = self.pseudonym_path(purpose)
        if not path.exists():
            _check(self.folder, folder=True, mode=0o700)  # a lost key folder is not made anew
            _make_folder(path.parent)
            _put(path, secrets.token_bytes(SECRET_BYTES))
        return _secret(path)

    def pseudonym_path(self, purpose: str) -> Path:
        """Where the key of a purpose is kept. Raises KeyFault for a name that is no file's."""
        path = self.folder / "pseudonym" / f"{purpose}.key"
        if not _PURPOSE.fullmatch(purpose):
            raise KeyFault(path, "cannot be named after this purpose", "expected letters, digits, `.`, `_` and `-`")
        return path

    def faults(self) -> tuple[KeyFault, ...]:
        """What is wrong with the keys that there are, for `doctor`."""
        found = []
        purposes = sorted(path.stem for path in (self.folder / "pseudonym").glob("*.key"))
        keys: list[Callable[[], object]] = [lambda: self.signer, lambda: self.split, lambda: self.commitment]
        for read in keys + [partial(self.pseudonym, purpose) for purpose in purposes]:
            try:
                read()
            except KeyFault as fault:
                found.append(fault)
        return tuple(found)


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync(folder.parent)


def _put(path: Path, content: bytes) -> None:
    """Durable and whole on return. If the name is taken, what has it stays."""
    _check(path.parent, folder=True, mode=0o700)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
    finally:
        aside.unlink()
        _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _get(path: Path) -> bytes:
    _check(path.parent, folder=True, mode=0o700)
    _check(path, folder=False, mode=0o600)
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFault(path, f"cannot be read: {error.strerror}", "run as its owner") from None


def _secret(path: Path) -> bytes:
    content = _get(path)
    if len(content) != SECRET_BYTES:
        raise KeyFault(path, f"is damaged: expected {SECRET_BYTES} bytes, got {len(content)}", RESTORE)
    return content


def _check(path: Path, folder: bool, mode: int) -> None:
    """Raises KeyFault unless the path is of that kind, no link, and closed to others."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise KeyFault(path, "is missing", RESTORE) from None
    except PermissionError:
        raise KeyFault(path, "belongs to somebody else", "run as its owner") from None
    if stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode) != folder:
        raise KeyFault(path, f"is not a {'folder' if folder else 'file'}", RESTORE)
    if status.st_mode & 0o077:
        raise KeyFault(path, f"is open to others: mode {stat.S_IMODE(status.st_mode):04o}, expected {mode:04o}", f"chmod {mode:o} {path}")
