from __future__ import annotations

from typing import Any

import pytest

from engine.shares import SHARES, shares_of, trained
from policies.segment import Segment
from tests.scenes import GROUPS, RETURNERS

AGE = [{"table": "people", "column": "age"}]


def segment(document: dict[str, Any], **changes: Any) -> Segment:
    return Segment.model_validate(document | {"fairness": AGE} | changes)


@pytest.mark.parametrize("document", [GROUPS, RETURNERS])
def test_forecasts_hold_for_whom_everything_is_asked_of(document: dict[str, Any]) -> None:
    assert trained(segment(document)) == pytest.approx(1)
    assert shares_of(segment(document)) == SHARES[document["model"]["type"]]


def test_what_is_not_asked_for_goes_to_the_trainer_and_what_is_asked_beside_it_comes_from_there() -> None:
    everything, bare = segment(GROUPS), segment(GROUPS, fairness=[])
    whole = sum(SHARES["clusters"].values())
    assert trained(bare) == pytest.approx(whole / (whole - SHARES["clusters"]["fairness"]))
    features = {name: feature | {"bounds": "estimate"} for name, feature in GROUPS["features"].items()}
    assert trained(segment(GROUPS, features=features)) < trained(everything)
    assert trained(segment(GROUPS, model=GROUPS["model"] | {"prepare": {"prune": 0.9}})) == pytest.approx(0.88)
