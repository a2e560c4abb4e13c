"""The end of a build: membership out of reach, facts and evidence in the database, the report, the draft of the passport.

Order: (1) whom it considered, beside, flushed; (2) under the writer's lock: the members who may still be used, the status, the
facts and the entry, the reservation settled, and the files renamed. A crash before the commit leaves a build that never
happened but for the budget it spent; whoever withdrew before it is in no membership.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from audit import log as audit_log
from audit import passport as passports
from audit.commitments import Commitments
from engine import considered, deep, described_fairness, reports
from engine.admitting import admitted_among, told_now
from engine.assessment import Assessment
from engine.bench import Bench
from engine.considered import CONSIDERED
from engine.copies import MEMBERSHIP, folder
from engine.files import draft_folder, flush_folder, place_folder, sync
from engine.learning import Learned
from engine.planning import Planned
from engine.prepared import Prepared
from engine.stages import People, Run
from engine.wording import reason_words
from engine.workspace import Workspace
from governance import budget, builds
from governance.accounting import epsilon_of
from governance.admission import Admission, Reason
from governance.builds import Build
from governance.door import ReservationId
from governance.snapshots import Snapshot
from governance.store import Transaction
from policies.documents import show_duration


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
    workspace, prepared = bench.workspace, plan.prepared
    spec, retention = prepared.spec, prepared.policy.retention
    with workspace.store.read() as session:
        transcript = budget.transcript(session, run.reservation.id)
        counted = budget.transcript(session, plan.snapshot.reservation)
    counting, training = costs_of(workspace, plan.snapshot.reservation), _privacy(run.reservation, transcript)
    members = membership(people.subjects, learned.assigned, [part.name for part in assessment.parts])
    with keeping(workspace, run.build, prepared, admission, members, people.subjects) as kept:
        passport = replace(
            passport_of(prepared, run.build, kept.commitments, plan.snapshot, counting, training),
            utility={figure.name: figure.value for figure in assessment.utility},
            fairness=described_fairness.evidence(assessment.fairness),
        )
        facts = common_facts(prepared, required) | {
            "snapshot": {"id": plan.snapshot.id, "admitted": plan.snapshot.admitted, "sigma": plan.snapshot.sigma},
            "parts": [part.as_facts() for part in assessment.parts],
            "headline": assessment.headline,
            "utility": dict(passport.utility),
            "verdict": assessment.verdict.value if assessment.verdict else None,
            "fairness": reports.plain(assessment.fairness),
            "privacy": {"epsilon": spec.asked.epsilon, "delta": spec.asked.delta},
            "forecast": plan.forecast.words,
            "explanation": reports.plain(assessment.explanation),
            "highest_id": assessment.highest_id,
            "released_model": learned.released(),
            "passport": passports.dump(passport).decode(),
        }
        budget.settle(kept.write, run.reservation.id)
        index = audit_log.size(kept.write.connection)  # of the entry that `builds.quarantine` writes next
        facts["report"] = reports.plain(reports.compose(bench, plan, run, people, assessment, (*counted, *transcript), index))
        evidence = kept.evidence | {"verdict": facts["verdict"]}
        built = builds.quarantine(kept.write, run.build.id, facts, retention.memberships, **facts["digests"], **evidence)
        if kept.somebody_left or run.meter.answers.mixed:
            builds.must_retrain(kept.write, run.build.id, retention.retrain)
    return reports.refresh(workspace, built)


@dataclass(frozen=True, slots=True)
class Kept:
    """The open transaction in which a build enters quarantine. `somebody_left`: of those judged, somebody may not be used now."""

    write: Transaction
    commitments: Commitments
    somebody_left: bool

    @property
    def evidence(self) -> dict[str, Any]:
        """What goes into the log of whom was considered."""
        return {"consent_root": self.commitments.root.hex(), "consent_leaves": self.commitments.size}


@contextmanager
def keeping(
    workspace: Workspace, build: Build, prepared: Prepared, admission: Admission, members: pa.Table, trained: pa.Array
) -> Iterator[Kept]:
    """Steps (1) and (2) of the module; the block moves the build. `members`: subject and segment; `trained`: whose rows trained it."""
    target = folder(workspace, build.id)
    contract, rules, purpose = prepared.contract, prepared.rules, prepared.spec.purpose
    everybody = pa.table({"subject": pa.chunked_array([*members["subject"].chunks, trained], pa.string()).unique()})
    with draft_folder(target) as partial:
        room = contract.subject.max_subjects  # planning refuses where noise says that it may not do
        commitments = considered.write(partial / CONSIDERED, build.id, nameable(workspace, admission.reasons), trained, room)
        flush_folder(partial, "build-files")
        told = told_now(workspace, contract, rules)  # a source may take its time, and nobody is to wait for it
        with workspace.store.transaction("quarantine") as write:
            allowed = admitted_among(workspace, contract, rules, purpose, everybody, write.session, told)
            pq.write_table(members.filter(pc.is_in(members["subject"], allowed)), partial / MEMBERSHIP)
            sync(partial / MEMBERSHIP)
            yield Kept(write, commitments, len(allowed) < everybody.num_rows)
            place_folder(partial, target, "build-files")


def nameable(workspace: Workspace, reasons: pa.Table) -> pa.Table:
    """Less whoever was erased and has said nothing since, and whom a source may still hold: their key is not to come back."""
    silent = pc.is_in(reasons["reason"], pa.array([Reason.NEVER_ASKED, Reason.NO_NOTICE], reasons["reason"].type))
    marked = workspace.suppression.among(reasons.filter(silent)["subject"].to_pylist())
    return reasons.filter(pc.invert(pc.is_in(reasons["subject"], pa.array(marked, pa.string())))) if marked else reasons


def membership(subjects: pa.Array, assigned: NDArray[np.int64], parts: list[str]) -> pa.Table:
    """Subject and segment of everybody who is in one; `assigned` (n_subjects,): the part of each, below 0 none."""
    names = np.array(parts, dtype=object)
    table = pa.table({"subject": subjects, "segment": pa.array(names[np.maximum(assigned, 0)], pa.string())})
    return table.filter(pa.array(assigned >= 0))


def common_facts(prepared: Prepared, required: int) -> dict[str, Any]:
    """What every build keeps of the documents that it was built on."""
    spec = prepared.spec
    return {
        "model": spec.model.type,
        "format": spec.output.format,
        "digests": dict(prepared.digests),
        "coarsened": prepared.coarseness,
        "spec": spec.model_dump(mode="json", by_alias=True),
        "features": list(spec.features),  # in the order of the model's parameters, which JSON objects do not keep
        "required": required,
        "retention": {"retrain": show_duration(prepared.policy.retention.retrain)},
    }


def passport_of(
    prepared: Prepared, build: Build, commitments: Commitments, snapshot: Snapshot, counted: passports.Privacy, privacy: passports.Privacy
) -> passports.Passport:
    """What follows of documents and of who was counted, for every kind of build; `counted`: what the snapshot cost, `privacy`: what the
    build did. What was learned is not in it."""
    spec = prepared.spec
    digests = {what: digest.removeprefix("sha256:") for what, digest in prepared.digests.items()}
    return passports.Passport(
        segment=spec.name,
        build=build.id,
        purpose=spec.purpose,
        spec=digests["spec"],
        policy=digests["policy"],
        contract=digests["contract"],
        consent_root=commitments.root.hex(),
        consent_leaves=commitments.size,
        read_sets=reports.read_sets(prepared),
        exclusions=passports.NoisyTable(
            tuple(reason_words(reason) for reason in snapshot.values), tuple(snapshot.values.values()), snapshot.sigma
        ),
        snapshot=counted,
        privacy=privacy,
        utility={},
        fairness=(),
        approvals=(),
        recipients=(spec.output.destination,) if spec.output.destination else (),
    )


def costs_of(workspace: Workspace, reservation: ReservationId) -> passports.Privacy:
    """What a reservation was charged so far."""
    with workspace.store.read() as session:
        found = budget.find(session, reservation)
        assert found is not None  # reservations are never deleted
        return _privacy(found, budget.transcript(session, reservation))


def _privacy(reservation: budget.Reservation, transcript: tuple[budget.Draw, ...]) -> passports.Privacy:
    """What a reservation was charged, and for what."""
    mu_squared, exact = reservation.grant().mu_squared, [draw for draw in transcript if draw.sampled is None]
    return passports.Privacy(
        mu_squared=str(mu_squared),
        draws=reservation.exact_draws,
        delta=reservation.delta,
        epsilon=epsilon_of(mu_squared, reservation.exact_draws, reservation.delta),
        assurance=deep.FLOATING if reservation.block else reports.ASSURANCE,
        transcript=tuple(passports.Charge(d.path, d.step, d.part, str(d.mu_squared), d.bound, d.sigma, d.draws) for d in exact),
        block=_block(reservation, transcript),
    )


def _block(reservation: budget.Reservation, transcript: tuple[budget.Draw, ...]) -> passports.Block | None:
    """What training by samples cost, and on which terms; None where there was none."""
    for draw in transcript:
        if (terms := draw.sampled) is not None:
            return passports.Block(
                epsilon=reservation.epsilon,
                delta=reservation.delta,
                path=draw.path,
                step=draw.step,
                part=draw.part,
                mechanism=deep.MECHANISM,
                rate=str(terms.rate),
                steps=terms.steps,
                size=terms.size,
                bound=draw.bound,
                sigma=draw.sigma,
            )
    return None
