"""What is told of clusters: names, words and sizes of the parts, how good they are, and pictures of them, all by released values."""

from __future__ import annotations

import math

import numpy as np

from audit import clusters_page
from audit.report import Figure
from audit.wording import number
from engine.naming import name_clusters
from engine.parts import Part
from engine.scale import UNIT
from engine.trainers.clusters import Clustered
from engine.trainers.grouping import Lattice, Tree
from engine.wanted import Wanted
from governance.door import Array
from policies.segment import Clusters

OUTLIERS = "outliers"
"""The part of whoever lies far from everybody."""

TICKS = 4
"""Ticks on an axis of the prototypes, one more than that."""

_METHODS = {
    "centres": "whoever is nearest to its centre belongs to a segment",
    "hierarchy": "segments are branches of a hierarchy",
    "mixture": "segments are components of a Gaussian mixture",
    "density": "segments are dense regions, and whoever lies outside of all is an outlier",
    "map": "segments are areas of a self-organising map",
}


def parts(wanted: Wanted, found: Clustered) -> tuple[Part, ...]:
    """One part a cluster, named by what makes it stand out."""
    dense = len(found.sizes) - found.loose
    names = [*name_clusters(wanted.hints, found.model.centres[:dense], found.sizes[:dense]), OUTLIERS][: len(found.sizes)]
    total = max(float(found.sizes.clip(min=0).sum()), 1.0)
    described = []
    for centre, holds in zip(found.model.centres[:dense], found.holds, strict=False):
        values = (float(meant.scale.decode(np.array([x]))[0]) for meant, x in zip(wanted.features.values(), centre, strict=True))
        units = ((f" {meant.unit}" if meant.unit else "") for meant in wanted.features.values())
        named = zip(wanted.features, values, units, strict=True)
        merged = f"; {holds} groups in one, as each alone may be smaller than the policy's floor, or is nearest to one that may"
        described.append("around " + ", ".join(f"{name} {number(value)}{unit}" for name, value, unit in named) + merged * (holds > 1))
    described += ["far from every segment, or where hardly anybody is"] * found.loose
    return tuple(
        wanted.part(name, text, float(size), float(sigma), max(float(size), 0.0) / total)
        for name, text, size, sigma in zip(names, described, found.sizes, found.sizes_sigma, strict=True)
    )


def utility(found: Clustered) -> tuple[Figure, ...]:
    """How well apart the clusters are, at no cost."""
    figures = (
        Figure(
            "silhouette",
            "how much nearer to the own than to the next segment, -1 to 1, on released prototypes",
            found.silhouette,
        ),
        Figure(
            "Davies-Bouldin",
            "spread of segments against their distances, less is better, on released prototypes",
            found.davies_bouldin,
        ),
    )
    return tuple(figure for figure in figures if math.isfinite(figure.value))  # of one cluster there is no distance to another


def page(wanted: Wanted, found: Clustered) -> clusters_page.Clusters:
    """Pictures, and how the segments came about."""
    assert isinstance(wanted.model, Clusters)  # nothing else is clustered
    return clusters_page.Clusters(
        how="; ".join((*found.notes, _METHODS[wanted.model.method])),
        scatter=_scatter(wanted, found) if len(wanted.features) > 1 else None,
        tree=_tree(found.picture) if isinstance(found.picture, Tree) else None,
        map=_map(found.picture) if isinstance(found.picture, Lattice) else None,
    )


def _scatter(wanted: Wanted, found: Clustered) -> clusters_page.Scatter:
    """Prototypes on the two features in which the centres of the parts differ most."""
    model = found.model
    shares = np.maximum(found.sizes, 1.0) / np.maximum(found.sizes, 1.0).sum()
    spread = shares @ (model.centres - shares @ model.centres) ** 2
    chosen = sorted(int(place) for place in np.argsort(-spread, kind="stable")[:2])
    places, ticks = zip(*(_axis(wanted, feature, model.prototypes[:, feature]) for feature in chosen), strict=True)
    names = list(wanted.features)
    parts = model.assign(model.prototypes)
    dots = zip(*places, model.weights / model.weights.max(), parts, strict=True)
    return clusters_page.Scatter(
        across=names[chosen[0]].replace("_", " "),
        up=names[chosen[1]].replace("_", " "),
        across_ticks=ticks[0],
        up_ticks=ticks[1],
        dots=tuple((float(x), float(y), float(weight), int(part) + 1) for x, y, weight, part in dots),
    )


def _axis(wanted: Wanted, feature: int, values: Array) -> tuple[Array, tuple[tuple[float, str], ...]]:
    """Places of values on a feature's axis as shares of its length, and its ticks in the feature's own units."""
    margin = 0.05 * max(float(np.ptp(values)), 1.0)
    low, high = max(float(values.min()) - margin, -UNIT), min(float(values.max()) + margin, UNIT)
    at = np.linspace(low, high, TICKS + 1)
    words = [number(float(value)) for value in list(wanted.features.values())[feature].scale.decode(at)]
    return (values - low) / (high - low), tuple(zip(np.linspace(0, 1, TICKS + 1).tolist(), words, strict=True))


def _tree(drawn: Tree) -> clusters_page.Tree:
    """In shares of a picture's width and height."""
    height = max(float(drawn.brackets[:, :, 1].max()), 1.0)
    across = (drawn.brackets[:, :, 0] + 0.5) / drawn.leaves
    brackets = np.stack([across, drawn.brackets[:, :, 1] / height], axis=2)
    return clusters_page.Tree(
        brackets=tuple(tuple((float(x), float(y)) for x, y in corners) for corners in brackets),
        ends=tuple(
            ((float(start) + 0.5) / drawn.leaves, (float(end) + 0.5) / drawn.leaves, int(part) + 1)
            for (start, end), part in zip(drawn.ends, drawn.parts, strict=True)
        ),
        cut=drawn.cut / height,
    )


def _map(drawn: Lattice) -> clusters_page.Map:
    """With what is in units, and between them, as shares of the largest."""
    full, dark = drawn.weights / max(float(drawn.weights.max()), 1.0), drawn.apart / max(float(drawn.apart.max()), 1.0)
    return clusters_page.Map(
        tuple(
            tuple((int(part) + 1, float(one), float(other)) for part, one, other in zip(*row, strict=True))
            for row in zip(drawn.parts, full, dark, strict=True)
        )
    )
