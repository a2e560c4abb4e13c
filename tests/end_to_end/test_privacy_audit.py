"""`consentric audit privacy`: made-up subjects alone, nothing spent, in the log before it is shown, and exit 6 where noise is too small."""

from __future__ import annotations

import json
import shutil

import pytest

from governance.noise import NoiseSource
from tests.fakes import SeededNoise
from tests.scenes import ANALYST, AUDITOR, Shop
from tests.unit.engine.test_privacy_audit import products


@pytest.mark.parametrize("segment", ["groups", "returners"])
def test_no_row_is_read_and_nothing_is_spent(shop: Shop, segment: str) -> None:
    shutil.rmtree(shop.root / "data")
    before = shop.run("budget", "--json", by=ANALYST).out
    ran = shop.run("audit", "privacy", segment, "--fits", "3", by=AUDITOR)
    assert ran.code == 0, ran.err
    assert "no row was read, nothing spent" in ran.out
    assert "consistent" in ran.out
    assert shop.run("budget", "--json", by=ANALYST).out == before


def test_intent_and_outcome_are_in_the_log(shop: Shop) -> None:
    shown = json.loads(shop.run("audit", "privacy", "groups", "--fits", "2", "--json", by=AUDITOR).out)
    entries = json.loads(shop.run("audit", "log", "--action", "privacy", "--json", by=AUDITOR).out)["entries"]
    assert [entry["action"] for entry in entries] == ["privacy.audit", "privacy.audited"]
    assert {entry["principal"] for entry in entries} == {AUDITOR}
    assert entries[0]["facts"]["fits"] == 2
    assert entries[1]["facts"] == shown
    assert shown["epsilon"] == 2.0 and shown["verdict"] == "consistent"


@pytest.mark.slow
def test_too_little_noise_breaks_integrity(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_little() -> NoiseSource:
        return SeededNoise(1, 0.1)

    monkeypatch.setattr("engine.bench.SystemNoise", too_little)
    monkeypatch.setattr("engine.auditing.trainer_of", lambda _: products)
    ran = shop.run("audit", "privacy", "groups", by=AUDITOR)
    assert ran.code == 6
    assert "NOISE TOO SMALL" in ran.out
    entries = json.loads(shop.run("audit", "log", "--action", "privacy.audited", "--json", by=AUDITOR).out)["entries"]
    assert entries[0]["facts"]["verdict"] == "noise too small"
