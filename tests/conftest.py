"""What all tests share: no settings from outside, patient hypothesis, and the folders of data that may be at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a workspace or a principal of their own in the environment."""
    for name in os.environ:
        if name.startswith("CONSENTRIC_") and name not in (DATA, VECTORS):
            monkeypatch.delenv(name)
