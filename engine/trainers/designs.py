"""Rows for regression: features centred and brought to like size, and public functions of them from tables, as whole numbers.

What is regressed on a design is released as weights of the features themselves and a shape for each, so that whoever applies it
needs neither means nor scales. One round of the door, `moments`, tells means and sizes. Neighbours: add or remove one subject;
sensitivity: the `bound` of the query. Training subjects alone take part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT
from engine.trainers.probabilities import LOGIT
from engine.trainers.rounds import Rounds
from governance.door import Array, Batch, Contribution, register

BINS = 16
"""Bins of a feature, even on the grid, on which shapes are constant."""

MIDDLES = (np.arange(BINS) + 0.5) * (2 * UNIT / BINS) - UNIT
"""Middles of the bins, on the grid."""

ROW = 1 << 12
"""Rows are whole numbers: this is one standard deviation."""

SCALE_BITS = 24
"""Scales are whole numbers with this many bits behind the point."""

MAX_ROW = 1 << 19
"""Largest value of a row, so that products with 2^33 stay exact."""

MAX_WEIGHT, MAX_SHAPE = 1 << 31, 1 << 45
"""Keep the log-odds of 64 features exact below 2^53: 2^15 · 2^31 · 64 and 2^45 · 64."""

UNSEEN = 0.5
"""Noise of a variance that is added to it, in standard deviations: a feature is not stretched further than its spread is known."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Noisy first look at training subjects: how many with deviation `sigma`, the share of positives, and on the grid the mean (d,)
    and the standard deviation `size` (d,) of each feature, not below what noise lets see; `variance` (d,) in squares of `size`."""

    subjects: float
    sigma: float
    positives: float
    mean: Array
    size: Array
    variance: Array


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """`mean` (d,) and `scale` (d,) whole numbers take features to rows; `tables` (BINS, m) whole numbers on the bins of
    features `of` (m,), which ascend, are appended. `size`: mean square norm of a row, in squares of ROW."""

    mean: Array
    scale: Array
    tables: Array
    of: NDArray[np.int64]
    size: float

    @property
    def width(self) -> int:
        """Values of a row."""
        return len(self.mean) + len(self.of)

    def parameters(self) -> dict[str, Array]:
        """What `rows` needs."""
        return {"mean": self.mean, "scale": self.scale, "tables": self.tables, "of": self.of.astype(np.float64)}

    def slopes(self, w: Array) -> Array:
        """(..., d + 1) change a grid unit of each feature, and of the constant UNIT, from weights (..., D + 1) of rows."""
        d = len(self.mean)
        features = w[..., :d] * self.scale / (ROW * 2.0**SCALE_BITS)
        return np.concatenate([features, ((w[..., -1] - features @ self.mean) / UNIT)[..., None]], axis=-1)

    def released(self, w: Array) -> tuple[Array, Array]:
        """Whole log-odds from weights (D + 1,) of rows: (d + 1,) a grid unit, the last for the constant UNIT, and shapes (d, BINS)."""
        d = len(self.mean)
        shapes = np.zeros((d, BINS))
        np.add.at(shapes, self.of, (self.tables * w[d:-1] / ROW).T)
        weights = np.clip(np.rint(self.slopes(w) * LOGIT), -MAX_WEIGHT, MAX_WEIGHT)
        return weights, np.clip(np.rint(shapes * LOGIT), -MAX_SHAPE, MAX_SHAPE)


def spread(rounds: Rounds, name: str, d: int) -> Spread:
    """One round, `name`: sums of 1, label, x and x². The public bound of each feature is all that bounds them."""
    bound = UNIT * math.sqrt(2 * d + 2)
    [sums] = rounds.ask(name, "designs.moments", {}, (1, 2 * d + 2), bound)
    subjects = max(float(sums[0]) / UNIT, 1.0)
    sigma = rounds.sigma(name, bound) / UNIT
    mean = np.clip(np.rint(sums[2 : d + 2] / subjects), -UNIT, UNIT)
    variance = np.clip(sums[d + 2 :] * UNIT / subjects - mean**2, (UNIT / 100) ** 2, UNIT**2)
    seen = variance + UNSEEN * UNIT**2 * sigma / subjects
    positives = float(np.clip((sums[1] / UNIT / subjects + 1) / 2, 0.01, 0.99))
    return Spread(subjects, sigma, positives, mean, np.sqrt(seen), variance / seen)


def plain(seen: Spread) -> Design:
    """Features alone, each divided by its size."""
    scale = np.rint(ROW * 2.0**SCALE_BITS / seen.size)
    return Design(seen.mean, scale, np.zeros((BINS, 0)), np.zeros(0, dtype=np.int64), float(seen.variance.sum()))


def bins(x: Array) -> NDArray[np.int64]:
    """The bin of each value."""
    return np.clip((x + UNIT) * (BINS / (2 * UNIT)), 0, BINS - 1).astype(np.int64)


def logits(x: Array, weights: Array, shapes: Array) -> Array:
    """(n,) exact whole log-odds of features (n, d); see `Design.released`."""
    total = x @ weights[:-1] + UNIT * weights[-1]
    for feature in np.flatnonzero(shapes.any(axis=1)):
        total += shapes[feature, bins(x[:, feature])]
    return np.asarray(total)


def rows(x: Array, parameters: Mapping[str, Array]) -> Array:
    """(n, D) rows of features (n, d), whole numbers."""
    of = parameters["of"].astype(np.int64)
    d = x.shape[1]
    found = np.empty((len(x), d + len(of)))
    plain = x - parameters["mean"]
    plain *= parameters["scale"] * 2.0**-SCALE_BITS
    np.clip(np.trunc(plain, out=plain), -MAX_ROW, MAX_ROW, out=found[:, :d])
    tables, start = np.clip(parameters["tables"], -MAX_ROW, MAX_ROW), d
    for feature, count in zip(*np.unique(of, return_counts=True), strict=True):
        found[:, start : start + count] = np.take(tables[:, start - d : start - d + count], bins(x[:, feature]), axis=0)
        start += count
    return found


@register("designs.moments")
def moments(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, 2 + d + d): UNIT, ±UNIT for the label, x, x²/UNIT."""
    x = batch["features"].T
    values = np.empty((2 + 2 * len(x), x.shape[1]))
    values[0] = UNIT
    values[1] = UNIT * (2 * batch["label"] - 1)
    values[2 : 2 + len(x)] = x
    values[2 + len(x) :] = np.trunc(x * x / UNIT)
    return Contribution(values.T)
