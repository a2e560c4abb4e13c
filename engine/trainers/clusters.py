"""DP clusters: noisy prototypes first, then parts of them by any method at no cost, then how many subjects each part has.

Rounds of the door (nine at most): moments → covariance → histogram on the leading axes, which seeds prototypes → two Lloyd steps
on prototypes → for centres three more from where stand-ins for subjects lead → sizes. Exact n is never seen: every count is a column
of a noisy sum.

Neighbours: add or remove one subject. Sensitivity: the bound of each query, which the door enforces. Not here: the rounds
themselves (`engine.trainers.seeding`, `lloyd`, `partitions`) and what lies between them (`standins`), the methods (`hierarchy`,
`mixture`, `density`, `maps`), choosing k (`prototypes`), merging what is too small (`merging`), names (`engine.naming`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine.trainers import lloyd, seeding
from engine.trainers.density import density
from engine.trainers.grouping import Grouping, Lattice, Method, Prototypes, Tree, by_prototype
from engine.trainers.hierarchy import hierarchy
from engine.trainers.maps import organised
from engine.trainers.merging import above_floor
from engine.trainers.mixture import mixture
from engine.trainers.partitions import FAR, Nearest, Parts, nearest
from engine.trainers.prototypes import Merged, choose, judged, merge
from engine.trainers.rounds import Rounds
from engine.trainers.seeding import Seeds
from engine.trainers.standins import stand_ins, start
from governance.door import Array, Cohort, Grant, Part
from governance.noise import NoiseSource

PROTOTYPES = {"prototypes-1": 20.0, "prototypes-2": 20.0}
CENTRES = {"centres-1": 10.0, "centres-2": 10.0, "centres-3": 10.0}
SIZES = {"sizes": 4.0}
"""Shares of μ², one for each round. These and the constants of the modules are the same for every data set. They were chosen
on CDNOW and the online shoppers of UCI at ε 0.5 to 2 and on generated blobs at 0.1 to 0.5; those of `lloyd`, and how many prototypes
and cells there are, with a look at adult, credit default and online retail of UCI and at generated counts and blobs of unlike shape."""

MethodName = Literal["centres", "hierarchy", "mixture", "density", "map"]


@dataclass(frozen=True, slots=True, eq=False)
class Clustered:
    """Released clusters, largest first, what lies nowhere last; everything in it went through the door.

    `sizes` (k,) noisy subjects with standard deviations `sizes_sigma` (k,); `holds` (k,): how many parts each was before those were
    merged that may be smaller than a floor; `loose`: the last has nothing in common but to be nowhere else. `silhouette` and
    `davies_bouldin` on prototypes; `tried`: each k that was tried; `notes`: how k came about, in words.
    """

    model: Parts
    sizes: Array
    sizes_sigma: Array
    holds: tuple[int, ...]
    loose: bool
    silhouette: float
    davies_bouldin: float
    tried: tuple[Merged, ...]
    notes: tuple[str, ...]
    picture: Tree | Lattice | None = None


def fit(
    cohort: Cohort,
    k: int | tuple[int, int],
    grant: Grant,
    noise: NoiseSource,
    progress: Callable[[str], None],
    seed: int,
    method: MethodName = "centres",
    floor: int = 0,
) -> Clustered:
    """Clusters of the cohort's features: `k` of them, or as many of (least, most) as the prototypes suggest.

    `grant` is used up. `seed` feeds the coordinator's arithmetic on released values, nothing that sees a subject. Parts whose noisy
    size may be below `floor` are merged with the nearest. Raises DoorError and BudgetError as the door does.
    """
    least, most = (k, k) if isinstance(k, int) else k
    shares = seeding.shares(cohort.width) | PROTOTYPES | (CENTRES if method == "centres" else {}) | SIZES
    rounds = Rounds(cohort, grant.split(**shares), noise, progress, Part.ALL)
    prototypes, seeds = _prototypes(rounds, most, seed)
    tried = tuple(_METHODS[method](prototypes, each, seed) for each in range(least, most + 1))
    chosen = choose([each.merged for each in tried])
    best = next(each for each in tried if each.merged is chosen)
    if method == "centres":
        best = _refined(rounds, best, prototypes, seeds, seed)
    step, parameters = best.model.question()
    sizes = rounds.ask("sizes", step, parameters, (len(best.model.centres), 1), 1.0).ravel()
    found = _ordered(best, sizes, rounds.sigma("sizes", 1.0), floor)
    return replace(found, tried=tuple(each.merged for each in tried), notes=(_note(best.merged, len(tried), least, most, prototypes),))


def _prototypes(rounds: Rounds, k: int, seed: int) -> tuple[Prototypes, Seeds]:
    """Noisy prototypes, at least `k`, and what they began with."""
    found = seeding.seeds(rounds, k, next(iter(PROTOTYPES)), seed)
    points, variance = found.points, found.variance
    for name in PROTOTYPES:
        moved = lloyd.step(rounds, name, points, variance, found.subjects)
        points, variance = moved.centres, moved.variance
    kept = np.argsort(-moved.counts, kind="stable")[: max(k, int((moved.counts > moved.sigma).sum()))]
    return Prototypes(points[kept], np.maximum(moved.counts[kept], 1.0), variance), found


def _centres(prototypes: Prototypes, k: int, seed: int) -> Grouping:
    """k-means of the prototypes, as it is before noisy Lloyd steps."""
    merged = merge(prototypes.points, prototypes.weights, k, seed)
    return Grouping(merged, by_prototype("centres", prototypes, merged.labels, k))


_METHODS: Mapping[MethodName, Method] = {
    "centres": _centres,
    "hierarchy": hierarchy,
    "mixture": mixture,
    "density": density,
    "map": organised,
}


def _refined(rounds: Rounds, grouping: Grouping, prototypes: Prototypes, seeds: Seeds, seed: int) -> Grouping:
    """Noisy Lloyd steps from where stand-ins end, each carried on with them; then everybody belongs to the nearest centre."""
    merged = grouping.merged
    others = stand_ins(prototypes, seeds.covariance)
    centres = seeding.on_grid(start(others, prototypes, merged.centres, seed))
    variance = merged.variance + prototypes.variance
    for name in CENTRES:
        moved = lloyd.step(rounds, name, centres, variance, seeds.subjects)
        centres, variance = seeding.on_grid(others.corrected(centres, moved.centres)), moved.variance
    points, weights = prototypes.points, prototypes.weights
    labels = nearest(points, centres)
    model = Nearest("centres", centres, centres, np.arange(float(merged.k)), FAR, points, weights)
    return replace(grouping, merged=judged(points, weights, labels, merged.k), model=model)


def _ordered(grouping: Grouping, sizes: Array, sigma: float, floor: int) -> Clustered:
    """The parts that are left when small ones are merged, by size."""
    model, loose = grouping.model, grouping.loose
    groups = above_floor(model.centres, sizes, sigma, floor, loose)
    total = np.array([sizes[list(group)].sum() for group in groups])
    order = sorted(range(len(groups)), key=lambda place: (loose and place == len(groups) - 1, -total[place]))
    groups = [groups[place] for place in order]
    new = np.empty(len(sizes), dtype=np.int64)
    centres = []
    for place, group in enumerate(groups):
        members = list(group)
        new[members] = place
        centres.append(np.average(model.centres[members], axis=0, weights=np.maximum(sizes[members], 1.0)))
    return Clustered(
        model=model.regrouped(new, seeding.on_grid(np.array(centres))),
        sizes=total[order],
        sizes_sigma=sigma * np.sqrt([len(group) for group in groups]),
        holds=tuple(len(group) for group in groups),
        loose=loose,
        silhouette=grouping.merged.silhouette,
        davies_bouldin=grouping.merged.davies_bouldin,
        tried=(),
        notes=(),
        picture=grouping.picture.regrouped(new) if grouping.picture else None,
    )


def _note(best: Merged, tried: int, least: int, most: int, prototypes: Prototypes) -> str:
    if tried == 1:
        return f"{best.k} clusters were asked for and merged from {len(prototypes.points)} noisy prototypes"
    chosen = f"{best.k} of {least} to {most} clusters were chosen by silhouette"
    return f"{chosen} on {len(prototypes.points)} noisy prototypes, at no cost"
