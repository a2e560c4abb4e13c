"""What is told of a trained model wherever rows are: its parts, what each is like, and how good it is, all asked of the door.

Everything here is noisy or follows from what was released. Not here: groups (`engine.described_fairness`), what became of former segments
(`engine.lineage`), who is told (`engine.reports`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from audit.clusters_page import Clusters as ClustersPage
from audit.report import Figure, Profile
from audit.report import Propensity as PropensityPage
from audit.uplift_page import Uplift as UpliftPage
from audit.value_page import Value as ValuePage
from engine import assess as door
from engine import described_clusters, described_scores, described_uplift, described_value
from engine.assess import Noisy
from engine.models import Explained
from engine.parts import Part
from engine.scale import UNIT
from engine.trainers import projecting
from engine.training import Trained
from engine.wanted import Wanted
from governance.door import Array, Cohort, Grant
from governance.noise import NoiseSource


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """`shapes`: noisy profiles on the grid, the last of whoever is in no part; `profiles`: the same in units of features."""

    parts: tuple[Part, ...]
    shapes: Noisy
    profiles: tuple[Profile, ...]
    utility: tuple[Figure, ...]
    headline: str
    propensity: PropensityPage | None = None
    clusters: ClustersPage | None = None
    value: ValuePage | None = None
    uplift: UpliftPage | None = None


def describe(wanted: Wanted, trained: Trained, cohort: Cohort, grants: Mapping[str, Grant], noise: NoiseSource) -> Described:
    """Ask the door about the result. Reads `segment`, `features`; of a score `score` and `label` too, and of an uplift `treatment`."""
    if trained.clustered is not None:
        return _clusters(wanted, trained, cohort, grants["profiles"], noise)
    if trained.valued is not None:
        name, rule = described_value.selected(wanted, trained)
        value = described_value.compared(wanted, trained, cohort, grants["curve"], noise)
        found = _scored(wanted, name, rule, value[0], cohort, grants, noise)
        return replace(found, headline=described_value.ranking(value[0][0]), value=value[1])
    if trained.trial is not None:
        name, rule = described_uplift.selected(wanted, trained)
        uplift = described_uplift.compared(wanted, trained, cohort, grants["curve"], noise)
        found = _scored(wanted, name, rule, uplift[0], cohort, grants, noise)
        return replace(found, headline=described_uplift.ranking(uplift[0][0]), uplift=uplift[1])
    assert isinstance(trained.model, Explained)  # what learners of a propensity give
    name, rule = described_scores.selected(wanted, trained)
    figures, page = described_scores.ranked(wanted, trained, cohort, grants["curve"], noise)
    found = _scored(wanted, name, rule, figures, cohort, grants, noise)
    page = replace(page, coefficients=described_scores.effects(trained.model, found.profiles))
    return replace(found, headline=described_scores.ranking(figures[0]), propensity=page)


def _clusters(wanted: Wanted, trained: Trained, cohort: Cohort, grant: Grant, noise: NoiseSource) -> Described:
    clustered = trained.clustered
    assert clustered is not None  # asked of clusters alone
    parts, utility = described_clusters.parts(wanted, clustered), described_clusters.utility(clustered)
    shapes = door.profiles(cohort, len(parts) + 1, grant, noise, rest=True)
    headline = f"silhouette {utility[0].value:.2f} on {len(clustered.model.prototypes)} prototypes"
    headline += projecting.words(trained.model, list(wanted.features))
    profiles = _profiles(wanted, shapes, clustered.model.centres)
    return Described(parts, shapes, profiles, utility, headline, clusters=described_clusters.page(wanted, clustered))


def _scored(
    wanted: Wanted,
    name: str,
    rule: str,
    utility: tuple[Figure, ...],
    cohort: Cohort,
    grants: Mapping[str, Grant],
    noise: NoiseSource,
) -> Described:
    """The one part of a score, with its noisy size, and what it is like."""
    size = door.sizes(cohort, 1, grants["sizes"], noise)
    held = float(size.values[0])
    part = wanted.part(name, rule, held, size.sigma, held / max(wanted.subjects, 1.0))
    shapes = door.profiles(cohort, 2, grants["profiles"], noise, rest=True)
    return Described((part,), shapes, _profiles(wanted, shapes, None), utility, "")


def _profiles(wanted: Wanted, shapes: Noisy, centres: Array | None) -> tuple[Profile, ...]:
    """For each feature, in its own unit: the centre of each part and its noisy histogram."""
    steps = np.linspace(-UNIT, UNIT, door.PROFILE_BINS + 1)
    middles = (steps[1:] + steps[:-1]) / 2
    found = []
    for place, (name, meant) in enumerate(wanted.features.items()):
        counts, rest = shapes.values[:-1, place], shapes.values[-1, place]
        weights = np.maximum(counts, 0.0)
        at = centres[:, place] if centres is not None else weights @ middles / np.maximum(weights.sum(axis=1), 1e-9)
        found.append(
            Profile(
                feature=name,
                unit=meant.unit,
                centres=tuple(float(v) for v in meant.scale.decode(np.asarray(at))),
                edges=tuple(float(v) for v in meant.scale.decode(steps)),
                histograms=tuple(tuple(float(v) for v in row) for row in counts),
                rest=tuple(float(v) for v in rest),
                sigma=shapes.sigma,
            )
        )
    return tuple(found)
