"""`engine.drift`: noise is not called drift, and what moved is."""

from __future__ import annotations

import numpy as np
import pytest

from audit.report import Profile
from engine.drift import drift

EDGES = tuple(float(edge) for edge in range(9))
SHARES = np.array([0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01])
SIGMA = 20.0


def profile(shares: np.ndarray, n: int, generator: np.random.Generator, name: str = "x", edges: tuple[float, ...] = EDGES) -> Profile:
    """Two parts and a rest of `n` in all."""
    counts = n * np.outer([0.5, 0.3, 0.2], shares) + generator.normal(0, SIGMA, (3, 8))
    rows = tuple(tuple(map(float, row)) for row in counts)
    return Profile(name, "", (0.0, 0.0), edges, rows[:2], rows[2], SIGMA)


def test_noise_is_called_drift_in_one_of_twenty_builds_at_most() -> None:
    generator = np.random.default_rng(1)
    names = [f"f{place}" for place in range(3)]
    wrong = 0
    for _ in range(100):
        now, then = ([profile(SHARES, 3_000, generator, name) for name in names] for _ in range(2))
        wrong += any(found.drifted for found in drift(now, {each.feature: each for each in then})[0])
    assert wrong <= 12


def test_the_interval_holds_the_true_distance_and_what_moved_is_seen() -> None:
    generator = np.random.default_rng(2)
    later = np.roll(SHARES, 1)
    true = float(np.abs(later - SHARES).sum() / 2)
    inside = 0
    for _ in range(100):
        [found], _ = drift([profile(later, 3_000, generator)], {"x": profile(SHARES, 4_000, generator)})
        inside += found.distance.low <= true <= found.distance.high
        assert found.drifted
    assert inside >= 95


@pytest.mark.parametrize("edges", [tuple(2 * edge for edge in EDGES), (*EDGES[:-1], 9.0)])
def test_other_bars_are_not_compared(edges: tuple[float, ...]) -> None:
    generator = np.random.default_rng(3)
    then = profile(SHARES, 3_000, generator, edges=edges)
    assert drift([profile(SHARES, 3_000, generator)], {"x": then}) == ((), ("x",))
