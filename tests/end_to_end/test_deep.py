"""Deep models in a workspace: planned, built, approved, told, verified, applied to others; refused where they may not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.trainers.deep import terms
from governance.blocks import DELTA_SHARE
from tests.scenes import GROUPS, OFFICER, POLICY, RETURNERS, Shop

NETWORK: dict[str, Any] = RETURNERS | {"name": "deep", "model": {"type": "propensity", "top": 0.3, "learner": "network"}}
EMBEDDED: dict[str, Any] = GROUPS | {"name": "deep", "model": {"type": "clusters", "k": 3, "embed": {"type": "autoencoder", "width": 2}}}

trained = pytest.mark.skipif(bool(terms.missing()), reason="the extra `deep` is not installed")


@trained
@pytest.mark.slow
@pytest.mark.parametrize("spec", [NETWORK, EMBEDDED], ids=["network", "embedded"])
def test_a_deep_model_is_planned_built_told_verified_and_applied(shop: Shop, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "STEPS", 20)
    shop.write("segments", spec)
    planned = shop.run("plan", "deep", "--json").data["privacy"]["block"]
    assert (planned["epsilon"], planned["delta"]) == (2.0, 1e-5 * DELTA_SHARE)
    assert (planned["rate"], planned["steps"]) == (1 / 32, 20)
    assert planned["assurance"].startswith("floating point")
    assert shop.run("build", "deep").code == 0
    assert shop.run("approve", "deep", by=OFFICER).code == 0
    build = shop.newest("deep")

    passport = json.loads(build.facts["passport"])
    privacy, block = passport["privacy"], passport["privacy"]["block"]
    assert (block["epsilon"], block["delta"], block["steps"]) == (2.0, planned["delta"], 20)
    assert block["sigma"] == pytest.approx(planned["noise_multiplier"] * block["bound"])
    assert privacy["epsilon"] < 2.0 and privacy["assurance"].startswith("floating point")
    assert "block" not in passport["snapshot"]
    assert shop.whole("deep")

    account = shop.run("budget", "--json").data["accounts"][0]
    assert account["blocks"] == 2.0 < account["spent"] < 2.6
    page = (shop.root / "reports" / "deep.html").read_text()
    assert "Training by samples." in page and "20 steps" in page and "floating point" in page
    assert shop.run("segments", "score", "deep").code == 0
    shop.write("policies", POLICY | {"strict": True})  # asked at each use, whatever was allowed when it was built
    refused = shop.run("segments", "members", "deep", "--json")
    assert refused.code == 3 and refused.data["refused"][0]["rule"] == "strict-is-exact"


def test_a_strict_policy_refuses_a_deep_model_with_the_reason(shop: Shop) -> None:
    shop.write("policies", POLICY | {"strict": True})
    shop.write("segments", NETWORK)
    refused = shop.run("plan", "deep", "--json")
    assert refused.code == 3
    (finding,) = refused.data["refused"]
    assert finding["rule"] == "strict-is-exact"
    assert "floating point" in finding["reason"] and finding["remedy"]


def test_without_the_extra_a_deep_model_is_wrong_usage_with_the_way_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "missing", lambda: ("opacus",))
    shop.write("segments", EMBEDDED)
    failed = shop.run("build", "deep")
    assert failed.code == 2
    assert "deep models need opacus, not installed: pip install 'consentric[deep]'" in failed.err
    assert shop.run("plan", "groups").code == 0
