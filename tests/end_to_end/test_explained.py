"""Explanation, estimated bounds and preparation as people meet them: plan, build, page, show, diff, score."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import engine.bench
from governance import budget
from policies.segment import Segment
from tests.fakes import SeededNoise
from tests.scenes import GROUPS, OFFICER, Shop


def drawn(shop: Shop, segment: str) -> dict[str, float]:
    """μ² of each share of a build, by the transcript."""
    with shop.workspace().store.read() as session:
        transcript = budget.transcript(session, shop.newest(segment).reservation)
    found: dict[str, float] = {}
    for draw in transcript:
        share = draw.path.split("/")[1]
        found[share] = found.get(share, 0.0) + float(draw.mu_squared)
    return found


@pytest.mark.slow
def test_a_rebuild_keeps_ids_and_names_and_counts_who_moved(out: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = count(1)
    monkeypatch.setattr(engine.bench, "SystemNoise", lambda: SeededNoise(next(seeds)))  # of system noise one build in twenty drifts
    assert out.run("build", "groups").code == 0 and out.run("approve", "groups", by=OFFICER).code == 0
    before = out.newest("groups")
    for kept in (".consentric/builds", ".consentric/releases"):
        for path in (out.root / kept / before.id).glob("membership.*"):
            path.unlink()  # what is told of the last release does not come from its list
    pinned = {"S1": "Our best"}
    out.write("segments", GROUPS | {"names": pinned})
    planned = out.run("plan", "groups")
    assert f"compared with: the release {before.id}; counting who moved takes 2%" in planned.out
    assert out.run("build", "groups").code == 0
    after = out.newest("groups")
    old, new = ({part["id"]: part["name"] for part in build.facts["parts"]} for build in (before, after))
    assert old.keys() == new.keys() == {"S1", "S2", "S3"}
    assert new == old | pinned
    told = after.facts["explanation"]
    assert [len(told[what]) for what in ("stayed", "came", "went", "drift")] == [3, 0, 0, 3]
    assert not any(each["drifted"] for each in told["drift"])
    moved = told["movement"]
    sizes = {part["id"]: part["size"] for part in after.facts["parts"]}
    for row, origin in enumerate(moved["origins"]):
        for column, target in enumerate(moved["targets"]):
            expected = sizes[target["id"]] if origin["id"] == target["id"] else 0.0
            assert moved["counts"][row][column] == pytest.approx(expected, abs=8 * moved["sigma"] + 20)
    shares = drawn(out, "groups")
    assert shares["movement"] == pytest.approx(2 / 98 * sum(shares.values()))  # groups has no fairness, which gives its 4 to the others
    page = (out.root / "reports" / "groups.html").read_text()
    assert all(text in page for text in ("What separates them", "Who moved", "What drifted", "Our best", before.id))
    shown, compared = out.run("segments", "show", "groups"), out.run("segments", "diff", before.id, after.id)
    assert "what separates it" in shown.out
    assert "no feature drifted beyond the noise" in shown.out
    assert "stayed: S1 Our best" in compared.out
    assert "from, by the last model" in compared.out


def test_a_first_build_has_rules_and_nothing_to_compare_with(built: Shop) -> None:
    groups, returners = (built.newest(name).facts["explanation"] for name in ("groups", "returners"))
    assert all(rule["words"] for rule in groups["rules"])
    assert all(rule["covers"]["value"] > rule["others"]["value"] for rule in groups["rules"] + returners["rules"])
    assert groups["previous"] is groups["movement"] is None
    assert "movement" not in drawn(built, "groups")


def wide() -> dict[str, Any]:
    """Every bound estimated, a feature that says the same twice, and components."""
    features = {name: {key: value for key, value in one.items() if key != "bounds"} for name, one in GROUPS["features"].items()}
    features["again"] = {"table": "purchases", "agg": "avg(amount) * 2", "scale": "log"}
    estimated = {name: one | {"bounds": "estimate"} for name, one in features.items()}
    return GROUPS | {"features": estimated, "model": {"type": "clusters", "k": 3, "prepare": {"prune": 0.9, "components": 2}}}


@pytest.mark.slow
def test_bounds_are_estimated_and_columns_prepared(shop: Shop, tmp_path: Path) -> None:
    shop.write("segments", wide())
    planned = shop.run("plan", "groups", "--json")
    assert "recency, frequency, spend, again: estimated through the door, for 5.7% of the budget" in planned.data["rules"]["bounds"]
    assert shop.run("build", "groups").code == 0
    build = shop.newest("groups")
    spec = Segment.model_validate_json(json.dumps(build.facts["spec"]))
    within = {"recency": (0, 181), "frequency": (0, 40), "spend": (0, 500), "again": (0, 1000)}
    for name, (least, most) in within.items():
        low, high = (float(bound) for bound in spec.features[name].bounds)
        assert least <= low < high <= 2 * most
        assert high - low > 0.2 * (most - least)
    assert build.facts["digests"]["spec"] == shop.workspace().segment("groups").digest()  # of what was written
    assert build.facts["released_model"]["kind"] == "projected"
    assert "learned from 2 columns of 4 features" in build.facts["headline"]
    shares = drawn(shop, "groups")
    assert shares["bounds"] == pytest.approx(6 / 102 * sum(shares.values()))
    assert "estimated through the door" in (shop.root / "reports" / "groups.html").read_text()
    assert shop.run("approve", "groups", by=OFFICER).code == 0
    assert shop.run("segments", "score", "groups").code == 0
    assert shop.run("build", "groups").code == 0  # bounds anew, and everybody counted on the grid of then
    again = shop.newest("groups")
    assert again.facts["explanation"]["movement"] is not None
    assert len(again.facts["explanation"]["stayed"]) >= 2


def test_too_few_for_bounds_are_refused_before_anything_is_trained(shop: Shop) -> None:
    shop.write("segments", wide() | {"privacy": {"epsilon": 0.7}})
    refused = shop.run("plan", "groups")
    assert refused.code == 3
    assert "bounds-noise" in refused.err
    assert "write down public bounds" in refused.err
