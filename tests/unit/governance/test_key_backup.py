"""Keys as one file: what went in comes out under the passphrase, and nothing comes out of a file that is not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance import key_backup
from governance.key_backup import BackupError, close, open_backup
from governance.keys import KeyFault, KeyFolder

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_backup, "COST", 1 << 10)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys", {})
    folder.create("example.com/log")
    folder.create_pseudonym("marketing.advertising")
    return folder


def test_a_folder_comes_back_as_it_was(keys: KeyFolder, tmp_path: Path) -> None:
    files = keys.files()
    assert sorted(files) == ["log.key", "log.vkey", "pseudonym/marketing.advertising.key", "split.key"]
    raw = close(files, PASSPHRASE)
    assert not any(content in raw for content in files.values())
    other = KeyFolder(tmp_path / "other", {})
    assert all(other.put(place, content) for place, content in open_backup(raw, PASSPHRASE).items())
    assert other.files() == files and other.faults() == ()
    assert not any(other.put(place, content) for place, content in files.items())


def test_two_backups_share_nothing(keys: KeyFolder) -> None:
    one, two = (close(keys.files(), PASSPHRASE).split(b"\n", 2) for _ in range(2))
    assert one[0] == two[0] and one[1] != two[1] and one[2] != two[2]


def test_any_change_and_any_other_passphrase_is_found(keys: KeyFolder) -> None:
    raw = close(keys.files(), PASSPHRASE)
    head = len(raw) - len(raw.split(b"\n", 2)[2])
    for place in [*range(0, head, 3), head, len(raw) - 1]:
        with pytest.raises(BackupError):
            open_backup(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], PASSPHRASE)
    for wrong in (raw[:-1], raw[:head], b"", b"x\ny\nz"):
        with pytest.raises(BackupError):
            open_backup(wrong, PASSPHRASE)
    with pytest.raises(BackupError, match="passphrase is wrong"):
        open_backup(raw, PASSPHRASE + " ")


def test_a_file_cannot_ask_for_any_amount_of_memory(keys: KeyFolder) -> None:
    raw = close(keys.files(), PASSPHRASE)
    with pytest.raises(BackupError, match="no backup of keys"):
        open_backup(raw.replace(b'"n": 1024', b'"n": 1073741824'), PASSPHRASE)


def test_a_short_passphrase_closes_nothing(keys: KeyFolder) -> None:
    with pytest.raises(BackupError, match="has 11 characters, expected at least 12"):
        close(keys.files(), "x" * 11)


@pytest.mark.parametrize("place", ["../log.key", "/etc/passwd", "pseudonym/../../x.key", "else", "pseudonym/.key"])
def test_a_backup_cannot_write_elsewhere(keys: KeyFolder, place: str) -> None:
    with pytest.raises(KeyFault, match="cannot be named"):
        keys.put(place, b"x" * 32)


def test_another_key_in_the_same_place_stays(keys: KeyFolder) -> None:
    before = keys.files()
    with pytest.raises(KeyFault, match="is another than the one in the backup"):
        keys.put("split.key", b"x" * 32)
    assert keys.files() == before
