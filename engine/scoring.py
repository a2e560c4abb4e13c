"""Scoring: who belongs to what today, by a model that was released before. A use of its own, and nothing more is learned.

    released model ──decide──> admit ──minimise──> features ──score──> quarantine ──approval──> release

Policy and consent are asked anew, for the people of today, whether or not they trained the model; features have the bounds,
the grid and the contract that it was trained with, and are coarsened as the policy of today says. Label and fairness attributes
are not read. Only released parameters are applied, so that nothing is charged; nothing is counted either, and the size of a
scored list is not shown. The list is a build with a passport, approvals and an end of its own, and the model's is named in it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit import passport as passports
from audit.commitments import Commitments
from engine import models, planning, reports, roles
from engine.bench import Bench
from engine.gates import gate, refusal
from engine.prepared import Prepared, decided
from engine.release import Lawful, find, in_time, permit
from engine.stages import gathered, uncharged
from engine.workspace import WorkspaceError
from governance import builds
from governance import minimise as minimisation
from governance.builds import Build, Status
from governance.consent import judged_at
from governance.roles import Action
from policies.deciding import decide

STEPS = 5
"""Steps that scoring reports."""

_ASSURANCE = "post-processing of a released model: nothing was drawn, nothing is charged"


@dataclass(frozen=True, slots=True)
class Scoring:
    """A decided use of a model: `kept` has the spec that the list is of; `prepared` what is read for it, no label and no attribute."""

    model: Lawful
    kept: Prepared
    prepared: Prepared
    extraction: minimisation.Prepared


def score(bench: Bench, name: str, as_of: dt.date | None = None) -> Build:
    """Assign the people of `as_of` (default: today) to the segments of a released model. Raises Refused, and faults."""
    from engine.quarantine import keeping, membership  # with what trains, which a look at one person's score has no use for

    workspace = bench.workspace
    model = find(workspace, name, Status.RELEASED, trained=True)
    roles.authorise(workspace, Action.SCORE, model)
    scoring = decided_use(bench, permit(workspace, model), as_of)
    with uncharged(bench, "score", model.plan, model.purpose, model.id) as build:
        admission, people = gathered(bench, scoring)
        bench.progress("score")
        members = membership(people.subjects, _assigned(model, people.features), [part["name"] for part in model.facts["parts"]])
        bench.progress("quarantine")
        with keeping(workspace, build, scoring.kept, admission, members, pa.array([], pa.string())) as kept:
            facts = _facts(scoring, build) | {"passport": passports.dump(_passport(scoring, build, kept.commitments)).decode()}
            retention = scoring.kept.policy.retention
            builds.quarantine(kept.write, build.id, facts, retention.memberships, **facts["digests"], **kept.evidence)
    return reports.refresh(workspace, build)


def decided_use(bench: Bench, lawful: Lawful, as_of: dt.date | None) -> Scoring:
    """Applying a model to people of a day (default: today), decided by policy. Raises Refused, WorkspaceError."""
    workspace, contract, policy = bench.workspace, lawful.contract, lawful.policy
    with workspace.store.read() as session:
        now = judged_at(session, workspace.store.clock())
    in_time(lawful.build, lawful.policy, now)
    if not lawful.spec.private:
        raise refusal(
            lawful.build.segment,
            "without-privacy-no-model",
            policy.digest(),
            "what was learned without differential privacy was applied once, and not kept",
            "`privacy` of the segment as it was built asks for an ε, got `none`",
            f"build it anew: consentric build {lawful.build.segment}",
        )
    ordered = {name: lawful.spec.features[name] for name in _order(lawful.build)}
    spec = lawful.spec.model_copy(update={"as_of": as_of or now.date(), "features": ordered})
    if spec.as_of > now.date():
        raise WorkspaceError(f"`--as-of`: got `{spec.as_of}`, expected a day up to today, {now.date()}")
    read = spec.model_copy(update={"label": None, "treatment": None, "fairness": ()})
    prepared = decided(contract, policy, read)
    gate(decide(policy, prepared.request))
    return Scoring(lawful, decided(contract, policy, spec), prepared, planning.extraction_of(workspace, prepared))


def day(text: str | None) -> dt.date | None:
    """A date as YYYY-MM-DD. Raises WorkspaceError."""
    try:
        return dt.date.fromisoformat(text) if text is not None else None
    except ValueError:
        raise WorkspaceError(f"`--as-of`: got `{text}`, expected a date such as 2026-06-30") from None


def _order(model: Build) -> list[str]:
    """Features in the order that the model's parameters have."""
    names: list[str] | None = model.facts.get("features")
    if names is None:
        raise WorkspaceError(f"build `{model.id}` does not tell the order of its features, expected one that does: build it anew")
    return names


def _assigned(model: Build, vectors: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n_subjects,) part of each by released parameters alone, below 0 none."""
    try:
        return models.parts_of(model.facts["released_model"], vectors)
    except ValueError as error:
        raise WorkspaceError(f"build `{model.id}`: {error}; build it anew") from None


def _facts(scoring: Scoring, build: Build) -> dict[str, Any]:
    from engine.quarantine import common_facts

    model, spec = scoring.model.build, scoring.kept.spec
    unsized = [part | {"size": None, "sigma": None, "share": None} for part in model.facts["parts"]]
    return common_facts(scoring.kept, scoring.model.required) | {
        "parts": unsized,
        "headline": f"scored as of {spec.as_of} with the released model of build {model.id}; nothing was counted, so no size is shown",
        "utility": {},
        "verdict": model.facts["verdict"],
        "fairness": [],
        "privacy": {"epsilon": 0.0, "delta": spec.asked.delta},
        "forecast": model.facts["forecast"],
    }


def _passport(scoring: Scoring, build: Build, commitments: Commitments) -> passports.Passport:
    kept = scoring.kept
    free = passports.Privacy("0", 0, kept.spec.asked.delta, 0.0, _ASSURANCE, ())
    return passports.Passport(
        segment=kept.spec.name,
        build=build.id,
        purpose=kept.spec.purpose,
        spec=kept.digests["spec"].removeprefix("sha256:"),
        policy=kept.digests["policy"].removeprefix("sha256:"),
        contract=kept.digests["contract"].removeprefix("sha256:"),
        consent_root=commitments.root.hex(),
        consent_leaves=commitments.size,
        read_sets=reports.read_sets(scoring.prepared),
        exclusions=passports.NoisyTable((), (), 0.0),
        snapshot=free,
        privacy=free,
        utility={},
        fairness=(),
        approvals=(),
        recipients=(kept.spec.output.destination,) if kept.spec.output.destination else (),
        model=scoring.model.build.id,
    )
