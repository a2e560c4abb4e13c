"""The key folder: what signs, what pseudonymises and what splits. One file a key, nobody else's to read.

    log.key                  Ed25519 private key of log and passports (PKCS #8, PEM)
    log.next, log.old        the same, of the key that a rotation brings and of the one that it ends, while they sign beside it
    log.vkey                 public halves and the log's name, as signed-note's verifier keys, for whoever verifies: the first to the
                             present one, one a line
    split.key                HMAC key of the split into training and hold-out
    pseudonym/<purpose>.key  HMAC key of the pseudonyms of one purpose

`create` makes the first three, once; none is ever made again, because a new one in place of a lost one would start another
log, move subjects from hold-out to training, or give them other pseudonyms. A purpose's key is made, and recorded, when it is
first needed (`governance.pseudonyms`). Files appear whole (written
aside, fsynced, then linked under their name, which fails if it is taken) with mode 0600, in folders of mode 0700.

A secret can come from the environment instead, where a key manager puts it: CONSENTRIC_KEY_LOG (PEM), CONSENTRIC_KEY_SPLIT, and
CONSENTRIC_KEY_LOG_NEXT and CONSENTRIC_KEY_LOG_OLD while it is rotated, and
CONSENTRIC_KEY_PSEUDONYM_ with the purpose in capitals, two underscores for each dot (base64 of 32 bytes). It goes before the file
of the same name, which then need not be.

Not here: the formats of checkpoints and passports (`audit`), when a key may be rotated (`governance.rotation`), and its backup
(`governance.key_backup`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from audit.checkpoint import Signer, Verifier
from audit.failpoint import reach
from governance import partner_keys
from governance.key_files import RESTORE, KeyFault, check, get, make_folder, put, sync

__all__ = ["LOG", "PSEUDONYM", "RESTORE", "SECRET_BYTES", "SPLIT", "Key", "KeyFault", "KeyFolder", "fingerprint"]

SECRET_BYTES = 32
"""Length of an HMAC key: that of the hash (RFC 2104, section 3)."""

LOG, SPLIT = "log", "split"
NEXT, OLD = "log.next", "log.old"
"""Names of keys; that of a purpose's is `pseudonym/PURPOSE`."""

PSEUDONYM = "pseudonym/"
VARIABLE = "CONSENTRIC_KEY_"

_FINGERPRINT = b"\0consentric pseudonym key fingerprint v1"
"""Keeps this use of a key apart from pseudonyms; the digest is hashed once more, so that it would not even be this text's."""

_PURPOSE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key that can be read. `variable`: where in the environment it comes from, None for its file."""

    name: str
    fingerprint: str
    variable: str | None


class KeyFolder:
    """The keys of one workspace, read each time they are asked for."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = folder
        self._environment = environment

    def create(self, origin: str) -> None:
        """Make the keys of a new workspace, whose log is named `origin`. Raises KeyFault if they are there already.

        The signing key comes last, so that its presence says that all are there; those that the environment has are not made.
        """
        given = self.variable(LOG)
        last = self.folder / ("log.vkey" if given else "log.key")
        if last.exists():
            raise KeyFault(last, "exists already", "keys are made once; take another folder")
        make_folder(self.folder)
        if not self.variable(SPLIT):
            put(self.path(SPLIT), secrets.token_bytes(SECRET_BYTES))
        signer = Signer(self._private(LOG) if given else Ed25519PrivateKey.generate(), origin)
        (self.folder / "log.vkey").unlink(missing_ok=True)  # of a key that a crash kept from being written
        put(self.folder / "log.vkey", f"{signer.verifier}\n".encode())
        if not given:
            put(self.folder / "log.key", signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def signer(self) -> Signer:
        """The key of log and passports, under the log's name; others of a rotation sign beside it. Raises KeyFault."""
        name, own = Verifier.parse(self.verifier_key).name, self.verifier_key
        signers = {str(each.verifier): each for key in self._signing() for each in (Signer(key, name),)}
        if own not in signers:
            raise self._fault(LOG, "does not belong to `log.vkey`")
        return Signer(signers[own].key, name, tuple(each for vkey, each in signers.items() if vkey != own))

    @property
    def verifier_keys(self) -> tuple[str, ...]:
        """Public: `name+hash+key` of every key that the log was signed with, the present one last. Raises KeyFault."""
        path = self.folder / "log.vkey"
        try:
            keys = [Verifier.parse(line) for line in get(path).decode().splitlines()]
        except ValueError:
            keys = []
        if not keys or len({key.name for key in keys}) != 1:
            raise KeyFault(path, "is damaged", RESTORE)
        return tuple(map(str, keys))

    @property
    def verifier_key(self) -> str:
        """That of the present key. Raises KeyFault."""
        return self.verifier_keys[-1]

    @property
    def split(self) -> bytes:
        """HMAC key of the split. Raises KeyFault."""
        return self.secret(SPLIT)

    def pseudonym(self, purpose: str) -> bytes:
        """The key of one purpose. Raises KeyFault, where it was never made too."""
        return self.secret(PSEUDONYM + purpose)

    def create_pseudonym(self, purpose: str) -> bytes:
        """Make the key of a purpose that has none; if two processes do at once, both get the same. Raises KeyFault."""
        path = self.pseudonym_path(purpose)
        if not self.variable(PSEUDONYM + purpose) and not path.exists():
            check(self.folder, folder=True, mode=0o700)  # a lost key folder is not made anew
            make_folder(path.parent)
            put(path, secrets.token_bytes(SECRET_BYTES))
        return self.pseudonym(purpose)

    def pseudonym_path(self, purpose: str) -> Path:
        """Where the key of a purpose is kept. Raises KeyFault for a name that is no file's."""
        return self.path(PSEUDONYM + purpose)

    # -- by name ------------------------------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """The file of a key. Raises KeyFault for a name that is no file's."""
        path = self.folder / f"{name}.key"
        if name not in (LOG, SPLIT) and not (name.startswith(PSEUDONYM) and _PURPOSE.fullmatch(name.removeprefix(PSEUDONYM))):
            raise KeyFault(path, "cannot be named after this purpose", "expected letters, digits, `.`, `_` and `-`")
        return path

    def variable(self, name: str) -> str | None:
        """The variable of the environment that a key comes from; None where it comes from its file."""
        if name not in (LOG, SPLIT, NEXT, OLD) and not _IN_ENVIRONMENT.fullmatch(name):
            return None  # another purpose could have this variable's name
        variable = VARIABLE + name.replace("/", "_").replace(".", "_" if name in (NEXT, OLD) else "__").upper()
        return variable if self._environment.get(variable) else None

    def secret(self, name: str) -> bytes:
        """The bytes of a key that is no signing key. Raises KeyFault."""
        path = self.path(name)
        variable = self.variable(name)
        content = _decoded(self._environment[variable]) if variable else get(path)
        if len(content) != SECRET_BYTES:
            raise self._fault(name, f"is damaged: expected {SECRET_BYTES} bytes, got {len(content)}")
        return content

    def names(self) -> tuple[str, ...]:
        """Those that every workspace has, and those of purposes that are files."""
        purposes = sorted(path.stem for path in (self.folder / "pseudonym").glob("[!.]*.key"))
        return LOG, SPLIT, *(PSEUDONYM + purpose for purpose in purposes)

    def key(self, name: str) -> Key:
        """What may be shown of a key. Raises KeyFault."""
        shown = self.signer.verifier.key_id.hex() if name == LOG else fingerprint(self.secret(name))
        return Key(name, shown, self.variable(name))

    def faults(self) -> tuple[KeyFault, ...]:
        """What is wrong with the keys that there are, for `doctor`."""
        found = []
        for name in self.names():
            try:
                self.key(name)
            except KeyFault as fault:
                found.append(fault)
        return tuple(found)

    # -- another in place of one that is there: written beside it, then put in its place (`governance.rotation`) --------

    def prepare(self, name: str) -> bytes:
        """A new secret for a key that is a file, durable beside it; one that was prepared before is dropped. Raises KeyFault."""
        self.secret(name)
        path = self._beside(name)
        path.unlink(missing_ok=True)
        put(path, secrets.token_bytes(SECRET_BYTES))
        return get(path)

    def prepared(self, name: str) -> bytes | None:
        """The secret that was prepared and not put in place. Raises KeyFault."""
        path = self._beside(name)
        return get(path) if path.exists() else None

    def place(self, name: str) -> None:
        """Put the prepared secret in place; the old one is gone. Durable on return."""
        reach("key-place:before-rename")
        self._beside(name).replace(self.path(name))
        sync(self.path(name).parent)
        reach("key-place:after-rename")

    def discard(self, name: str) -> None:
        """Forget a prepared secret."""
        reach("key-discard:before-remove")
        self._beside(name).unlink(missing_ok=True)
        sync(self.path(name).parent)
        reach("key-discard:after-remove")

    # -- the log's own key, which is rotated with an overlap in which both sign (`governance.rotation`) -------------------

    @property
    def next_signer(self) -> Signer | None:
        """The key that was prepared for the log, by itself; None where none was. Raises KeyFault."""
        if self.variable(NEXT):
            return Signer(self._private(NEXT), Verifier.parse(self.verifier_key).name)
        return Signer(self._private(NEXT), Verifier.parse(self.verifier_key).name) if self._log_file(NEXT).exists() else None

    @property
    def overlapping(self) -> bool:
        """Whether the key before still signs beside the present one."""
        return self._log_file(OLD).exists()

    def prepare_log(self) -> Signer:
        """A new key for the log, durable beside the present one; from now on checkpoints bear both signatures. Raises KeyFault."""
        if not self.variable(NEXT):
            self._log_file(NEXT).unlink(missing_ok=True)
            key = Ed25519PrivateKey.generate()
            put(self._log_file(NEXT), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        made = self.next_signer
        assert made is not None
        return made

    def place_log(self) -> None:
        """Let the prepared key be the present one: named last in `log.vkey`, then in its place. Durable on return; may be done again."""
        new, path = self.next_signer, self.folder / "log.vkey"
        assert new is not None
        if not self.variable(LOG) and not self.overlapping:
            put(self._log_file(OLD), get(self.path(LOG)))
        reach("log-key:kept")
        if self.verifier_key != str(new.verifier):
            aside = self.folder / ".log.vkey"
            aside.unlink(missing_ok=True)
            put(aside, "".join(f"{key}\n" for key in (*self.verifier_keys, new.verifier)).encode())
            reach("log-key:before-rename")
            aside.replace(path)
            sync(self.folder)
        reach("log-key:named")
        if not self.variable(NEXT):
            self._log_file(NEXT).replace(self.path(LOG))
            sync(self.folder)
        reach("log-key:placed")

    def discard_log(self, name: str) -> None:
        """Forget the prepared key (`log.next`), or the one before (`log.old`), which ends the overlap."""
        reach("log-key:before-discard")
        self._log_file(name).unlink(missing_ok=True)
        sync(self.folder)
        reach("log-key:after-discard")

    def _log_file(self, name: str) -> Path:
        return self.folder / name

    # -- whole files, for backups (`governance.key_backup`) -------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """Content of each file, by its place in the folder; not what the environment has. Raises KeyFault."""
        found = {f"{name}.key": get(self.path(name)) for name in self.names() if not self.variable(name)}
        beside = {name: get(self.folder / name) for name in (NEXT, OLD, *partner_keys.NAMES) if (self.folder / name).exists()}
        return {"log.vkey": get(self.folder / "log.vkey")} | found | beside

    def put(self, place: str, content: bytes) -> bool:
        """Put a file back where there is none; whether it was missing. Raises KeyFault where another is there, or for no key's place."""
        name = place.removesuffix(".key")
        path = self.folder / place if place in ("log.vkey", NEXT, OLD, *partner_keys.NAMES) else self.path(name)
        if path.exists():
            if get(path) != content:
                raise KeyFault(path, "is another than the one in the backup", "move it away first, if it is the wrong one")
            return False
        make_folder(self.folder)
        make_folder(path.parent)
        put(path, content)
        return True

    def _beside(self, name: str) -> Path:
        return self.path(name).with_suffix(".next")

    def superseded(self, place: str, content: bytes) -> bool:
        """Whether a file of the log's key is there that was rotated since `content` was: the list of keys only got longer."""
        vkey = self.folder / "log.vkey"
        if place == "log.vkey":
            return vkey.exists() and get(vkey) != content and get(vkey).startswith(content)
        return place == "log.key" and self.path(LOG).exists() and vkey.exists() and len(self.verifier_keys) > 1

    def _signing(self) -> list[Ed25519PrivateKey]:
        """The private keys of the log that can be read; the present one must be."""
        beside = [name for name in (NEXT, OLD) if self.variable(name) or self._log_file(name).exists()]
        return [self._private(name) for name in (LOG, *beside)]

    def _private(self, name: str) -> Ed25519PrivateKey:
        variable = self.variable(name)
        path = self.path(LOG) if name == LOG else self._log_file(name)
        try:
            key = load_pem_private_key(self._environment[variable].encode() if variable else get(path), password=None)
        except ValueError:
            raise self._fault(LOG, "is truncated or not a private key") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise self._fault(LOG, "is not an Ed25519 key")
        return key

    def _fault(self, name: str, fault: str) -> KeyFault:
        variable = self.variable(name)
        return KeyFault(Path(f"${variable}") if variable else self.path(name), fault, RESTORE)


def fingerprint(key: bytes) -> str:
    """Public: what a key is known again by, 16 hexadecimal digits; says nothing of the key or of any pseudonym."""
    return hashlib.sha256(hmac.digest(key, _FINGERPRINT, "sha256")).hexdigest()[:16]


_IN_ENVIRONMENT = re.compile(PSEUDONYM + r"[a-z0-9]+([._][a-z0-9]+)*")
"""Keys of purposes that a variable can be named after without being another's."""


def _decoded(text: str) -> bytes:
    """Base64; empty if it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
