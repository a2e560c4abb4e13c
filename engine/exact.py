"""Builds without differential privacy: exact, seen by nobody, and kept inside the controller.

    policy ──decide──> admit ──minimise──> features ──learn (twin)──> quarantine ──approval──> release

For a segment with `privacy: none`, where the policy names who assessed that its purpose may. The noisy snapshot is shown
and paid as always; of what was learned nothing is: no size, share, profile, name, figure, fairness table, curve or page, and no
model is kept. Facts, log and passport are made from documents alone, so that they are the same whoever is in the data. Who is
in it may be read inside, by whoever may read members, once somebody else approved; it is never exported (`policies.deciding`).

The number of parts and their names are public: the most that the spec asks for, by number. Parts below the cohort floor are
left out of the list, where nobody sees that they are. Not here: what a twin learns (`engine.trainers.twins`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit import passport as passports
from audit.commitments import Commitments
from engine.bench import Bench
from engine.learning import NOBODY
from engine.planning import Planned
from engine.quarantine import common_facts, costs_of, keeping, membership, passport_of
from engine.scale import UNIT
from engine.stages import NOT_IN_TRIAL, People, gathered, label_scale, uncharged
from engine.trainers import twins
from governance import builds
from governance.builds import Build, required_approvals
from policies.segment import Clusters, KRange, Propensity, Segment, Uplift, Value

ASSURANCE = "none: learned without differential privacy, so that nothing of it is shown and nothing leaves the controller"
"""What the passport says; nothing bounds what was learned, so that it names no ε."""

HEADLINE = "built without differential privacy: sizes, profiles, quality and names are shown to nobody, and it goes to no destination"


def build(bench: Bench, plan: Planned) -> Build:
    """From a plan to quarantine; somebody other than the builder always has to approve. Raises Refused, and faults."""
    prepared, workspace = plan.prepared, bench.workspace
    spec = prepared.spec
    with uncharged(bench, "exact", plan.id, spec.purpose) as started:
        assessed = prepared.policy.purposes[spec.purpose].unsafe_without_privacy
        assert assessed is not None  # decided before, and again at release
        with workspace.store.transaction("exact") as write:
            write.record("build.unsafe_without_privacy", build=started.id, segment=spec.name, assessed_by=assessed.by)
        admission, people = gathered(bench, plan)
        bench.progress("train")
        names = part_names(spec)
        members = membership(people.subjects, _assigned(spec, people, prepared.policy.cohort_floor), names)
        bench.progress("quarantine")
        required = required_approvals(prepared.policy, spec.model.type, at_least=1)
        with keeping(workspace, started, prepared, admission, members, people.subjects) as kept:
            facts = _facts(plan, required) | {"passport": passports.dump(_passport(bench, plan, started, kept.commitments)).decode()}
            retention = prepared.policy.retention
            evidence = kept.evidence | {"privacy": "none"}
            built = builds.quarantine(kept.write, started.id, facts, retention.memberships, **facts["digests"], **evidence)
            if kept.somebody_left:
                builds.must_retrain(kept.write, started.id, retention.retrain)
    return built


def part_names(spec: Segment) -> list[str]:
    """Names of all parts that there may be, from the spec alone."""
    match spec.model:
        case Clusters(method=method, most=most):
            return [f"part {number}" for number in range(1, most + 1)] + (["the others"] if method == "density" else [])
        case Propensity():
            return ["likely"]
        case Value():
            return ["most valuable"]
        case Uplift():
            return ["persuadable"]


def _assigned(spec: Segment, people: People, floor: int) -> NDArray[np.int64]:
    """(n_subjects,) the part of each, or NOBODY: for everybody where a row makes scikit-learn fail, because an error would show it."""
    try:
        assigned = _twin(spec, people, floor)
    except Exception:  # noqa: BLE001 (see above)
        return np.full(len(people.subjects), NOBODY)
    sizes = np.bincount(assigned[assigned >= 0], minlength=len(part_names(spec)))
    large = np.append(sizes >= floor, False)  # the last place is that of NOBODY
    return np.where(large[assigned], assigned, NOBODY)


def _twin(spec: Segment, people: People, floor: int) -> NDArray[np.int64]:
    match spec.model:
        case Clusters(method="density", most=most):
            return twins.density(people.features, most, floor)
        case Clusters(method=method, k=k):
            found = twins.best_k(people.features, k.least, k.most) if isinstance(k, KRange) else k
            return twins.PARTITIONS[method](people.features, found)
        case Propensity(learner=learner, threshold=above, top=top):
            return _selected(twins.CLASSIFIERS[learner](people.features, _label(people))(people.features), above, top)
        case Value(above=least, top=top):
            assert spec.label is not None  # no value without one
            amounts = label_scale(spec.label).decode((_label(people) - UNIT).astype(np.float64))
            return _selected(twins.regression(people.features, amounts)(people.features), None if least is None else float(least), top)
        case Uplift(above=above, top=top):
            assert people.treatment is not None  # no uplift without one
            tried = people.treatment != NOT_IN_TRIAL
            effect = twins.uplift(people.features[tried], _label(people)[tried], people.treatment[tried])
            return _selected(effect(people.features), above, top)


def _label(people: People) -> NDArray[np.int32]:
    assert people.label is not None  # nobody learns to predict without one
    return people.label


def _selected(score: NDArray[np.float64], least: float | None, top: float | None) -> NDArray[np.int64]:
    """Part 0 from a score of `least` on, or for the `top` share; NOBODY for the others."""
    if least is None:
        least = float(np.quantile(score, 1 - (top or 1.0))) if len(score) else 0.0
    return np.where(score >= least, 0, NOBODY)


def _facts(plan: Planned, required: int) -> dict[str, Any]:
    """What may be known of the build: nothing in it depends on a row, the noisy snapshot aside."""
    blank: dict[str, Any] = {"description": "", "size": None, "sigma": None, "share": None, "withheld": False}
    return common_facts(plan.prepared, required) | {
        "snapshot": {"id": plan.snapshot.id, "admitted": plan.snapshot.admitted, "sigma": plan.snapshot.sigma},
        "parts": [blank | {"name": name} for name in part_names(plan.prepared.spec)],
        "headline": HEADLINE,
        "utility": {},
        "verdict": None,
        "fairness": [],
        "privacy": {"epsilon": None, "delta": None},
        "forecast": plan.forecast.words,
    }


def _passport(bench: Bench, plan: Planned, build: Build, commitments: Commitments) -> passports.Passport:
    counted = costs_of(bench.workspace, plan.snapshot.reservation)
    nothing = passports.Privacy("0", 0, plan.prepared.policy.budgets.cap.delta, None, ASSURANCE, ())
    return replace(passport_of(plan.prepared, build, commitments, plan.snapshot, counted, nothing), recipients=())
