"""Another key in place of one that is there: recorded, the old one gone, and a crash between finished either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audit import log
from governance import rotation
from governance.keys import SPLIT, KeyFault, KeyFolder, fingerprint
from governance.pseudonyms import ensure_key, purpose_key
from governance.store import Store
from tests.ledgers import store

pytestmark = pytest.mark.usefixtures("database")

ADS = "marketing.advertising"
PSEUDONYM = f"pseudonym/{ADS}"
NAMES = (SPLIT, PSEUDONYM)


@pytest.fixture
def opened(tmp_path: Path) -> Store:
    return store(tmp_path)


@pytest.fixture
def keys(tmp_path: Path, opened: Store) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys", {})
    folder.create("example.com/log")
    with opened.transaction() as transaction:
        ensure_key(transaction, folder, ADS)
    return folder


def last(opened: Store) -> dict[str, Any]:
    with opened.read() as session:
        entry = log.newest(session.connection())
    assert entry is not None
    return entry.parsed


@pytest.mark.parametrize("name", NAMES)
def test_a_rotated_key_is_another_and_the_old_one_is_nowhere(opened: Store, keys: KeyFolder, name: str) -> None:
    old = keys.secret(name)
    new = rotation.rotate(opened, keys, name)
    assert new == fingerprint(keys.secret(name)) != fingerprint(old)
    assert (last(opened)["action"], last(opened)["facts"]) == ("key.rotated", {"key": name, "fingerprint": new})
    assert not any(old in path.read_bytes() for path in keys.folder.rglob("*") if path.is_file())
    assert keys.faults() == () and rotation.unfinished(keys) == ()
    with opened.read() as session:
        assert rotation.recorded(session, name) == new
        assert purpose_key(session, keys, ADS) == keys.pseudonym(ADS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("committed", [False, True])
def test_a_crash_between_is_finished_one_way_or_the_other(
    opened: Store, keys: KeyFolder, name: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = keys.secret(name)
    with monkeypatch.context() as crash, pytest.raises(ZeroDivisionError):
        crash.setattr(keys, "place", lambda _: 1 / 0) if committed else crash.setattr(rotation, "_note", lambda *_: 1 / 0)
        rotation.rotate(opened, keys, name)
    assert keys.secret(name) == old and rotation.unfinished(keys) == (name,)
    with opened.read() as session:
        if committed and name == PSEUDONYM:
            with pytest.raises(KeyFault, match="rotation was interrupted: consentric doctor --repair"):
                purpose_key(session, keys, ADS)
        assert rotation.finish(session, keys) == ((name,) if committed else ())
        assert (keys.secret(name) == old) is not committed
        assert rotation.unfinished(keys) == ()
        purpose_key(session, keys, ADS)


def test_what_was_never_made_or_signs_is_not_rotated(opened: Store, keys: KeyFolder) -> None:
    says = {"log": "is not there; it is made first", "pseudonym/essential": "was never made", "../split": "cannot be named"}
    for name, fault in says.items():
        with pytest.raises(KeyFault, match=fault):
            rotation.rotate(opened, keys, name)
    assert last(opened)["action"] == "key.created"


def test_a_key_of_the_environment_is_exchanged_there_and_recorded_here(opened: Store, keys: KeyFolder, tmp_path: Path) -> None:
    import base64

    variable = "CONSENTRIC_KEY_PSEUDONYM_MARKETING__ADVERTISING"
    same = KeyFolder(keys.folder, {variable: base64.b64encode(keys.pseudonym(ADS)).decode()})
    with pytest.raises(KeyFault, match=f"is the old one in `{variable}`"):
        rotation.rotate(opened, same, PSEUDONYM)
    other = KeyFolder(keys.folder, {variable: base64.b64encode(b"n" * 32).decode()})
    with opened.read() as session, pytest.raises(KeyFault, match="not the one that the log names"):
        purpose_key(session, other, ADS)
    rotation.rotate(opened, other, PSEUDONYM)
    with opened.read() as session:
        assert purpose_key(session, other, ADS) == b"n" * 32
