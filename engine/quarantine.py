"""The end of a build: membership out of reach, facts and evidence in the database, the report, the draft of the passport.

Order: (1) files beside, flushed, renamed; (2) in one transaction the status, the facts and the entry, and the reservation
settled. A crash before (2) leaves a build that never happened but for the budget it spent.
"""

from __future__ import annotations

import hmac
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audit import log as audit_log
from audit import passport as passports
from audit.commitments import Commitments, collect, commit
from engine import reports
from engine.assessment import Assessment
from engine.bench import Bench
from engine.files import whole_folder
from engine.learning import Learned
from engine.planning import Planned
from engine.release import MEMBERSHIP, folder
from engine.stages import People, Run
from engine.wording import reason_words
from governance import budget, builds
from governance.accounting import epsilon_of
from governance.admission import Admission
from governance.builds import Build


def quarantine(
    bench: Bench,
    plan: Planned,
    run: Run,
    admission: Admission,
    people: People,
    learned: Learned,
    assessment: Assessment,
    required: int,
) -> Build:
    """Keep what was built where nobody reads it, and write down what may be known of it."""
    workspace, spec = bench.workspace, plan.prepared.spec
    commitments = _commitments(bench, plan, run, admission)
    with whole_folder(folder(workspace, run.build.id), "build-files") as partial:
        _membership(partial / MEMBERSHIP, people, learned, assessment)
    with workspace.store.read() as session:
        transcript = budget.transcript(session, run.reservation.id)
        shared = budget.find(session, plan.snapshot.reservation)
        counted = budget.transcript(session, plan.snapshot.reservation)
    assert shared is not None  # reservations are never deleted
    costs = {"privacy": _privacy(run.reservation, transcript), "snapshot": _privacy(shared, counted)}
    passport = _passport(plan, run, people, assessment, commitments, costs)
    facts: dict[str, Any] = {
        "model": spec.model.type,
        "format": spec.output.format,
        "digests": dict(plan.prepared.digests),
        "spec": spec.model_dump(mode="json", by_alias=True),
        "required": required,
        "snapshot": {"id": plan.snapshot.id, "admitted": plan.snapshot.admitted, "sigma": plan.snapshot.sigma},
        "parts": [part.as_facts() for part in assessment.parts],
        "headline": assessment.headline,
        "utility": {figure.name: figure.value for figure in assessment.utility},
        "verdict": assessment.verdict.value if assessment.verdict else None,
        "fairness": reports.plain(assessment.fairness),
        "privacy": {"epsilon": spec.privacy.epsilon, "delta": spec.privacy.delta},
        "forecast": plan.forecast.words,
        "released_model": learned.released(),
        "passport": passports.dump(passport).decode(),
    }
    with workspace.store.transaction("quarantine") as write:
        budget.settle(write, run.reservation.id)
        index = audit_log.size(write.connection)  # of the entry that `builds.quarantine` writes next
        facts["report"] = reports.plain(reports.compose(bench, plan, run, people, assessment, (*counted, *transcript), index))
        evidence = {"consent_root": commitments.root.hex(), "consent_leaves": commitments.size, "verdict": facts["verdict"]}
        built = builds.quarantine(write, run.build.id, facts, **facts["digests"], **evidence)
    return reports.refresh(workspace, built)


def _membership(path: Any, people: People, learned: Learned, assessment: Assessment) -> None:
    """Subject and segment of everybody who is in one."""
    names = np.array([part.name for part in assessment.parts], dtype=object)
    inside = learned.assigned >= 0
    table = pa.table({"subject": people.subjects, "segment": pa.array(names[np.maximum(learned.assigned, 0)], pa.string())})
    pq.write_table(table.filter(pa.array(inside)), path)


def _commitments(bench: Bench, plan: Planned, run: Run, admission: Admission) -> Commitments:
    """One salted leaf for each subject considered, in or out and why, padded to the public number.

    The salt is an HMAC of build and subject under a key of the workspace, so that a subject's leaf can be opened to them; in
    its order leaves stand, and beyond the public number they are left out, because an error would tell the exact one.
    """
    key = hmac.digest(bench.workspace.keys.commitment, run.build.id.encode(), "sha256")
    reasons = admission.reasons
    salted = sorted(
        (hmac.digest(key, subject.encode(), "sha256"), f"{run.build.id}\n{subject}\n{reason}")
        for subject, reason in zip(reasons["subject"].to_pylist(), reasons["reason"].to_pylist(), strict=True)
    )
    room = plan.prepared.contract.subject.max_subjects  # planning refuses where noise says that it may not do
    return collect((commit(value, salt) for salt, value in salted[:room]), room)


def _passport(
    plan: Planned,
    run: Run,
    people: People,
    assessment: Assessment,
    commitments: Commitments,
    costs: dict[str, passports.Privacy],
) -> passports.Passport:
    prepared = plan.prepared
    spec, snapshot = prepared.spec, plan.snapshot
    return passports.Passport(
        segment=spec.name,
        build=run.build.id,
        purpose=spec.purpose,
        spec=prepared.digests["spec"].removeprefix("sha256:"),
        policy=prepared.digests["policy"].removeprefix("sha256:"),
        contract=prepared.digests["contract"].removeprefix("sha256:"),
        consent_root=commitments.root.hex(),
        consent_leaves=commitments.size,
        read_sets=reports.read_sets(plan, people),
        exclusions=passports.NoisyTable(
            tuple(reason_words(reason) for reason in snapshot.values), tuple(snapshot.values.values()), snapshot.sigma
        ),
        **costs,
        utility={figure.name: figure.value for figure in assessment.utility},
        fairness=tuple(
            passports.FairnessVerdict(
                finding.attribute,
                group.measure.value,
                group.outcome,
                group.group,
                group.verdict.value,
                group.compared.low if group.compared else None,
                group.compared.high if group.compared else None,
                group.detectable,
            )
            for finding in assessment.fairness
            for group in finding.groups
        ),
        approvals=(),
        recipients=(spec.output.destination,) if spec.output.destination else (),
    )


def _privacy(reservation: budget.Reservation, transcript: tuple[budget.Draw, ...]) -> passports.Privacy:
    """What a reservation was charged, and for what."""
    return passports.Privacy(
        mu_squared=str(reservation.mu_squared),
        draws=reservation.draws,
        delta=reservation.delta,
        epsilon=epsilon_of(reservation.mu_squared, reservation.draws, reservation.delta),
        assurance=reports.ASSURANCE,
        transcript=tuple(passports.Charge(d.path, d.step, d.part, str(d.mu_squared), d.bound, d.sigma, d.draws) for d in transcript),
    )
