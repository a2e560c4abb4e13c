"""Keys on the command line: which there are, exchanging one, losing all and getting them back; and the way to a newer schema."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from governance import migrations
from governance.databases import open_engine
from tests.scenes import ADS, ANALYST, AUDITOR, OFFICER, Shop

pytestmark = pytest.mark.slow

PASSPHRASE = {"CONSENTRIC_KEY_PASSPHRASE": "correct horse battery staple"}
PSEUDONYM = f"pseudonym/{ADS}"


def listed(shop: Shop) -> dict[str, str]:
    return {key["key"]: key["fingerprint"] for key in shop.run("keys", "list", "--json").data["keys"]}


def test_the_list_shows_no_secret(out: Shop) -> None:
    assert sorted(listed(out)) == ["log", PSEUDONYM, "split"]
    shown = out.run("keys", "list").out
    for path in (out.root / ".consentric" / "keys").rglob("*.key"):
        assert path.read_bytes().hex() not in shown and "PRIVATE" not in shown


def test_rotation_says_what_follows_and_asks(shop: Shop) -> None:
    before = listed(shop)
    asked = shop.run("keys", "rotate", "split")
    assert asked.code == 2 and "say --yes" in asked.err and listed(shop) == before
    assert shop.run("keys", "rotate", "split", "--yes").code == 0
    after = listed(shop)
    assert {name for name in before if before[name] != after[name]} == {"split"}
    assert [entry["facts"]["key"] for entry in shop.log() if entry["action"] == "key.rotated"] == ["split"]
    assert shop.run("build", "groups").code == 0


def test_a_purposes_key_is_exchanged_when_nobody_holds_a_list_under_it(out: Shop, tmp_path: Path) -> None:
    old = out.pseudonyms(["person-00000"])
    refused = out.run("keys", "rotate", PSEUDONYM, "--yes")
    assert refused.code == 2 and "recall them first" in refused.err
    assert out.run("segments", "export", "groups", "--to", str(tmp_path / "list.parquet"), by=OFFICER).code == 0
    for segment in ("groups", "returners"):
        recalled = out.run("segments", "recall", segment, "-m", "new pseudonyms", by=OFFICER)
        assert recalled.code == 0, recalled.err
    waiting = out.run("keys", "rotate", PSEUDONYM, "--yes")
    assert waiting.code == 2 and "acknowledged" in waiting.err
    with sqlite3.connect(out.root / ".consentric" / "metadata.db") as connection:
        notices = [notice for (notice,) in connection.execute("SELECT id FROM recall_notices")]
    for notice in notices:
        done = out.run("segments", "acknowledge", notice, by=OFFICER)
        assert done.code == 0, done.err
    rotated = out.run("keys", "rotate", PSEUDONYM, "--yes")
    assert rotated.code == 0, rotated.err
    assert not old & out.pseudonyms(["person-00000"])
    assert out.run("build", "groups", by=ANALYST).code == 0 and out.run("approve", "groups", by=OFFICER).code == 0
    assert out.whole("groups")


def test_lost_keys_come_back_and_rotated_ones_do_not(out: Shop, tmp_path: Path) -> None:
    file, newer, keys = tmp_path / "keys.backup", tmp_path / "newer.backup", out.root / ".consentric" / "keys"
    short = out.run("keys", "backup", str(file), env={"CONSENTRIC_KEY_PASSPHRASE": "short"})
    assert short.code == 2 and "at least 12" in short.err and not file.exists()
    assert out.run("keys", "backup", str(file), env=PASSPHRASE).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert out.run("keys", "backup", str(file), env=PASSPHRASE).code == 2
    assert out.run("keys", "rotate", "split", "--yes").code == 0
    assert out.run("keys", "backup", str(newer), env=PASSPHRASE).code == 0
    before = listed(out)
    shutil.rmtree(keys)
    assert out.run("segments", "list").code == 1
    wrong = out.run("keys", "restore", str(file), env={"CONSENTRIC_KEY_PASSPHRASE": "another passphrase"})
    assert wrong.code == 2 and "passphrase is wrong" in wrong.err and not keys.exists()
    restored = out.run("keys", "restore", str(file), "--json", env=PASSPHRASE)
    assert restored.code == 0, restored.err
    assert restored.data["restored"] == ["log.key", "log.vkey", f"{PSEUDONYM}.key"]
    assert restored.data["rotated_since"] == ["split.key"]
    assert out.run("keys", "restore", str(newer), "--json", env=PASSPHRASE).data == {"restored": ["split.key"], "rotated_since": []}
    assert listed(out) == before
    assert out.run("audit", "verify", by=AUDITOR).code == 0


def test_whoever_may_not_manage_keys_is_refused(shop: Shop, tmp_path: Path) -> None:
    for words in (("list",), ("rotate", "split", "--yes"), ("backup", str(tmp_path / "b")), ("restore", str(tmp_path / "b"))):
        assert shop.run("keys", *words, by="eve").code == 3  # before any passphrase is asked for
    assert not (tmp_path / "b").exists()


def test_an_older_workspace_is_refused_until_it_is_migrated(shop: Shop) -> None:
    database = shop.root / ".consentric" / "metadata.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    as_first(database)
    refused = shop.run("segments", "list")
    assert refused.code == 1 and "run `consentric migrate`" in refused.err
    (check,) = [check for check in shop.run("doctor", "--json").data["checks"] if check["name"] == "schema"]
    assert (check["ok"], check["remedy"]) == (False, "run `consentric migrate`")
    assert shop.run("migrate", by="eve").code == 3
    done = shop.run("migrate", "--json")
    assert done.code == 0, done.err
    assert done.data["before"] == migrations.FIRST
    copy = Path(done.data["copy"])
    assert copy.stat().st_mode & 0o077 == 0 and "decoded" not in _columns(copy)
    assert "decoded" in _columns(database)
    assert shop.run("build", "groups").code == 1  # nothing outside is known of yet
    assert shop.run("rights", "replay", "--anew", by=OFFICER).code == 0
    assert shop.run("audit", "verify", by=AUDITOR).code == 0 and shop.run("build", "groups").code == 0
    assert shop.run("migrate", "--json").data["copy"] is None


def _columns(database: Path) -> set[str]:
    with sqlite3.connect(database) as connection:
        return {row[1] for row in connection.execute("PRAGMA table_info(consent_events)")}


def as_first(database: Path) -> None:
    """What the first version would have written: the same rows of a database of the first schema."""
    old = database.with_name("old.db")
    engine = open_engine(f"sqlite:///{old}")
    with engine.execution_options(write=True).begin() as connection:
        migrations.upgrade(connection, migrations.FIRST)
        migrations.marks.drop(connection)
    engine.dispose()
    with sqlite3.connect(old) as connection:
        connection.execute("ATTACH ? AS new", (str(database),))
        for (table,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
            names = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
        connection.commit()
        connection.execute("DETACH new")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for leftover in database.parent.glob("metadata.db*"):
        leftover.unlink()
    old.rename(database)
