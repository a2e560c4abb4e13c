"""The public terms of deep training: how often a sample is drawn, of which share, for how many weights. From documents alone.

The rate follows from the contract's `max_subjects`, never from the number of subjects, which is private; a population far below its
public maximum trains on smaller samples and gets more noise for each, so that a tight maximum is worth having.
"""

from __future__ import annotations

import importlib.util
from fractions import Fraction

from engine.trainers.deep.dense import Shape
from governance.blocks import RATES, Block, block
from policies.segment import Clusters, Segment

STEPS = 400
"""Steps of training. This, the rate, the shares and the constants of `descent` were chosen once, on the online shoppers and adult of
UCI and on generated wide behaviour (`tests.wide`) at ε 1 to 8, and are the same for every data set."""

MOST_RATE = Fraction(1, 32)
"""Share of the subjects that a step samples at most; fewer, where that were more than `MOST_SAMPLED`."""

MOST_SAMPLED = 1 << 12
"""Subjects that a step samples on average at most."""

EXACT = {"propensity": 0.4, "clusters": 0.5}
"""Share of a build's μ² for what is not training by samples: moments, clusters on the embedding, profiles, fairness."""

HIDDEN = {"propensity": 16, "clusters": 24}
"""Hidden values of a network, and of an autoencoder before its embedding and after it."""

NEEDED = ("torch", "opacus", "dp_accounting")
"""What the extra `deep` brings."""


def missing() -> tuple[str, ...]:
    """What of the extra is not installed; nothing is imported to tell."""
    return tuple(name for name in NEEDED if importlib.util.find_spec(name) is None)


def rate(subjects: int) -> Fraction:
    """Probability with which a step samples each of at most `subjects`, in steps of 1/2^32."""
    return Fraction(int(min(MOST_RATE, Fraction(MOST_SAMPLED, subjects)) * RATES), RATES)


def network(features: int) -> Shape:
    """Layers of a propensity network."""
    return Shape((features, HIDDEN["propensity"], 1))


def autoencoder(features: int, width: int) -> Shape:
    """Layers of an autoencoder, those that tell rows again included."""
    return Shape((features, HIDDEN["clusters"], width, HIDDEN["clusters"], features))


def shape(spec: Segment) -> Shape:
    """Layers of the network that `spec` asks for."""
    if isinstance(spec.model, Clusters) and spec.model.embed is not None:
        return autoencoder(len(spec.features), spec.model.embed.width)
    return network(len(spec.features))


def terms(shape: Shape, epsilon: float, delta: float, exact: float, subjects: int) -> Block:
    """What (`epsilon`, `delta`) buys of training, with `exact` as the share of μ² that is kept for other draws. Raises BlockError.

    `subjects`: at most so many, the contract's public maximum.
    """
    return block(epsilon, delta, exact, rate(subjects), STEPS, shape.size, subjects)
