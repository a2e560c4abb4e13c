"""An autoencoder for wide behaviour: what many counts have in common, as a few numbers that clusters are then found in.

Rows are squeezed through a narrow layer and told again by what follows it; trained by private stochastic gradients, both released. One
exact round tells the scale of each feature, and all steps of the descent are one charge (`governance.sampling`). Everybody's embedding
lies on the grid of features, so that the trainers of clusters run on it unchanged, through the door like any other.
Hinton and Salakhutdinov 2006 for the model; Abadi et al. 2016 for learning it privately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.models import Features
from engine.scale import UNIT
from engine.trainers import seeding
from engine.trainers.deep import gradients
from engine.trainers.deep.dense import WEIGHT_BITS, Shape, hidden, sums, unframed, whole
from engine.trainers.deep.descent import descend, standardised
from engine.trainers.partitions import Labels, Parts
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Cohort, Contribution, Grant, Part, StepName, register, registered
from governance.noise import NoiseSource
from governance.sampling import Sampler

UNSEEN = 2.0
"""Noise of a variance that is added to it, in standard deviations."""

LEAST_NORM = 0.02
"""Mean square norm of rows, as a share of what they should have, up to which they are stretched."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A released encoder and decoder: `layers` take features to an embedding, `back` takes one to features again. Each layer
    (inputs + 1, outputs) whole numbers, the constant's row last."""

    layers: tuple[Array, ...]
    back: tuple[Array, ...]

    def apply(self, features: Features) -> NDArray[np.int64]:
        """(n_subjects, width) on the grid."""
        return hidden(features, self.layers)

    def features(self, embedded: Array) -> Array:
        """(n, d) the features that go with (n, width) embeddings, on the grid."""
        told = sums(hidden(embedded, self.back[:-1]).astype(np.float64), self.back[-1])
        return np.asarray(np.clip(np.rint(told / 2.0**WEIGHT_BITS), -UNIT, UNIT))

    def parameters(self) -> dict[str, Array]:
        """What a step that looks through it needs."""
        return {f"embedding.{place}": layer for place, layer in enumerate(self.layers)}

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {name: [layer.tolist() for layer in getattr(self, name)] for name in ("layers", "back")}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Embedding:
        """Out of `facts`."""
        layers, back = (tuple(np.asarray(layer, dtype=np.float64) for layer in facts[name]) for name in ("layers", "back"))
        return cls(layers, back)


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A released partition of embeddings, as one of features (see `engine.trainers.partitions.Parts`)."""

    embedding: Embedding
    inner: Parts

    @property
    def centres(self) -> Array:
        """(k, d) the features that go with the centres."""
        return self.embedding.features(self.inner.centres)

    @property
    def prototypes(self) -> Array:
        """(K, d) the features that go with the prototypes."""
        return self.embedding.features(self.inner.prototypes)

    @property
    def weights(self) -> Array:
        """(K,) of the prototypes."""
        return self.inner.weights

    def assign(self, features: Features) -> Labels:
        """See `Partition.assign`."""
        return self.inner.assign(self.embedding.apply(features))

    def regrouped(self, new: Labels, centres: Array) -> Self:
        """See `Parts.regrouped`."""
        return replace(self, inner=self.inner.regrouped(new, self.embedding.apply(centres).astype(np.float64)))

    def question(self) -> tuple[str, dict[str, Array]]:
        """See `Parts.question`."""
        step, parameters = self.inner.question()
        return _through(StepName(step)), parameters | self.embedding.parameters()

    def facts(self) -> dict[str, Any]:
        """See `Partition.facts`."""
        return {"kind": "embedded", "embedding": self.embedding.facts(), "model": self.inner.facts()}

    @classmethod
    def of(cls, facts: Mapping[str, Any], made: Callable[[Mapping[str, Any]], Any]) -> Embedded:
        """Out of `facts`; `made` makes the inner one. Raises ValueError where that is no partition."""
        inner = made(facts["model"])
        if not isinstance(inner, Parts):
            raise ValueError(  # noqa: TRY004 (a fault of the facts, as `released` tells it)
                f"expected a partition behind an embedding, got `{facts['model'].get('kind')}`"
            )
        return cls(Embedding.of(facts["embedding"]), inner)


def fit(
    cohort: Cohort, sampler: Sampler, shape: Shape, grant: Grant, noise: NoiseSource, progress: Callable[[str], None], seed: int
) -> Embedding:
    """An embedding of the cohort's features. `grant` is used up, and so is what `sampler` was granted.

    `shape`: features, hidden values, width, hidden values, features. `seed` is of the first weights, which are public. Raises DoorError and
    BudgetError as the door does.
    """
    rounds = Rounds(cohort, grant.split(moments=1), noise, progress, Part.ALL)
    mean, size = _known(rounds)
    frame = standardised(mean, size)
    start = shape.start(np.random.default_rng(seed))
    weights = descend(sampler, gradients.AUTOENCODER, shape, start, frame, Part.ALL, noise, progress)
    first, second, third, last = shape.layers(weights)
    told = last * size / UNIT
    told[-1] += mean / UNIT
    return Embedding(whole([unframed(first, frame["mean"], frame["matrix"]), second]), whole([third, told]))


def _known(rounds: Rounds) -> tuple[Array, Array]:
    """Mean and size (d,) of each feature on the grid. A feature is not stretched further than its variance is known, and all of
    them so that standardised rows have a mean square norm of d, which is known better than any one variance."""
    d = rounds.cohort.width
    spread = seeding.spread(rounds)
    unseen = UNSEEN * rounds.sigma("moments", seeding.moments_bound(d)) * UNIT / spread.subjects
    seen = spread.variance + unseen
    return spread.mean, np.sqrt(seen * max(float((spread.variance / seen).sum()) / d, LEAST_NORM))


def _through(step: StepName) -> StepName:
    """The step that embeds a subject first; it is registered when it is needed first."""
    name, known = StepName(f"embedded/{step}"), registered()
    if name not in known and step in known:
        inner = known[step]

        def embed(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
            layers = [parameters[each] for each in sorted(parameters) if each.startswith("embedding.")]
            return inner({**batch, "features": hidden(batch["features"], layers).astype(np.float64)}, parameters)

        register(name)(embed)
    return name
