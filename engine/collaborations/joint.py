"""What is learned of partners together: the trainers, tables and curves of a build, asked of partners in rounds instead of rows at home.

    how many are there? ──> is it worth it? ──> train ──> (scores: where to cut) ──> what is each segment like, how good is it?
                                                                                                              └──> (how do groups fare?)

Everything is asked within what the contract allows (`federated.shares.whole`), cut by shares like a build's budget. Not here: bounds, which
the contract has, and what each house asks about its own people: rules that touched rows, members; and who may be read for groups, which
partners say at home.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from audit.explanation_page import Explanation, Named
from audit.fairness import Bounds, FairnessFinding
from audit.report import Count
from engine import assess as door
from engine import described_fairness, shares, training
from engine.assess import Noisy
from engine.collaborations.result import Result
from engine.collaborations.rounds import Rounds
from engine.described import describe
from engine.described_fairness import Declared
from engine.explaining import rules
from engine.forecast import Forecast
from engine.forecast_scores import Choice, chosen
from engine.forecasts import expected
from engine.gates import refusal
from engine.models import Scorer
from engine.scale import Scale
from engine.trainers.learners import Learner
from engine.wanted import Meant, Wanted
from federated.contract import Agreed, Collaboration, Measured
from federated.groups import Fairness
from federated.shares import whole
from governance.noise import NoiseSource
from policies.segment import Propensity


def learn(rounds: Rounds, noise: NoiseSource, progress: Callable[[str], None]) -> Result:
    """All questions of a contract, and what came of them. Raises Refused where the result would be noise, and as `Rounds.sum` does."""
    agreed, contract = rounds.agreed, rounds.agreed.contract
    grants = whole(contract).split(**shares.joint(contract))
    progress("how many there are")
    count = door.subjects(rounds.cohort(), grants["subjects"], noise)
    wanted = wanted_of(agreed, count)
    choice = _choice(contract, wanted.subjects)
    forecast = _worth_it(agreed, wanted, count, choice)
    trained = training.fit(wanted, _learner(choice), rounds.cohort(), grants["train"], noise, progress)
    if isinstance(trained.model, Scorer):
        progress("where to cut scores")
        trained = training.cut(wanted, trained, rounds.cohort(trained.released()), grants, noise)
    progress("what segments are like")
    cohort = rounds.cohort(trained.released())
    found = describe(wanted, trained, cohort, grants, noise)
    parts = tuple(replace(part, id=f"S{number}") for number, part in enumerate(found.parts, 1))
    fairness: tuple[FairnessFinding, ...] = ()
    if contract.fairness is not None:
        progress("how groups fare")
        about = declared(contract.fairness)
        fairness = described_fairness.judged(about, wanted, trained, cohort, grants["fairness"], noise, parts, found.shapes)
    return Result(
        contract=agreed.digest,
        name=contract.name,
        purpose=contract.purpose,
        features=tuple(contract.features),
        model=trained.released(),
        subjects=Count("subjects of all partners", wanted.subjects, count.sigma),
        parts=parts,
        profiles=found.profiles,
        utility=found.utility,
        headline=found.headline,
        forecast=forecast.words,
        explanation=Explanation(rules(found.profiles, [Named(part.id, part.name) for part in parts])),
        asked=tuple(rounds.asked),
        propensity=found.propensity,
        clusters=found.clusters,
        value=found.value,
        uplift=found.uplift,
        fairness=fairness,
    )


def wanted_of(agreed: Agreed, count: Noisy) -> Wanted:
    """What a contract asks for."""
    contract = agreed.contract
    features = {name: _meant(measured) for name, measured in contract.features.items()}
    label = _meant(contract.label) if isinstance(contract.label, Measured) else None
    return Wanted(contract.name, contract.model, features, label, contract.cohort_floor, float(count.values[0]), agreed.digest)


def declared(fairness: Fairness) -> Declared:
    """What a contract says of groups."""
    return Declared({name: each.groups for name, each in fairness.attributes.items()}, Bounds(fairness.min_ratio, fairness.max_gap))


def steps(contract: Collaboration) -> int:
    """Steps that `learn` reports at most."""
    return 3 + training.steps(contract.model) + (contract.fairness is not None)


def _meant(measured: Measured) -> Meant:
    low, high = map(float, measured.bounds)
    return Meant(Scale(low, high, measured.scale == "log"), "", measured.unit)


def _choice(contract: Collaboration, subjects: float) -> Choice | None:
    if not isinstance(contract.model, Propensity):
        return None
    return chosen(contract.model.learner, subjects, len(contract.features), whole(contract).mu_squared)


def _learner(choice: Choice | None) -> Learner | None:
    """No contract asks for a network, which is not learned from sums."""
    return None if choice is None or choice.learner == "network" else choice.learner


def _worth_it(agreed: Agreed, wanted: Wanted, count: Noisy, choice: Choice | None) -> Forecast:
    """What to expect of so many, before anything more is spent."""
    contract = agreed.contract
    mu_squared = whole(contract).mu_squared * Fraction(shares.joint_trained(contract))
    found = expected(contract.model, len(contract.features), wanted.subjects, count.sigma, mu_squared, choice)
    if found.verdict == "noise":
        raise refusal(
            contract.name,
            "forecast-noise",
            agreed.digest,
            "with so many subjects, at this privacy, the result would be noise",
            found.words,
            "sign a contract with more ε, fewer features or fewer segments, or with partners who have more subjects",
        )
    return found
