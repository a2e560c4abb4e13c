"""Released partitions: which part somebody belongs to, by whole numbers alone, so that everybody gets the same answer everywhere.

`Nearest`: the part of the nearest of some sites, which are centres, prototypes or units of a map. `Mixture`: the component that
likeliest brought somebody forth. Not here: how they came about (the other modules), what the parts are called (`engine.naming`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.models import Features
from governance.door import Array, Batch, Contribution, register

Labels = NDArray[np.int64]

VALUES = 1 << 17
"""Distances that are held at once: they stay in a processor's own cache."""

FAR = 2.0**53
"""A square distance that nobody reaches."""

PRECISION, SHIFT = 1 << 10, 24
"""A standard deviation of a mixture is so many units, and its matrices are multiples of 2^-SHIFT."""


@runtime_checkable
class Parts(Protocol):
    """A partition that was released, as trainers need it: its parts can be counted, put into order, and merged."""

    @property
    def centres(self) -> Array:
        """(k, d) of the parts, on the feature grid."""
        ...

    @property
    def prototypes(self) -> Array:
        """(K, d) what all that was made from."""
        ...

    @property
    def weights(self) -> Array:
        """(K,) of the prototypes, noisy, at least 1."""
        ...

    def assign(self, features: Features) -> Labels:
        """See `engine.models.Partition`."""
        ...

    def facts(self) -> dict[str, Any]:
        """See `engine.models.Partition`."""
        ...

    def regrouped(self, new: Labels, centres: Array) -> Self:
        """The same with part i as part `new[i]`; `centres` (k, d) of the parts as they are then."""
        ...

    def question(self) -> tuple[str, dict[str, Array]]:
        """The registered step that counts the parts, and its parameters."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Whoever is nearest to a site belongs to the site's part.

    `centres` (k, d) of the parts; `sites` (m, d) whole numbers on the feature grid, `parts` (m,) the part of each; `reach`: the square
    distance beyond which somebody is in the last part instead. `prototypes` (K, d) with noisy `weights` (K,) of at least 1: what
    all that was made from. `kind`: how.
    """

    kind: str
    centres: Array
    sites: Array
    parts: Array
    reach: float
    prototypes: Array
    weights: Array

    def assign(self, features: Features) -> Labels:
        """See `Partition.assign`; the lowest site wins a tie."""
        return _by_site(features, {"sites": self.sites, "parts": self.parts, "reach": np.array([self.reach]), "last": self._last})

    def regrouped(self, new: Labels, centres: Array) -> Self:
        """See `Parts.regrouped`."""
        return replace(self, parts=new[self.parts.astype(np.int64)].astype(np.float64), centres=centres)

    def question(self) -> tuple[str, dict[str, Array]]:
        """See `Parts.question`."""
        return "clusters.sizes", {"sites": self.sites, "parts": self.parts, "reach": np.array([self.reach]), "last": self._last}

    @property
    def _last(self) -> Array:
        return np.array([len(self.centres) - 1.0])

    def facts(self) -> dict[str, Any]:
        """See `Partition.facts`."""
        return _facts(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Nearest:
        """Out of `facts`; releases that are older have a site for each part, and nothing else."""
        centres = facts["centres"]
        older = {"sites": centres, "parts": list(range(len(centres))), "reach": FAR}
        return cls(**_values(cls, older | dict(facts)))


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Whoever is likeliest to come from a component belongs to the component's part.

    `means` (m, d) whole numbers on the feature grid; `forms` (m, d, d) take what lies off a mean to deviations that are alike in
    all directions, in multiples of 2^-SHIFT; `offsets` (m,): twice the logarithm of weight over volume, in PRECISION²; `parts`
    (m,) the part of each component. The others: as in `Nearest`.
    """

    kind: str
    centres: Array
    means: Array
    forms: Array
    offsets: Array
    parts: Array
    prototypes: Array
    weights: Array

    def assign(self, features: Features) -> Labels:
        """See `Partition.assign`; the first component wins a tie."""
        return _by_component(features, self.question()[1])

    def regrouped(self, new: Labels, centres: Array) -> Self:
        """See `Parts.regrouped`."""
        return replace(self, parts=new[self.parts.astype(np.int64)].astype(np.float64), centres=centres)

    def question(self) -> tuple[str, dict[str, Array]]:
        """See `Parts.question`."""
        return "clusters.likeliest", {name: getattr(self, name) for name in ("means", "forms", "offsets", "parts")}

    def facts(self) -> dict[str, Any]:
        """See `Partition.facts`."""
        return _facts(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Mixture:
        """Out of `facts`."""
        return cls(**_values(cls, facts))


def nearest(features: Features, sites: Array) -> Labels:
    """Index of the nearest site, (n_subjects,), by exact integer distances; sites go to the grid, and the lowest index wins a tie.

    Whoever is nearest has the largest 2xᵀs − sᵀs. The index stands in the last bits of it, so that one maximum finds both: of m sites
    in d dimensions it stays exact below 2^53 while m · d ≤ 2^20.
    """
    last, (m, d) = len(sites) - 1, sites.shape
    sites, places = np.rint(sites), 1 << last.bit_length()
    near = np.column_stack([2 * places * sites, np.arange(last, -1, -1) - places * np.einsum("ij,ij->i", sites, sites)])
    rows = max(1, VALUES // m)
    found = np.empty(len(features), dtype=np.int64)
    block = np.ones((rows, d + 1))
    for start in range(0, len(features), rows):
        own = features[start : start + rows]
        block[: len(own), :-1] = own
        best = (near @ block[: len(own)].T).max(axis=0).astype(np.int64)
        np.subtract(last, best & (places - 1), out=found[start : start + rows])
    return found


def _by_site(features: Features, parameters: Mapping[str, Array]) -> Labels:
    sites, parts = parameters["sites"], parameters["parts"].astype(np.int64)
    site = nearest(features, sites)
    found = parts[site]
    if parameters["reach"][0] < FAR:
        away = np.asarray(features, dtype=np.float64) - sites[site]
        found[np.einsum("ij,ij->i", away, away) > parameters["reach"][0]] = int(parameters["last"][0])
    return found


def _by_component(features: Features, parameters: Mapping[str, Array]) -> Labels:
    rows = max(1, VALUES // features.shape[1])
    best = np.empty(len(features), dtype=np.int64)
    for start in range(0, len(features), rows):
        x = np.asarray(features[start : start + rows], dtype=np.float64)
        scores = []
        for mean, form, offset in zip(parameters["means"], parameters["forms"], parameters["offsets"], strict=True):
            away = np.trunc((x - mean) @ form / 2.0**SHIFT)
            scores.append(offset - np.einsum("ij,ij->i", away, away))
        best[start : start + rows] = np.argmax(scores, axis=0)
    return parameters["parts"].astype(np.int64)[best]


@register("clusters.sizes")
def sizes(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the part of its nearest site."""
    return _counted(_by_site(batch["features"], parameters))


@register("clusters.likeliest")
def likeliest(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """One subject counted in the part of its likeliest component."""
    return _counted(_by_component(batch["features"], parameters))


def _counted(parts: Labels) -> Contribution:
    return Contribution(np.ones((len(parts), 1)), parts)


def _facts(model: Nearest | Mixture) -> dict[str, Any]:
    values = {field.name: getattr(model, field.name) for field in fields(model)}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _values(kind: type[Nearest | Mixture], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as arrays, the rest as it is; nothing but what `kind` has."""
    found = {field.name: facts[field.name] for field in fields(kind)}
    return {name: np.asarray(value, dtype=np.float64) if isinstance(value, list) else value for name, value in found.items()}
