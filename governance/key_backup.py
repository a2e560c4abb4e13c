"""The key folder as one file, under a passphrase: AES-256-GCM (NIST SP 800-38D) with a key from scrypt (RFC 7914).

    consentric keys v1                    the kind of file
    {"salt": …, "nonce": …, "n": …}       what scrypt and AES are given besides the passphrase
    ciphertext                            of {place in the folder: base64}, as JSON

The first two lines are authenticated with the rest, so that nobody can lower the cost or mix two files. Whoever has file and
passphrase has every key: keep them apart, and neither beside a backup of the database.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

KIND = b"consentric keys v1\n"

COST = 1 << 17
"""scrypt's N with r = 8 and p = 1: 128 MiB and about half a second (OWASP, Password Storage)."""

MOST_COST = 1 << 20
"""A file cannot ask for more than 1 GiB."""

SHORTEST = 12
"""Characters of a passphrase."""


class BackupError(Exception):
    """The file cannot be opened, or the passphrase is too short to close one."""


def close(files: Mapping[str, bytes], passphrase: str) -> bytes:
    """The file. Raises BackupError for a short passphrase."""
    if len(passphrase) < SHORTEST:
        raise BackupError(f"the passphrase has {len(passphrase)} characters, expected at least {SHORTEST}")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    numbers = {"salt": base64.b64encode(salt).decode(), "nonce": base64.b64encode(nonce).decode(), "n": COST}
    head = KIND + json.dumps(numbers).encode() + b"\n"
    content = json.dumps({place: base64.b64encode(content).decode() for place, content in files.items()}).encode()
    return head + AESGCM(_key(passphrase, salt, COST)).encrypt(nonce, content, head)


def open_backup(raw: bytes, passphrase: str) -> dict[str, bytes]:
    """What `close` was given. Raises BackupError."""
    try:
        kind, numbers, ciphertext = raw.split(b"\n", 2)
        if kind + b"\n" != KIND:
            raise ValueError
        given = json.loads(numbers)
        salt, nonce, cost = base64.b64decode(given["salt"]), base64.b64decode(given["nonce"]), given["n"]
        if type(cost) is not int or not 1 < cost <= MOST_COST or cost & (cost - 1) or not 8 <= len(nonce) <= 128:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise BackupError("the file is no backup of keys, or it was cut") from None
    try:
        content = AESGCM(_key(passphrase, salt, cost)).decrypt(nonce, ciphertext, raw[: len(raw) - len(ciphertext)])
    except InvalidTag:
        raise BackupError("the passphrase is wrong, or the file was changed") from None
    return {place: base64.b64decode(text) for place, text in json.loads(content).items()}


def _key(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(passphrase.encode())
