"""What a build tells of its segments: what separates them, what became of those of the last release, who moved, what drifted."""

from __future__ import annotations

from collections.abc import Sequence

from audit.explanation_page import Explanation
from audit.report import Profile
from engine import movement
from engine.bench import Bench
from engine.drift import drift
from engine.explaining import rules
from engine.learning import Learned
from engine.lineage import Lineage
from engine.planning import Planned
from engine.stages import People, Run, scales_of


def explained(
    bench: Bench, plan: Planned, people: People, learned: Learned, run: Run, lineage: Lineage, profiles: Sequence[Profile]
) -> Explanation:
    """All of it; the door is asked for the movement alone, where there is a release to compare with (`movement.comparable`)."""
    last, scales = plan.last, scales_of(plan.prepared.spec)
    separating = rules(profiles, lineage.parts)
    if last is None:
        return Explanation(separating)
    moved = None
    if "movement" in run.grants:
        origin = movement.origins(last, people.features, scales, scales_of(last.spec))
        cohort = people.cohort(run.meter, segment=learned.assigned, origin=origin)
        moved = movement.movement(cohort, last, lineage.parts, run.grants["movement"], bench.noise)
    drifts, unlike = drift(profiles, last.profiles)
    return Explanation(separating, last.build, lineage.stayed, lineage.came, lineage.went, moved, drifts, unlike)
