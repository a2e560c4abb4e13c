from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from engine import trial
from engine.gates import Refused
from engine.models import ONE, released
from engine.scale import UNIT
from engine.trainers import uplift
from engine.trainers.uplift import Balance, UpliftModel
from engine.wanted import Wanted
from governance.door import LocalCohort, MemoryMeter
from policies.segment import Uplift
from tests.fakes import SeededNoise, ZeroNoise
from tests.trials import persuadable, tried

PLENTY = Fraction(1)
WANTED = Wanted("persuadable", Uplift(type="uplift", top=0.2), {}, None, 0, 1_000.0, "sha256:rules")


def test_whom_a_treatment_persuades_is_found() -> None:
    campaign = persuadable(20_000, 1)
    assert campaign.effect is not None
    model = tried(campaign, campaign.part(0), PLENTY, SeededNoise(1)).model
    found = 2 * model.score(campaign.features) / ONE - 1
    assert np.corrcoef(found, campaign.effect)[0, 1] > 0.95
    assert found.mean() == pytest.approx(campaign.effect.mean(), abs=0.03)
    assert model.mean == pytest.approx(found.mean(), abs=0.01)
    assert model.spread == pytest.approx(found.std(), rel=0.15)


def test_slopes_lie_within_what_is_said_to_be_known_of_them() -> None:
    """The effect rises by 0.3 a unit of the first feature; 1 in 20 of the slopes may miss."""
    errors = []
    for seed in range(12):
        campaign = persuadable(8_000, seed)
        model = tried(campaign, campaign.part(0), Fraction(1, 5), SeededNoise(seed)).model
        errors += list((model.slopes[:-1] - [0.3, 0, 0, 0, 0]) / model.error[:-1])
    assert np.mean(np.abs(errors) < 1.96) > 0.85
    assert np.std(errors) > 0.5


def test_whoever_is_in_no_arm_changes_nothing() -> None:
    campaign, part = persuadable(2_000, 3), np.ones(2_000, np.int8)
    others = {"features": np.full((500, 5), UNIT), "label": np.ones(500), "treatment": np.full(500, -1), "part": np.ones(500)}
    alone = {"features": campaign.features, "label": campaign.outcome, "treatment": campaign.treatment, "part": part}
    fitted = []
    for columns in (alone, {name: np.concatenate([column, others[name]]) for name, column in alone.items()}):
        meter = MemoryMeter(PLENTY)
        fitted.append(uplift.fit(LocalCohort(columns, meter), meter.grant(), ZeroNoise(), lambda _: None).model.weights)
    assert np.array_equal(*fitted)


@pytest.mark.parametrize("randomised", [True, False])
def test_features_tell_the_arm_only_where_it_was_not_drawn(randomised: bool) -> None:
    campaign = persuadable(6_000, 4, randomised=randomised)
    balance = tried(campaign, campaign.part(0), Fraction(1, 10), SeededNoise(2)).balance
    assert (balance.chance > trial.UNLIKELY) == randomised
    assert (balance.told > trial.TOLD) != randomised
    assert sum(balance.subjects) == pytest.approx(4_200, abs=200)


def test_chances_of_drawn_arms_are_even() -> None:
    chances = []
    for seed in range(60):
        campaign = persuadable(1_500, seed)
        chances.append(tried(campaign, campaign.part(0), Fraction(1, 10), SeededNoise(seed)).balance.chance)
    assert np.mean(np.array(chances) < 0.5) == pytest.approx(0.5, abs=0.2)
    assert np.mean(np.array(chances) < 0.05) < 0.2


def test_noise_alone_leaves_an_order_and_a_small_effect() -> None:
    campaign = persuadable(300, 5)
    model = tried(campaign, campaign.part(0), Fraction(1, 10_000), SeededNoise(6)).model
    assert len(np.unique(model.score(campaign.features))) > 1
    assert np.isfinite(model.error).all()


def test_a_model_is_read_as_it_was_released() -> None:
    campaign = persuadable(1_000, 7)
    model = tried(campaign, campaign.part(0), PLENTY, SeededNoise(8)).model
    again = released(model.facts())
    assert isinstance(again, UpliftModel)
    assert np.array_equal(again.score(campaign.features), model.score(campaign.features))
    assert again.facts() == model.facts()


def test_edges_cut_people_evenly() -> None:
    campaign = persuadable(20_000, 9)
    model = tried(campaign, campaign.part(0), PLENTY, SeededNoise(9)).model
    counts, _ = np.histogram(model.score(campaign.features), model.edges(10))
    assert counts.min() > 1_000
    assert counts.sum() > 19_900


ALIKE = Balance((1_000.0, 1_100.0), 20.0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("balance", "rule"),
    [
        (ALIKE, None),
        (replace(ALIKE, subjects=(90.0, 1_000.0)), "trial-noise"),
        (replace(ALIKE, subjects=(-30.0, 1_000.0)), "trial-noise"),
        (replace(ALIKE, distance=0.6, chance=1e-9), "trial-not-random"),
        (replace(ALIKE, distance=0.1, chance=1e-9), None),
        (replace(ALIKE, distance=0.6, chance=0.2), None),
    ],
)
def test_a_trial_that_cannot_teach_is_refused(balance: Balance, rule: str | None) -> None:
    if rule is None:
        trial.gate(WANTED, balance)
        return
    with pytest.raises(Refused) as refused:
        trial.gate(WANTED, balance)
    assert [finding.rule for finding in refused.value.findings] == [rule]


def test_arms_that_are_not_quite_alike_are_told_of() -> None:
    assert "do not tell" in trial.words(ALIKE)
    assert "may not have been drawn at random" in trial.words(replace(ALIKE, distance=0.1, chance=1e-9))
