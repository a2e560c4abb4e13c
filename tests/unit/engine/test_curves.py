"""`engine.curves`, the figures: they agree with those of exact scores, and say nothing where noise drowns a label."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from engine import curves
from engine.models import ONE
from governance.door import LocalCohort, MemoryMeter, Part
from governance.noise import NoiseSource
from tests.fakes import SeededNoise, ZeroNoise

PLENTY = Fraction(100)
"""μ² at which the noise of a count is a tenth of a subject."""


def people(n: int = 20_000, seed: int = 0, slope: float = 1.0) -> dict[str, np.ndarray]:
    """Subjects whose scores are the chance of their label, if `slope` is 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1.5, 1.3, n)
    return {
        "features": np.zeros((n, 1), dtype=np.int32),
        "label": (generator.random(n) < 1 / (1 + np.exp(-slope * logits))).astype(np.float64),
        "part": np.where(generator.random(n) < 0.7, Part.TRAIN, Part.HOLDOUT).astype(np.int8),
        "score": np.rint(ONE / (1 + np.exp(-logits))),
    }


def curve(columns: dict[str, np.ndarray], mu_squared: Fraction, noise: NoiseSource) -> curves.Curve:
    """At `mu_squared` for each of the two queries."""
    meter = MemoryMeter(2 * mu_squared)
    grants = meter.grant().split(scores=1, curve=1)
    cohort = LocalCohort(columns, meter)
    return curves.curve(cohort, curves.scores(cohort, grants["scores"], noise), grants["curve"], noise)


@pytest.mark.parametrize("mu_squared", [Fraction(1, 10**6), Fraction(1)])
def test_with_hardly_anybody_there_are_still_figures(mu_squared: Fraction) -> None:
    for seed in range(20):
        found = curve(people(1, seed), mu_squared, SeededNoise(seed))
        area, gap = curves.auc(found), curves.calibration_gap(found)
        assert 0 <= area.low <= area.value <= area.high <= 1
        assert -1 <= gap.low <= gap.value <= gap.high <= 1
        assert np.all(np.isfinite(curves.roc(found)))
        assert np.all(np.isfinite(np.array(curves.calibration(found))))


def test_area_is_that_of_the_scores_less_what_bins_hide() -> None:
    columns = people()
    held = columns["part"] == Part.HOLDOUT
    exact = roc_auc_score(columns["label"][held], columns["score"][held])
    area = curves.auc(curve(columns, PLENTY, ZeroNoise()))
    assert exact - 0.006 <= area.value <= exact + 0.001
    assert area.low < exact < area.high


def test_area_is_unknown_where_noise_drowns_a_label() -> None:
    area = curves.auc(curve(people(200), Fraction(1, 10**4), SeededNoise(0)))
    assert (area.value, area.low, area.high) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("noise", [ZeroNoise(), SeededNoise(0)])
def test_roc_rises_from_one_corner_to_the_other(noise: NoiseSource) -> None:
    points = np.array(curves.roc(curve(people(), Fraction(1, 25), noise)))
    assert points[0].tolist() == [0.0, 0.0]
    assert points[-1].tolist() == [1.0, 1.0]
    assert np.all(np.diff(points, axis=0) >= 0)
    assert np.all(points[1:-1, 1] > points[1:-1, 0])


def test_calibration_tells_honest_scores_from_overconfident_ones() -> None:
    honest, bold = (curve(people(slope=slope), PLENTY, ZeroNoise()) for slope in (1.0, 0.4))
    assert len(curves.calibration(honest)) == 4
    assert all(low - 0.01 <= predicted <= high + 0.01 for predicted, _, low, high in curves.calibration(honest))
    assert not all(low - 0.01 <= predicted <= high + 0.01 for predicted, _, low, high in curves.calibration(bold))
    gap = curves.calibration_gap(honest)
    assert gap.low - 0.005 <= 0 <= gap.high + 0.005
    assert curves.calibration_gap(bold).low > 0.05
