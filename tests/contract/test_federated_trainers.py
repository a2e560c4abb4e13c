"""Every trainer runs on a federated cohort unchanged, and learns to the last bit what it learns of the same rows at one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from audit import fairness as judging
from audit.fairness import FairnessFinding
from engine import assess, bounds, curves, described_fairness, group_tables
from engine.collaborations.joint import declared
from engine.partners.groups import about
from engine.parts import Part as Segment
from engine.scale import Scale
from engine.trainers import clusters, projecting
from engine.trainers.logistic import LogisticModel
from engine.training import Trained
from engine.wanted import Meant, Wanted
from governance.door import Array, Cohort, Grant, LocalCohort, MemoryMeter, Part, Query, registered
from governance.noise import NoiseSource
from policies.segment import Propensity
from tests.fakes import ZeroNoise
from tests.partners import Pooled, agreement, cohort, noises, parted
from tests.trainers import TRAINERS, Trainer, population

ROWS = population(3_000, 4)
SIZES = (700, 0)
"""The second of three partners has nobody."""


@pytest.mark.parametrize(
    "trainer", [pytest.param(each, id=each.name, marks=[] if each.name == "clusters" else [pytest.mark.slow]) for each in TRAINERS]
)
def test_three_partners_and_one_place_learn_the_same_bits(trainer: Trainer) -> None:
    meter = MemoryMeter(Fraction(1, 10))
    alone = trainer.fit(LocalCohort(ROWS, meter), meter.grant(), Pooled(noises(3)), lambda _: None)
    joint, grant, meters = cohort(agreement(3, 6), parted(ROWS, SIZES))
    together = trainer.fit(joint, grant, ZeroNoise(), lambda _: None)
    assert np.asarray(alone).tobytes() == np.asarray(together).tobytes()
    assert [each.spent for each in meters] == [meter.spent] * 3  # what one place spends, every partner spends


@pytest.mark.slow
def test_clusters_of_partners_with_colluders_and_a_subject_at_two_pay_more_for_the_same_noise() -> None:
    agreed = agreement(3, 6, colluders=1, presence=2)
    alone_meter = MemoryMeter(Fraction(1, 10))
    alone = clusters.fit(LocalCohort(ROWS, alone_meter), 4, alone_meter.grant(), Pooled(noises(3)), lambda _: None, 0)
    joint, grant, meters = cohort(agreed, parted(ROWS, SIZES))
    together = clusters.fit(joint, 4, grant, ZeroNoise(), lambda _: None, 0)
    assert alone.model.centres.tobytes() == together.model.centres.tobytes() and alone.sizes.tobytes() == together.sizes.tobytes()
    assert alone.model.facts() == together.model.facts()
    for path, paid in meters[0].spent.items():
        assert paid == alone_meter.spent[path] * 4 * Fraction(3, 2)


@pytest.mark.slow
def test_how_rows_are_spread_does_not_matter() -> None:
    learned = set()
    for sizes in [(1_000, 1_000), (0, 0), (2_999, 1)]:
        joint, grant, _ = cohort(agreement(3, 6), parted(ROWS, sizes))
        learned.add(clusters.fit(joint, 4, grant, ZeroNoise(), lambda _: None, 0).model.centres.tobytes())
    assert len(learned) == 1


def test_a_partner_in_a_process_of_its_own_knows_every_step_through_a_projection() -> None:
    """It is asked for steps by name; the trainer that registers them when it needs them runs at the coordinator."""
    projecting.learn_all()
    known = set(registered())
    plain = {step for step in known if not step.startswith("projected/")}
    assert {"clusters.lloyd", "clusters.sizes", "clusters.covariance"} <= plain
    assert known - plain == {f"projected/{step}" for step in plain}


def test_groups_are_judged_by_the_same_bits() -> None:
    """Tables with a crossing, means, and how often a rule names each group, in three rounds; then whatever follows of them."""
    features = {f"f{place}": Meant(Scale(0.0, 1.0, False)) for place in range(6)}
    wanted = Wanted("joint", Propensity(type="propensity", top=0.3), features, None, 0, 3_000.0, "")
    trained = Trained(model=LogisticModel(np.zeros(7), 3_000.0, 5.0, np.zeros(7), np.zeros(6)), threshold=1 << 15)
    ages, homes = (
        {"meaning": "any", "groups": ["young", "old"]},
        {"meaning": "any", "groups": ["town", "country"]},
    )
    agreed = agreement(3, 6, fairness={"purpose": "analytics.reporting", "attributes": {"age": ages, "home": homes}})
    fairness = agreed.contract.fairness
    assert fairness is not None
    part = Segment("likely", "likely ones", 900.0, 5.0, 0.3, False)
    shapes = assess.Noisy(np.full((2, 6, assess.PROFILE_BINS), 150.0), 2.0)

    def judged(of: Cohort, grant: Grant) -> tuple[FairnessFinding, ...]:
        return described_fairness.judged(declared(fairness), wanted, trained, of, grant, ZeroNoise(), [part], shapes)

    rows = {**ASSESSED, "segment": np.where(ASSESSED["segment"] == 0, 0, -1)}
    joint, grant, meters = cohort(agreed, parted(rows, SIZES), Fraction(1))
    meter = MemoryMeter(Fraction(1))
    alone = Noised(LocalCohort(rows, meter), Pooled(noises(3)))
    found = judged(joint, grant)
    assert found == judged(alone, meter.grant()) and [each.attribute for each in found] == ["age", "home", "age × home"]
    assert all(each.groups for each in found) and found[0].proxy is not None
    coarse = (*found[:2], judging.unasked("age × home", "too few each", found[0].bounds))
    assert about(found, ["likely"], agreed.contract) and about(coarse, ["likely"], agreed.contract)
    assert not about(found[1:], ["likely"], agreed.contract) and not about(found, ["likely"], agreement(3, 6).contract)
    assert [each.spent for each in meters] == [meter.spent] * 3 and len(meter.spent) == 3


GENERATOR = np.random.default_rng(8)
ASSESSED = {
    "features": ROWS["features"],
    "segment": GENERATOR.integers(0, 3, 3_000),
    "groups": GENERATOR.integers(-1, 2, (3_000, 2)),
    "label": ROWS["label"],
    "part": ROWS["part"],
    "raw": GENERATOR.normal(40, 10, (3_000, 2)),
    "score": GENERATOR.integers(0, 1 << 16, 3_000),
}
BY_GROUP = group_tables.Asked((2, 2), ((0,), (1,), (0, 1)), 3, Part.HOLDOUT)
QUESTIONS: dict[str, Callable[[Cohort, Grant], object]] = {
    "sizes": lambda cohort, grant: assess.sizes(cohort, 3, grant, ZeroNoise()).values.tobytes(),
    "profiles": lambda cohort, grant: assess.profiles(cohort, 3, grant, ZeroNoise()).values.tobytes(),
    "fairness": lambda cohort, grant: [
        table.counts.tobytes() + table.excess.tobytes() for table in group_tables.tables(cohort, BY_GROUP, grant, ZeroNoise())
    ],
    "bounds": lambda cohort, grant: bounds.estimate(cohort, [0.01, 0.01], grant, ZeroNoise()),
    "curve": lambda cohort, grant: curves.scores(cohort, grant, ZeroNoise()).values.tobytes(),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_profiles_fairness_tables_bounds_and_curves_are_the_same_too(name: str) -> None:
    """`cohort` brings the partners' noise, which is drawn once: a cohort at one place gets the same as its own."""
    mu_squared = Fraction(1, 10)
    joint, grant, _ = cohort(agreement(3, 6), parted(ASSESSED, SIZES), mu_squared)
    meter = MemoryMeter(mu_squared)
    alone = Noised(LocalCohort(ASSESSED, meter), Pooled(noises(3)))
    assert QUESTIONS[name](joint, grant) == QUESTIONS[name](alone, meter.grant())


@dataclass(frozen=True)
class Noised:
    """A cohort that takes its noise from one source, whatever it is offered."""

    inner: LocalCohort
    noise: Pooled

    @property
    def width(self) -> int:
        return self.inner.width

    def noisy_sum(self, query: Query, grant: Grant, noise: NoiseSource) -> Array:
        return self.inner.noisy_sum(query, grant, self.noise)
