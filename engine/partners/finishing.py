"""The end of a collaboration at a partner: the joint model assigns its own people, and what comes of that is a build like any other.

    outcome ──fairness gate──> admit──> features ──assign──> quarantine ──approval──> release

Policy and consent are asked anew, for the people of now, whether or not their rows were in a round. Nothing is counted here, so no size
of a part at home is shown: figures and names are those that partners learned together, and were released. Approvals, release, export,
sweep, recall and erasure are those of every build; the passport names the contract and the head of this partner's transcript. Where the
contract names groups, the policy's gate judges by what all partners found together, as it does by a build's own findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from audit import passport as passports
from audit.commitments import Commitments
from audit.fairness import Verdict
from engine import described_fairness, models, outcome, reports
from engine.assessment import GATE, decided
from engine.bench import Bench
from engine.learning import NOBODY
from engine.outcome import Outcome, OutcomeError
from engine.partners import identity
from engine.partners.attendance import trained
from engine.partners.columns import modelled
from engine.partners.groups import about
from engine.partners.home import Taking, unchanged
from engine.prepared import Prepared
from engine.quarantine import common_facts, costs_of, keeping, membership, passport_of
from engine.release import release
from engine.stages import gathered
from engine.trainers.partitions import Parts
from federated.replies import Code, RefusedError
from federated.transcript import epsilon
from governance import budget, builds
from governance.builds import Build, Status, required_approvals
from governance.snapshots import FLOOR_DEVIATIONS
from policies.documents import Digest
from policies.policy import Outcome as Decided

FORECAST = "what partners learn together is forecast by whoever asks them all"


def finish(bench: Bench, taking: Taking, told: bytes, head: Digest) -> Build:
    """From the outcome to quarantine, and to release where nobody has to approve, or to a refusal by the fairness gate, before a row is
    read; once: a build that has ended stays as it is.

    `head`: of the transcript until then. Raises OutcomeError for what is none, RefusedError where the documents are not those of the
    plan or do not allow it today, and faults; then the build is still open. Neither of the first two depends on a row.
    """
    workspace, prepared = bench.workspace, taking.prepared
    came = outcome.read(told)
    with workspace.store.read() as session:
        build = builds.find_build(session, taking.build.id)
    assert build is not None  # builds are never deleted
    if build.status is not Status.BUILDING:
        if build.facts.get("joint", {}).get("outcome") != came.digest():
            raise OutcomeError("another outcome came before")
        return build
    _fits(came, len(prepared.spec.features))
    if not about(came.fairness, [part.name for part in came.parts], taking.agreed.contract):
        raise OutcomeError("what this outcome says of groups is not about those of the contract")
    if not unchanged(workspace, taking.plan):
        raise RefusedError(Code.REFUSED)
    does = decided(prepared, _verdict(prepared, came))
    if does is Decided.REFUSE:
        with workspace.store.transaction("build-failed") as write:
            budget.settle(write, taking.reservation.id)
            return builds.refuse(write, build.id, (GATE,), _told(taking, came))
    bench.progress("the joint model came: assign")
    admission, people = gathered(bench, taking)
    assigned = modelled(came.model, people.features)["segment"]
    assigned = np.where(assigned < len(came.parts), assigned, NOBODY)
    members = membership(people.subjects, assigned, [part.name for part in came.parts])
    everybody = pa.chunked_array([trained(workspace, build.id)], pa.string()).combine_chunks()
    bench.progress("quarantine")
    required = required_approvals(prepared.policy, prepared.spec.model.type, at_least=int(does is Decided.APPROVE))
    retention = prepared.policy.retention
    with keeping(workspace, build, prepared, admission, members, everybody) as kept:
        facts = _facts(taking, came, required)
        budget.settle(kept.write, taking.reservation.id)
        facts["passport"] = passports.dump(_passport(bench, taking, came, kept.commitments, head)).decode()
        evidence = kept.evidence | {"collaboration": taking.agreed.digest, "outcome": facts["joint"]["outcome"], "transcript": head}
        built = builds.quarantine(kept.write, build.id, facts, retention.memberships, **facts["digests"], **evidence)
        if kept.somebody_left:
            builds.must_retrain(kept.write, build.id, retention.retrain)
    built = reports.refresh(workspace, built)
    return release(workspace, built) if required == 0 else built


def _fits(came: Outcome, width: int) -> None:
    """Before a row is read, so that no row decides what is answered. Raises OutcomeError."""
    try:
        released = models.released(came.model)
        known = len(released.centres) if isinstance(released, Parts) else 1
        fits = "segment" in modelled(came.model, np.zeros((0, width), np.int32)) and known <= len(came.parts)
    except Exception:  # noqa: BLE001 (of registered code that was given somebody's parameters)
        fits = False
    if not fits:
        raise OutcomeError("the model of this outcome cannot be applied to the segment's features")


def _verdict(prepared: Prepared, came: Outcome) -> Verdict | None:
    """Of all partners together; where the contract asks about no groups, those that the segment declares are inconclusive."""
    return came.verdict or (Verdict.INCONCLUSIVE if prepared.spec.fairness else None)


def _told(taking: Taking, came: Outcome) -> dict[str, Any]:
    """What may be known of the outcome, whatever becomes of the build."""
    joint, told = taking.agreed, came.facts
    return {
        "verdict": came.verdict.value if came.verdict else None,
        "fairness": told.get("fairness", []),
        "joint": {
            "collaboration": joint.contract.name,
            "contract": joint.digest,
            "partners": [each.name for each in joint.contract.identities],
            "parts": told["parts"],
            "outcome": came.digest(),
        },
    }


def _facts(taking: Taking, came: Outcome, required: int) -> dict[str, Any]:
    """What may be known of the build. Sizes are those of all partners, and say nothing of the people here."""
    prepared, snapshot = taking.prepared, taking.snapshot
    spec, joint = prepared.spec, taking.agreed
    told = came.facts
    return (
        common_facts(prepared, required)
        | _told(taking, came)
        | {
            "snapshot": {"id": snapshot.id, "admitted": snapshot.admitted, "sigma": snapshot.sigma},
            "parts": [part | {"size": None, "sigma": None, "share": None, "withheld": _withheld(part, taking)} for part in told["parts"]],
            "headline": f"learned with {len(joint.contract.partners)} partners: {came.headline}",
            "utility": told["utility"],
            "privacy": {"epsilon": spec.asked.epsilon, "delta": spec.asked.delta},
            "forecast": FORECAST,
            "released_model": came.model,
        }
    )


def _withheld(part: Mapping[str, Any], taking: Taking) -> bool:
    """Below this partner's own floor too, which nobody else knows, by the noisy size that was told (`engine.wanted`)."""
    floor = max(taking.prepared.policy.cohort_floor, taking.agreed.contract.cohort_floor)
    return bool(part["withheld"]) or part["size"] - FLOOR_DEVIATIONS * abs(part["sigma"]) < floor


def _passport(bench: Bench, taking: Taking, came: Outcome, commitments: Commitments, head: Digest) -> passports.Passport:
    prepared, snapshot, joint, workspace = taking.prepared, taking.snapshot, taking.agreed, bench.workspace
    cost = costs_of(workspace, taking.reservation.id)
    spent = sum((Fraction(charge.mu_squared) for charge in cost.transcript), Fraction(0))
    charged = epsilon(spent, prepared.spec.asked.delta)
    me = passports.Partner(identity.keys(workspace).verifier.name, head.removeprefix("sha256:"), charged)
    return replace(
        passport_of(prepared, taking.build, commitments, snapshot, costs_of(workspace, snapshot.reservation), cost),
        utility=dict(came.utility),
        fairness=described_fairness.evidence(came.fairness),
        joint=passports.Joint(joint.contract.name, joint.digest.removeprefix("sha256:"), (me,)),
    )
