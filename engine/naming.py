"""Readable names for clusters, "frequent, high spend, lapsing" instead of "Cluster 3", from released centres alone.

A trait is a feature in which a centre stands out from the weighted mean of all centres. What the feature's expression
computes decides the words: how often, how much money, how long ago; anything else is "high" or "low" and the feature's
name. Nothing here sees a subject, so nothing costs budget. Same input, same names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT

Array = NDArray[np.float64]

TRAITS = 3
"""Traits in a name at most."""

STANDS_OUT = 0.6
"""Distance from the mean at which a trait is worth a word, in standard deviations between clusters."""

LEAST_SPREAD = 0.02 * UNIT
"""Standard deviation between clusters below which a feature is taken as the same in all of them, in grid units."""

TYPICAL = "typical"


@dataclass(frozen=True, slots=True)
class FeatureHint:
    """A feature as its spec and contract describe it; `unit` of the column that it aggregates, such as `USD`."""

    name: str
    expression: str
    unit: str | None = None


class Kind(IntEnum):
    """What a feature says about a subject; the order is that of words in a name."""

    FREQUENCY = 0
    SPEND = 1
    OTHER = 2
    AGE = 3
    RECENCY = 4


WORDS = {
    Kind.FREQUENCY: ("rare", "frequent"),
    Kind.SPEND: ("low spend", "high spend"),
    Kind.AGE: ("new", "long-standing"),
    Kind.RECENCY: ("recent", "lapsing"),
}
"""Words for a low and a high value, where just one feature is of that kind."""

_PATTERNS = {
    Kind.FREQUENCY: re.compile(r"count\((\*|\w+)\)"),
    Kind.SPEND: re.compile(r"(sum|avg|median)\([^()]+\)"),
    Kind.AGE: re.compile(r"days_since\(min\(\w+\)\)"),
    Kind.RECENCY: re.compile(r"days_since\(max\(\w+\)\)"),
}
_CURRENCY = re.compile(r"[A-Z]{3}|[$€£¥]")


@dataclass(frozen=True, slots=True)
class _Trait:
    """What is said of a cluster about one feature; `very` where another cluster with the same words is less so."""

    high: bool
    very: bool = False


_Traits = dict[int, _Trait]
"""Traits of one cluster by position of the feature, the most outstanding first."""


def name_clusters(hints: Sequence[FeatureHint], centres: Array, weights: Array) -> tuple[str, ...]:
    """One name for each centre, all different. `centres` (k, d) on the feature grid, `weights` (k,) noisy sizes."""
    standing = _standing(centres, weights)
    traits = [_outstanding(row) for row in standing]
    unused = set(range(len(hints)))
    while unused and (alike := _alike(traits)):
        unused.remove(_tell_apart(alike, traits, standing, unused))
    kinds = _kinds(hints)
    return _numbered([_words(own, hints, kinds) for own in traits])


def _standing(centres: Array, weights: Array) -> Array:
    """(k, d) distances from the weighted mean, in weighted standard deviations."""
    shares = np.maximum(weights, 1.0)[:, None] / np.maximum(weights, 1.0).sum()
    away = centres - (shares * centres).sum(axis=0)
    return np.asarray(away / np.maximum(np.sqrt((shares * away**2).sum(axis=0)), LEAST_SPREAD))


def _outstanding(row: Array) -> _Traits:
    order = np.argsort(-np.abs(row), kind="stable")[:TRAITS]
    return {int(feature): _Trait(bool(row[feature] > 0)) for feature in order if abs(row[feature]) >= STANDS_OUT}


def _alike(traits: Sequence[_Traits]) -> list[int]:
    """The first clusters that share all their traits; empty if all differ."""
    groups: dict[frozenset[tuple[int, _Trait]], list[int]] = {}
    for cluster, own in enumerate(traits):
        groups.setdefault(frozenset(own.items()), []).append(cluster)
    return next((group for group in groups.values() if len(group) > 1), [])


def _tell_apart(alike: Sequence[int], traits: list[_Traits], standing: Array, unused: set[int]) -> int:
    """Split clusters that are alike by the unused feature in which they differ most; returns that feature."""
    among = standing[alike]
    feature = max(sorted(unused), key=lambda each: float(np.ptp(among[:, each])))
    middle = (among[:, feature].max() + among[:, feature].min()) / 2
    for cluster in alike:
        above = bool(standing[cluster, feature] > middle)
        own = traits[cluster]
        if feature in own:
            own[feature] = _Trait(own[feature].high, very=above == own[feature].high)
        else:
            kept = list(own.items())[: TRAITS - 1]
            traits[cluster] = dict([*kept, (feature, _Trait(above))])
    return feature


def _kinds(hints: Sequence[FeatureHint]) -> list[Kind]:
    """The kind of each feature; OTHER where two features would share words."""
    kinds = [_kind(hint) for hint in hints]
    shared = {kind for kind, count in Counter(kinds).items() if count > 1}
    return [Kind.OTHER if kind in shared else kind for kind in kinds]


def _kind(hint: FeatureHint) -> Kind:
    for kind, pattern in _PATTERNS.items():
        if pattern.fullmatch(_tidy(hint.expression)):
            money = hint.unit is not None and _CURRENCY.fullmatch(hint.unit)
            return kind if kind is not Kind.SPEND or money else Kind.OTHER
    return Kind.OTHER


def _tidy(expression: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", expression.strip().lower())


def _words(own: _Traits, hints: Sequence[FeatureHint], kinds: Sequence[Kind]) -> str:
    """Traits in the order of their kinds, joined by commas."""
    said = []
    for feature in sorted(own, key=lambda each: (kinds[each], each)):
        hint, trait = hints[feature], own[feature]
        plain = hint.name.replace("_", " ")
        few, many = ("few", "many") if _tidy(hint.expression).startswith("count(") else ("low", "high")
        low, high = WORDS.get(kinds[feature], (f"{few} {plain}", f"{many} {plain}"))
        said.append(("very " if trait.very else "") + (high if trait.high else low))
    return ", ".join(said) or TYPICAL


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Names that still coincide, of centres that coincide, are numbered."""
    return tuple(name if name not in names[:place] else f"{name} ({names[:place].count(name) + 1})" for place, name in enumerate(names))
