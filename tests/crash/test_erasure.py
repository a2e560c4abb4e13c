"""Killed with -9 at each step of an erasure: the next command finishes it, or it is as if it had not been asked for and can be again."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from audit.failpoint import KILL, TRACE
from engine import rights
from governance.erasures import unfinished
from governance.principals import UNSAFE_VARIABLE
from tests.nursery import Nursery
from tests.scenes import OFFICER, Shop

pytestmark = pytest.mark.slow

STEPS = (
    *("erase-intent:before-commit", "erase-intent:after-commit"),
    *("suppression:before-write", "suppression:before-sync", "suppression:after-sync"),
    *("erase-consent:before-commit", "erase-consent:after-commit"),
    *("consent-snapshot:after-commit", "erase:before-files", "retrain:after-commit", "notice-file:before-rename", "notice:after-commit"),
    *("copy:before-rename", "copy:after-rename", "erase:after-files", "notice-copy:after-rename", "notice-handed:after-commit"),
    *("erase-rewritten:after-commit", "erase:after-shred", "erase-finished:before-commit", "outside:before-sync"),
)
"""Where a crash differs from the one before; each transaction and file has more such places, which tests of their own crash at."""

INTENDED = STEPS.index("erase-intent:after-commit")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """One segment was released and handed over; its files are all that stays of how consents came."""
    shop = Shop.make(tmp_path_factory.mktemp("released") / "shop")
    assert shop.run("build", "groups").code == 0 and shop.run("approve", "groups", by=OFFICER).code == 0
    assert shop.run("segments", "export", "groups", "--to", str(shop.root.parent / "list.csv"), by=OFFICER).code == 0
    (shop.root / "data" / "consents.csv").unlink()
    return shop


def variables(shop: Shop, **more: str) -> dict[str, str]:
    return {"CONSENTRIC_WORKSPACE": str(shop.root), UNSAFE_VARIABLE: OFFICER, **more}


def test_a_kill_at_any_step_of_an_erasure_is_made_good_by_the_next_command(nursery: Nursery, released: Shop, tmp_path: Path) -> None:
    someone = released.inside(released.newest("groups").id)[0]
    words = ("rights", "erase", someone, "--yes")
    whole, trace = released.copy(tmp_path / "whole" / "shop"), tmp_path / "trace"
    assert nursery.run(*words, env=variables(whole, **{TRACE: str(trace)})).code == 0
    assert set(STEPS) <= {*trace.read_text().split()}
    for number, step in enumerate(STEPS):
        shop = released.copy(tmp_path / str(number) / "shop")
        assert nursery.run(*words, env=variables(shop, **{KILL: step})).code == -9, step
        gc.collect()
        assert shop.run("segments", "list").code == 0, step
        with shop.workspace(OFFICER).store.read() as session:
            assert not unfinished(session), step
        gc.collect()
        if number >= INTENDED:
            assert list(rights.left_of(shop.workspace(OFFICER), someone)) == [], step
        else:
            assert shop.run(*words, by=OFFICER).code == 0, step
        assert shop.workspace(OFFICER).suppression.marks(someone)
        assert shop.verify() == 0, step
    assert shop.whole("groups") and shop.pseudonyms([someone]).isdisjoint(shop.members("groups"))
