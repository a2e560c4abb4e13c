"""Who is in what without differential privacy: by the spec's own rule, never in a group below the floor, and never by an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import exact
from engine.learning import NOBODY
from engine.models import ONE
from engine.scale import UNIT
from engine.stages import NOT_IN_TRIAL, People
from engine.trainers import twins
from governance.reads import ReadSets
from policies.segment import Segment
from tests.populations import blobs

FLOOR = 50


def spec(model: dict[str, Any], **more: Any) -> Segment:
    feature = {"table": "t", "agg": "sum(x)", "bounds": [0, 1]}
    label = None if model["type"] == "clusters" else {"table": "t", "agg": "sum(y)", "after": "30d", **more.pop("label", {})}
    fields = {"purpose": "p", "dataset": "d", "policy": "q", "as_of": "2025-01-01", "features": {"a": feature, "b": feature}}
    return Segment.model_validate({"name": "s", **fields, "label": label, "model": model, "privacy": "none", **more})


def people(features: Any, label: Any = None, treatment: Any = None) -> People:
    n = len(features)
    return People(
        subjects=pa.array([str(number) for number in range(n)], pa.string()),
        features=np.asarray(features, dtype=np.int32),
        part=np.zeros(n, np.int8),
        flags=np.zeros((n, 0), np.int16),
        label=label,
        read_sets=ReadSets(frozenset(), frozenset(), None, frozenset()),
        treatment=treatment,
    )


@pytest.fixture
def crowd() -> np.ndarray[Any, Any]:
    """Four groups of two features; the smallest is below the floor."""
    sizes, at = (200, 200, 150, FLOOR - 1), np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * UNIT // 2
    return np.repeat(at, sizes, axis=0)


def test_groups_below_the_floor_are_in_no_part(crowd: np.ndarray[Any, Any]) -> None:
    for k in (4, {"least": 2, "most": 6}):
        found = exact._assigned(spec({"type": "clusters", "k": k}), people(crowd), FLOOR)
        assert sorted(np.bincount(found[found >= 0])[np.unique(found[found >= 0])]) == [150, 200, 200]
        assert (found[-(FLOOR - 1) :] == NOBODY).all()


def test_part_names_come_from_the_spec_alone() -> None:
    assert exact.part_names(spec({"type": "clusters", "k": 3})) == ["part 1", "part 2", "part 3"]
    assert len(exact.part_names(spec({"type": "clusters", "k": {"least": 2, "most": 7}}))) == 7


def test_scores_select_by_share_or_by_threshold() -> None:
    generator = np.random.default_rng(0)
    features = generator.integers(-UNIT, UNIT, (1_000, 2))
    label = (generator.random(1_000) < 1 / (1 + np.exp(-8 * features[:, 0] / UNIT))).astype(np.int32)
    found = exact._assigned(spec({"type": "propensity", "top": 0.2}), people(features, label), FLOOR)
    assert (found == 0).sum() == pytest.approx(200, abs=2)
    assert (features[found == 0, 0] > 0.4 * UNIT).all()
    half = exact._assigned(spec({"type": "propensity", "threshold": 0.5}), people(features, label), FLOOR)
    assert (features[half == 0, 0] > -0.1 * UNIT).all() and (half == 0).sum() > 400


def test_a_value_is_compared_in_its_own_unit() -> None:
    features = np.random.default_rng(1).integers(-UNIT, UNIT, (1_000, 2))
    label = (features[:, 0] + UNIT).astype(np.int32)  # 0..ONE, that is 0 to 80 euros
    assert label.max() <= ONE
    asked = spec({"type": "value", "above": 60}, label={"bounds": [0, 80]})
    found = exact._assigned(asked, people(features, label), FLOOR)
    assert features[found == 0, 0].min() == pytest.approx(UNIT / 2, abs=UNIT / 100)


def test_an_uplift_is_learned_from_the_trial_alone() -> None:
    generator = np.random.default_rng(2)
    features, treatment = generator.integers(-UNIT, UNIT, (6_000, 2)), generator.integers(-1, 2, 6_000).astype(np.int8)
    chance = np.where(treatment == 1, 0.5 + 0.4 * features[:, 1] / UNIT, 0.5)
    label = np.where(treatment == NOT_IN_TRIAL, 1, generator.random(6_000) < chance).astype(np.int32)
    asked = spec({"type": "uplift", "above": 0.2}, treatment={"table": "t", "agg": "bool_or(z)", "window": "30d"})
    found = exact._assigned(asked, people(features, label, treatment), FLOOR)
    assert features[found == 0, 1].min() == pytest.approx(UNIT / 2, abs=UNIT / 8)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_people_are_in_nothing_and_fail_nothing(n: int) -> None:
    features, label = np.zeros((n, 2)), np.zeros(n, np.int32)
    for model in ({"type": "clusters", "k": 3}, {"type": "propensity", "top": 0.5}):
        found = exact._assigned(spec(model), people(features, None if model["type"] == "clusters" else label), FLOOR)
        assert found.tolist() == [NOBODY] * n


def test_what_rows_make_fail_is_nobodys_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("row 17 is odd")

    monkeypatch.setattr(twins, "kmeans", fail)
    features, _ = blobs(200, 2, 2, 0.1, seed=0)
    assert set(exact._assigned(spec({"type": "clusters", "k": 2}), people(features), FLOOR)) == {NOBODY}
