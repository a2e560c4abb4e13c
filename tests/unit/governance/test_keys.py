import base64
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.checkpoint import Verifier
from governance.keys import SECRET_BYTES, KeyFault, KeyFolder

ORIGIN = "example.com/log"
ADS = "marketing.advertising.first_party"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.create(ORIGIN)
    return folder


def test_keys_read_back_the_same(keys: KeyFolder) -> None:
    made, again = keys.create_pseudonym(ADS), KeyFolder(keys.folder)
    assert str(again.signer.verifier) == str(keys.signer.verifier) == keys.verifier_key
    assert (again.split, again.pseudonym(ADS)) == (keys.split, made)
    assert keys.signer.origin == ORIGIN
    assert Verifier.parse(keys.verifier_key).verify(again.signer.key.sign(b"head"), b"head")


def test_all_secrets_differ(keys: KeyFolder) -> None:
    found = {
        keys.split,
        keys.create_pseudonym(ADS),
        keys.create_pseudonym("marketing"),
        keys.signer.key.private_bytes_raw(),
    }
    assert len(found) == 4
    assert {len(secret) for secret in found} == {SECRET_BYTES}


def test_nobody_else_can_read(keys: KeyFolder) -> None:
    keys.create_pseudonym(ADS)
    for path in [keys.folder, *keys.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    names = {str(path.relative_to(keys.folder)) for path in keys.folder.rglob("*")}
    assert names == {"log.key", "log.vkey", "split.key", "pseudonym", f"pseudonym/{ADS}.key"}


def test_a_key_of_an_earlier_version_is_left_alone(keys: KeyFolder) -> None:
    """Salts of commitments were derived from it once; now they are random."""
    old = keys.folder / "commitment.key"
    old.write_bytes(b"s" * SECRET_BYTES)
    assert keys.faults() == () and keys.names() == ("log", "split") and old.name not in keys.files()
    with pytest.raises(KeyFault, match="cannot be named"):
        keys.key("commitment")


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys = KeyFolder(tmp_path / "keys")
        keys.create(ORIGIN)
        keys.create_pseudonym(ADS)
    finally:
        os.umask(before)
    assert keys.faults() == ()


def test_keys_are_made_once(keys: KeyFolder) -> None:
    before = keys.verifier_key
    with pytest.raises(KeyFault, match="exists already"):
        keys.create(ORIGIN)
    assert keys.verifier_key == before


def test_a_creation_that_was_interrupted_is_finished(keys: KeyFolder) -> None:
    split = keys.split
    (keys.folder / "log.key").unlink()
    keys.create(ORIGIN)
    assert keys.split == split
    assert keys.faults() == ()


@pytest.mark.parametrize("name", ["log.key", "log.vkey", "split.key"])
def test_a_lost_key_is_a_fault_and_not_made_anew(keys: KeyFolder, name: str) -> None:
    (keys.folder / name).unlink()
    (fault,) = keys.faults()
    assert fault.path == keys.folder / name
    assert "backup" in fault.remedy
    assert not (keys.folder / name).exists()


@pytest.mark.parametrize("name", ["log.key", "log.vkey", "split.key", f"pseudonym/{ADS}.key"])
@pytest.mark.parametrize("damage", ["empty", "cut", "longer", "open to a group", "a link", "a folder"])
def test_a_damaged_key_is_a_fault_with_its_remedy(keys: KeyFolder, name: str, damage: str) -> None:
    keys.create_pseudonym(ADS)
    path = keys.folder / name
    content = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "longer":
            path.write_bytes(content[: len(content) // 2] + b"x" + content[len(content) // 2 :])
        case "open to a group":
            path.chmod(0o640)
        case "a link":
            path.rename(path.with_name("elsewhere"))
            path.symlink_to("elsewhere")
        case "a folder":
            path.unlink()
            path.mkdir(0o700)
    (fault,) = keys.faults()
    assert fault.path == path
    assert fault.remedy == (f"chmod 600 {path}" if damage == "open to a group" else fault.remedy)
    assert content.hex() not in str(fault)


def test_an_open_folder_is_a_fault(keys: KeyFolder) -> None:
    keys.folder.chmod(0o755)
    with pytest.raises(KeyFault, match="mode 0755, expected 0700"):
        _ = keys.split
    with pytest.raises(KeyFault, match="0700"):
        keys.create_pseudonym(ADS)


def test_a_lost_folder_is_a_fault_and_not_made_anew(keys: KeyFolder) -> None:
    keys.folder.rename(keys.folder.with_name("moved"))
    with pytest.raises(KeyFault, match="missing"):
        keys.create_pseudonym(ADS)
    assert not keys.folder.exists()


def test_reading_makes_no_key(keys: KeyFolder) -> None:
    with pytest.raises(KeyFault, match="is missing; restore it from a backup"):
        keys.pseudonym(ADS)
    assert not (keys.folder / "pseudonym").exists()


def test_a_signing_key_of_another_kind_or_log_is_a_fault(keys: KeyFolder, tmp_path: Path) -> None:
    other = KeyFolder(tmp_path / "other")
    other.create(ORIGIN)
    (keys.folder / "log.vkey").write_bytes((other.folder / "log.vkey").read_bytes())
    with pytest.raises(KeyFault, match="does not belong"):
        _ = keys.signer
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (keys.folder / "log.key").write_bytes(curve)
    with pytest.raises(KeyFault, match="not an Ed25519 key"):
        _ = keys.signer


@pytest.mark.parametrize("purpose", ["", "../split", "a/b", ".", "..", "a\0b", "a b", "x" * 300])
def test_a_purpose_cannot_name_another_file(keys: KeyFolder, purpose: str) -> None:
    for read in (keys.create_pseudonym, keys.pseudonym):
        with pytest.raises(KeyFault, match="cannot be named after"):
            read(purpose)


def _key(folder: Path, barrier: Any, results: Any) -> None:
    barrier.wait()
    results.put(KeyFolder(folder).create_pseudonym(ADS))


def test_processes_at_once_get_one_key(keys: KeyFolder) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_key, args=(keys.folder, barrier, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {keys.create_pseudonym(ADS)}
    assert len(list((keys.folder / "pseudonym").iterdir())) == 1


def test_keys_can_come_from_the_environment(tmp_path: Path) -> None:
    made = KeyFolder(tmp_path / "made", {})
    made.create(ORIGIN)
    given = {
        "CONSENTRIC_KEY_LOG": (made.folder / "log.key").read_text(),
        "CONSENTRIC_KEY_SPLIT": base64.b64encode(made.split).decode(),
        "CONSENTRIC_KEY_PSEUDONYM_MARKETING__ADVERTISING__FIRST_PARTY": base64.b64encode(b"p" * 32).decode(),
    }
    keys = KeyFolder(tmp_path / "keys", given)
    keys.create(ORIGIN)
    assert (keys.verifier_key, keys.split) == (made.verifier_key, made.split)
    assert keys.signer.verifier == made.signer.verifier
    assert keys.create_pseudonym(ADS) == keys.pseudonym(ADS) == b"p" * 32
    assert [path.name for path in keys.folder.iterdir()] == ["log.vkey"]
    assert keys.faults() == () and keys.key("split").variable == "CONSENTRIC_KEY_SPLIT"
    with pytest.raises(KeyFault, match="exists already"):
        keys.create(ORIGIN)


def test_the_environment_goes_before_the_file(keys: KeyFolder) -> None:
    other = KeyFolder(keys.folder, {"CONSENTRIC_KEY_SPLIT": base64.b64encode(b"s" * 32).decode()})
    assert other.split == b"s" * 32 != keys.split
    assert other.verifier_key == keys.verifier_key


@pytest.mark.parametrize("name", ["LOG", "SPLIT"])
@pytest.mark.parametrize("content", ["c2hvcnQ=", "no base64 at all", "-----BEGIN PRIVATE KEY-----"])
def test_a_damaged_key_of_the_environment_is_a_fault_and_not_shown(keys: KeyFolder, name: str, content: str) -> None:
    (fault,) = KeyFolder(keys.folder, {f"CONSENTRIC_KEY_{name}": content}).faults()
    assert f"$CONSENTRIC_KEY_{name}" in str(fault) and content not in str(fault)


def test_a_signing_key_of_another_log_in_the_environment_is_a_fault(keys: KeyFolder, tmp_path: Path) -> None:
    other = KeyFolder(tmp_path / "other", {})
    other.create(ORIGIN)
    (fault,) = KeyFolder(keys.folder, {"CONSENTRIC_KEY_LOG": (other.folder / "log.key").read_text()}).faults()
    assert "does not belong" in str(fault)


def test_no_two_purposes_share_a_variable(keys: KeyFolder) -> None:
    given = {f"CONSENTRIC_KEY_PSEUDONYM_{name}": "x" for name in ("A__B", "A_B", "A-B", "A___B")}
    folder = KeyFolder(keys.folder, given)
    found = [folder.variable(f"pseudonym/{purpose}") for purpose in ("a.b", "a_b", "a-b", "a__b", "a_.b", "a._b", "A.b")]
    assert found == ["CONSENTRIC_KEY_PSEUDONYM_A__B", "CONSENTRIC_KEY_PSEUDONYM_A_B", None, None, None, None, None]
