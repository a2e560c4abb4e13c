"""`consentric audit privacy SEGMENT`: the privacy audit of the trainer that a segment's spec asks for, on made-up subjects alone.

What is taken from the spec is public: the model, the number of features, ε and δ. No row is read and nothing is spent, so the result
may be shown; it is an entry in the log before it is. Not here: the audit itself (`engine.privacy_audit`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from audit.wording import percent
from engine import privacy_audit
from engine.bench import Bench
from engine.models import ONE
from engine.privacy_audit import Audited, Fit, Shape, Verdict
from engine.scale import UNIT, Scale
from engine.trainers import clusters, learners, projecting, regression, uplift
from engine.workspace import WorkspaceError
from governance.door import Cohort, Grant
from governance.noise import NoiseSource
from policies.segment import Clusters, KRange, Propensity, Segment, Uplift, Value


def audit(bench: Bench, name: str, fits: int) -> Audited:
    """Audit a segment's trainer with `fits` fits; intent and outcome are in the log. Raises DocumentError, WorkspaceError."""
    workspace = bench.workspace
    spec = workspace.segment(name)
    fit, asked = trainer_of(spec), spec.asked
    with workspace.store.transaction("privacy-audit") as write:
        write.record("privacy.audit", segment=name, spec=spec.digest(), epsilon=asked.epsilon, delta=asked.delta, fits=fits)
    generator = np.random.default_rng()
    found = privacy_audit.audit(fit, shape_of(spec), asked.epsilon, asked.delta, bench.noise, generator, fits, bench.progress)
    with workspace.store.transaction("privacy-audited") as write:
        write.record("privacy.audited", segment=name, **outcome(found))
    return found


def shape_of(spec: Segment) -> Shape:
    """What is public of the population."""
    return Shape(len(spec.features), ONE if isinstance(spec.model, Value) else 1)


def trainer_of(spec: Segment) -> Fit:
    """What `engine.learning` trains, of a `learner: auto` the one that takes the steps of most others; of several k the largest.

    Raises WorkspaceError where no trainer is behind noisy sums of everybody.
    """
    if not spec.private:
        raise WorkspaceError(f"segments/{spec.name}.yaml: privacy: got `none`, expected an ε: without one there is nothing to audit")
    match spec.model:
        case Clusters(embed=None, k=k, method=method, prepare=prepare):
            most = k.most if isinstance(k, KRange) else k
            prune, components = (prepare.prune, prepare.components) if prepare else (None, None)

            def fit_clusters(cohort: Cohort, grant: Grant, noise: NoiseSource, progress: Callable[[str], None]) -> object:
                seen, rest = projecting.prepared(cohort, prune, components, grant, noise, progress)
                return clusters.fit(seen, most, rest, noise, progress, 0, method)

            return fit_clusters
        case Propensity(learner="logistic" | "additive" | "boosting" as learner):
            return lambda *door: learners.fit(learner, *door)
        case Propensity(learner="hybrid" | "auto"):
            return lambda *door: learners.fit("hybrid", *door)
        case Value():
            scale = Scale(-UNIT, UNIT)
            return lambda cohort, *door: regression.fit(cohort, scale, *door)
        case Uplift():
            return uplift.fit
    raise WorkspaceError(
        f"segments/{spec.name}.yaml: model: got a deep one, which learns from samples, expected one that learns from sums of everybody"
    )


def outcome(found: Audited) -> dict[str, Any]:
    """As JSON."""
    return {
        "epsilon": found.claimed,
        "delta": found.delta,
        "audited_at_least": round(found.lower, 4),
        "confidence": found.confidence,
        "canaries": found.canaries,
        "guesses": found.guesses,
        "right": found.right,
        "verdict": found.verdict.value,
    }


def words(name: str, found: Audited) -> str:
    """For a terminal."""
    by_chance = found.guesses / (1 + np.exp(-found.claimed))
    says = {
        Verdict.CONSISTENT: f"consistent: nothing here speaks against ε = {found.claimed:g}",
        Verdict.TOO_LITTLE: f"NOISE TOO SMALL: what is released gives away more than ε = {found.claimed:g} allows",
    }
    share = percent(found.right / found.guesses)
    return "\n".join(
        [
            f"{name}: claimed ε = {found.claimed:g} at δ = {found.delta:g}; audited with made-up subjects, no row was read, nothing spent",
            f"  of {found.canaries} canaries, whoever sees every noisy sum guessed {found.guesses}, and {found.right} right ({share})",
            f"  the claim allows {by_chance:.0f} right guesses on average",
            f"  ε is at least {found.lower:.2f}, with {percent(found.confidence)} confidence",
            f"  {says[found.verdict]}",
        ]
    )
