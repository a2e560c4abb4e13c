"""The keys with which a workspace takes part in collaborations, in the key folder (`governance.key_files`), made once.

    partner.key    Ed25519 private key (PKCS #8, PEM) of contracts, rounds and transcripts
    partner.vkey   its public half and the partner's name, as signed-note's verifier key: what a contract names
    node.key       P-384 private key (OpenSSH's format, as Flower takes it) by which a transport knows this partner again

None is ever made again: contracts name the first, and transcripts are verified by it. `partner.key` comes last, so that its presence says
that all are there. Not here: the log's key, which says nothing about partners (`governance.keys`).
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from audit.checkpoint import Signer, Verifier
from governance.key_files import RESTORE, KeyFault, get, make_folder, put

KEY, PUBLIC, NODE = "partner.key", "partner.vkey", "node.key"
NAMES = (KEY, PUBLIC, NODE)


class PartnerKeys:
    """Those of one key folder, read each time they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def there(self) -> bool:
        """Whether they were made."""
        return (self.folder / KEY).exists()

    def create(self, name: str) -> None:
        """Make them for a partner that contracts call `name`. Raises KeyFault where they are there, ValueError for a name that is none."""
        signer = Signer(Ed25519PrivateKey.generate(), name)
        if self.there:
            raise KeyFault(self.folder / KEY, "exists already", "keys are made once; `consentric partner init` shows their public halves")
        make_folder(self.folder)
        for left in (NODE, PUBLIC):  # of keys that a crash kept from being made
            (self.folder / left).unlink(missing_ok=True)
        node = generate_private_key(SECP384R1())
        put(self.folder / NODE, node.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        put(self.folder / PUBLIC, f"{signer.verifier}\n".encode())
        put(self.folder / KEY, signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def verifier(self) -> Verifier:
        """What a contract names. Raises KeyFault."""
        try:
            return Verifier.parse(self._get(PUBLIC).decode())
        except ValueError:
            raise KeyFault(self.folder / PUBLIC, "is damaged", RESTORE) from None

    @property
    def signer(self) -> Signer:
        """The key of contracts, rounds and transcripts. Raises KeyFault."""
        verifier = self.verifier
        try:
            key = load_pem_private_key(self._get(KEY), password=None)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFault(self.folder / KEY, "is truncated or not an Ed25519 key", RESTORE)
        signer = Signer(key, verifier.name)
        if signer.verifier != verifier:
            raise KeyFault(self.folder / KEY, f"does not belong to `{PUBLIC}`", RESTORE)
        return signer

    @property
    def node(self) -> bytes:
        """The transport's private key. Raises KeyFault."""
        self._node()
        return self._get(NODE)

    @property
    def node_public(self) -> str:
        """Its public half (OpenSSH's format), to be registered where the transport runs. Raises KeyFault."""
        return self._node().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def _node(self) -> EllipticCurvePrivateKey:
        try:
            key = load_ssh_private_key(self._get(NODE), None)
        except ValueError:
            key = None
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
            raise KeyFault(self.folder / NODE, "is truncated or not a P-384 key", RESTORE)
        return key

    def _get(self, name: str) -> bytes:
        if not self.there:
            raise KeyFault(self.folder / KEY, "is missing", "make it once with `consentric partner init`, or restore it from a backup")
        return get(self.folder / name)
