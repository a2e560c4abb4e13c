"""DP boosting of random trees: public random splits, noisy sums of gradients in the leaves, many trees a round.

Rounds of the door: `ROUNDS`, after a histogram that random splits are spread by. In each, subjects fall into one leaf of every tree
of the round, and every leaf's sums of gradient and curvature are released at once; steps are averaged over the trees of a round, so
that noise is averaged too, and more trees cost nothing. Splits see no label: extremely randomised trees (Geurts et al., 2006) with
boosting (Friedman, 2001), private as in Nori et al. (2021), who take one feature a tree. A tree asks the same question in all of
a level (Kohavi, 1994, "oblivious"), so that what each feature contributes has an exact Shapley value.

Neighbours: add or remove one subject. Sensitivity: one leaf in each of T trees with gradient at most 1 and curvature at most a
quarter: L2 bound √T · √(1 + CURVATURE²), whatever was released before. Training subjects alone take part. Sums are whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models import ONE, Features, in_turn
from engine.trainers import designs, probabilities
from engine.trainers.additive import histogram
from engine.trainers.designs import BINS
from engine.trainers.probabilities import LOGIT, logit, probability
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Cohort, Contribution, Grant, register
from governance.noise import NoiseSource

ROUNDS = 28
"""Rounds of trees; with the histogram and the base rate thirty."""

TREES, DEPTH = 6, 4
"""Trees of a round, questions of a tree."""

SHARES = {"base": 2.0, "histogram": 4.0}
"""Shares of μ² beside 94 for all rounds of trees. These and the constants below were tuned once, on online shoppers, telco churn and
adult at ε 1, and are the same for every data set."""

RATE = 2.0
"""Length of a step, in Newton steps of a single tree: trees of a round share what they find."""

CURVATURE = 0.5
"""Weight of curvature beside gradients, of 1 at its maximum of a quarter."""

DAMP = 0.5
"""Curvature that is added to that of a leaf, in standard deviations of the gradient's noise."""

STEP = 1.5
"""Longest step of a leaf, in log-odds."""

MAX_LEAF = 1 << 45
"""Keeps the log-odds of all trees exact below 2^53, as an average of them is at most 32."""

ANSWERS = 1 << 18
"""Answers to questions of trees that are held at once."""

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Released trees. Each asks `DEPTH` questions: is the bin of feature `of` (trees, DEPTH) above `edges` (trees, DEPTH)? `leaves`
    (trees, 2^DEPTH) whole log-odds · 2^40; a yes to question i leads to leaves with bit i. `shares` (trees, DEPTH): the released
    share of subjects who say yes. Everything in it is public or went through the door."""

    of: Array
    edges: Array
    leaves: Array
    shares: Array

    def logits(self, features: Features) -> Array:
        """(n,) exact whole log-odds, in units of 2^-40."""
        return in_turn(features, lambda x: _sum_of_leaves(designs.bins(x), self.of, self.edges, self.leaves))

    def contributions(self, features: Features) -> Array:
        """(n, d) what each feature adds to a subject's log-odds, against the average of released shares: the sum over trees of exact
        Shapley values (Shapley, 1953) of questions that are taken as independent."""
        values = _shapley(self.leaves, self.shares)

        def added(x: Array) -> Array:
            found = np.zeros(x.shape)
            for some, leaves in _leaves(designs.bins(x), self.of, self.edges):
                for of, value, leaf in zip(self.of[some].astype(np.int64), values[some], leaves, strict=True):
                    for level, feature in enumerate(of):
                        found[:, feature] += value[leaf, level]
            return found

        return in_turn(features, added) / LOGIT

    def curves(self, d: int) -> Array:
        """(d, BINS) what the bin of each feature adds by itself, other answers unknown."""
        expected, found = _expected(self.leaves, self.shares), np.zeros((d, BINS))
        for level in range(DEPTH):
            alone = expected[1 << level] - expected[0]
            answers = (np.arange(BINS) > self.edges[:, level, None]).astype(np.int64) << level  # the leaf of whoever says no to all others
            np.add.at(found, self.of[:, level].astype(np.int64), np.take_along_axis(alone, answers, axis=1))
        return found / LOGIT

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name).tolist() for name in ("of", "edges", "leaves", "shares")}

    @classmethod
    def made(cls, facts: Mapping[str, Any]) -> Forest:
        """Out of `facts`."""
        widths = {"of": DEPTH, "edges": DEPTH, "leaves": 1 << DEPTH, "shares": DEPTH}
        return cls(*(np.asarray(facts[name], dtype=np.float64).reshape(-1, width) for name, width in widths.items()))


@dataclass(frozen=True, slots=True, eq=False)
class BoostedModel:
    """A base rate, in whole log-odds · 2^40, and a forest on `width` features."""

    base: float
    forest: Forest
    width: int

    def score(self, features: Features) -> NDArray[np.int64]:
        """See `Scorer.score`: a probability."""
        return probabilities.scores(self.base + self.forest.logits(features))

    def contributions(self, features: Features) -> Array:
        """See `Forest.contributions`."""
        return self.forest.contributions(features)

    def curves(self) -> Array:
        """See `Forest.curves`."""
        return self.forest.curves(self.width)

    def facts(self) -> dict[str, Any]:
        """See `Scorer.facts`."""
        return {"kind": "boosting", "base": self.base, "width": self.width} | self.forest.facts()

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> BoostedModel:
        """Out of `facts`."""
        return cls(float(facts["base"]), Forest.made(facts), int(facts["width"]))


def fit(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None], seed: int = 0) -> BoostedModel:
    """A boosted model of `label` on `features`, from training subjects. `grant` is used up; `seed` makes the public splits.

    Raises DoorError and BudgetError as the door does.
    """
    rounds = Rounds(cohort, grant.split(**SHARES, **shares_of(ROUNDS, 94.0)), noise, progress)
    [[subjects, label]] = rounds.ask("base", "boosting.base", {}, (1, 2), math.sqrt(2))
    base = float(np.rint(LOGIT * logit(float(np.clip((label / max(subjects, 1.0) + 1) / 2, 0.01, 0.99)))))
    masses = histogram(rounds, "histogram", cohort.width)
    start = {"weights": np.zeros(cohort.width + 1), "shapes": np.zeros((cohort.width, BINS)), "base": np.array([base])}
    return BoostedModel(base, grow(rounds, ROUNDS, masses, start, seed), cohort.width)


def shares_of(count: int, whole: float) -> dict[str, float]:
    """Even shares of a number of rounds of trees."""
    return {f"trees-{place + 1}": whole / count for place in range(count)}


def grow(rounds: Rounds, count: int, masses: Array, start: Mapping[str, Array], seed: int) -> Forest:
    """`count` rounds of trees, named as in `shares_of`, on the residual of log-odds that `start` gives: `weights`, `shapes` (see
    `designs.logits`) and `base` (1,), which is added. `masses` (d, BINS): released shares of subjects."""
    generator, table = np.random.default_rng(seed), probabilities.table()
    forest = Forest.made({"of": [], "edges": [], "leaves": [], "shares": []})
    bound = ONE * math.sqrt(TREES) * math.hypot(1.0, CURVATURE)
    for name in shares_of(count, 1.0):
        of, edges, yes = _questions(masses, generator)
        parameters = {"table": table, "of": forest.of, "edges": forest.edges, "leaves": forest.leaves, "ask": of, "at": edges}
        sums = rounds.blocks(name, "boosting.leaves", {**start, **parameters}, (TREES, 1 << DEPTH, 2), bound) / ONE
        steps = _steps(sums[:, :, 0], sums[:, :, 1] / (4 * CURVATURE), rounds.sigma(name, bound / ONE))
        leaves = np.clip(np.rint(steps / TREES * LOGIT), -MAX_LEAF, MAX_LEAF)
        pairs = ((forest.of, of), (forest.edges, edges), (forest.leaves, leaves), (forest.shares, yes))
        forest = Forest(*(np.concatenate(pair) for pair in pairs))
    return forest


def _questions(masses: Array, generator: np.random.Generator) -> tuple[Array, Array, Array]:
    """Features, edges and shares of yes, (TREES, DEPTH) each: any feature that varies, at a random quantile of its released histogram."""
    varies = np.flatnonzero((masses > 0).sum(axis=1) > 1)
    of = generator.choice(varies if len(varies) else np.arange(len(masses)), (TREES, DEPTH))
    below = np.cumsum(masses[of], axis=2)
    last = (masses[of] > 0).cumsum(axis=2).argmax(axis=2)  # the topmost bin with somebody in it
    edges = np.minimum((below < generator.random((TREES, DEPTH, 1))).sum(axis=2), np.maximum(last - 1, 0))
    return of.astype(np.float64), edges.astype(np.float64), 1 - np.take_along_axis(below, edges[:, :, None], axis=2)[:, :, 0]


def _steps(gradient: Array, curvature: Array, sigma: float) -> Array:
    """Log-odds of leaves: a damped Newton step, shrunk by the share of its square that noise explains (James and Stein, 1961)."""
    signal = max(0.0, 1 - sigma**2 * gradient.size / max(float((gradient**2).sum()), 1e-12))
    return np.clip(RATE * signal * gradient / (np.maximum(curvature, 0.0) + DAMP * sigma), -STEP, STEP)


def _expected(leaves: Array, shares: Array) -> list[Array]:
    """For each set of questions, as bits, the log-odds (trees, 2^DEPTH) that are expected in a leaf if no other answers are known."""
    trees = len(leaves)
    cube = leaves.reshape(trees, *([2] * DEPTH))  # axis DEPTH − i holds bit i

    def expected(known: int) -> Array:
        value = cube
        for level in range(DEPTH):
            if not known >> level & 1:
                yes = shares[:, level].reshape(trees, *([1] * DEPTH))
                axis = DEPTH - level
                value = (1 - yes) * np.take(value, [0], axis=axis) + yes * np.take(value, [1], axis=axis)
        return np.broadcast_to(value, cube.shape).reshape(trees, -1)

    return [expected(known) for known in range(1 << DEPTH)]


def _shapley(leaves: Array, shares: Array) -> Array:
    """(trees, 2^DEPTH, DEPTH) the Shapley value of each question for whoever is in a leaf."""
    expected, found = _expected(leaves, shares), np.zeros((*leaves.shape, DEPTH))
    for level in range(DEPTH):
        for known in range(1 << DEPTH):
            if not known >> level & 1:
                weight = 1 / (DEPTH * math.comb(DEPTH - 1, known.bit_count()))
                found[:, :, level] += weight * (expected[known | 1 << level] - expected[known])
    return found


def _leaves(places: Whole, of: Array, edges: Array) -> Iterator[tuple[slice, Whole]]:
    """The leaf of each subject in some trees at a time, (some trees, n), from bins (n, d)."""
    columns = np.ascontiguousarray(places.T.astype(np.int8))  # a byte an answer: this is most of the work
    bits = np.arange(DEPTH, dtype=np.int8)[:, None]
    together = max(1, ANSWERS // (DEPTH * max(len(places), 1)))
    for start in range(0, len(of), together):
        some = slice(start, start + together)
        answers = columns[of[some].astype(np.int64)] > edges[some].astype(np.int8)[:, :, None]
        yield some, np.bitwise_or.reduce(answers.view(np.int8) << bits, axis=1).astype(np.int64)


def _sum_of_leaves(places: Whole, of: Array, edges: Array, leaves: Array) -> Array:
    """(n,) exact whole log-odds."""
    total = np.zeros(len(places))
    for some, leaf in _leaves(places, of, edges):
        total += np.take_along_axis(leaves[some], leaf, axis=1).sum(axis=0)
    return total


@register("boosting.base")
def base_rate(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2): 1 and ±1 for the label."""
    return Contribution(np.stack([np.ones(len(batch["label"])), 2 * batch["label"] - 1], axis=1))


@register("boosting.leaves")
def leaves(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """In the leaf of each new tree: label − probability and the weighted curvature p(1 − p), in units of 1/ONE."""
    x = batch["features"]
    places = designs.bins(x)
    start = designs.logits(x, parameters["weights"], parameters["shapes"]) + parameters["base"][0]
    grown = _sum_of_leaves(places, parameters["of"], parameters["edges"], parameters["leaves"])
    p = probability(start + grown, parameters["table"])
    values = np.stack([ONE * batch["label"] - p, np.trunc(4 * CURVATURE * p * (ONE - p) / ONE)], axis=1)
    asked = np.concatenate([leaf for _, leaf in _leaves(places, parameters["ask"], parameters["at"])]).T
    return Contribution(np.broadcast_to(values[:, None, :], (len(x), TREES, 2)), asked)
