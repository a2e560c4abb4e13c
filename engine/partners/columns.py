"""What a partner's people look like in a round: columns of whole numbers, and those that come of a released model, worked out at home.

A model comes from a coordinator, so that nothing is believed of it. One that cannot be applied to made-up subjects is refused. What it says
of a subject depends on that subject alone: whoever makes it fail is nobody, and all others stay what they are, because neither an error nor
a change of theirs may show one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit import verify
from engine import models
from engine.learning import NOBODY
from engine.models import Partition
from engine.stages import People
from governance.door import STEADY, Column, DoorError, one_blas_thread
from governance.selection import FLAGS
from policies.segment import Segment

Columns = dict[str, Column]

_NOTHING = {"segment": NOBODY, "score": 0}

_MADE_UP = (1, 2, 3)
"""Numbers of made-up subjects: parameters with a row for each of so many subjects fit one of these at most, unless they are for all."""


def shapes(spec: Segment, model: bytes, attributes: int = 0) -> Mapping[str, tuple[int, ...]]:
    """Of each column, without the subjects; public. `attributes`: of the contract. Raises DoorError for a model that is none for these
    features."""
    found: dict[str, tuple[int, ...]] = {"features": (len(spec.features),), "part": (), "flags": (len(FLAGS),)}
    if spec.label is not None:
        found["label"] = ()
    if spec.treatment is not None:
        found["treatment"] = ()
    if attributes:
        found["groups"] = (attributes,)
    nobody = np.zeros((0, len(spec.features)), np.int32)
    try:
        return found | {name: column.shape[1:] for name, column in _modelled(model, nobody).items()}
    except Exception:  # noqa: BLE001 (whatever parameters that somebody sent make registered code raise)
        raise DoorError("a model that gives no columns here") from None


def columns(people: People, model: bytes) -> Columns:
    """Of the people who are there, row i the same subject in each. Raises as `shapes` does, where a model was not shown to it."""
    return people.columns() | {"flags": people.flags} | _modelled(model, people.features)


def _modelled(model: bytes, features: NDArray[np.int32]) -> Columns:
    if not model:
        return {}
    facts: dict[str, Any] = json.loads(model)
    if verify.canonical(facts) != model:
        raise ValueError("expected canonical JSON")
    return modelled(facts, features)


def modelled(facts: Mapping[str, Any], features: NDArray[np.int32]) -> Columns:
    """`segment` (n_subjects,), below 0 none, of a partition, or of a score once its threshold is known; `score` (n_subjects,).

    Raises whatever registered code does of a model that cannot be applied to made-up subjects; that never depends on `features`.
    """
    released, threshold = models.released(facts), facts.get("threshold")
    if threshold is not None and not isinstance(threshold, int | float):
        raise ValueError("expected one threshold for everybody")
    name, apply = ("segment", released.assign) if isinstance(released, Partition) else ("score", released.score)
    for count in _MADE_UP:
        _one_each(apply, np.zeros((count, features.shape[1]), np.int32))
    starts = range(0, max(len(features), 1), STEADY)  # so that whoever makes it fail costs a moment, not another look at everybody
    with one_blas_thread():
        column = np.concatenate([_some(apply, features[start : start + STEADY], _NOTHING[name]) for start in starts])
    if name == "segment" or threshold is None:
        return {name: column}
    return {name: column, "segment": np.where(column >= threshold, 0, NOBODY)}


def _one_each(apply: Callable[[NDArray[np.int32]], NDArray[np.int64]], features: NDArray[np.int32]) -> NDArray[np.int64]:
    with np.errstate(all="ignore"):
        found = np.asarray(apply(features))
    if found.shape != (len(features),) or found.dtype.kind not in "iu":
        raise ValueError("expected a whole number of each subject")
    return found.astype(np.int64)


def _some(apply: Callable[[NDArray[np.int32]], NDArray[np.int64]], features: NDArray[np.int32], nothing: int) -> NDArray[np.int64]:
    """Of some subjects, who are followed by made-up ones, as in `governance.door.exact_sum`. Where it fails they are halved down to the
    subject that does it."""
    n = len(features)
    try:
        return _one_each(apply, np.concatenate([features, np.zeros((STEADY - n, features.shape[1]), features.dtype)]))[:n]
    except Exception:  # noqa: BLE001 (see above)
        if n < 2:
            return np.full(n, nothing, np.int64)
        return np.concatenate([_some(apply, features[: n // 2], nothing), _some(apply, features[n // 2 :], nothing)])
