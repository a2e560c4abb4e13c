"""The pipeline: it reads like the figure. Each stage has a type of its own, and only the gates stop it."""

from __future__ import annotations

from engine import exact, planning, release
from engine.assessment import assess, fairness_gate
from engine.bench import Bench
from engine.learning import learn, training_steps
from engine.planning import Planned
from engine.quarantine import quarantine
from engine.shares import shares_of
from engine.stages import admit, begin, bounded, features, minimise, still_admitted
from governance.builds import Build, Status
from policies.segment import Segment

STEPS = planning.STEPS + 6
"""Steps that a build reports besides training's."""


def steps(spec: Segment) -> int:
    """Steps that a build of `spec` reports at most."""
    return STEPS + training_steps(spec)


def build(bench: Bench, name: str, plan_id: str | None = None) -> Build:
    """Plan a segment, or recall a plan of it, and build that: through the door, or where the policy lets it stay inside, exactly.

    Raises Refused at a gate (policy, floor, forecast, fairness), BudgetExceeded, and faults; whatever was drawn stays spent.
    """
    plan = planning.recalled(bench, name, plan_id) if plan_id else planning.plan(bench, name)
    return (private if plan.prepared.spec.private else exact.build)(bench, plan)


def private(bench: Bench, plan: Planned) -> Build:
    """Decided → admit → minimise → features → learn → assess → release, or quarantine until approved. Raises as `build` does."""
    with begin(bench, plan, shares_of(plan.prepared.spec, plan.last)) as run:
        bench.progress("admit")
        admission = admit(bench, plan)
        bench.progress("minimise")
        with minimise(bench, plan, admission) as inside:
            bench.progress("features")
            people = features(bench, plan, inside)
        people = still_admitted(bench, plan, people)
        plan, people = bounded(bench, plan, people, run)
        learned = learn(bench, plan, people, run)
        bench.progress("assess")
        assessment = assess(bench, plan, people, learned, run)
        bench.progress("fairness")
        required = fairness_gate(plan, assessment)
        bench.progress("quarantine")
        built = quarantine(bench, plan, run, admission, people, learned, assessment, required)
    return release.release(bench.workspace, built) if built.status is Status.QUARANTINED and required == 0 else built
