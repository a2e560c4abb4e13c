"""The pipeline: it reads like the figure. Each stage has a type of its own, and only the gates stop it."""

from __future__ import annotations

from engine import planning, release
from engine.assessment import assess, fairness_gate
from engine.bench import Bench
from engine.learning import TRAINING_STEPS, learn, shares_of
from engine.quarantine import quarantine
from engine.stages import admit, begin, features, minimise, still_admitted
from governance.builds import Build, Status

STEPS = planning.STEPS + TRAINING_STEPS + 6
"""Steps that a build reports."""


def build(bench: Bench, name: str, plan_id: str | None = None) -> Build:
    """Decide → admit → minimise → features → learn → assess → release, or quarantine until approved.

    Raises Refused at a gate (policy, floor, forecast, fairness), BudgetExceeded, and faults; whatever was drawn stays spent.
    """
    plan = planning.recalled(bench, name, plan_id) if plan_id else planning.plan(bench, name)
    with begin(bench, plan, shares_of(plan.prepared.spec)) as run:
        bench.progress("admit")
        admission = admit(bench, plan)
        bench.progress("minimise")
        with minimise(bench, plan, admission) as inside:
            bench.progress("features")
            people = features(bench, plan, inside)
        people = still_admitted(bench, plan, people)
        learned = learn(bench, plan, people, run)
        bench.progress("assess")
        assessment = assess(bench, plan, people, learned, run)
        bench.progress("fairness")
        required = fairness_gate(plan, assessment)
        bench.progress("quarantine")
        built = quarantine(bench, plan, run, admission, people, learned, assessment, required)
    return release.release(bench.workspace, built) if built.status is Status.QUARANTINED and required == 0 else built
