"""The log's own key rotated, and killed at every step: the workspace goes on, and either key leads an outsider through its log."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest

from audit import verify
from audit.failpoint import KILL, TRACE
from governance.principals import UNSAFE_VARIABLE
from tests.nursery import Nursery
from tests.scenes import ANALYST, AUDITOR, OFFICER, Shop

pytestmark = pytest.mark.slow

ROTATE = ("keys", "rotate", "log", "--yes")

STEPS = (
    *("log-key:prepared", "key:before-commit", "key:after-commit", "key:after-seal", "outside:before-sync"),
    *("log-key:kept", "log-key:named", "log-key:placed"),
)
"""Where a crash differs from the one before."""

COMMITTED = STEPS.index("key:after-commit")


def variables(shop: Shop, **more: str) -> dict[str, str]:
    return {"CONSENTRIC_WORKSPACE": str(shop.root), UNSAFE_VARIABLE: ANALYST, **more}


def keys(shop: Shop) -> list[str]:
    return (shop.root / ".consentric/keys/log.vkey").read_text().split()


def sound(shop: Shop, *held: str) -> None:
    """The workspace answers, its log verifies with each key that somebody may hold, and nothing is left over."""
    gc.collect()
    assert shop.run("segments", "list").code == 0
    assert shop.run("doctor", "--repair").code == 0
    for key in (*held, *keys(shop)):
        report = verify.verify_log(shop.root / ".consentric/metadata.db", shop.root / ".consentric/checkpoint", verify.parse_key(key))
        assert report.findings == ()
        assert [each.id.hex() for each in report.trust.signing()] == [each.split("+")[1] for each in keys(shop)]


def test_a_kill_at_any_step_leaves_the_old_key_or_the_new_one(nursery: Nursery, made: Shop, tmp_path: Path) -> None:
    whole, trace = made.copy(tmp_path / "whole" / "shop"), tmp_path / "trace"
    (first,) = keys(made)
    assert nursery.run(*ROTATE, env=variables(whole, **{TRACE: str(trace)})).code == 0
    sound(whole, first)
    assert {step.partition("#")[0] for step in STEPS} <= {*trace.read_text().split()}
    for number, step in enumerate(STEPS):
        shop = made.copy(tmp_path / str(number) / "shop")
        code = nursery.run(*ROTATE, env=variables(shop, **{KILL: step})).code
        assert code == -9, step
        sound(shop, first)
        assert len(keys(shop)) == (1 if number < COMMITTED else 2), step
        if len(keys(shop)) == 1:  # it is as if it had not been asked for, and can be again
            assert shop.run(*ROTATE).code == 0, step
        assert shop.run("keys", "retire").code == 0 and shop.verify() == 0, step


def test_what_was_signed_before_still_verifies_and_a_former_key_signs_nothing_new(made: Shop, tmp_path: Path) -> None:
    shop = made.copy(tmp_path / "shop")
    (first,) = keys(shop)
    assert shop.run("build", "groups").code == 0 and shop.run("build", "returners").code == 0
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    database, checkpoint, seen = shop.root / ".consentric/metadata.db", shop.root / ".consentric/checkpoint", tmp_path / "seen"
    assert verify.verify_log(database, checkpoint, verify.parse_key(first), seen).findings == ()
    asked = shop.run("keys", "rotate", "log")
    assert asked.code == 2 and "say --yes" in asked.err
    assert shop.run(*ROTATE).code == 0 and shop.run(*ROTATE).code == 1
    second = keys(shop)[-1]
    assert shop.run("approve", "returners", by=OFFICER).code == 0  # a passport of the overlap
    assert shop.run("keys", "retire").code == 0 and shop.run("keys", "retire").code == 1
    passports = sorted((shop.root / ".consentric/releases").glob("*/passport.json"))
    assert len(passports) == 2
    for key in (first, second):
        log = ("--database", str(database), "--checkpoint", str(checkpoint), "--last-seen", str(seen))
        words = ["--key", key, *log, *(word for path in passports for word in ("--passport", str(path)))]
        assert verify.main(words) == 0
    for path in passports:
        assert shop.run("audit", "verify", str(path)).code == 0
    rotated = next(entry["index"] for entry in shop.log() if entry["action"] == "key.rotated")
    assert shop.run("audit", "prove", str(rotated), "--to", str(tmp_path / "r.tlog-proof"), by=AUDITOR).code == 0
    assert verify.main(["--key", second, "--proof", str(tmp_path / "r.tlog-proof"), "--passport", str(passports[0])]) == 0
    assert checkpoint.read_text(errors="replace").count("\n— ") == 2  # one in each slot again


def put_back(shop: Shop, old: Path) -> None:
    gc.collect()
    shutil.rmtree(shop.root)
    shutil.copytree(old, shop.root)


@pytest.mark.parametrize("retired", [False, True])
def test_a_backup_from_before_a_rotation_goes_on_with_the_keys_of_its_time(made: Shop, tmp_path: Path, retired: bool) -> None:
    """What was promised since is signed by a key that it never heard of; the two signed for each other."""
    shop, old, newer = made.copy(tmp_path / "shop"), tmp_path / "old", tmp_path / "newer"
    gc.collect()
    shutil.copytree(shop.root, old)
    assert shop.run(*ROTATE).code == 0
    if retired:
        assert shop.run("keys", "retire").code == 0
    assert shop.run("build", "groups").code == 0
    shutil.copytree(shop.root / ".consentric/keys", newer)
    put_back(shop, old)
    behind = shop.run("plan", "groups")
    assert behind.code == 6 and "behind what was promised last" in behind.err
    shutil.rmtree(shop.root / ".consentric/keys")
    shutil.copytree(newer, shop.root / ".consentric/keys")
    mixed = shop.run("plan", "groups")
    assert mixed.code == 6 and "needs the keys of its time" in mixed.err
    put_back(shop, old)
    assert shop.run("rights", "replay").code == 0
    (first,) = keys(shop)
    sound(shop, first)
    assert shop.run(*ROTATE).code == 0 and shop.run("keys", "retire").code == 0 and shop.run("plan", "groups").code == 0
    sound(shop, first)
