"""What a partner's people look like in a round: columns of whole numbers, and those that come of a released model, worked out at home.

A model comes from a coordinator, so that nothing is believed of it: one that cannot be applied to a made-up subject is refused, and where a
row makes it fail nobody is assigned, because an error would show that row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit import verify
from engine import models
from engine.learning import NOBODY
from engine.models import Partition
from engine.stages import People
from governance.door import Column, DoorError
from governance.selection import FLAGS
from policies.segment import Segment

Columns = dict[str, Column]

_NOTHING = {"segment": NOBODY, "score": 0}


def shapes(spec: Segment, model: bytes) -> Mapping[str, tuple[int, ...]]:
    """Of each column, without the subjects; public. Raises DoorError for a model that is none for these features."""
    found: dict[str, tuple[int, ...]] = {"features": (len(spec.features),), "part": (), "flags": (len(FLAGS),)}
    if spec.label is not None:
        found["label"] = ()
    if spec.treatment is not None:
        found["treatment"] = ()
    made_up = np.zeros((1, len(spec.features)), np.int32)
    try:
        return found | {name: column.shape[1:] for name, column in _modelled(model, made_up).items()}
    except Exception:  # noqa: BLE001 (whatever parameters that somebody sent make registered code raise)
        raise DoorError("a model that gives no columns here") from None


def columns(people: People, model: bytes) -> Columns:
    """Of the people who are there, row i the same subject in each."""
    found = people.columns() | {"flags": people.flags}
    try:
        return found | _modelled(model, people.features)
    except Exception:  # noqa: BLE001 (see above)
        made_up = _modelled(model, np.zeros((1, people.features.shape[1]), np.int32))
        return found | {name: np.full(len(people.subjects), _NOTHING[name], column.dtype) for name, column in made_up.items()}


def _modelled(model: bytes, features: NDArray[np.int32]) -> Columns:
    """`segment` (n_subjects,), below 0 none, of a partition, or of a score once its threshold is known; `score` (n_subjects,)."""
    if not model:
        return {}
    facts: dict[str, Any] = json.loads(model)
    if verify.canonical(facts) != model:
        raise ValueError("expected canonical JSON")
    released = models.released(facts)
    if isinstance(released, Partition):
        return {"segment": released.assign(features)}
    score = released.score(features)
    threshold = facts.get("threshold")
    return {"score": score} | ({} if threshold is None else {"segment": np.where(score >= threshold, 0, NOBODY)})
