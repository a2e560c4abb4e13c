"""An audit of what a trainer gives away, by canaries: Steinke, Nasr, Jagielski 2023, "Privacy auditing with one (1) training run".

Many canaries are put into a population at once, each by the toss of a coin; who sees every noisy sum guesses which are in. Where
(ε, δ) holds, each guess is right with probability e^ε / (1 + e^ε) at most, however clever; so many right guesses refute ε, and the
largest ε that is refuted is a lower bound of the true one. A fit through the door has few values, in which many canaries would
drown each other: so a run of the audit fits a trainer `FITS` times with a few canaries each. No canary takes part twice, so the
theorem holds for all of them together.

The auditor knows everything but the coins: other subjects, canaries, steps, and what was released. Steps are pure, so what each canary
would add to each sum is known, and the log-odds of its coin are those of a binary signal in Gaussian noise. Everybody here is
made up; no row of anybody is read. Not here: who asks (`engine.evidence`), how noise is calibrated (`governance.accounting`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.scale import UNIT
from governance.accounting import mu_squared_of
from governance.door import (
    Array,
    Cohort,
    Column,
    Grant,
    LocalCohort,
    MemoryMeter,
    Part,
    Query,
    Rows,
    exact_sum,
    grid_sigma,
    registered,
    to_grid,
)
from governance.grid import GRID
from governance.noise import NoiseSource

CONFIDENCE = 0.99
"""Of the lower bound: noise as claimed is called too small in one audit of a hundred at most."""

FITS = 300
"""Times that a trainer is fitted in one run of the audit; fewer find less."""

OTHERS = 500
"""Made-up subjects beside the canaries of a fit."""

TOGETHER = (2, 16)
"""Canaries of one fit, at least and at most."""

CROWD = 0.35
"""Canaries of one fit, times μ, for each feature: at the noise that is claimed they are then far from drowning each other."""

GUESSED = 0.25
"""Share of canaries that is guessed, those with the clearest signal; chosen before any audit, not by its outcome."""

LEAST_NOISE = 0.01
"""Least variance that noise is taken to have, of what is claimed: where there is none, odds would be infinite."""

SWEEPS = 8
"""Rounds of interference cancellation."""

Fit = Callable[[Cohort, Grant, NoiseSource, Callable[[str], None]], object]
Columns = Mapping[str, Column]


class Verdict(StrEnum):
    """What an audit says of a claim. It can refute one and never prove one."""

    CONSISTENT = "consistent"
    TOO_LITTLE = "noise too small"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is public of a population: how many `features`, and the largest `label`."""

    features: int
    label: int = 1

    def others(self, generator: np.random.Generator, n: int) -> dict[str, Column]:
        """Columns of `n` made-up subjects, all that a trainer may read: in the middle half of the grid, all labelled 0."""
        features = generator.integers(-UNIT // 2, UNIT // 2, (n, self.features), endpoint=True)
        return _columns(features, np.zeros(n), generator)

    def canaries(self, generator: np.random.Generator, n: int) -> dict[str, Column]:
        """Columns of `n` more, of whom a clip leaves nothing but its bound, which is what noise is made for: at corners of the grid, as
        nearly at right angles as there is room for, and labelled unlike all others, so that no model expects them."""
        return _columns(_corners(generator, n, self.features), np.full(n, self.label), generator)


def _columns(features: NDArray[np.int64], label: NDArray[Any], generator: np.random.Generator) -> dict[str, Column]:
    n = len(features)
    return {
        "features": features.astype(np.int32),
        "label": label.astype(np.int32),
        "treatment": generator.integers(0, 2, n).astype(np.int8),
        "part": np.full(n, Part.TRAIN, dtype=np.int8),
    }


def _corners(generator: np.random.Generator, n: int, d: int) -> NDArray[np.int64]:
    """(n, d) corners: part of a Hadamard matrix, shuffled, with axes turned around."""
    from scipy.linalg import hadamard

    signs = hadamard(1 << (max(n, d) - 1).bit_length())
    rows, columns = generator.permutation(len(signs))[:n], generator.permutation(len(signs))[:d]
    return np.asarray(signs[rows][:, columns] * generator.choice([-UNIT, UNIT], d), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to a cohort and its answer, of shape `query.shape`."""

    query: Query
    grant: Grant
    released: Array


def kept(query: Query) -> Query:
    """A query as it was asked, whatever a trainer does with its arrays afterwards."""
    return replace(query, parameters={name: array.copy() for name, array in query.parameters.items()})


@dataclass
class Recorder:
    """A cohort that keeps a transcript."""

    inner: Cohort
    transcript: list[Asked] = field(default_factory=list)

    @property
    def width(self) -> int:
        """See `Cohort.width`."""
        return self.inner.width

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        """See `Cohort.noisy_sum`."""
        released = self.inner.noisy_sum(query, grant, noise)
        self.transcript.append(Asked(kept(query), grant, released.copy()))
        return released


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit found. `claimed`: the ε at `delta` that was paid; `lower`: true ε is at least this, with `confidence`."""

    claimed: float
    delta: float
    lower: float
    confidence: float
    canaries: int
    guesses: int
    right: int

    @property
    def verdict(self) -> Verdict:
        """Too little noise where the claim is refuted."""
        return Verdict.TOO_LITTLE if self.lower > self.claimed else Verdict.CONSISTENT


def audit(
    fit: Fit,
    shape: Shape,
    epsilon: float,
    delta: float,
    noise: NoiseSource,
    generator: np.random.Generator,
    fits: int = FITS,
    progress: Callable[[str], None] = lambda _: None,
) -> Audited:
    """Audit a trainer that is granted all of (ε, δ). `generator` makes subjects up and tosses coins; `progress` is told of each fit."""
    mu_squared = mu_squared_of(epsilon, delta)
    together = int(np.clip(round(CROWD * shape.features / math.sqrt(mu_squared)), *TOGETHER))
    coins, odds = [], []
    for place in range(fits):
        progress(f"fit {place + 1} of {fits}")
        others, canaries = shape.others(generator, OTHERS), shape.canaries(generator, together)
        coin = generator.integers(0, 2, together) == 1
        meter = MemoryMeter(mu_squared)
        everybody = {name: np.concatenate([column, canaries[name][coin]]) for name, column in others.items()}
        watched = Recorder(LocalCohort(everybody, meter))
        fit(watched, meter.grant(), noise, lambda _: None)
        coins.append(coin)
        odds.append(log_odds(watched.transcript, others, canaries))
    right, guesses = guess(np.concatenate(odds), np.concatenate(coins))
    lower = lower_bound(fits * together, guesses, right, delta)
    return Audited(epsilon, delta, lower, CONFIDENCE, fits * together, guesses, right)


def log_odds(transcript: Sequence[Asked], others: Columns, canaries: Columns) -> Array:
    """Log-odds that each canary is in, (n_canaries,), from all that was released; sums of `others` are known."""
    everybody, each = Rows(others, 0, len(others["features"])), Rows(canaries, 0, len(canaries["features"]))
    signals, received = [], []
    for asked in transcript:
        sigma = grid_sigma(asked.grant)
        released = asked.released.ravel() * (GRID / asked.query.bound)
        signals.append(added(asked.query, each) / sigma)
        received.append((released - exact_sum(asked.query, iter([everybody]))) / sigma)
    return detect(np.hstack(signals), np.concatenate(received))


def added(query: Query, batch: Rows) -> Array:
    """What each subject adds to a sum, (n_subjects, query.size), in grid units."""
    n, (blocks, slots, width) = len(batch["features"]), query.shape
    grid = to_grid(registered()[query.step](batch, query.parameters), query, batch)
    places = np.zeros((n, blocks), dtype=np.int64) if grid.slots is None else grid.slots
    who, block = np.nonzero((places >= 0) & (places < slots))
    sums = np.zeros((n, blocks, slots, width))
    sums[who, block, places[who, block]] = grid.values[who, block]
    return sums.reshape(n, -1)


def detect(signals: Array, received: Array) -> Array:
    """Log-odds of s_i = 1 against 0, (m,), where received (D,) = Σ s_i · signals_i (m, D) + noise, of variance 1 or whatever it shows.

    Soft cancellation of interference by linear estimates (Wang and Poor 1999, "Iterative (turbo) soft interference cancellation
    and decoding for coded CDMA"): what others are likely to add is taken off, what stays unknown of them counts as noise.
    """
    gram, matched = signals @ signals.T, signals @ received
    rest = received - signals.sum(axis=0) / 2
    variance = float(np.clip((rest @ rest - np.trace(gram) / 4) / len(rest), LEAST_NOISE, 1.0))
    odds, share = np.zeros(len(signals)), np.full(len(signals), 0.5)
    for _ in range(SWEEPS):
        unknown = share * (1 - share)
        filtered = np.linalg.solve(variance * np.eye(len(gram)) + gram * unknown, np.column_stack([matched - gram @ share, gram]))
        strength = np.diag(filtered[:, 1:])
        found = (filtered[:, 0] + (share - 0.5) * strength) / np.maximum(1 - unknown * strength, 1e-9)
        odds = (odds + found) / 2
        share = 1 / (1 + np.exp(-np.clip(odds, -50.0, 50.0)))
    return odds


def guess(odds: Array, coins: NDArray[np.bool_]) -> tuple[int, int]:
    """How many guesses were right, and how many were made: of canaries with the clearest signal, the side that it tells."""
    guesses = math.ceil(GUESSED * len(odds))
    chosen = np.argsort(-np.abs(odds), kind="stable")[:guesses]
    return int(((odds[chosen] > 0) == coins[chosen]).sum()), guesses


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """At most how likely (ε, δ)-DP makes that many right guesses (Steinke, Nasr, Jagielski 2023, Theorem 5.2 with its δ term).

    With W ~ Binomial(guesses, e^ε / (1 + e^ε)): P[W ≥ right] + 2 δ · canaries · max over i of P[right > W ≥ right − i] / i.
    """
    from scipy.stats import binom

    chance = 1 / (1 + math.exp(-epsilon))
    below = np.arange(1, right + 1)
    near = np.cumsum(binom.pmf(right - below, guesses, chance)) / below
    slack = 2 * delta * canaries * float(near.max(initial=0.0))
    return min(1.0, float(binom.sf(right - 1, guesses, chance)) + slack)


def lower_bound(canaries: int, guesses: int, right: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest ε that `right` guesses refute; 0 where they refute none."""
    low, high = 0.0, 64.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(canaries, guesses, right, middle, delta) < 1 - confidence else (low, middle)
    return low
