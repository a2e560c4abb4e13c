"""Deep models of a build's people: the terms that the build reserved, and a sampler and a cohort to train with."""

from __future__ import annotations

from engine.bench import Bench
from engine.stages import People, Run
from engine.trainers.deep import autoencoder, network, terms
from engine.trainers.deep.autoencoder import Embedded, Embedding
from engine.trainers.deep.descent import TOLD
from engine.trainers.deep.network import Network
from engine.trainers.partitions import Parts
from governance.door import Cohort, Grant
from policies.segment import Segment

STEPS = 2 + TOLD
"""Steps that training by samples reports, the rounds before and after it included."""

SHARES = {"embedding": 20.0, "clusters": 80.0}
"""Shares of what training gets of μ²: the scale of features before an autoencoder, and clusters on what it makes of them."""


def network_of(bench: Bench, spec: Segment, people: People, run: Run) -> Network:
    """A propensity network, by the terms that the run reserved."""
    return network.fit(
        people.cohort(run.meter), people.sampler(run), terms.shape(spec), run.grants["train"], bench.noise, bench.progress, seed=0
    )


def embedded(bench: Bench, spec: Segment, people: People, run: Run) -> tuple[Cohort, Grant, Embedding]:
    """Everybody's embedding as a cohort, what is left of the training's grant, and the released embedding."""
    grants = run.grants["train"].split(**SHARES)
    cohort, sampler, shape = people.cohort(run.meter), people.sampler(run), terms.shape(spec)
    found = autoencoder.fit(cohort, sampler, shape, grants["embedding"], bench.noise, bench.progress, seed=0)
    return people.cohort(run.meter, features=found.apply(people.features)), grants["clusters"], found


def of_features(model: Parts, embedding: Embedding | None) -> Parts:
    """A partition of embeddings, as one of features; the model itself, where nothing was embedded."""
    return Embedded(embedding, model) if embedding else model
