"""Killed with -9 around every durable step of a sweep and of a recall: nobody comes back, and no recipient stays uninformed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from governance.builds import Status
from tests.crash.test_build import besides_checkpoints, deaths, points
from tests.nursery import Nursery
from tests.scenes import OFFICER, Shop, listed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """`groups` is released and was handed over; somebody who was in it withdrew, and no sweep came by."""
    folder = tmp_path_factory.mktemp("handed")
    shop = Shop.make(folder / "shop")
    assert shop.run("build", "groups").code == 0
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    assert shop.run("segments", "export", "groups", "--to", str(folder / "list.csv")).code == 0
    shop.withdraw(shop.inside(shop.newest("groups").id)[:1])
    return shop


def asked(shop: Shop) -> list[dict[str, object]]:
    """What the notices ask for whose files are there; a sweep deletes those that nobody opened."""
    return [json.loads(file.read_text()) for file in (shop.root / ".consentric" / "notices").glob("*.json")]


def exported(shop: Shop) -> list[str]:
    """Who stands on lists of exports."""
    found: list[str] = []
    for file in (shop.root / ".consentric" / "exports").glob("*.parquet"):
        found += pq.read_table(file)["subject"].to_pylist()
    return found


def test_killed_around_every_durable_step_of_a_sweep(nursery: Nursery, handed: Shop, tmp_path: Path) -> None:
    build = handed.newest("groups").id
    gone, *others = handed.inside(build)
    (name,) = handed.pseudonyms([gone])
    found = points(nursery, handed.copy(tmp_path / "whole" / "shop"), OFFICER, "sweep")
    steps = ("notice:after-commit", "notice-file:after-rename", "copy:before-rename", "retrain:after-commit", "sweep:before-commit")
    assert set(found) >= set(steps)
    durable = [point for point in besides_checkpoints(found) if not point.startswith(("strays", "look"))]  # those change nothing
    for death in deaths(nursery, handed, tmp_path, OFFICER, ("sweep",), durable):
        shop = death.shop
        assert gone in exported(shop) or [name] in [each["delete"] for each in asked(shop)], death.point
        assert shop.run("sweep", by=OFFICER).code == 0
        assert shop.inside(build) == others and gone not in exported(shop), death.point
        assert [name] in [each["delete"] for each in asked(shop)], death.point
        assert name not in listed(shop.root / ".consentric" / "releases" / build / "membership.parquet")
        assert shop.newest("groups").retrain_by is not None and shop.verify() == 0
        assert not list((shop.root / ".consentric").rglob("*.partial")), death.point


def test_killed_around_every_durable_step_of_a_recall(nursery: Nursery, handed: Shop, tmp_path: Path) -> None:
    words = ("segments", "recall", "groups")
    build, everybody = handed.newest("groups").id, handed.pseudonyms(handed.inside(handed.newest("groups").id))
    found = points(nursery, handed.copy(tmp_path / "whole" / "shop"), OFFICER, *words)
    done = found.index("recall:after-commit")
    for death in deaths(nursery, handed, tmp_path, OFFICER, words, besides_checkpoints(found)):
        shop = death.shop
        recalled = shop.status(build) is Status.RECALLED
        assert recalled == (found.index(death.point) >= done), death.point
        assert shop.run("sweep", by=OFFICER).code == 0
        if recalled:
            assert not exported(shop) and not (shop.root / ".consentric" / "builds" / build).exists()
            assert any(each["whole"] and set(each["delete"]) == everybody for each in asked(shop)), death.point  # type: ignore[call-overload]
        assert shop.verify() == 0
