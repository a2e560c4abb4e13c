"""What is told of clusters: names, words and sizes of the parts, and how good they are, all by released values."""

from __future__ import annotations

import numpy as np

from audit.report import Figure
from audit.wording import number
from engine.naming import FeatureHint, name_clusters
from engine.parts import Part, part_of, unit_of
from engine.planning import Planned
from engine.stages import scale_of
from engine.trainers.clusters import Clustered


def parts(plan: Planned, found: Clustered) -> tuple[Part, ...]:
    """One part a cluster, named by what makes it stand out."""
    spec, contract = plan.prepared.spec, plan.prepared.contract
    hints = [FeatureHint(name, f.agg, unit_of(contract.tables[f.table], f.agg)) for name, f in spec.features.items()]
    names = name_clusters(hints, found.model.centres, found.sizes)
    total = max(float(found.sizes.clip(min=0).sum()), 1.0)
    described = []
    for centre in found.model.centres:
        values = (float(scale_of(f).decode(np.array([x]))[0]) for f, x in zip(spec.features.values(), centre, strict=True))
        units = ((f" {hint.unit}" if hint.unit else "") for hint in hints)
        named = zip(spec.features, values, units, strict=True)
        described.append("around " + ", ".join(f"{name} {number(value)}{unit}" for name, value, unit in named))
    return tuple(
        part_of(plan, name, text, float(size), found.sizes_sigma, max(float(size), 0.0) / total)
        for name, text, size in zip(names, described, found.sizes, strict=True)
    )


def utility(found: Clustered) -> tuple[Figure, ...]:
    """How well apart the clusters are, at no cost."""
    return (
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
