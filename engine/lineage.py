"""Segments over time: which of them is one that the last build had, so that it keeps its id and its name.

Each segment has a short id, `S1`, `S2`, …, that is never given twice. New centres are matched with those of the last build, one to
one and at the least distance in all (Kuhn, 1955), in the units of features, so that changed bounds do not matter. A pair counts as
the same while its centres lie closer than half the way to the nearest other centre of either build: beyond that, somebody at the old
centre would be nearer to another segment. Everything here is released, and nothing is charged.

Not here: where names come from (`engine.naming`), who moved (`engine.movement`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session

from audit.explanation_page import Named
from audit.report import Profile
from engine.scale import Scale
from governance import builds
from governance.builds import BuildId, Status
from policies.segment import Feature, Segment

Array = NDArray[np.float64]

HALFWAY = 0.5
"""Share of the way to the nearest other centre, within which a segment is the same."""

ALIKE = 0.5
"""Share of the features that must mean what they meant, for segments of two builds to be compared."""


@dataclass(frozen=True, slots=True)
class Last:
    """What the last release of a segment left: the build, its spec with the bounds that it had, features in the `order` of the
    `model`'s parameters; parts with noisy sizes; profiles by feature; the `highest` number of an id that was given so far."""

    build: BuildId
    spec: Segment
    order: tuple[str, ...]
    model: Mapping[str, Any]
    parts: tuple[Named, ...]
    sizes: tuple[float, ...]
    sizes_sigma: float
    profiles: Mapping[str, Profile]
    highest: int
    serves: bool

    def same(self, spec: Segment) -> tuple[str, ...]:
        """Features of `spec` that meant the same then, whatever their bounds."""
        return tuple(name for name, feature in spec.features.items() if _meaning(feature) == _meaning(self.spec.features.get(name)))


def last_release(session: Session, segment: str, now: dt.datetime) -> Last | None:
    """The newest build of a segment with a model of its own that was released. `serves`: it still is, and may be applied."""
    trained = (build for build in builds.builds(session, segment) if build.model is None and build.released is not None)
    build = next((build for build in trained if {"released_model", "report"} <= build.facts.keys()), None)
    if build is None:
        return None
    facts = build.facts
    try:
        spec = Segment.model_validate_json(json.dumps(facts["spec"]))
    except ValueError:  # of a version that wrote specs in another way: nothing to compare with
        return None
    parts = tuple(Named(part.get("id") or f"S{place}", part["name"]) for place, part in enumerate(facts["parts"], 1))
    profiles = {each["feature"]: _profile(each) for each in facts["report"]["profiles"]}
    in_time = not build.over(now) and (build.retrain_by is None or now < build.retrain_by)
    return Last(
        build=build.id,
        spec=spec,
        order=tuple(facts["features"]),
        model=facts["released_model"],
        parts=parts,
        sizes=tuple(part["size"] for part in facts["parts"]),
        sizes_sigma=max((part["sigma"] for part in facts["parts"]), default=0.0),
        profiles=profiles,
        highest=facts.get("highest_id", len(parts)),
        serves=build.status is Status.RELEASED and in_time,
    )


@dataclass(frozen=True, slots=True)
class Lineage:
    """`parts` of the new build by id and name, in its order; what of them `stayed` and `came`, and what `went`."""

    parts: tuple[Named, ...]
    stayed: tuple[Named, ...]
    came: tuple[Named, ...]
    went: tuple[Named, ...]
    highest: int


def trace(names: Sequence[str], profiles: Sequence[Profile], scales: Mapping[str, Scale], spec: Segment, last: Last | None) -> Lineage:
    """Ids and names for the parts of a build, which would be called `names`. `scales`: how features meet the grid now. A segment that
    stays keeps its name, but for a name that `spec` pins to an id."""
    kept = _kept(profiles, scales, spec, last) if last else {}
    highest = last.highest if last else 0
    parts = []
    for place, name in enumerate(names):
        if place not in kept:
            highest += 1
        parts.append(kept.get(place) or Named(f"S{highest}", name))
    shown = _told_apart([Named(part.id, spec.names.get(part.id, part.name)) for part in parts], spec.names)
    old = {part.id for part in kept.values()}
    return Lineage(
        parts=shown,
        stayed=tuple(part for part in shown if part.id in old),
        came=tuple(part for part in shown if part.id not in old) if last else (),
        went=tuple(part for part in last.parts if part.id not in old) if last else (),
        highest=highest,
    )


def _kept(profiles: Sequence[Profile], scales: Mapping[str, Scale], spec: Segment, last: Last) -> dict[int, Named]:
    """Parts of the last build, by the place that they have in this one."""
    here = {profile.feature: profile for profile in profiles}
    names = [name for name in last.same(spec) if name in last.profiles and name in here]
    if len(names) < ALIKE * len(spec.features):
        return {}
    old, new = (np.array([_places(scales[name], each[name]) for name in names]).T for each in (last.profiles, here))
    return {place: last.parts[then] for then, place in matched(old, new)}


def matched(old: Array, new: Array) -> list[tuple[int, int]]:
    """Pairs (place in `old`, place in `new`) of centres (k, d) and (m, d), on one scale, that are the same."""
    from scipy.optimize import linear_sum_assignment

    apart = _distances(old, new)
    near = HALFWAY * np.minimum(_nearest_other(old)[:, None], _nearest_other(new)[None, :])
    same = apart <= near
    rows, columns = linear_sum_assignment(np.where(same, apart, 1e12))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if same[row, column]]


def _nearest_other(centres: Array) -> Array:
    """(k,) distance to the nearest other centre; infinite for one that is alone."""
    apart = _distances(centres, centres)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(axis=1))


def _distances(left: Array, right: Array) -> Array:
    return np.asarray(np.sqrt(((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=2)))


def _places(scale: Scale, profile: Profile) -> Array:
    """(parts,) centres of a feature on the grid of today."""
    return scale.encode(np.array(profile.centres, dtype=np.float64)).astype(np.float64)


def _told_apart(parts: Sequence[Named], pinned: Mapping[str, str]) -> tuple[Named, ...]:
    """Names all differ: a part that is not pinned to its name is numbered where another one has it."""
    taken = {part.name for part in parts if part.id in pinned}
    found = []
    for part in parts:
        name, number = part.name, 2
        while part.id not in pinned and name in taken:
            name, number = f"{part.name} ({number})", number + 1
        taken.add(name)
        found.append(Named(part.id, name))
    return tuple(found)


def _meaning(feature: Feature | None) -> tuple[object, ...] | None:
    """What a feature is computed from."""
    return None if feature is None else (feature.table, feature.agg, feature.window, feature.max_rows)


def _profile(facts: Mapping[str, Any]) -> Profile:
    return Profile(
        facts["feature"],
        facts["unit"],
        tuple(facts["centres"]),
        tuple(facts["edges"]),
        tuple(map(tuple, facts["histograms"])),
        tuple(facts.get("rest", ())),
        facts.get("sigma", 0.0),
    )
