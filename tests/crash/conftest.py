"""What tests here kill: commands that a nursery forks, in copies of a shop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nursery import Nursery
from tests.scenes import Shop


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.make(tmp_path_factory.mktemp("made") / "shop")
