"""Who is who on the wire: a certificate authority, a certificate of a SuperLink, and key pairs of partners' nodes.

TLS shows a partner that it speaks to the SuperLink of the collaboration (RFC 5280 certificates under a CA of its own, handed over with the
contract); a node's key, registered at the SuperLink, shows the SuperLink which partner speaks. Neither signs a round: that is the Ed25519
key which the contract names. Not here: revoking. A node's key is forgotten at the SuperLink, a server's certificate runs out.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federated.flower.pinned import TransportError
from governance import key_files

CA_DAYS, SERVER_DAYS = 3650, 365
RENEWED = dt.timedelta(days=30)
SKEW = dt.timedelta(minutes=5)
"""How far the clocks of partners may be behind."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA for one collaboration: certificate and key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """What a SuperLink is started with."""

    certificate: Path
    key: Path
    ca: Path


def authority(name: str, now: dt.datetime) -> Authority:
    """A new CA. `now` is in UTC."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        _begun(name[:64], name[:64], key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(built.public_bytes(serialization.Encoding.PEM), _pem(key))


def server(ca: Authority, hosts: Sequence[str], now: dt.datetime) -> tuple[bytes, bytes]:
    """Certificate and key of a SuperLink that is reached under these names or addresses, PEM."""
    if not hosts:
        raise TransportError("expected names or addresses under which partners reach the SuperLink, got none")
    issuer, signer = x509.load_pem_x509_certificate(ca.certificate), serialization.load_pem_private_key(ca.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TransportError("expected the key of a CA that was made here")
    key = ec.generate_private_key(ec.SECP256R1())
    common = issuer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    built = (
        _begun("SuperLink", str(common), key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM), _pem(key)


def node() -> tuple[bytes, bytes]:
    """A partner's node: private key and public key, in OpenSSH's format, on P-384, as Flower's own tools take them."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return private, key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def node_key(private: bytes) -> ec.EllipticCurvePrivateKey:
    """A node's private key. Raises TransportError for another kind of key."""
    try:
        key = serialization.load_ssh_private_key(private, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TransportError("expected a node's private key, P-384 in OpenSSH's format; make one anew and have it registered")
    return key


def registered(public: bytes) -> bytes:
    """A node's public key as a SuperLink registers it, PEM. Raises TransportError for another kind of key."""
    try:
        key = serialization.load_ssh_public_key(public)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise TransportError("expected a node's public key, P-384 in OpenSSH's format, as its partner printed it")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def keep_server(folder: Path, name: str, hosts: Sequence[str], now: dt.datetime) -> ServerFiles:
    """A CA and a SuperLink's certificate in a folder, files of mode 0600. A CA that is there stays, because partners hold it; a certificate
    that runs out within a month, or lacks one of the hosts, is issued anew."""
    files, ca_key = ServerFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem"), folder / "ca.key"
    key_files.make_folder(folder)
    if not ca_key.exists():  # written last: a CA is there as a whole or not at all
        made = authority(name, now)
        _replace({files.ca: made.certificate, ca_key: made.key})
    if not files.key.exists() or not _serves(files.certificate.read_bytes(), hosts, now):
        certificate, key = server(Authority(files.ca.read_bytes(), key_files.get(ca_key)), hosts, now)
        files.key.unlink(missing_ok=True)
        _replace({files.certificate: certificate, files.key: key})
    return files


def keep_node(folder: Path) -> tuple[Path, bytes]:
    """A node's key pair in a folder: the private key's file, mode 0600, and the public key. What is there stays."""
    path = folder / "node"
    key_files.make_folder(folder)
    if not path.exists():
        key_files.put(path, node()[0])
    public = node_key(key_files.get(path)).public_key()
    return path, public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _replace(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        path.unlink(missing_ok=True)
        key_files.put(path, content)


def _serves(certificate: bytes, hosts: Sequence[str], now: dt.datetime) -> bool:
    read = x509.load_pem_x509_certificate(certificate)
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(_name(host) in names for host in hosts) and now < read.not_valid_after_utc - RENEWED


def _begun(name: str, issuer: str, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int) -> x509.CertificateBuilder:
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
