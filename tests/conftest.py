"""What all tests share: no settings from outside, patient hypothesis, and the folders of data that may be at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.postgres import Server

DATA = "CONSENTRIC_DATA_DIR"
VECTORS = "CONSENTRIC_VECTORS_DIR"

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def _folder(variable: str) -> Path:
    if not (value := os.environ.get(variable)):
        pytest.skip(f"{variable} is not set")
    return Path(value)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; skips where it is not at hand."""
    return _folder(DATA)


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    """The folder of test vectors; skips where it is not at hand."""
    return _folder(VECTORS)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of this session's own; skips where there is none to start."""
    pytest.importorskip("psycopg")
    from tests.postgres import NoServerError, server

    try:
        with server() as running:
            yield running
    except NoServerError as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test twice: `tests.ledgers.store` opens SQLite, then PostgreSQL."""
    from tests.ledgers import placed

    if request.param == "sqlite":
        with placed(None):
            yield request.param
    else:
        with request.getfixturevalue("postgres").lending() as lend, placed(lend):
            yield request.param


@pytest.fixture(autouse=True, scope="session")
def a_home_for_what_is_kept_outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Suppression lists of the workspaces that tests make do not end up with those of whoever runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a workspace or a principal of their own in the environment."""
    for name in os.environ:
        if name.startswith("CONSENTRIC_") and name not in (DATA, VECTORS):
            monkeypatch.delenv(name)
