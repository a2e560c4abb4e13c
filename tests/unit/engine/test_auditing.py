"""`engine.auditing`: the trainer that a spec asks for is the one that is audited, and what cannot be audited is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import auditing
from engine.models import ONE
from engine.privacy_audit import Recorder, Shape
from engine.workspace import WorkspaceError
from governance.accounting import mu_squared_of
from governance.door import LocalCohort, MemoryMeter
from policies.segment import Segment
from tests.fakes import SeededNoise

FEATURE = {"table": "purchases", "agg": "count(*)", "bounds": [0, 50]}
LABEL = {"table": "purchases", "agg": "count(*) > 0", "after": "30d"}
SPENT = {"table": "purchases", "agg": "sum(amount)", "after": "30d", "bounds": [0, 400]}
ARM = {"table": "mailings", "agg": "max(mailed)", "window": "30d"}


def spec(model: dict[str, Any], **more: Any) -> Segment:
    """A segment of four features."""
    features = {f"f{place}": FEATURE for place in range(4)}
    common = {"name": "some", "purpose": "marketing", "dataset": "shop", "policy": "rules", "as_of": "2025-07-01", "features": features}
    return Segment.model_validate(common | {"model": model, "privacy": {"epsilon": 1}} | more)


def steps(asked: Segment) -> set[str]:
    """Modules of the steps that a fit of the spec's trainer takes; all of its grant is spent."""
    shape = auditing.shape_of(asked)
    meter = MemoryMeter(mu_squared_of(1.0, 1e-5))
    watched = Recorder(LocalCohort(shape.others(np.random.default_rng(0), 300), meter))
    auditing.trainer_of(asked)(watched, meter.grant(), SeededNoise(0), lambda _: None)
    assert sum(meter.spent.values()) == meter.limit
    return {each.query.step.partition(".")[0] for each in watched.transcript}


def test_each_model_has_its_trainer() -> None:
    assert "clusters" in steps(spec({"type": "clusters", "k": 3}))
    assert "projected/clusters" in steps(spec({"type": "clusters", "k": {"least": 2, "most": 3}, "prepare": {"components": 2}}))
    propensity = {"type": "propensity", "top": 0.2}
    plain, trees = steps(spec(propensity | {"learner": "logistic"}, label=LABEL)), steps(spec(propensity, label=LABEL))
    assert "boosting" in trees - plain
    assert "regression" in steps(spec({"type": "value", "top": 0.2}, label=SPENT))
    assert "uplift" in steps(spec({"type": "uplift", "top": 0.2}, label=LABEL, treatment=ARM))


def test_labels_are_as_large_as_the_model_has_them() -> None:
    assert auditing.shape_of(spec({"type": "value", "top": 0.2}, label=SPENT)) == Shape(4, ONE)
    assert auditing.shape_of(spec({"type": "clusters"})) == Shape(4)


def test_what_has_no_noise_or_learns_from_samples_is_refused() -> None:
    with pytest.raises(WorkspaceError, match="expected an ε"):
        auditing.trainer_of(spec({"type": "clusters"}, privacy="none"))
    with pytest.raises(WorkspaceError, match="got a deep one"):
        auditing.trainer_of(spec({"type": "propensity", "top": 0.2, "learner": "network"}, label=LABEL))
