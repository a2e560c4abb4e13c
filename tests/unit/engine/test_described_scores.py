"""`engine.described_scores.effects`: released curves laid over released profiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.report import Profile
from engine.described_scores import effects
from engine.models import Features


@dataclass(frozen=True)
class Curves:
    """A score of two features by given curves."""

    given: NDArray[np.float64]

    def score(self, features: Features) -> NDArray[np.int64]:
        """Of no use here."""
        return np.zeros(len(features), np.int64)

    def facts(self) -> dict[str, object]:
        """None."""
        return {}

    def contributions(self, features: Features) -> NDArray[np.float64]:
        """None."""
        return np.zeros(features.shape)

    def curves(self) -> NDArray[np.float64]:
        """As given."""
        return self.given


def profile(name: str, selected: tuple[float, ...], rest: tuple[float, ...]) -> Profile:
    return Profile(name, "days", (0.0,), tuple(np.linspace(0, 80, 5)), (selected,), rest, 1.0)


def test_effects_are_ranked_by_how_much_they_move_people() -> None:
    """The first feature has the longer way from end to end, but people stand where it is flat."""
    rising = np.repeat([0.0, 0.0, 0.0, 9.0], 2)
    bent = np.repeat([1.0, -1.0, -1.0, 1.2], 2)
    flat = profile("flat", (50.0, 50.0, 0.0, 0.0), (50.0, 50.0, 0.0, -3.0))
    spread = profile("spread", (0.0, 0.0, 0.0, 100.0), (50.0, 50.0, 0.0, 0.0))
    second, first = effects(Curves(np.array([rising, bent])), (flat, spread))
    assert (second.feature, first.feature) == ("spread", "flat")
    assert first.effect == pytest.approx(9.0) and first.strength == pytest.approx(0.0) and first.selected == pytest.approx(0.0)
    assert second.selected == pytest.approx(1.2 - (100 * 1.2 + 50 * 1.0 - 50 * 1.0) / 200)
    assert second.ends == (0.0, 80.0) and len(second.curve) == 8 and second.largest == pytest.approx(1.2)
    assert first.trend == "more likely the larger it is"
    assert second.trend == "depends on the value, up and down"


def test_noise_below_zero_moves_nobody() -> None:
    [one] = effects(Curves(np.repeat([[0.0, 5.0]], 2, axis=1)), (profile("x", (-4.0, 0.0), (-2.0, -1.0)),))
    assert np.isfinite([one.strength, one.selected]).all() and one.selected == 0.0
