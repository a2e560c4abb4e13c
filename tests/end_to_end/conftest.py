"""Workspaces that are made and built once, and copied for each test."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenes import ANALYST, OFFICER, Shop, settle


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Nothing planned, nothing built."""
    shop = Shop.make(tmp_path_factory.mktemp("made") / "shop")
    settle()
    yield shop
    gc.unfreeze()


@pytest.fixture(scope="session")
def waiting(made: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """`groups` and `returners` were built by the analyst and wait in quarantine."""
    shop = made.copy(tmp_path_factory.mktemp("waiting") / "shop")
    for segment in ("groups", "returners"):
        assert shop.run("build", segment, by=ANALYST).code == 0
    settle()
    return shop


@pytest.fixture(scope="session")
def released(waiting: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Both were approved by the officer and released."""
    shop = waiting.copy(tmp_path_factory.mktemp("released") / "shop")
    for segment in ("groups", "returners"):
        assert shop.run("approve", segment, by=OFFICER).code == 0
    return shop


@pytest.fixture
def shop(made: Shop, tmp_path: Path) -> Shop:
    """A copy of `made`."""
    return made.copy(tmp_path / "shop")


@pytest.fixture
def built(waiting: Shop, tmp_path: Path) -> Shop:
    """A copy of `waiting`."""
    return waiting.copy(tmp_path / "shop")


@pytest.fixture
def out(released: Shop, tmp_path: Path) -> Shop:
    """A copy of `released`."""
    return released.copy(tmp_path / "shop")
