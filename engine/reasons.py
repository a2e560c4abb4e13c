"""Why a released score says of one person what it says: released parameters and that person's own features, nobody else's.

Features are computed as they were for the build, in the same locked room and by the same consent, policy and contract; who may not be
used today is not computed anything of. Nothing is kept. Not here: who may ask (`engine.access`).
"""

from __future__ import annotations

from engine import models, scoring
from engine.admitting import admission_now
from engine.bench import Bench
from engine.gates import Refused
from engine.models import Explained
from engine.release import permit
from engine.stages import features, minimise
from engine.workspace import Workspace, WorkspaceError
from governance.builds import Build, Status
from governance.room import ExtractionError
from governance.sources import SourceError
from governance.verdicts import Reason


def reasons(workspace: Workspace, build: Build, key: str) -> tuple[tuple[str, float], ...]:
    """What each feature adds to the log-odds of a subject against an average one, the strongest first; empty where that cannot be told:
    no released score, a subject or a use that is not allowed today, or a source that cannot be read."""
    if build.status is not Status.RELEASED or "released_model" not in build.facts:
        return ()
    try:
        model = models.released(build.facts["released_model"])
        if not isinstance(model, Explained):
            return ()
        lawful = permit(workspace, build)
        bench = Bench.at(workspace, lambda _step: None)
        use = scoring.decided_use(bench, lawful, lawful.spec.known)
        alone = admission_now(workspace, use.prepared.contract, use.prepared.rules, use.prepared.spec, only=key)
        if alone.check(key) is not Reason.ADMITTED:
            return ()
        with minimise(bench, use, alone) as inside:
            people = features(bench, use, inside)
    except (Refused, WorkspaceError, SourceError, ExtractionError, ValueError):
        return ()
    if len(people.subjects) != 1:
        return ()
    [adds] = model.contributions(people.features)
    names = use.prepared.spec.features
    return tuple(sorted(zip(names, map(float, adds), strict=True), key=lambda pair: -abs(pair[1])))
